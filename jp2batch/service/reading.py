"""Readings: parts of images to read and represent, on the workers.

A response of many samples is read in parts: first a few rows, for an early first byte, then whole rows of tiles. A part
is an ordinary read of a window, so that no process ever has the whole image. A part knows the row of the next.
"""

import contextlib
import gzip
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import orjson
from numpy.typing import NDArray

from jp2batch.array.formats import to_bytes
from jp2batch.core.errors import InvalidRequest, Jp2BatchError, ObjectChanged, TooManyPixels
from jp2batch.core.request import Request
from jp2batch.core.version import __version__
from jp2batch.image.info import info_of
from jp2batch.image.inspect import plan_of
from jp2batch.image.map_area import select_samples
from jp2batch.image.open import OpenImage
from jp2batch.image.read import Pixels
from jp2batch.image.response import json_of, values_of
from jp2batch.jpeg2000.geometry.grid import Selection, select_area, tile_bounds

MOST_AT_ONCE = 4 * 2**20
"""Samples of a response made at once; more are sent in parts."""

_PART = 40 * 2**20  # bytes of the samples of a part: a row of tiles of a 10 m image has 34 MB at most
_FIRST = 2 * 2**20  # bytes of the samples of the first part: soon decoded
_PICTURE = 16 * 2**20  # samples of a picture or a GeoTIFF, which are made at once
GZIP_LEVEL = 1  # a third of the size, in a fifth of the time of the default level
_OF_THE_ROOT = ("path", "store")  # fields that tell where the images are

IN_PARTS = (".json", ".npy")
"""Suffixes of formats for responses in parts."""


@dataclass(frozen=True, slots=True)
class Content:
    """Content of a response, or a part of it."""

    data: bytes = field(default=b"", repr=False)
    """Bytes to send."""
    samples: NDArray[np.generic] | None = field(default=None, repr=False)
    """Rows of a part, instead."""
    encoding: str | None = None
    """Content-Encoding; None if uncompressed."""
    etag: str | None = None
    """ETag of the response; None if the store sends none."""
    shape: tuple[int, ...] = ()
    """Of a part, the shape of the whole response: rows, columns[, bands]."""
    version: str | None = None
    """The store's tag of the file."""
    next_row: int | None = None
    """First row of the next part; None behind the last."""


class Settled(Jp2BatchError):
    """The response needs no samples.

    Parameters
    ----------
    path, problem, hint : str
        As for `Jp2BatchError`.
    content : Content
        The response.
    """

    def __init__(self, path: str, problem: str, hint: str, content: Content) -> None:
        super().__init__(path, problem, hint)
        self.args = (path, problem, hint, content)
        self.content = content


@dataclass(frozen=True, slots=True)
class Reading:
    """A part of an image to read, and how to represent it."""

    suffix: str = ".json"
    """Suffix of the format."""
    compress: bool = False
    """True to compress the response."""
    most: int = MOST_AT_ONCE
    """Limit of the samples of the whole response."""
    has_times: bool = False
    """True for times in JSON, as in the old service."""
    if_none_match: str = ""
    """ETags held by the client."""
    describe: Callable[[OpenImage, Selection], bytes] | None = None
    """Function to describe the image; nothing is read."""
    row: int = 0
    """First row of the part."""
    version: str | None = None
    """The store's tag of the file in the parts before."""

    def select(self, request: Request, opened: OpenImage) -> Selection:
        """Return the samples of the part.

        Raises
        ------
        TooManyPixels
            The response has too many; the hint names the lowest rlevel that fits.
        Settled
            The response needs no samples: a description, or the client has it.
        """
        opened.check()
        whole = self._whole(request, opened)
        if self.describe is not None:
            opened.confirm()
            raise Settled(request.shown_path, "described", "", Content(self.describe(opened, whole)))
        self._check_size(request, opened, whole)
        if self.if_none_match:
            opened.confirm()
            etag = self._etag(request, opened, whole)
            if etag and _is_among(etag, self.if_none_match):
                raise Settled(request.shown_path, "not modified", "", Content(etag=etag))
        return opened.checked(self._part(opened, whole))

    def deliver(self, pixels: Pixels, request: Request) -> Content:
        """Return the content of the part.

        Raises
        ------
        ObjectChanged
            The file was replaced since the parts before.
        """
        opened, values = pixels.opened, values_of(pixels)
        whole, version = self._whole(request, opened), opened.source.etag
        if self.row and version != self.version:
            raise ObjectChanged(request.shown_path, "was replaced while it was being sent", "read it again")
        if self._is_in_parts(opened, whole):
            shape, row = (whole.area.height, *values.shape[1:]), self.row + len(values)
            etag, more = self._etag(request, opened, whole), row if row < whole.area.height else None
            return Content(b"", np.ascontiguousarray(values), self._encoding, etag, shape, version, more)
        plain = self.suffix == ".json" and not self.has_times
        data = json_of(values) if plain else to_bytes(replace(pixels, name=request.path), self.suffix)
        if self._encoding:
            data = gzip.compress(data, GZIP_LEVEL, mtime=0)
        return Content(data, None, self._encoding, self._etag(request, opened, whole))

    @property
    def _encoding(self) -> str | None:
        return "gzip" if self.compress and self.suffix in IN_PARTS else None

    def _whole(self, request: Request, opened: OpenImage) -> Selection:
        return select_samples(opened, request.rlevel, request.window, request.area)

    def _is_in_parts(self, opened: OpenImage, whole: Selection) -> bool:
        return self.suffix in IN_PARTS and _count(whole, len(opened.channels)) > MOST_AT_ONCE

    def _part(self, opened: OpenImage, whole: Selection) -> Selection:
        """Return rows from `row` on; later parts are whole tiles."""
        if not self._is_in_parts(opened, whole):
            return whole
        area = whole.area
        most = _PART if self.row else _FIRST
        stop = self.row + max(1, most // (area.width * len(opened.channels) * opened.dtype.itemsize))
        edges = [edge for edge in tile_bounds(opened.image.header.siz, whole)[0] if self.row < edge <= stop]
        last = max(edges, default=min(stop, area.height))
        rows = area._replace(y0=area.y0 + self.row, y1=area.y0 + last)
        return select_area(opened.image.header, whole.rlevel, rows)

    def _check_size(self, request: Request, opened: OpenImage, whole: Selection) -> None:
        header, bands = opened.image.header, len(opened.channels)
        most = self.most if self.suffix in IN_PARTS else min(self.most, _PICTURE)
        if _count(whole, bands) <= most:
            return
        problem = f"{_shape(whole, bands)} pixels are more than the limit of {most}"
        area = None if request.area is None else replace(request.area, resolution=None)
        with contextlib.suppress(InvalidRequest):  # the window is empty at this level
            for rlevel in range(whole.rlevel + 1, header.levels + 1):
                lower = select_samples(opened, rlevel, request.window, area)
                if _count(lower, bands) <= most:
                    hint = f"rlevel {rlevel} gives {_shape(lower, bands)}"
                    raise TooManyPixels(request.shown_path, problem, hint, rlevel)
        raise TooManyPixels(request.shown_path, problem, "give a smaller window")

    def _etag(self, request: Request, opened: OpenImage, whole: Selection) -> str | None:
        """Return the ETag of the whole response, as strong as the store's."""
        version = opened.source.etag
        if version is None:
            return None
        part = (whole.rlevel, whole.area, request.area and request.area.geometry)
        told = (version, opened.pieces.size, *part, self.suffix, self._encoding, __version__)
        weak = "W/" if version.startswith("W/") or version.endswith("GMT") else ""  # GMT: a time of Last-Modified
        return f'{weak}"{hashlib.sha256(repr(told).encode()).hexdigest()[:32]}"'


def describe_image(opened: OpenImage, _selection: Selection) -> bytes:
    """Return the properties of an image as JSON."""
    return _as_json(info_of(opened).to_dict())


def describe_plan(opened: OpenImage, selection: Selection) -> bytes:
    """Return the cost of a read as JSON."""
    return _as_json(plan_of(opened, selection).to_dict())


def _as_json(told: dict[str, object]) -> bytes:
    return orjson.dumps({name: value for name, value in told.items() if name not in _OF_THE_ROOT})


def _is_among(etag: str, if_none_match: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag.removeprefix("W/") in tags


def _count(selection: Selection, bands: int) -> int:
    return selection.area.height * selection.area.width * bands


def _shape(selection: Selection, bands: int) -> str:
    area = selection.area
    return f"{area.height} x {area.width}" + (f" x {bands}" if bands > 1 else "")
