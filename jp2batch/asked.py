"""What people ask for, in the forms in which they do: one thing or several, paths of any kind, names of bands."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, SupportsIndex, cast

from jp2batch.errors import InvalidRequest
from jp2batch.request import Request
from jp2batch.urls import described, without_credentials

_SHOWN = 12  # bands that a message names
_BAND = re.compile(r"[A-Z][A-Z0-9_]{0,5}")


def things_of(given: Any) -> list[Any]:
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


def path_of(given: object) -> str:
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


def band_names(bands: Any) -> list[str] | None:
    """Return the bands that are wanted as ESA writes them, from "b04", "B04,B08" or a list; None: all.

    Raises
    ------
    InvalidRequest
        They are no names, none at all, or one is given twice.
    """
    if bands is None:
        return None
    given = bands.split(",") if isinstance(bands, str) else list(bands) if isinstance(bands, Iterable) else [bands]
    if not given or not all(isinstance(name, str) and name.strip() for name in given):
        raise InvalidRequest("", "bands names no band, or holds what is no name", 'give ["B04", …]')
    names = [name.strip().upper() for name in given]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise InvalidRequest("", f"band {named([name])} is given twice", "give it once")
    return names


def named(bands: Iterable[str]) -> str:
    """Return names of bands as messages list them; of a text that is like none, not even that."""
    return ", ".join(band if _BAND.fullmatch(band) else "a text that names no band" for band in bands)


def checked_metres(metres: object) -> int | None:
    """Return the size of pixels that is wanted; None: any.

    Raises
    ------
    InvalidRequest
        It is no whole number.
    """
    if metres is None:
        return None
    whole = isinstance(metres, SupportsIndex) or (isinstance(metres, float) and metres.is_integer())
    if not whole or isinstance(metres, bool):
        raise InvalidRequest("", f"metres {described(metres)} is no size of pixels", "give a whole number, as 10")
    return int(cast(SupportsIndex, metres))


def check_bands(bands: Sequence[str] | None, there: Iterable[str | None], metres: int | None = None) -> None:
    """Refuse bands of which there is no image, naming those that there are.

    Raises
    ------
    InvalidRequest
        There is none of one of the bands, or of any.
    """
    known = sorted({band for band in there if band})
    lacking = [band for band in bands or () if band not in known]
    if lacking:
        at = f" at {metres} m" if metres else ""
        more = " …" if len(known) > _SHOWN else ""
        none = "give another size, or none" if metres else "the paths name no bands"
        cure = f"there is {', '.join(known[:_SHOWN])}{more}" if known else none
        raise InvalidRequest("", f"there is no image of {named(lacking)}{at}", cure)


def what_to_give(path: str) -> str | None:
    """Return what to give instead of a path that is no product: the product around it, or those in it."""
    around = re.match(r"(.+?\.SAFE)[/\\]", path.partition("::")[0], re.IGNORECASE)
    if around is not None:
        return f"its product is {without_credentials(around[1])}"
    if "*" in path:
        return "a pattern that nothing matches, or that nobody has expanded, as glob.glob does"
    if "://" not in path and any(Path(path).glob("*.SAFE")):
        return f"give the products in it: {Path(path) / '*.SAFE'}"
    return None
