"""The bytes of a manifest <-> numbered rows: NDJSON, a JSON array, CSV with a header, Parquet, or one path a line.

A row that cannot be read is the error that says so, in the row's place: so that every bad row of a manifest is named,
and not only the first. Only what makes the rest unreadable, as a comma missing in an array, ends the rows.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, TextIO

import orjson

from jp2batch.batch.manifest.json_rows import Row, array_rows, ndjson_rows
from jp2batch.core.errors import InvalidRequest

OWN_COLUMNS = ("path", "rlevel", "window", "id")
"""The columns that make a request, in any case; all others are only carried along."""

_EXTRA = "pip install 'jp2batch[files]'"
_PARQUET = b"PAR1"


def rows_of(data: bytes, suffix: str = "") -> tuple[str, Iterator[Row]]:
    """Return what rows are counted in, "line", "row" or, where all are on one line, "item"; and the rows.

    Parameters
    ----------
    data : bytes
        A manifest. Its content tells the format.
    suffix : str, optional
        The end of its name, as ".csv", for content that does not.
    """
    if data.startswith(_PARQUET) or suffix == ".parquet":
        return "row", _parquet_rows(data)
    data = data.removeprefix(codecs.BOM_UTF8)
    fault = _no_text(data)
    return ("line", iter([fault])) if fault else _text_rows(data, suffix)


def _no_text(data: bytes) -> Row | None:
    """Return the error for what is no text at all. A byte that is not UTF-8 is a fault of its row alone."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return 1, InvalidRequest("", "this is UTF-16", "save it as UTF-8")
    offset = data.find(b"\0")
    if offset < 0:
        return None
    problem = f"this is no text, but has a byte 0x00 at offset {offset}"
    return data.count(b"\n", 0, offset) + 1, InvalidRequest("", problem, "give CSV, JSON, Parquet or one path a line")


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
    """Return the lines one by one; a byte that is not UTF-8 becomes a surrogate, which no row may hold."""
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", errors="surrogateescape", newline=newline)


# One path a line


def _plain_rows(lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        path = line.strip()
        if path.startswith("{"):
            yield number, InvalidRequest("", "this is JSON among plain paths", "give one or the other")
        elif not _is_comment(path):
            yield number, path


def _is_comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


# CSV


def _separator_of(data: bytes) -> str | None:
    """Return what separates the cells of a header; None: the first line is none."""
    first = next((line for line in _lines(data) if not _is_comment(line)), "")
    found: list[tuple[int, str]] = []
    for separator in ",;\t":
        names = _own_names(first, separator)
        # A header without Path is a mistake to be told, but a path may well be called "id".
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
            yield number, InvalidRequest("", f"not CSV: {error}", "close quotes, and double those inside of quotes")
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
        return InvalidRequest("", "no column is called Path", "name that of the paths so")
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
        problem = f"{len(cells)} cells, where the header names {len(names)}"
        return InvalidRequest("", problem, 'quote what holds the separator, as the window "0:500,0:500"')
    return {name: cell for name, cell in zip(names, cells, strict=False) if name}  # pandas' index has no name


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
    except Exception as error:  # noqa: BLE001  # damaged files make Arrow raise whatever it stumbles over
        problem = f"this is no Parquet, or damaged: {type(error).__name__}"
        yield number + 1, InvalidRequest("", problem, "write it again")


# The way back


def ndjson_of(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return rows as NDJSON.

    Raises
    ------
    InvalidRequest
        A value is nothing that JSON can hold.
    """
    try:
        return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
    except orjson.JSONEncodeError as error:
        raise InvalidRequest("", f"a row is no JSON: {error}", "give texts, numbers, lists and mappings") from None


def csv_of(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return rows as CSV with a header, in which all values are text, and None is no text.

    Raises
    ------
    InvalidRequest
        A value is nothing that CSV can hold.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO(newline="")
    # Quoted: else a path that begins with a space would lose it.
    writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    try:
        writer.writerow(names)
        writer.writerows([_csv_cell(row.get(name)) for name in names] for row in rows)
        data = file.getvalue().encode()
    except (orjson.JSONEncodeError, UnicodeEncodeError) as error:
        raise InvalidRequest("", f"a row is no text: {error}", "give texts, numbers, lists and mappings") from None
    if b"\0" in data:
        raise InvalidRequest("", "a text with a byte 0x00 does not fit into CSV", "write .ndjson")
    return data


def _csv_cell(value: object) -> str | int:
    if value is None:
        return ""
    return value if isinstance(value, str | int) and not isinstance(value, bool) else orjson.dumps(value).decode()
