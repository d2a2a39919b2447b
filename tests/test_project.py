"""What holds the project together: its arrows, its names, its files."""

import ast
import graphlib
import inspect
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import jp2batch

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "jp2batch"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

LAYERS = [
    "errors urls html",
    "profiles config request asked",
    "jpeg2000 radiometry",
    "storage openjpeg openjpeg_callbacks georeference sentinel2 cf info preview accessor",
    "metadata index opening decoding reader inspection dataarray response xarray_engine",
    "sample writers manifest",
    "batch",
    "doctor product cube listing",
    "service",
    "demo",
    "cli __main__",
]
"""From the bottom up. A module imports from its own layer and from those below; a folder is in one layer."""

CLIENTS = ("cube.open", "doctor.cluster")
"""They know the type of a client, and start none."""

HOMES = {
    "fsspec": "storage.",
    "s3fs": "storage.",
    "obstore": "storage.",
    "glymur": "openjpeg",
    "dask.config": "config",
    "dask.delayed": "batch.run",
    "distributed": ("batch.", "service.app", "service.pool", *CLIENTS),
    "tornado": "service.",
    "prometheus_client": "service.metrics",
    "click": "cli",
}
"""The only modules that may import these."""


def imports(tree: ast.AST, *, when_loaded: bool = False) -> Iterator[str]:
    """Iterate over what is imported; or over what is imported as soon as the module is loaded."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES or node.module == "dask" else node.module or "" for name in names)
        elif not (when_loaded and (isinstance(node, ast.FunctionDef) or is_for_types_only(node))):
            yield from imports(node, when_loaded=when_loaded)


def is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def parsed(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def layer_of(module: str) -> int:
    name = module.split(".")[1]
    (layer,) = [index for index, names in enumerate(LAYERS) if name in names.split()]
    return layer


def inside(module: str) -> bool:
    return module in MODULES and module != "jp2batch"


@pytest.mark.parametrize("module", [name for name in MODULES if name != "jp2batch"])
def test_arrows_point_down(module):
    wrong = [other for other in imports(parsed(module)) if inside(other) and layer_of(other) > layer_of(module)]
    assert wrong == []


def test_the_format_and_the_storage_do_not_know_each_other():
    for module in MODULES:
        parts = {other.split(".")[1] for other in imports(parsed(module)) if inside(other)}
        assert not (module.startswith("jp2batch.jpeg2000") and "storage" in parts)
        assert not (module.startswith("jp2batch.storage") and "jpeg2000" in parts)


def test_nothing_imports_itself_by_a_detour():
    graph = {module: set(filter(inside, imports(parsed(module), when_loaded=True))) for module in MODULES}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) >= len(MODULES) - 1


@pytest.mark.parametrize("package", HOMES)
def test_each_outside_package_has_one_home(package):
    homes = HOMES[package] if isinstance(HOMES[package], tuple) else (HOMES[package],)
    importers = [
        module
        for module in MODULES
        if any(name == package or name.startswith(f"{package}.") for name in imports(parsed(module)))
    ]
    assert all(module.removeprefix("jp2batch.").startswith(homes) for module in importers), importers


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_one_job_and_says_which(module):
    assert ast.get_docstring(parsed(module))
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= 350


def test_importing_the_package_loads_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import jp2batch"], capture_output=True, text=True, check=True
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "jp2batch" in loaded
    assert loaded.isdisjoint({"click", "dask", "distributed", "fsspec", "glymur", "numpy", "tornado", "xarray"})


def test_public_names():
    assert sorted(jp2batch.__all__) == sorted(jp2batch._HOMES)
    assert all(getattr(jp2batch, name).__name__ == name for name in jp2batch.__all__)
    assert set(jp2batch.__all__) <= set(dir(jp2batch))
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = jp2batch.nothing_such


def test_the_version_stands_once():
    assert jp2batch.__version__ == PROJECT["version"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in jp2batch.__all__ if inspect.isfunction(getattr(jp2batch, name))])
def test_the_public_functions_explain_their_parameters(name):
    function = getattr(jp2batch, name)
    doc = inspect.getdoc(function)
    parameters, _, rest = doc.partition("Parameters\n----------\n")[2].partition("Raises\n------\n")
    assert rest
    explained = re.findall(r"^(\w[\w, ]*?)(?: :|$)", parameters, re.MULTILINE)
    told = {part.strip() for line in explained for part in line.split(",")}
    assert set(inspect.signature(function).parameters) <= told


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """Return the files that are, or would be, in git."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("needs a git repository")
    listing = [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in filter(None, done.stdout.split("\0")) if (ROOT / name).is_file()]


def test_no_large_files(files):
    assert [path for path in files if path.stat().st_size > 500_000] == []


def test_no_paths_of_anybodys_machine(files):
    machine = re.compile(r"/(?:work|root)/|/tmp/venv|\b10\.\d+\.\d+\.\d+\b")
    texts = {path: path.read_bytes() for path in files if path != Path(__file__).resolve()}
    found = {path.name: machine.findall(data.decode()) for path, data in texts.items() if b"\0" not in data}
    assert {name: hits for name, hits in found.items() if hits} == {}


CONDA_NAMES = {"dask[array]": "dask-core", "prometheus-client": "prometheus_client"}
"""Names that differ in conda-forge."""


def test_the_conda_environment_has_what_the_package_needs():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == PROJECT["name"]
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    first, *names, pip = environment["dependencies"]
    assert first == f"python{PROJECT['requires-python']}"
    assert "pip" in names
    assert pip == {"pip": ["-e ."]}
    extras = PROJECT["optional-dependencies"]
    assert "jp2batch[files]" in extras["notebook"]
    wanted = {*PROJECT["dependencies"], *extras["files"], *extras["fast"], *extras["notebook"]} - {"jp2batch[files]"}
    renamed = {re.sub(r"^[^<>=]+", lambda match: CONDA_NAMES.get(match[0], match[0]), one) for one in wanted}
    assert set(names) == renamed | {"openjpeg>=2.5", "pip"}


def test_hooks_need_no_network():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {repo["repo"] for repo in hooks["repos"]} == {"local"}
    assert [hook["entry"] for hook in hooks["repos"][0]["hooks"]] == ["ruff check", "ruff format --check", "mypy"]
