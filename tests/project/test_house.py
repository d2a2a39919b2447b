"""Modules, public names, files and environment of the project."""

import ast
import inspect
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import conda
import pytest
import yaml

import jp2batch
from jp2batch.storage.schemes import SCHEMES

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "jp2batch"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def parsed(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


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


def test_the_conda_environment_has_the_extras_of_all_stores_and_formats():
    extras = PROJECT["optional-dependencies"]
    stores = {row.extra for row in SCHEMES if row.extra}
    assert stores | {"files", "notebook"} <= {group for groups in conda.GROUPS.values() for group in groups}
    packages = yaml.safe_load(conda.environment())["dependencies"]
    assert {package for extra in stores for package in extras[extra]} <= {*packages[:-1]}


def test_hooks_need_no_network():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {repo["repo"] for repo in hooks["repos"]} == {"local"}
    assert [hook["entry"] for hook in hooks["repos"][0]["hooks"]][:3] == ["ruff check", "ruff format --check", "mypy"]
