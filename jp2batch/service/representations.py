"""Content negotiation: formats and compression of responses (RFC 9110, 12.5)."""

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from jp2batch.array.formats import to_bytes
from jp2batch.core.file_formats import FORMATS
from jp2batch.core.request import Request
from jp2batch.image.read import Pixels
from jp2batch.service.problems import NotAcceptable

JSON, NPY, PNG = (str(FORMATS[suffix].media_type) for suffix in (".json", ".npy", ".png"))
FORMS = {JSON: ".json", NPY: ".npy", PNG: ".png"}
"""Media types, by preference, and their file suffixes."""

_GZIP_LEVEL = 1  # a third of the size, in a fifth of the time of the default level
_COMPRESSED = (PNG,)


@dataclass(frozen=True, slots=True)
class Content:
    """Body of a response."""

    data: bytes = field(repr=False)
    """Bytes to send, after compression."""
    type: str
    """Media type."""
    encoding: str | None = None
    """Content-Encoding; None if uncompressed."""


def deliver(pixels: Pixels, _request: Request, *, form: str, compress: bool) -> Content:
    """Make the body of a response, on the worker."""
    data = to_bytes(pixels, FORMS[form])
    if not compress or form in _COMPRESSED:
        return Content(data, form)
    return Content(gzip.compress(data, _GZIP_LEVEL, mtime=0), form, "gzip")


def form_for(accept: str) -> str:
    """Return the media type preferred by a client.

    Raises
    ------
    NotAcceptable
        It accepts none of ours.
    """
    wanted = dict(_preferences(accept))

    def quality(form: str) -> float:
        ranges = (form, f"{form.partition('/')[0]}/*", "*/*")
        return next((wanted[one] for one in ranges if one in wanted), 0.0)

    best = max(FORMS, key=quality)
    if not quality(best):
        raise NotAcceptable("", "no media type in Accept can be sent", f"accept {', '.join(FORMS)}")
    return best


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether a client accepts gzip."""
    wanted = dict(_preferences(accept_encoding))
    return wanted.get("gzip", wanted.get("*", 0.0)) > 0


def _preferences(header: str) -> Iterator[tuple[str, float]]:
    for item in header.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        qualities = [match[1] for one in parameters if (match := re.fullmatch(r"q=([01](?:\.\d{0,3})?)", one))]
        yield name, float(qualities[0]) if qualities else 1.0
