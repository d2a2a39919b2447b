"""Convert between the bytes of a manifest and numbered rows.

Formats: NDJSON, a JSON array, CSV with a header, Parquet, or a path per line. For a row that cannot be read, the error
is yielded instead of raised, to report every bad row and not only the first. An error that makes the rest unreadable,
such as a missing comma in an array, ends the rows.
"""

import codecs
import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

import orjson

from jp2batch.batch.manifest.json_rows import array_rows, ndjson_rows
from jp2batch.batch.manifest.parquet_rows import parquet_rows
from jp2batch.batch.manifest.rows import OWN_COLUMNS, PlainRow, Row, fault_of_names
from jp2batch.core.content import HEAD, foreign_content
from jp2batch.core.errors import InvalidRequest
from jp2batch.storage.files import LARGEST
from jp2batch.storage.streams import with_head

_PARQUET = b"PAR1"
_WHITE = " \t\n\r\v\f"
_LARGEST_PIECE = 1 << 18  # bytes


def rows_of(chunks: Iterable[bytes], suffix: str = "") -> tuple[str, Iterator[Row]]:
    """Return the unit of row numbers, and an iterator of rows.

    The unit is "line", "row", or "item" for a JSON array on a single line. An array is read whole.

    Parameters
    ----------
    chunks : iterable of bytes
        The manifest, uncompressed. Its content determines the format.
    suffix : str, optional
        Suffix of its name, e.g. ".csv", used if the content is ambiguous.
    """
    head, chunks = with_head(iter(chunks), len(_PARQUET))
    if head.startswith(_PARQUET) or suffix == ".parquet":
        return "row", parquet_rows(chunks)
    begin = next(chunks, b"")
    if found := foreign_content(begin[:HEAD], "json", "text", "parquet"):
        return "line", iter([(1, InvalidRequest("", f"this is {found.name}", found.hint))])
    text = _Text(chain([begin], chunks))
    unit, rows = _text_rows(text.blocks(), suffix)
    return unit, text.rows(rows)


class _Text:
    """Text of a manifest.

    It ends before a byte 0x00, an error of the manifest.
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._fault: Row | None = None

    def blocks(self) -> Iterator[str]:
        """Iterate over whole lines with their ends, as they arrive.

        Bytes not in UTF-8 become surrogates; rows with surrogates are refused later.
        """
        begun = list[bytes]()  # of the last line
        for data in _pieces(self._sound()):
            end = data.rfind(b"\n") + 1
            if end:
                yield b"".join([*begun, data[:end]]).decode(errors="surrogateescape")
                begun.clear()
            begun.append(data[end:])
        yield b"".join(begun).decode(errors="surrogateescape")

    def rows(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Iterate over rows before the error, and the error."""
        for row in rows:
            if self._fault is not None and row[0] >= self._fault[0]:
                break  # cut short
            yield row
        if self._fault is not None:
            yield self._fault

    def _sound(self) -> Iterator[bytes]:
        number, offset, unended = 1, 0, 0
        for chunk in self._chunks:
            data = chunk
            if offset == 0:
                data = data.removeprefix(codecs.BOM_UTF8)
                if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    self._fault = 1, InvalidRequest("", "this is UTF-16", "save it as UTF-8")
                    return
            if (at := data.find(b"\0")) >= 0:
                hint = "give CSV, JSON, Parquet or one path per line"
                fault = InvalidRequest("", f"this is not text: byte 0x00 at offset {offset + at}", hint)
                self._fault = number + data.count(b"\n", 0, at), fault
                if offset:  # a file without text is reported once, not by each of its lines
                    yield data[:at]
                return
            ended = data.rfind(b"\n")
            unended = len(data) - ended - 1 if ended >= 0 else unended + len(data)
            if unended > LARGEST:
                self._fault = number, InvalidRequest("", f"a line has more than {LARGEST} bytes", "check the path")
                return
            yield data
            number, offset = number + data.count(b"\n"), offset + len(data)


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut chunks: their text takes several times their memory."""
    return (chunk[at : at + _LARGEST_PIECE] for chunk in chunks for at in range(0, len(chunk), _LARGEST_PIECE))


def _text_rows(blocks: Iterator[str], suffix: str) -> tuple[str, Iterator[Row]]:
    first = list[str]()
    begin, header = _begin_of(_kept(blocks, first))
    every = chain(first, blocks)
    if begin == "[":
        text = "".join(every)
        return array_rows(text, len(text) - len(text.lstrip(_WHITE)))
    if begin == "{" or (begin and suffix in (".ndjson", ".jsonl", ".json")):
        return "line", ndjson_rows(every)
    separator = _separator_of(header) or {".csv": ",", ".tsv": "\t"}.get(suffix)
    lines = _lines(every)
    return "line", _csv_rows(lines, separator) if separator else _plain_rows(lines)


def _kept(blocks: Iterable[str], kept: list[str]) -> Iterator[str]:
    """Iterate over blocks; append them to a list."""
    for block in blocks:
        kept.append(block)
        yield block


def _begin_of(blocks: Iterable[str]) -> tuple[str, str]:
    """Return the first character, and the first line except comments."""
    begin = line = ""
    for line in _lines(blocks):
        begin = begin or line.lstrip(_WHITE)[:1]
        if begin in ("[", "{") or not _is_comment(line):
            break
    return begin, line


def _lines(blocks: Iterable[str]) -> Iterator[str]:
    """Iterate over lines with their ends."""
    return (line for block in blocks for line in io.StringIO(block, newline=""))


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


def _separator_of(header: str) -> str | None:
    """Return the separator of a CSV header; None if not a header."""
    found: list[tuple[int, str]] = []
    for separator in ",;\t":
        names = _own_names(header, separator)
        # A header without Path is an error to report, but a path can be called "id".
        if "path" in names or (len(names) > 1 and names.intersection(OWN_COLUMNS)):
            found.append((len(names), separator))
    return max(found, key=lambda pair: pair[0])[1] if found else None


def _own_names(line: str, separator: str) -> set[str]:
    try:
        return {name.strip().lower() for name in next(csv.reader([line], delimiter=separator, skipinitialspace=True))}
    except (csv.Error, StopIteration):
        return set()


def _csv_rows(lines: Iterator[str], separator: str) -> Iterator[Row]:
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
            fault = fault_of_names(names)
            if fault:
                yield number, fault
                return
        elif any(cells):
            yield number, _csv_row(names, cells)


def _csv_row(names: Sequence[str], cells: Sequence[str]) -> object:
    if len(cells) < len(names) or any(cells[len(names) :]):
        problem = f"{len(cells)} cells, but the header names {len(names)}"
        return InvalidRequest("", problem, 'quote cells with the separator, e.g. the window "0:500,0:500"')
    row = {name: cell for name, cell in zip(names, cells, strict=False) if name}  # the index of pandas has no name
    return PlainRow(row) if "".join(cells).isascii() else row


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
