"""What people ask for, in the forms in which they do: one thing or several, paths of any kind, names of bands."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from jp2batch.core.errors import InvalidRequest
from jp2batch.core.request import Request


def as_list(given: Any) -> list[Any]:
    """Return what was given, one thing or several, as a list.

    Raises
    ------
    InvalidRequest
        It is neither.
    """
    if isinstance(given, str | os.PathLike | Request):
        return [given]
    if not isinstance(given, Iterable) or isinstance(given, Mapping | bytes | bytearray):
        raise InvalidRequest("", f"a path must be text, not {type(given).__name__}", "give paths or URLs")
    return list(given)


def as_path(given: object) -> str:
    """Return a path as text; of a request, that of its image.

    Raises
    ------
    InvalidRequest
        It is none.
    """
    if isinstance(given, Request):
        return given.url
    if not isinstance(given, str | os.PathLike) or not isinstance(path := os.fspath(given), str) or not path:
        problem = "a path is empty" if given == "" else f"a path must be text, not {type(given).__name__}"
        raise InvalidRequest("", problem, "give paths or URLs")
    if any(sign in path for sign in "\0\n\r"):  # not repeated: credentials may be on both sides
        raise InvalidRequest("", "a path holds a control character", "remove it")
    return path
