"""Layouts of files, by their names in T.800."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks.conformance.canvas import Canvas


@dataclass(frozen=True, slots=True)
class Layout:
    """A way to lay out an image in a file."""

    name: str
    clause: str
    """Clause of T.800, or of another standard."""
    make: Callable[[Canvas], bytes]
    """Makes the file."""
    raw: bool = False
    """True for a codestream without boxes."""
    intact: Callable[[Canvas], bytes] | None = None
    """Makes the file before it was damaged: a reader may refuse, or return its pixels."""
    needs: str = ""
    """Package that makes it, if any."""

    @property
    def suffix(self) -> str:
        """Suffix of the file."""
        return ".j2k" if self.raw else ".jp2"


@dataclass(frozen=True, slots=True)
class Group:
    """Layouts of a kind."""

    title: str
    layouts: tuple[Layout, ...]
    remote: bool = False
    """True to read a window of a larger image from a web server, too."""
    damaged: bool = False
    """True if a reader may refuse."""

    def matching(self, pattern: str) -> "Group":
        """Return the group with the layouts whose names match a regular expression."""
        return replace(self, layouts=tuple(layout for layout in self.layouts if re.search(pattern, layout.name)))


def groups() -> tuple[Group, ...]:
    """Return all layouts, by kind."""
    from benchmarks.conformance import box_layouts, coding_layouts, damaged_layouts, stream_layouts

    return (*coding_layouts.GROUPS, *stream_layouts.GROUPS, *box_layouts.GROUPS, *damaged_layouts.GROUPS)
