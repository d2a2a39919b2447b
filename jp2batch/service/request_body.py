"""Parse the body of `POST /api/jp2`, accepting only unambiguous JSON."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

from jp2batch.core.errors import InvalidPath, InvalidRequest, InvalidRlevel, InvalidWindow
from jp2batch.core.request import Request
from jp2batch.service.roots import Root, root_of

_HINT = 'give {"Path": "<key>", "rlevel": -1}'

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
    body = _parsed(data)
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
