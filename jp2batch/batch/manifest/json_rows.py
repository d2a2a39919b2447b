"""The JSON of a manifest -> numbered rows, stricter than Python's decoder, and past what is wrong in a row."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from jp2batch.core.errors import InvalidRequest

Row = tuple[int, object]
"""(its number, what it holds): a mapping, a path as text, or an InvalidRequest."""

_HINT = "give one object a line, or one array of them"
_WHITE = re.compile(r"[ \t\r\n]*")


def ndjson_rows(lines: Iterable[str]) -> Iterator[Row]:
    """Yield the number of each line that is not blank, and what it holds."""
    for number, line in enumerate(lines, 1):
        if not line.isspace():
            try:
                yield number, _DECODER.decode(line.rstrip())
            except (ValueError, RecursionError) as error:
                yield number, _no_json(error)


def array_rows(text: str, start: int) -> tuple[str, Iterator[Row]]:
    """Return what the elements of an array are counted in, and the elements; `start` is where its bracket is."""
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
    """Yield where each element of an array begins, and the element; what breaks the array comes last."""
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
            yield at, _broken_array("has neither a comma nor its end here")
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
    return InvalidRequest("", f"the JSON {problem}", "see what wrote it")


def _json_object(pairs: list[tuple[str, Any]]) -> object:
    values = dict(pairs)
    if len(values) < len(pairs):
        return InvalidRequest("", "an object has a name twice", "leave one of them out")
    return values


def _json_constant(name: str) -> object:
    return InvalidRequest("", f"{name} is not JSON", "leave it out, or give null")


def _json_float(text: str) -> object:
    value = float(text)
    return value if abs(value) < float("inf") else _json_constant("a number beyond all floats")


# What Python's decoder lets pass becomes an error in the value's place, so that the decoder finds the end of the row.
_DECODER = json.JSONDecoder(object_pairs_hook=_json_object, parse_constant=_json_constant, parse_float=_json_float)
