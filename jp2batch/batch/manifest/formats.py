"""Convert between the bytes of a manifest and numbered rows.

Formats: NDJSON, a JSON array, CSV with a header, Parquet, or a path per line. For a row that cannot be read, the error
is yielded instead of raised, to report every bad row and not only the first. An error that makes the rest unreadable,
such as a missing comma in an array, ends the rows.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TextIO

import orjson

from jp2batch.batch.manifest.json_rows import Row, array_rows, ndjson_rows
from jp2batch.core.errors import InvalidRequest

OWN_COLUMNS = ("path", "rlevel", "window", "id")
"""Columns of a request, case-insensitive; other columns are passed through."""

_EXTRA = "pip install 'jp2batch[files]'"
_PARQUET = b"PAR1"


def rows_of(data: bytes, suffix: str = "") -> tuple[str, Iterator[Row]]:
    """Return the unit of row numbers, and the rows.

    The unit is "line", "row", or "item" for a JSON array on a single line.

    Parameters
    ----------
    data : bytes
        The manifest, uncompressed. Its content determines the format.
    suffix : str, optional
        Suffix of its name, e.g. ".csv", used if the content is ambiguous.
    """
    if data.startswith(_PARQUET) or suffix == ".parquet":
        return "row", _parquet_rows(data)
    data = data.removeprefix(codecs.BOM_UTF8)
    fault = _no_text(data)
    return ("line", iter([fault])) if fault else _text_rows(data, suffix)


def _no_text(data: bytes) -> Row | None:
    """Return an error if a manifest is not text.

    A byte that is not UTF-8 is an error of its row only.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return 1, InvalidRequest("", "this is UTF-16", "save it as UTF-8")
    offset = data.find(b"\0")
    if offset < 0:
        return None
    problem = f"this is not text: byte 0x00 at offset {offset}"
    return data.count(b"\n", 0, offset) + 1, InvalidRequest("", problem, "give CSV, JSON, Parquet or one path per line")


def _text_rows(data: bytes, suffix: str) -> tuple[str, Iterator[Row]]:
    first = re.search(rb"\S", data)
    if first is None:
        return "line", iter(())
    if first[0] == b"[":
        return array_rows(data.decode("utf-8", "surrogateescape"), first.start())
    if first[0] == b"{" or suffix in (".ndjson", ".jsonl", ".json"):
        return "line", ndjson_rows(_lines(data))
    separator = _separator_of(data) or {".csv": ",", ".tsv": "\t"}.get(suffix)
    return "line", _csv_rows(_lines(data, newline=""), separator) if separator else _plain_rows(_lines(data))


def _lines(data: bytes, newline: str | None = None) -> TextIO:
    """Return an iterator over lines; bytes not in UTF-8 become surrogates.

    Rows with surrogates are refused later.
    """
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", errors="surrogateescape", newline=newline)


# A path per line


def _plain_rows(lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        path = line.strip()
        if path.startswith("{"):
            yield number, InvalidRequest("", "this is JSON among plain paths", "give only JSON or only paths")
        elif not _is_comment(path):
            yield number, path


def _is_comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


# CSV


def _separator_of(data: bytes) -> str | None:
    """Return the separator of a CSV header; None if not a header."""
    first = next((line for line in _lines(data) if not _is_comment(line)), "")
    found: list[tuple[int, str]] = []
    for separator in ",;\t":
        names = _own_names(first, separator)
        # A header without Path is an error to report, but a path can be called "id".
        if "path" in names or (len(names) > 1 and names.intersection(OWN_COLUMNS)):
            found.append((len(names), separator))
    return max(found, key=lambda pair: pair[0])[1] if found else None


def _own_names(line: str, separator: str) -> set[str]:
    try:
        return {name.strip().lower() for name in next(csv.reader([line], delimiter=separator, skipinitialspace=True))}
    except (csv.Error, StopIteration):
        return set()


def _csv_rows(lines: TextIO, separator: str) -> Iterator[Row]:
    skipped, header = next((pair for pair in enumerate(lines) if not _is_comment(pair[1])), (0, ""))
    if not header:
        return
    reader = csv.reader(chain([header], lines), delimiter=separator, skipinitialspace=True, strict=True)
    names: list[str] | None = None
    while True:
        number = skipped + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield (
                number,
                InvalidRequest("", f"not CSV: {error}", "close all quotes, and double quotes inside quoted cells"),
            )
            continue
        if names is None:
            names = cells
            fault = _bad_names(names)
            if fault:
                yield number, fault
                return
        elif any(cells):
            yield number, _csv_row(names, cells)


def _bad_names(names: Sequence[str]) -> InvalidRequest | None:
    known = [name.strip().lower() for name in names]
    if "path" not in known:
        return InvalidRequest("", "no column is called Path", "name the column of paths Path")
    for own in OWN_COLUMNS:
        if known.count(own) > 1:
            return InvalidRequest("", f"two columns are called {own}", "leave one of them out")
    for place, name in enumerate(names, 1):
        if name and name in names[: place - 1]:
            problem = f"columns {names.index(name) + 1} and {place} have the same name"
            return InvalidRequest("", problem, "leave one of them out")
    if not "".join(names).isascii() and any("\ud800" <= letter <= "\udfff" for name in names for letter in name):
        return InvalidRequest("", "the names of the columns are not UTF-8", "save the file as UTF-8")
    return None


def _csv_row(names: Sequence[str], cells: Sequence[str]) -> object:
    if len(cells) < len(names) or any(cells[len(names) :]):
        problem = f"{len(cells)} cells, but the header names {len(names)}"
        return InvalidRequest("", problem, 'quote cells with the separator, e.g. the window "0:500,0:500"')
    return {
        name: cell for name, cell in zip(names, cells, strict=False) if name
    }  # the index column of pandas has no name


# Parquet


def _parquet_rows(data: bytes) -> Iterator[Row]:
    number = 0
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile

        file = ParquetFile(pyarrow.BufferReader(data))
        fault = _bad_names(file.schema_arrow.names)
        if fault:
            yield 1, fault
            return
        for batch in file.iter_batches():
            for values in batch.to_pylist():
                number += 1
                yield number, values
    except ImportError:
        yield number + 1, InvalidRequest("", "reading Parquet needs pyarrow", _EXTRA)
    except Exception as error:  # noqa: BLE001  # Arrow raises many types for damaged files
        problem = f"this is not Parquet, or damaged: {type(error).__name__}"
        yield number + 1, InvalidRequest("", problem, "write it again")


# Rows to bytes


def ndjson_of(rows: Iterable[Mapping[str, object]]) -> bytes:
    """Return rows as NDJSON.

    Raises
    ------
    InvalidRequest
        A value cannot be written as JSON.
    """
    try:
        return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
    except orjson.JSONEncodeError as error:
        raise InvalidRequest("", f"a row cannot be JSON: {error}", "give texts, numbers, lists and mappings") from None


def csv_of(rows: Sequence[Mapping[str, object]]) -> bytes:
    """Return rows as CSV with a header.

    All values become text; None becomes an empty cell.

    Raises
    ------
    InvalidRequest
        A value cannot be written as CSV.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO(newline="")
    # Quoted, to keep leading spaces of paths.
    writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    try:
        writer.writerow(names)
        writer.writerows([_csv_cell(row.get(name)) for name in names] for row in rows)
        data = file.getvalue().encode()
    except (orjson.JSONEncodeError, UnicodeEncodeError) as error:
        raise InvalidRequest("", f"a row cannot be text: {error}", "give texts, numbers, lists and mappings") from None
    if b"\0" in data:
        raise InvalidRequest("", "CSV cannot hold text with a byte 0x00", "write .ndjson")
    return data


def _csv_cell(value: object) -> str | int:
    if value is None:
        return ""
    return value if isinstance(value, str | int) and not isinstance(value, bool) else orjson.dumps(value).decode()
