"""The forms of an answer, and which of them a client asks for (RFC 9110, 12.5)."""

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from jp2batch.array.formats import FORMATS, to_bytes
from jp2batch.core.request import Request
from jp2batch.image.read import Pixels

JSON, NPY, PNG = (str(FORMATS[suffix].media_type) for suffix in (".json", ".npy", ".png"))
FORMS = {JSON: ".json", NPY: ".npy", PNG: ".png"}
"""Media types, by preference, and the files that have the same content."""

_GZIP_LEVEL = 1  # a third of the size for a fifth of the time that the usual level takes
_COMPRESSED = (PNG,)


@dataclass(frozen=True, slots=True)
class Content:
    """The body of an answer."""

    data: bytes = field(repr=False)
    """As it is sent."""
    type: str
    """Its media type."""
    encoding: str | None = None
    """How it is compressed."""


def deliver(pixels: Pixels, _request: Request, *, form: str, compress: bool) -> Content:
    """Make the body of an answer, on the worker: the server only passes it on."""
    data = to_bytes(pixels, FORMS[form])
    if not compress or form in _COMPRESSED:
        return Content(data, form)
    return Content(gzip.compress(data, _GZIP_LEVEL, mtime=0), form, "gzip")


def form_for(accept: str) -> str:
    """Return the media type that a client prefers; JSON where it names none of ours, as the old service did."""
    wanted = dict(_preferences(accept))

    def quality(form: str) -> float:
        ranges = (form, f"{form.partition('/')[0]}/*", "*/*")
        return next((wanted[one] for one in ranges if one in wanted), 0.0)

    return max(FORMS, key=quality)


def accepts_gzip(accept_encoding: str) -> bool:
    """Tell whether a client takes gzip."""
    wanted = dict(_preferences(accept_encoding))
    return wanted.get("gzip", wanted.get("*", 0.0)) > 0


def _preferences(header: str) -> Iterator[tuple[str, float]]:
    for item in header.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        qualities = [match[1] for one in parameters if (match := re.fullmatch(r"q=([01](?:\.\d{0,3})?)", one))]
        yield name, float(qualities[0]) if qualities else 1.0
