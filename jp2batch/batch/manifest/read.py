"""Read and write manifests; check every row before a run."""

import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from jp2batch.batch.manifest.formats import OWN_COLUMNS, rows_of
from jp2batch.batch.manifest.json_rows import Row
from jp2batch.core.arguments import as_path
from jp2batch.core.errors import InvalidPath, InvalidRequest, ManifestError
from jp2batch.core.location import Location, redact
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import LOWEST, Request
from jp2batch.core.suffixes import JPEG2000_SUFFIXES
from jp2batch.storage.files import read_bytes, read_stream

_STDIN = "the standard input"
_LONGEST = 300  # characters of a message about one row
_SUFFIXES = (".ndjson", ".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet")
_IMAGE_STARTS = (b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51")


def read_manifest(
    source: str | os.PathLike[str],
    *,
    rlevel: int = LOWEST,
    root: str | None = None,
    storage_options: StorageOptions = None,
) -> list[Request]:
    """Read the requests of a manifest, in order.

    Parameters
    ----------
    source : str or path
        Path or URL of the manifest; "-" is the standard input. The content determines the format: NDJSON, a JSON array,
        CSV with a header (separated by commas, semicolons or tabs), Parquet, or one path per line with "#" for
        comments; each plain or compressed with gzip.
    rlevel : int, optional
        Level of rows without rlevel; by default the lowest resolution.
    root : str, optional
        Base folder or bucket; paths are relative to it and cannot escape it.
    storage_options : mapping, optional
        fsspec's options for the store of the manifest.

    Returns
    -------
    list of Request
        A request per row. The names of the columns `Path`, `rlevel`, `window` and `id` are case-insensitive; other
        columns are kept in `Request.columns`.

    Raises
    ------
    ManifestError
        Rows are bad (the error lists all of them), or there are no rows.
    StorageError
        The manifest cannot be read.
    """
    name = as_path(source)
    data = _read_stdin() if name == "-" else read_bytes(name, storage_options=storage_options)
    return parse_manifest(data, name, rlevel=rlevel, root=root)


def names_manifest(path: str) -> bool:
    """Return whether a path is a manifest, not an image.

    Decided by the suffix, or else by the content of a local file.
    """
    suffix = suffix_of(path)
    if path == "-" or suffix in _SUFFIXES:
        return True
    if suffix in JPEG2000_SUFFIXES or Location.of(path).is_url:
        return False
    try:
        with Path(path).open("rb") as file:
            return not file.read(8).startswith(_IMAGE_STARTS)
    except OSError:  # reported when the image is read
        return False


def parse_manifest(data: bytes, name: str = "-", *, rlevel: int = LOWEST, root: str | None = None) -> list[Request]:
    """Return the requests in the bytes of a manifest; see `read_manifest`.

    Parameters
    ----------
    data : bytes
        The manifest, uncompressed.
    name : str, optional
        Its name, for messages; its suffix is used if the content is ambiguous.
    rlevel, root
        As for `read_manifest`.

    Raises
    ------
    ManifestError
        Rows are bad, or there are none.
    """
    source = _STDIN if name == "-" else name
    default = Request("manifest", rlevel).rlevel  # report a wrong default once, not for each row
    unit, rows = rows_of(data, suffix_of(name))
    requests, bad = _requests_of(rows, unit, default, root)
    if bad:
        raise ManifestError.of(source, bad, unit)
    if not requests:
        raise ManifestError(source, "holds no requests", "give one path per line, or CSV or JSON lines with a Path")
    return requests


def _read_stdin() -> bytes:
    stream = getattr(sys.stdin, "buffer", None)  # None without a console and in notebooks
    if stream is None:
        raise ManifestError("", "standard input is not available", "give the path of a manifest")
    return read_stream(stream, _STDIN)


def suffix_of(name: str) -> str:
    """Return the suffix of a manifest's name: lower case, without .gz."""
    return PurePosixPath(Location.of(name).plain_path.lower().removesuffix(".gz")).suffix


# Rows to requests


def _requests_of(
    rows: Iterable[Row], unit: str, rlevel: int, root: str | None
) -> tuple[list[Request], list[tuple[int, str]]]:
    requests: list[Request] = []
    bad: list[tuple[int, str]] = []
    named: dict[str, tuple[int, Request]] = {}
    for number, row in rows:
        path = ""
        try:
            fields, columns = _divided(_as_mapping(row))
            path = _path(fields.get("path"))
            request = _request(path, fields, columns, rlevel, root)
            _check_id(request, unit, *named.setdefault(request.id, (number, request)))
        except InvalidRequest as error:
            bad.append((number, _message(path, error)))
        else:
            requests.append(request)
    return requests, bad


def _as_mapping(row: object) -> dict[str, object]:
    """Return a row as JSON-compatible values.

    A row that cannot be written to the records later is refused now.
    """
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


def _divided(row: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """Divide a row into fields of a request and other columns.

    The names of fields become lower case.
    """
    fields: dict[str, object] = {}
    columns: dict[str, object] = {}
    for name, value in row.items():
        own = name.strip().lower()
        if own in fields:
            raise InvalidRequest("", f"it has {own} twice, in upper and lower case", "leave one of them out")
        if own in OWN_COLUMNS:
            fields[own] = value
        else:
            columns[name] = value
    return fields, columns


def _request(
    path: str, fields: Mapping[str, object], columns: Mapping[str, object], rlevel: int, root: str | None
) -> Request:
    level: Any = _level(fields.get("rlevel"), rlevel)
    window: Any = _window(fields.get("window"))  # Request checks both
    return Request(path, level, window, root, _id(fields.get("id")), tuple(columns.items()))


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


def _window(value: object) -> object:
    if isinstance(value, str):
        return value if value.strip() else None
    return value


def _id(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        raise InvalidRequest("", f"id must be text, not {type(value).__name__}", "give it as text")
    return "" if value is None or not str(value).strip() else str(value)


def _check_id(request: Request, unit: str, number: int, first: Request) -> None:
    """Refuse an id of two different requests: records are found by id."""
    if first != request:
        problem = f"its id is also that of another request, on {unit} {number}"
        raise InvalidRequest("", problem, "give each request a different id, or none")


def _message(path: str, error: InvalidRequest) -> str:
    """Return a short message about a bad row, without credentials."""
    where = f"{_shortened(Location.of(path).redacted, 100)}: " if path else ""
    hint = f" ({error.hint})" if error.hint else ""
    text = " ".join(f"{where}{redact(error.problem)}{hint}".split())
    return _shortened("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text), _LONGEST)


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
