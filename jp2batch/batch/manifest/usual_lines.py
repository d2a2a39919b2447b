"""Lines of JSON matched by a regular expression of their columns.

Most lines of a manifest have the columns of its first; they are read without a parser.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from jp2batch.batch.manifest.rows import AREA_COLUMNS, OWN_COLUMNS

PATH = r"[!#-\[\]-~][ !#-\[\]-~]{0,4000}"
"""A path that Request takes, without escapes in JSON."""
_BOUND = r"(0|[1-9][0-9]{0,8})"
WINDOW = rf"{_BOUND}:{_BOUND},{_BOUND}:{_BOUND}"
"""A window as text."""
_NAME = re.compile(r"[!#-\[\]-~]+")
_ID = r'"([!#-\[\]-~]*)"'
_TEXT = r'"[^"\\\x00-\x1f\ud800-\udfff]*"'
_OTHER = rf"(?:{_TEXT}|-?(?:0|[1-9][0-9]{{0,17}})(?:\.[0-9]{{1,17}})?|true|false|null)"
_VALUES = {
    "path": (rf'"({PATH})"', 1),
    "rlevel": (r"(?:null|(-1|[0-9]|[12][0-9]|3[0-2]))", 1),
    "window": (rf'(?:null|""|"{WINDOW}")', 4),
    "id": (rf"(?:null|{_ID})", 1),
}
"""Patterns of own columns, and their numbers of groups."""

UsualLine = tuple[str | None, ...]
"""A line, its path, rlevel, four bounds of its window, and id.

A plain tuple of texts, which the garbage collector soon leaves out.
"""


@dataclass(frozen=True, slots=True)
class LinePattern:
    """Pattern of lines with some columns in order."""

    pattern: re.Pattern[str]
    """Matches a line with its end."""
    groups: Sequence[int]
    """Groups of line, path, rlevel, bounds and id."""

    @classmethod
    def of(cls, names: Sequence[str]) -> Self | None:
        """Return the pattern of lines with some columns, if usual."""
        if any(name.lower() in AREA_COLUMNS for name in names):
            return None
        own = [name.lower() for name in names if name.lower() in OWN_COLUMNS]
        if "path" not in own or len(set(own)) < len(own) or not all(map(_NAME.fullmatch, names)):
            return None
        columns, found, last = [], dict[str, range](), 0
        for name in names:
            value, groups = _VALUES.get(name.lower(), (_OTHER, 0))
            columns.append(rf'"{re.escape(name)}": ?{value}')
            found[name.lower()] = range(last + 1, last + groups + 1)
            last += groups
        order = [found.get(name, [last + 1] * groups) for name, (_, groups) in _VALUES.items()]
        pattern = re.compile(rf"\{{{', ?'.join(columns)}()\}}(?:\r?\n|\Z)")
        return cls(pattern, [0, *(group for groups in order for group in groups)])

    def match(self, text: str, at: int) -> tuple[UsualLine, int] | None:
        """Match the line at an offset; return its end, too."""
        found = self.pattern.match(text, at)
        return None if found is None else (found.group(*self.groups), found.end())
