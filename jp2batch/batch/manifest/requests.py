"""Rows of a manifest to requests, or to messages about bad rows."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from jp2batch.batch.manifest.areas import AreaMaker
from jp2batch.batch.manifest.digested import Digested, Digester
from jp2batch.batch.manifest.json_rows import plain_row
from jp2batch.batch.manifest.rows import AREA_COLUMNS, REQUEST_COLUMNS, PlainRow, Row
from jp2batch.core.errors import InvalidPath, InvalidRequest
from jp2batch.core.location import Location
from jp2batch.core.redaction import redact
from jp2batch.core.request import LOWEST, Request
from jp2batch.core.window import Window

K = TypeVar("K")
V = TypeVar("V")

_LONGEST = 300  # characters of a message about one row
_REMEMBERED = 1000  # sets of names, and windows


def requests_of(rows: Iterable[Row], maker: "RequestMaker") -> Iterator[tuple[int, Request | str]]:
    """Iterate over row numbers with their requests, or messages without credentials."""
    for number, row in rows:
        yield number, maker.read(row)


ReadRow = tuple[int, Request | Digested | str]
"""Row number, and its request, digested row or message."""


def digested_rows_of(rows: Iterable[Row], maker: "RequestMaker") -> Iterator[ReadRow]:
    """Iterate over row numbers with digested rows, requests or messages."""
    digester = Digester(maker.rlevel, maker.root)
    for number, row in rows:
        if isinstance(row, tuple):
            found = digester.digested_line(row)
        else:
            plain = PlainRow(Path=row) if isinstance(row, str) else row
            found = digester.digested(plain) if isinstance(plain, PlainRow) else None
        yield number, found or maker.read(row)


@dataclass(frozen=True, slots=True)
class _Shape:
    """Names of the columns of a row."""

    fields: tuple[tuple[str, str], ...]
    """Fields in lower case, and the names of their columns."""
    others: tuple[str, ...]
    """Names of the other columns."""


class RequestMaker:
    """Make requests of rows; most rows have the names of earlier rows.

    Parameters
    ----------
    rlevel : int
        Level of rows without rlevel.
    root : str, optional
        Root of the paths.
    """

    def __init__(self, rlevel: int, root: str | None) -> None:
        self.rlevel, self.root = rlevel, root
        self._shapes: dict[tuple[str, ...], _Shape] = {}
        self._windows: dict[str, Window] = {}
        self._areas = AreaMaker()

    def read(self, row: object) -> Request | str:
        """Return the request of a row, or a message without credentials."""
        path = ""
        try:
            fields, columns = self._divided(_as_mapping(row))
            path = _path(fields.get("path"))
            return self._request(path, fields, columns)
        except InvalidRequest as error:
            return message_of(path, error)

    def read_digested(self, row: str | PlainRow) -> Request:
        """Return the request of a digested row."""
        found = self.read(plain_row(row) if isinstance(row, str) else row)
        if isinstance(found, str):
            raise AssertionError(found)
        return found

    def _divided(self, row: Mapping[str, object]) -> tuple[dict[str, object], tuple[tuple[str, object], ...]]:
        """Divide a row into fields of a request and other columns.

        The names of fields become lower case.
        """
        names = tuple(row)
        shape = self._shapes.get(names)
        if shape is None:
            shape = _shape_of(names)
            _remember(self._shapes, names, shape)
        return {own: row[name] for own, name in shape.fields}, tuple([(name, row[name]) for name in shape.others])

    def _request(self, path: str, fields: Mapping[str, object], columns: tuple[tuple[str, object], ...]) -> Request:
        """Return the request of a row."""
        area = None if fields.keys().isdisjoint(AREA_COLUMNS) else self._areas.area_of(fields)
        is_level_free = area is not None and area.resolution is not None
        level: Any = _level(fields.get("rlevel"), LOWEST if is_level_free else self.rlevel)
        window: Any = fields.get("window")  # Request checks both
        text = window if isinstance(window, str) else ""
        if isinstance(window, str):
            window = self._windows.get(text) or (text if text.strip() else None)
        request = Request(path, level, window, self.root, _id(fields.get("id")), columns, area)
        if window is text and request.window is not None:
            _remember(self._windows, text, request.window)
        return request


def _remember(memory: dict[K, V], key: K, value: V) -> None:
    if len(memory) >= _REMEMBERED:
        memory.clear()
    memory[key] = value


def _shape_of(names: Iterable[str]) -> _Shape:
    fields: dict[str, str] = {}
    others = []
    for name in names:
        own = name.strip().lower()
        if own in fields:
            raise InvalidRequest("", f"it has {own} twice, in upper and lower case", "leave one of them out")
        if own in REQUEST_COLUMNS:
            fields[own] = name
        else:
            others.append(name)
    return _Shape(tuple(fields.items()), tuple(others))


def _as_mapping(row: object) -> dict[str, object]:
    """Return a row as JSON-compatible values.

    A row that cannot be written to the records later is refused now.
    """
    if isinstance(row, tuple):
        row = plain_row(row[0])
    if isinstance(row, PlainRow):
        return row
    if isinstance(row, InvalidRequest):
        raise row
    if isinstance(row, str):
        row = {"Path": row}
    if not isinstance(row, Mapping):
        raise InvalidRequest("", f"a row must be an object or text, not {type(row).__name__}", 'give {"Path": "…"}')
    try:
        plain: dict[str, object] = orjson.loads(orjson.dumps(row, default=_plain))
    except orjson.JSONEncodeError as error:
        hint = "use UTF-8 text, finite numbers of at most 64 bits, and lists without deep nesting"
        fault = InvalidRequest("", f"the row cannot be kept: {error}", hint)
        fault = error.__cause__ if isinstance(error.__cause__, InvalidRequest) else fault
    else:
        return plain
    raise fault


def _plain(value: object) -> object:
    """Return a Parquet value as text; raise an InvalidRequest found as value."""
    if isinstance(value, InvalidRequest):
        raise value
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _path(value: object) -> str:
    if value is None or value == "":
        raise InvalidPath("", "it has no Path", "give the path of a JPEG 2000 file")
    if not isinstance(value, str):
        raise InvalidPath("", f"Path must be text, not {type(value).__name__}", "give it as text")
    return value


def _level(value: object, default: int) -> object:
    """Return a level as a number.

    CSV has text, and pandas writes 2.0 if other rows have no level.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return default
    if isinstance(value, str):
        number = re.fullmatch(r"\s*([+-]?[0-9]{1,9})(\.0*)?\s*", value)
        return int(number[1]) if number else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _id(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidRequest("", f"id must be text, not {type(value).__name__}", "give it as text")
    return str(value) if str(value).strip() else ""


def message_of(path: str, error: InvalidRequest) -> str:
    """Return a short message about a bad row, without credentials."""
    where = f"{_shortened(Location.of(path).redacted, 100)}: " if path else ""
    hint = f" ({error.hint})" if error.hint else ""
    text = " ".join(f"{where}{redact(error.problem)}{hint}".split())
    return _shortened("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text), _LONGEST)


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
