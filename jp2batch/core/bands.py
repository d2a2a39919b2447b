"""Check and normalise arguments: band names and pixel sizes."""

import re
from collections.abc import Iterable, Sequence
from typing import SupportsIndex, cast

from jp2batch.core.errors import InvalidRequest
from jp2batch.core.location import described

_SHOWN = 12  # bands named in a message


_BAND = re.compile(r"[A-Z][A-Z0-9_]{0,5}")


def band_names(bands: object) -> list[str] | None:
    """Return upper-case band names from "b04", "B04,B08" or a list.

    None means all bands. Errors are those of `band_texts`.
    """
    texts = band_texts(bands)
    return None if texts is None else [text.upper() for text in texts]


def band_texts(bands: object) -> list[str] | None:
    """Return names of bands as they are written; None for all bands.

    Raises
    ------
    InvalidRequest
        `bands` holds no name, something other than a name, or a name twice.
    """
    if bands is None:
        return None
    given: list[object]
    given = [*bands.split(",")] if isinstance(bands, str) else list(bands) if isinstance(bands, Iterable) else [bands]
    texts = [name.strip() for name in given if isinstance(name, str) and name.strip()]
    if not given or len(texts) < len(given):
        raise InvalidRequest("", "bands is not a list of band names", 'give ["B04", …]')
    names = [text.upper() for text in texts]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise InvalidRequest("", f"band {named([name])} is given twice", "give it once")
    return texts


def named(bands: Iterable[str]) -> str:
    """Return band names as text for messages.

    Text unlike a band name is not repeated.
    """
    return ", ".join(band if _BAND.fullmatch(band) else "a text unlike any band name" for band in bands)


def checked_metres(metres: object) -> int | None:
    """Return a pixel size in metres as a whole number, or None.

    Raises
    ------
    InvalidRequest
        The size is not a whole number.
    """
    if metres is None:
        return None
    whole = isinstance(metres, SupportsIndex) or (isinstance(metres, float) and metres.is_integer())
    if not whole or isinstance(metres, bool):
        raise InvalidRequest("", f"metres {described(metres)} is not a pixel size", "give a whole number, as 10")
    return int(cast(SupportsIndex, metres))


def check_bands(bands: Sequence[str] | None, there: Iterable[str | None], metres: int | None = None) -> None:
    """Refuse bands without an image; the hint names the available bands.

    Raises
    ------
    InvalidRequest
        A band has no image.
    """
    known = sorted({band for band in there if band})
    lacking = [band for band in bands or () if band not in known]
    if lacking:
        at = f" at {metres} m" if metres else ""
        more = " …" if len(known) > _SHOWN else ""
        none = "give another size, or none" if metres else "the paths contain no band names"
        hint = f"available: {', '.join(known[:_SHOWN])}{more}" if known else none
        raise InvalidRequest("", f"there is no image of {named(lacking)}{at}", hint)
