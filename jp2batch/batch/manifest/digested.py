"""Rows of a manifest with ids and digests of their requests.

A request takes some 10 us to make; a resumed run needs it only for the rows that are not done.
"""

import contextlib
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii as quoted

from jp2batch.batch.key_table import Keys, keys_of
from jp2batch.batch.manifest.rows import OWN_COLUMNS, PlainRow
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.request import Request

# Stricter than Request, and without escapes in JSON.
_PATH = re.compile(r"[!#-\[\]-~][ !#-\[\]-~]{0,4000}")
_KEY = re.compile(r"[A-Za-z0-9_.+=-][A-Za-z0-9_.+= /-]{0,4000}")
_NUMBER = r"(0|[1-9][0-9]{0,8})"
_WINDOW = re.compile(rf"{_NUMBER}:{_NUMBER},{_NUMBER}:{_NUMBER}")
_LEVELS: dict[object, int] = {str(level): level for level in range(33)}
_MOST = 1000  # sets of names
_MISSING = "\0"  # no name of a column: it would be refused


@dataclass(slots=True)
class DigestedRow:
    """A valid row, and id and digest of its request."""

    id: str
    """Id of the request."""
    digest: str
    """Digest of the request."""
    path: str
    """Path of the image."""
    _row: PlainRow = field(repr=False)
    _read: Callable[[object], Request | str] = field(repr=False)

    @property
    def request(self) -> Request:
        """The request, made anew."""
        found = self._read(self._row)
        if isinstance(found, str):
            raise AssertionError(found)
        return found


Row = Request | DigestedRow
"""A request, or its row."""


def request_of(row: Row) -> Request:
    """Return the request of a row."""
    return row if isinstance(row, Request) else row.request


class RowBlock(list[Row]):
    """Rows, and the keys of their ids and digests."""

    _digests: Keys | None = None
    _ids: Keys | None = None

    @property
    def digests(self) -> Keys:
        """Keys of the digests."""
        if self._digests is None:
            self._digests = keys_of(row.digest for row in self)
        return self._digests

    @property
    def ids(self) -> Keys:
        """Keys of the ids, most of which are digests."""
        if self._ids is None:
            is_same = all(row.id is row.digest for row in self)
            self._ids = self.digests if is_same else keys_of(row.id for row in self)
        return self._ids


class Digester:
    """Ids and digests of plain rows.

    Parameters
    ----------
    rlevel : int
        Level of rows without rlevel.
    root : str, optional
        Root of the paths.
    read : callable
        Returns the request of a row, or a message.
    """

    def __init__(self, rlevel: int, root: str | None, read: Callable[[object], Request | str]) -> None:
        self._rlevel, self._read = rlevel, read
        self._root, self._path = "null", _PATH
        if root is not None:
            self._root, self._path = quoted(root.rstrip("/")), _KEY
        self._is_valid = False  # an invalid root makes all rows bad
        with contextlib.suppress(InvalidRequest):
            self._is_valid = bool(Request("image", rlevel, root=root))
        self._names: dict[tuple[str, ...], Sequence[str] | None] = {}

    def digested(self, row: PlainRow) -> DigestedRow | None:
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
        text = f'["{path}",{level},{bounds},{self._root}]'  # as Request does
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        if id_ is None or id_ == "":
            return DigestedRow(digest, digest, path, row, self._read)
        return DigestedRow(id_, digest, path, row, self._read) if isinstance(id_, str) and id_.strip() else None

    def _names_in(self, names: tuple[str, ...]) -> Sequence[str] | None:
        """Return the names of path, rlevel, window and id in a row.

        None if the names are invalid.
        """
        if names not in self._names:
            if len(self._names) >= _MOST:
                self._names.clear()
            found = {name.strip().lower(): name for name in names}
            is_right = self._is_valid and "path" in found and len(found) == len(names)
            self._names[names] = [found.get(own, _MISSING) for own in OWN_COLUMNS] if is_right else None
        return self._names[names]


def _bounds(window: object) -> str | None:
    """Return a window as JSON; None if it may be invalid."""
    if window is None or window == "":
        return "null"
    match = _WINDOW.fullmatch(window) if isinstance(window, str) else None
    if match is None:
        return None
    r0, r1, c0, c1 = match.groups()
    return f"[[{r0},{r1}],[{c0},{c1}]]" if int(r0) < int(r1) and int(c0) < int(c1) else None
