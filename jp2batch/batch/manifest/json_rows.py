"""Parse the JSON of a manifest into numbered rows.

Stricter than Python's decoder; continues after an invalid row.
"""

import json
import re
from collections.abc import Iterable, Iterator

import orjson

from jp2batch.batch.manifest.rows import PlainRow, Row
from jp2batch.batch.manifest.usual_lines import LinePattern
from jp2batch.core.errors import InvalidRequest

_HINT = "give one object per line, or an array of objects"
_EXACT = 2.0**63  # orjson makes floats of larger integers
_WHITE = re.compile(r"[ \t\r\n]*")
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)?")


def ndjson_rows(blocks: Iterable[str]) -> Iterator[Row]:
    """Iterate over (line number, value) of all lines except blank lines.

    Parameters
    ----------
    blocks : iterable of str
        Whole lines. Usual lines become a UsualLine.
    """
    number, usual = 0, None
    for block in blocks:
        at = 0
        while at < len(block):
            number += 1
            if usual is not None and (found := usual.match(block, at)) is not None:
                line, at = found
                yield number, line
                continue
            text, at = _line_at(block, at)
            if (row := plain_row(text)) is not None:
                usual = usual or LinePattern.of(tuple(row))
                yield number, row
            elif not text.isspace():
                yield number, _decoded(text)


def _line_at(block: str, at: int) -> tuple[str, int]:
    """Return the line at an offset, and its end."""
    match = _LINE.match(block, at)
    end = match.end() if match else len(block)
    return block[at:end], end


def _decoded(line: str) -> object:
    try:
        return _DECODER.decode(line.rstrip())
    except (ValueError, RecursionError) as error:
        return _no_json(error)


def plain_row(line: str) -> PlainRow | None:
    """Return the row of a usual line; None for the stricter decoder.

    orjson takes a name twice in an object. Without escapes, all quotes are around names and texts; the row has all of
    them if the line has no others.
    """
    try:
        found = orjson.loads(line)
    except ValueError:
        return None
    if type(found) is not dict or "\\" in line:
        return None
    texts = len(found)
    for value in found.values():
        kind = type(value)
        if kind is str:
            texts += 1
        elif not (value is None or kind is bool or kind is int or (kind is float and abs(value) < _EXACT)):
            return None
    return PlainRow(found) if line.count('"') == 2 * texts else None


def array_rows(text: str, start: int) -> tuple[str, Iterator[Row]]:
    """Return the unit of row numbers, and the elements of an array.

    `start` is the offset of its opening bracket.
    """
    elements = _array_elements(text, start)
    if "\n" in text.strip():
        return "line", _by_line(text, elements)
    return "item", ((number, value) for number, (_, value) in enumerate(elements, 1))


def _by_line(text: str, elements: Iterable[tuple[int, object]]) -> Iterator[Row]:
    number, counted = 1, 0
    for at, value in elements:
        number, counted = number + text.count("\n", counted, at), at
        yield number, value


def _array_elements(text: str, start: int) -> Iterator[tuple[int, object]]:
    """Iterate over (offset, element) of an array; a syntax error comes last."""
    at = _after_white(text, start + 1)
    closed = text[at : at + 1] == "]"
    while not closed:
        begin = at
        try:
            value, at = _DECODER.raw_decode(text, begin)
        except (ValueError, RecursionError) as error:
            yield getattr(error, "pos", begin), _no_json(error)
            return
        yield begin, value
        at = _after_white(text, at)
        closed = text[at : at + 1] == "]"
        if not closed and text[at : at + 1] != ",":
            yield at, _broken_array("lacks a comma or its end here")
            return
        at = at if closed else _after_white(text, at + 1)
    at = _after_white(text, at + 1)
    if at < len(text):
        yield at, _broken_array("is followed by more")


def _after_white(text: str, at: int) -> int:
    match = _WHITE.match(text, at)
    return match.end() if match else at


def _broken_array(problem: str) -> InvalidRequest:
    return InvalidRequest("", f"not JSON: the array {problem}", _HINT)


def _no_json(error: ValueError | RecursionError) -> InvalidRequest:
    if isinstance(error, json.JSONDecodeError):
        return InvalidRequest("", f"not JSON: {error.msg} at column {error.colno}", _HINT)
    problem = "is nested too deeply" if isinstance(error, RecursionError) else "holds a number of too many digits"
    return InvalidRequest("", f"the JSON {problem}", "check the program that wrote it")


def _json_object(pairs: list[tuple[str, object]]) -> object:
    values = dict(pairs)
    if len(values) < len(pairs):
        return InvalidRequest("", "an object has a name twice", "leave one of them out")
    return values


def _json_constant(name: str) -> object:
    return InvalidRequest("", f"{name} is not JSON", "leave it out, or give null")


def _json_float(text: str) -> object:
    value = float(text)
    return value if abs(value) < float("inf") else _json_constant("a number beyond the range of floats")


# Values that only Python's decoder accepts become an InvalidRequest, and the decoder goes on to the end of the row.
_DECODER = json.JSONDecoder(object_pairs_hook=_json_object, parse_constant=_json_constant, parse_float=_json_float)
