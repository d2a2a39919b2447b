"""The language of the package: plain first lines, and one meaning for a class name."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "jp2batch"
RIDDLE = re.compile(r"\b(what|that|those|one|there|so|whatever|whom?|somebody|anybody)\b", re.IGNORECASE)
PARTICIPLES = frozenset({"asked", "found", "given", "held", "known", "landed", "told", "wanted"})
"""Words that do not name a module, attribute or parameter: of what?"""
OLD_ROOMS = frozenset({"batch", "service"})
"""Rooms that still have such names."""
LONGEST = 12  # words
MOST_RIDDLES = 0.01
"""Share of first lines."""


def trees() -> Iterator[ast.Module]:
    return (ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py")))


def first_lines(tree: ast.Module) -> Iterator[str]:
    """Iterate over the first lines of docstrings, those under fields and constants included."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            match statement:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield text.strip().partition("\n")[0]


def riddling(line: str) -> bool:
    return RIDDLE.search(line) is not None


def test_hardly_any_first_line_is_a_riddle():
    lines = [line for tree in trees() for line in first_lines(tree)]
    riddles = [line for line in lines if riddling(line)]
    assert len(riddles) <= MOST_RIDDLES * len(lines), riddles


def test_no_first_line_is_long():
    lines = [line for tree in trees() for line in first_lines(tree)]
    assert [line for line in lines if len(line.split()) > LONGEST] == []


def test_a_class_name_is_defined_once():
    names = Counter(node.name for tree in trees() for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert [name for name, count in names.items() if count > 1] == []


def named(tree: ast.AST) -> Iterator[str]:
    """Iterate over the names of parameters, attributes and methods."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from (arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs))
            case ast.Attribute(ctx=ast.Store()):
                yield node.attr
            case ast.ClassDef():
                yield from (
                    s.target.id for s in node.body if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)
                )
                yield from (s.name for s in node.body if isinstance(s, ast.FunctionDef | ast.AsyncFunctionDef))


def test_no_bare_participle_is_a_name():
    paths = [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] not in OLD_ROOMS]
    names = [(path.name, name) for path in paths for name in named(ast.parse(path.read_text(encoding="utf-8")))]
    assert [where for where in names if where[1].strip("_") in PARTICIPLES] == []
    assert PARTICIPLES.isdisjoint(path.stem for path in PACKAGE.rglob("*.py"))


def test_a_riddle_is_found():
    assert riddling("What is told of a cube besides its values")
    assert not riddling("Coordinates and attributes of a cube")
