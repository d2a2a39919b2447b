"""Rows of a manifest with ids and digests of their requests.

A request takes some 10 us to make; a resumed run needs it only for the rows that are not done.
"""

import contextlib
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii as quoted
from typing import overload

from jp2batch.batch.key_table import Keys, keys_of
from jp2batch.batch.manifest.rows import AREA_COLUMNS, OWN_COLUMNS, PlainRow
from jp2batch.batch.manifest.usual_lines import PATH, WINDOW, UsualLine
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.request import Request

# Stricter than Request, and without escapes in JSON.
_PATH = re.compile(PATH)
_KEY = re.compile(r"[A-Za-z0-9_.+=-][A-Za-z0-9_.+= /-]{0,4000}")
_WINDOW = re.compile(WINDOW)
_LEVELS: dict[object, int] = {str(level): level for level in range(33)}
_MOST = 1000  # sets of names
_MISSING = "\0"  # no name of a column: it would be refused

Digested = tuple[str, str, str | PlainRow]
"""Id and digest of a request, and its row.

A text is a line of JSON. A plain tuple of texts, which the garbage collector soon leaves out.
"""


@dataclass(slots=True)
class DigestedRow:
    """A valid row, and id and digest of its request."""

    id: str
    """Id of the request."""
    digest: str
    """Digest of the request."""
    _row: str | PlainRow = field(repr=False)
    _read: "ReadDigested" = field(repr=False)

    @property
    def request(self) -> Request:
        """The request, made anew."""
        return self._read(self._row)


ReadDigested = Callable[[str | PlainRow], Request]
"""Returns the request of a digested row."""

Row = Request | DigestedRow
"""A request, or its row."""


def request_of(row: Row) -> Request:
    """Return the request of a row."""
    return row if isinstance(row, Request) else row.request


class RowBlock(Sequence[Row]):
    """Rows of a manifest, and the keys of their ids and digests.

    Parameters
    ----------
    rows : sequence
        Requests and digested rows.
    read : callable
        Returns the request of a digested row.
    """

    def __init__(self, rows: Sequence[Request | Digested], read: ReadDigested) -> None:
        self._rows, self._read = rows, read
        digests = [row[1] if isinstance(row, tuple) else row.digest for row in rows]
        ids = [row[0] if isinstance(row, tuple) else row.id for row in rows]
        self.digests: Keys = keys_of(digests)
        """Keys of the digests."""
        self.ids: Keys = self.digests if ids == digests else keys_of(ids)
        """Keys of the ids, most of which are digests."""

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> "RowBlock": ...
    def __getitem__(self, place: int | slice) -> "Row | RowBlock":
        if isinstance(place, slice):
            return RowBlock(self._rows[place], self._read)
        row = self._rows[place]
        return DigestedRow(*row, self._read) if isinstance(row, tuple) else row


def row_keys(rows: Sequence[Row]) -> tuple[Keys, Keys]:
    """Return the keys of ids and of digests."""
    if isinstance(rows, RowBlock):
        return rows.ids, rows.digests
    return keys_of(row.id for row in rows), keys_of(row.digest for row in rows)


class Digester:
    """Ids and digests of plain rows.

    Parameters
    ----------
    rlevel : int
        Level of rows without rlevel.
    root : str, optional
        Root of the paths.
    """

    def __init__(self, rlevel: int, root: str | None) -> None:
        self._rlevel = rlevel
        self._root, self._path = "null", _PATH
        if root is not None:
            self._root, self._path = quoted(root.rstrip("/")), _KEY
        self._is_valid = False  # an invalid root makes all rows bad
        with contextlib.suppress(InvalidRequest):
            self._is_valid = bool(Request("image", rlevel, root=root))
        self._names: dict[tuple[str, ...], Sequence[str] | None] = {}

    def digested(self, row: PlainRow) -> Digested | None:
        """Return a row with id and digest; None if unusual.

        Such a row may be bad.
        """
        names = self._names_in(tuple(row))
        if names is None:
            return None
        path, level, window, id_ = map(row.get, names)
        if not isinstance(path, str) or not self._path.fullmatch(path) or (".." in path and self._root != "null"):
            return None
        if level is None or level == "":
            level = self._rlevel
        elif type(level) is not int and (level := _LEVELS.get(level)) is None:
            return None
        bounds = _bounds(window)
        if bounds is None or not -1 <= level <= 32:
            return None
        digest = self._digest(path, level, bounds)
        if id_ is None or id_ == "":
            return digest, digest, row
        return (id_, digest, row) if isinstance(id_, str) and id_.strip() else None

    def digested_line(self, line: UsualLine) -> Digested | None:
        """Return a line with id and digest; None if unusual."""
        text, path, level, r0, r1, c0, c1, id_ = line
        if not text or not path or (self._root != "null" and (".." in path or not _KEY.fullmatch(path))):
            return None
        bounds = _bounds_of(r0, r1, c0, c1)
        if bounds is None or not self._is_valid:
            return None
        digest = self._digest(path, level or self._rlevel, bounds)
        return id_ or digest, digest, text

    def _digest(self, path: str, level: object, bounds: str) -> str:
        text = f'["{path}",{level},{bounds},{self._root}]'  # as Request does
        return hashlib.sha256(text.encode()).digest()[:8].hex()

    def _names_in(self, names: tuple[str, ...]) -> Sequence[str] | None:
        """Return the names of path, rlevel, window and id in a row.

        None if the names are invalid, or of a map area.
        """
        if names not in self._names:
            if len(self._names) >= _MOST:
                self._names.clear()
            found = {name.strip().lower(): name for name in names}
            is_right = self._is_valid and "path" in found and len(found) == len(names)
            is_right = is_right and found.keys().isdisjoint(AREA_COLUMNS)
            self._names[names] = [found.get(own, _MISSING) for own in OWN_COLUMNS] if is_right else None
        return self._names[names]


def _bounds(window: object) -> str | None:
    """Return a window as JSON; None if it may be invalid."""
    if window is None or window == "":
        return "null"
    match = _WINDOW.fullmatch(window) if isinstance(window, str) else None
    return None if match is None else _bounds_of(*match.groups())


def _bounds_of(r0: str | None, r1: str | None, c0: str | None, c1: str | None) -> str | None:
    if not (r0 and r1 and c0 and c1):
        return "null"
    return f"[[{r0},{r1}],[{c0},{c1}]]" if int(r0) < int(r1) and int(c0) < int(c1) else None
