"""The body of `POST /api/jp2` -> what is asked. JSON of which all readers make the same, and nothing else."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

from jp2batch.core.errors import InvalidPath, InvalidRequest, InvalidRlevel, InvalidWindow
from jp2batch.core.request import Request
from jp2batch.service.roots import Root, root_of

_HINT = 'give {"Path": "<key>", "rlevel": -1}'

# Values for which Python has other words than JSON. Null is no window at all.
_WORDS: dict[str, tuple[type[InvalidRequest], tuple[type, ...]]] = {
    "Path": (InvalidPath, (type(None), bool, dict, list)),
    "path": (InvalidPath, (type(None), bool, dict, list)),
    "rlevel": (InvalidRlevel, (type(None), bool, dict, list)),
    "window": (InvalidWindow, (bool, dict)),
}


def parse_body(data: bytes, roots: Mapping[str, Root]) -> tuple[Root, Request]:
    """Return what a body asks for, and the root that it is below of.

    Raises
    ------
    InvalidRequest
        It is no JSON object, or not what the service takes; most often one of the subclasses of this error.
    UnknownRoot
        It names a root that the operator does not list.
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
    return root, replace(request, path=_key(request.path, root), id="")


def _check_word(name: str, value: object) -> None:
    error, types = _WORDS[name]
    if isinstance(value, types):
        shown = "an object" if isinstance(value, dict) else "an array" if isinstance(value, list) else json.dumps(value)
        raise error("", f"{name} cannot be {shown}", "see /openapi.json")


def _key(path: str, root: Root) -> str:
    """Return the one spelling of a key: what is remembered of a file has to be found again."""
    *folders, name = path.split("/")
    if name in ("", "."):
        raise InvalidPath(path, "the path ends like that of a folder", "give the path of an image")
    if root.on_the_web and re.search(r"[?#]", path):
        raise InvalidPath(path, "the path holds '?' or '#'", "give a plain path")
    return "/".join([*(folder for folder in folders if folder not in ("", ".")), name])


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(
            data.decode("utf-8-sig"), object_pairs_hook=_object, parse_constant=_constant, parse_float=_number
        )
    except RecursionError:
        problem = "the body is nested too deeply"
    except ValueError as error:
        problem = f"the body is not JSON: {_reason(error)}"
    raise InvalidRequest("", problem, _HINT)  # out here: the other error holds the body


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    for text in (text for pair in pairs for text in pair if isinstance(text, str)):
        text.encode()  # half of a surrogate pair is none
    if len(names) < len(pairs):
        raise ValueError("a name is there twice")
    return names


def _number(text: str) -> int | float:
    """Return a number; a whole one is an integer, as JSON knows no difference."""
    number = float(text)
    return int(number) if number.is_integer() else number


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _reason(error: ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if isinstance(error, UnicodeEncodeError):
        return "it holds half a character"
    return "a number has too many digits" if "digits" in str(error) else str(error)
