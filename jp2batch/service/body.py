"""The body of `POST /api/jp2` -> what is asked. JSON of which all readers make the same, and nothing else."""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from jp2batch.errors import InvalidRequest
from jp2batch.request import Request
from jp2batch.service.roots import Root, root_of

_CURE = 'give {"Path": "<key>", "rlevel": -1}'


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
        raise InvalidRequest("", "the body is not a JSON object", _CURE)
    if "Path" in body and "path" in body:
        raise InvalidRequest("", "the body has both Path and path", _CURE)
    root = root_of(roots, body.get("root"))
    known = {name: body[name] for name in ("Path", "path", "rlevel", "window") if name in body}
    return root, Request.from_json(known, root=root.url)


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant)
    except RecursionError:
        raise InvalidRequest("", "the body is nested too deeply", _CURE) from None
    except ValueError as error:
        raise InvalidRequest("", f"the body is not JSON: {_reason(error)}", _CURE) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    for text in (text for pair in pairs for text in pair if isinstance(text, str)):
        text.encode()  # half of a surrogate pair is none
    if len(names) < len(pairs):
        raise ValueError("a name is there twice")
    return names


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _reason(error: ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if isinstance(error, UnicodeEncodeError):
        return "it holds half a character"
    return "a number has too many digits" if "digits" in str(error) else str(error)
