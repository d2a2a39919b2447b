"""Windows and byte ranges are values of the package: no bare tuple stands for one."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "jp2batch"
NESTED = {"tuple[tuple[int, int], tuple[int, int]]", "Sequence[tuple[int, int]]", "Sequence[Sequence[int]]"}
"""Types of windows and of lists of ranges without a name."""
HOME = "core/window.py"
"""The only file that takes windows in the forms in which users give them."""


def nameless(text: str) -> Iterator[str]:
    """Iterate over the types in a file, in annotations and aliases, that stand for a window or for ranges."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Subscript) and ast.unparse(node) in NESTED:
            yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_bare_tuple_is_a_window_or_a_range(path):
    found = list(nameless(path.read_text(encoding="utf-8")))
    assert bool(found) == (path == PACKAGE / HOME), found


def test_a_bare_tuple_is_found():
    assert list(nameless("def read(window: tuple[tuple[int, int], tuple[int, int]] | None) -> None: ..."))
    assert list(nameless("Window = tuple[tuple[int, int], tuple[int, int]]"))
    assert not list(nameless("levels: tuple[tuple[int, int], ...]"))
