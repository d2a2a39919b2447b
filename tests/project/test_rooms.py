"""Rooms of the package: arrows point down, there is no circle, each outside package has a home."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import ROOMS, below

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "jp2batch"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
FACE = {"jp2batch", "jp2batch.__main__"}

HOMES = {
    "fsspec": ("storage",),
    "s3fs": ("storage",),
    "adlfs": ("storage",),
    "azure": ("storage",),
    "gcsfs": ("storage",),
    "obstore": ("storage",),
    "glymur": ("image.openjpeg",),
    "dask.config": ("core.config",),
    "distributed": ("compute", "batch.executors"),
    "tornado": ("service",),
    "prometheus_client": ("service.metrics",),
    "click": ("cli",),
    "odc": ("plugins.odc",),
    "rio_tiler": ("plugins.rio_tiler",),
    "rasterio": ("plugins",),
}
"""The only rooms and modules that import these, but for types."""


def imports(tree: ast.AST, *, types: bool = True) -> Iterator[str]:
    """Iterate over the modules that a tree imports, inside functions too; without types: but for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES or node.module == "dask" else node.module or "" for name in names)
        elif types or not is_for_types_only(node):
            yield from imports(node, types=types)


def is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def parsed(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def room_of(module: str) -> str:
    return module.split(".")[1]


def wrong_arrows(module: str, imported: Iterator[str]) -> list[str]:
    """Return the imports of a module of a room that its room does not allow; of the face, only cli may import."""
    allowed = {room_of(module), *below(room_of(module))}
    ours = [name for name in imported if name.partition(".")[0] == "jp2batch"]
    return [
        name
        for name in ours
        if (room_of(module) != "cli" if name in FACE or name not in MODULES else room_of(name) not in allowed)
    ]


@pytest.mark.parametrize("module", sorted(MODULES.keys() - FACE))
def test_arrows_point_down(module):
    assert wrong_arrows(module, imports(parsed(module))) == []


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("jp2batch.core.request", "def f():\n    from jp2batch.storage.source import Source"),
        ("jp2batch.jpeg2000.assemble", "from jp2batch.storage import source"),
        ("jp2batch.compute.cluster", "import jp2batch"),
        ("jp2batch.compute.cluster", "from jp2batch import run"),
        ("jp2batch.array.formats", "if TYPE_CHECKING:\n    from jp2batch.batch.run import run"),
    ],
)
def test_an_arrow_that_points_up_is_found(module, code):
    assert len(wrong_arrows(module, imports(ast.parse(code)))) == 1


def test_the_tree_is_the_drawing():
    entries = {path.name for path in PACKAGE.iterdir()} - {"__pycache__"}
    assert entries == {*ROOMS, "__init__.py", "__main__.py", "py.typed", "jp2batch.yaml"}


def test_the_tests_have_the_same_rooms():
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders <= {*ROOMS, "support", "project"}


@pytest.mark.parametrize("path", sorted(ROOT.glob("tests/**/*.py")), ids=lambda path: path.stem)
def test_no_test_imports_another(path):
    names = imports(ast.parse(path.read_text(encoding="utf-8")))
    assert [name for name in names if ".test_" in f".{name}"] == []


def test_no_modules_import_each_other_in_a_circle():
    graph = {
        module: {name for name in imports(parsed(module)) if name in MODULES and name not in FACE}
        for module in MODULES.keys() - FACE
    }
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(graph)


@pytest.mark.parametrize("module", sorted(module for module in MODULES if module.startswith("jp2batch.jpeg2000")))
def test_the_format_names_no_decoder(module):
    assert "openjpeg" not in MODULES[module].read_text(encoding="utf-8").lower()


def test_one_module_knows_the_missions():
    importers = {
        module
        for module in MODULES.keys() - FACE
        if room_of(module) != "sentinel2" and any(".sentinel2" in name for name in imports(parsed(module)))
    }
    assert importers == {"jp2batch.image.missions", "jp2batch.sample.product"}


@pytest.mark.parametrize("package", HOMES)
def test_each_outside_package_has_one_home(package):
    importers = [
        module.removeprefix("jp2batch.")
        for module in MODULES
        if any(name == package or name.startswith(f"{package}.") for name in imports(parsed(module), types=False))
    ]
    strangers = [
        module
        for module in importers
        if not any(module == home or module.startswith(f"{home}.") for home in HOMES[package])
    ]
    assert strangers == []
