"""Normalise user arguments: a path or several, `str` or `Path`."""

from collections.abc import Iterable, Mapping

from jp2batch.core.errors import InvalidRequest
from jp2batch.core.location import path_hint, path_text
from jp2batch.core.request import Request


def as_list(value: object) -> list[object]:
    """Return a single argument or an iterable as a list.

    Raises
    ------
    InvalidRequest
        The argument is neither a path, a `Request` nor an iterable.
    """
    if isinstance(value, Request) or isinstance(path_text(value), str):
        return [value]
    if not isinstance(value, Iterable) or isinstance(value, Mapping | bytes | bytearray):
        raise InvalidRequest("", f"a path must be text, not {type(value).__name__}", path_hint(value))
    return list(value)


def as_path(value: object) -> str:
    """Return a path as text; for a request, its image's path.

    Raises
    ------
    InvalidRequest
        The argument is not a path.
    """
    if isinstance(value, Request):
        return value.url
    path = path_text(value)
    if not isinstance(path, str) or not path:
        problem = "a path is empty" if value == "" else f"a path must be text, not {type(value).__name__}"
        raise InvalidRequest("", problem, path_hint(value))
    if any(sign in path for sign in "\0\n\r"):  # the path is not shown: it may hold credentials
        raise InvalidRequest("", "a path holds a control character", "remove it")
    return path
