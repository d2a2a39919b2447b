"""Values that all rooms speak: only their own file takes their texts apart."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "jp2batch"
SEPARATOR = re.compile(r"[a-z]*(://|::)")
LOCATION = "core/location.py"
ALLOWED = {
    "service/app.py": {"http://", "https://"},  # the form of a request line, RFC 9112 section 3.2.2
    "storage/source.py": {"memory://"},  # a name in messages
}


def separators(tree: ast.AST) -> Iterator[str]:
    """Iterate over the texts that serve to take URLs apart; f-strings that make one are none of them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SEPARATOR.fullmatch(node.value):
            yield node.value


def without_f_strings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            node.values = [value for value in node.values if isinstance(value, ast.FormattedValue)]
    return tree


def taken_apart(code: str) -> set[str]:
    return set(separators(without_f_strings(ast.parse(code))))


def test_only_location_takes_urls_apart() -> None:
    texts = {path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    del texts[LOCATION]
    strangers = {path: taken_apart(text) - ALLOWED.get(path, set()) for path, text in texts.items()}
    assert {path: found for path, found in strangers.items() if found} == {}
    assert [path for path, text in texts.items() if "without_credentials" in text] == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('"://" in path', {"://"}),
        ('path.partition("::")', {"::"}),
        ('url.startswith(("http://", "https://"))', {"http://", "https://"}),
        ("f\"{a.split('://')}\"", {"://"}),
        ('f"{scheme}://{host}"', set()),
        ('"give s3://, or a path"', set()),
    ],
)
def test_a_url_taken_apart_elsewhere_is_found(code: str, found: set[str]) -> None:
    assert taken_apart(code) == found
