"""Content negotiation, and responses in parts (RFC 9110, 12.5)."""

import io
import re
from collections.abc import Iterator

import numpy as np
import orjson
from numpy.typing import NDArray

from jp2batch.array.formats import is_installed
from jp2batch.core.file_formats import FORMATS
from jp2batch.image.response import json_rows
from jp2batch.service.problems import NotAcceptable

_SLICE = 2**18  # samples turned into JSON at once, in some milliseconds

TYPES = {
    str(FORMATS[suffix].media_type): suffix for suffix in (".json", ".npy", ".png", ".tif") if is_installed(suffix)
}
"""Media types, by preference, and their file suffixes."""


def type_for(accept: str) -> str:
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

    best = max(TYPES, key=quality)
    if not quality(best):
        raise NotAcceptable("", "no media type in Accept can be sent", f"accept {', '.join(TYPES)}")
    return best


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether a client accepts gzip."""
    wanted = dict(_preferences(accept_encoding))
    return wanted.get("gzip", wanted.get("*", 0.0)) > 0


def head_of(suffix: str, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> bytes:
    """Return the beginning of a response in parts."""
    if suffix == ".json":
        return b'{"img_data":['
    buffer, order = io.BytesIO(), np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(buffer, {"descr": order, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def slices_of(suffix: str, values: NDArray[np.generic], *, first: bool) -> Iterator[bytes]:
    """Yield the samples of a part in small pieces."""
    rows = max(1, _SLICE // values[0].size)
    for row in range(0, len(values), rows):
        piece = values[row : row + rows]
        if suffix == ".json":
            yield (b"" if first and not row else b",") + json_rows(piece)
        else:
            yield piece.tobytes()


def tail_of(suffix: str, shape: tuple[int, ...], times: tuple[float, float] | None) -> bytes:
    """Return the end of a response in parts."""
    if suffix != ".json":
        return b""
    told = {"shape": shape} | (dict(zip(("time_download", "time_processing"), times, strict=True)) if times else {})
    return b"]," + orjson.dumps(told)[1:]


def _preferences(header: str) -> Iterator[tuple[str, float]]:
    for item in header.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        qualities = [match[1] for one in parameters if (match := re.fullmatch(r"q=([01](?:\.\d{0,3})?)", one))]
        yield name, float(qualities[0]) if qualities else 1.0
