"""Parse bodies and queries of requests, accepting only unambiguous JSON."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from jp2batch.core.errors import InvalidPath, InvalidRequest, InvalidRlevel, InvalidWindow
from jp2batch.core.map_area import MapArea
from jp2batch.core.request import Request
from jp2batch.service.roots import Root, root_of

_HINT = 'give {"Path": "<key>", "rlevel": -1}'

_QUERY = ("path", "root", "rlevel", "resolution", "window", "bbox", "geometry", "crs")  # parameters of GET

_EXCLUSIVE = (
    ("rlevel", "resolution"),
    ("window", "bbox"),
    ("window", "geometry"),
    ("bbox", "geometry"),
    ("crs", "window"),
)
# Refused types of values; messages use the words of JSON. A null window is allowed: no window.
_WORDS: dict[str, tuple[type[InvalidRequest], tuple[type, ...]]] = {
    "Path": (InvalidPath, (type(None), bool, dict, list)),
    "path": (InvalidPath, (type(None), bool, dict, list)),
    "rlevel": (InvalidRlevel, (type(None), bool, dict, list)),
    "window": (InvalidWindow, (bool, dict)),
}


def parse_body(data: bytes, roots: Mapping[str, Root]) -> tuple[Root, Request]:
    """Return the root and the request of a body.

    Raises
    ------
    InvalidRequest
        The body is not a JSON object, or has invalid values; mostly a subclass of this error.
    UnknownRoot
        The operator has no root of this name.
    """
    return parse_values(_parsed(data), roots)


def parse_batch(data: bytes) -> list[object]:
    """Return the requests in the body of a batch, not yet parsed.

    Raises
    ------
    InvalidRequest
        The body is not a JSON array.
    """
    bodies = _parsed(data)
    if not isinstance(bodies, list):
        raise InvalidRequest("", "the body is not a JSON array", f"{_HINT[:5]}[{_HINT[5:]}, …]")
    return bodies


def parse_query(query: Mapping[str, Sequence[bytes]], roots: Mapping[str, Root]) -> tuple[Root, Request]:
    """Return the root and the request of a query.

    Raises
    ------
    InvalidRequest
        A parameter is unknown, given twice, or contradicts another; mostly a subclass of this error.
    UnknownRoot
        The operator has no root of this name.
    """
    values: dict[str, Any] = {name: texts[0].decode("utf-8", "replace") for name, texts in query.items()}
    if values.keys() - _QUERY or any(len(texts) > 1 for texts in query.values()):
        raise InvalidRequest("", "a parameter is unknown or given twice", f"known are {', '.join(_QUERY)}")
    pairs = (
        ("rlevel", "resolution"),
        ("window", "bbox"),
        ("window", "geometry"),
        ("bbox", "geometry"),
        ("crs", "window"),
    )
    for first, second in pairs:
        if first in values and second in values:
            raise InvalidRequest("", f"{first} and {second} exclude each other", "leave out either")
    if "rlevel" in values:
        values["rlevel"] = int(values["rlevel"]) if re.fullmatch(r"-?\d{1,4}", values["rlevel"]) else values["rlevel"]
    area = MapArea.of(*(values.pop(name, None) for name in ("bbox", "geometry", "crs", "resolution")))
    root, request = parse_values(values, roots)
    return root, replace(request, area=area, id="")


def parse_values(body: object, roots: Mapping[str, Root]) -> tuple[Root, Request]:
    """Return the root and the request of parsed JSON, as `parse_body`."""
    if not isinstance(body, dict):
        raise InvalidRequest("", "the body is not a JSON object", _HINT)
    if "Path" in body and "path" in body:
        raise InvalidRequest("", "the body has both Path and path", _HINT)
    root = root_of(roots, body.get("root"))
    known = {name: body[name] for name in _WORDS if name in body}
    for name, value in known.items():
        _check_word(name, value)
    request = Request.from_json(known, root=root.url)
    return root, replace(request, path=root.key_of(request.path), id="")


def _check_word(name: str, value: object) -> None:
    error, types = _WORDS[name]
    if isinstance(value, types):
        shown = "an object" if isinstance(value, dict) else "an array" if isinstance(value, list) else json.dumps(value)
        raise error("", f"{name} cannot be {shown}", "see /openapi.json")


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(
            data.decode("utf-8-sig"), object_pairs_hook=_object, parse_constant=_constant, parse_float=_number
        )
    except RecursionError:
        problem = "the body is nested too deeply"
    except ValueError as error:
        problem = f"the body is not JSON: {_reason(error)}"
    raise InvalidRequest("", problem, _HINT)  # outside of except: the other error refers to the body


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = dict(pairs)
    for text in (text for pair in pairs for text in pair if isinstance(text, str)):
        text.encode()  # raises for an unpaired surrogate
    if len(names) < len(pairs):
        raise ValueError("a name occurs twice")
    return names


def _number(text: str) -> int | float:
    """Return a number; an integer if it is whole, as in JSON."""
    number = float(text)
    return int(number) if number.is_integer() else number


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _reason(error: ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if isinstance(error, UnicodeEncodeError):
        return "it contains an unpaired surrogate"
    return "a number has too many digits" if "digits" in str(error) else str(error)
