"""Images to code: their samples, and ways to code them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jp2batch.sample.coding import Coding
from jp2batch.sample.encode import encode
from support import variant_tile_parts
from support.jp2_boxes import Boxes, jp2
from support.variant_draft import Draft
from support.variant_image import encode_tiles

Planes = Sequence[NDArray[Any]]
"""Samples of each component."""

SIZE = (536, 664)
"""Rows and columns, multiples of 8: Pillow cannot reduce others. GDAL offers three overviews."""
LARGE_SIZE = (2144, 2656)
"""Rows and columns of images to read remotely: of smaller files, jp2batch would fetch all."""
QUICK_SIZE = (216, 248)
TILE, LEVELS = 128, 3
PLAIN = Coding(tile=(TILE, TILE), levels=LEVELS, code_block=(64, 64), precincts=(256, 256))
"""As ESA codes a band: LRCP, one layer, 5/3, 15 bits, PLT; but with smaller tiles, and no fifth level."""
RICH = replace(PLAIN, precincts=(64, 64), code_block=(32, 32), layers=2, bits=8)
"""Several precincts and layers, so that the orders of progression differ."""


@dataclass(frozen=True, slots=True)
class Canvas:
    """Makes images of a size."""

    size: tuple[int, int] = SIZE
    """Rows and columns."""
    scale: int = 1
    """Factor of the sides of tiles."""

    def pixels(self, coding: Coding, bands: int = 1) -> NDArray[np.int32]:
        """Return smooth hills with some noise, over the whole range of the samples."""
        rng = np.random.default_rng(7)
        rows, columns = (np.arange(length) for length in self.size)
        low, span = -(1 << coding.bits - 1) if coding.signed else 0, (1 << coding.bits) - 1
        planes = []
        for band in range(bands):
            hills = np.sin(rows / (29 + band))[:, np.newaxis] + np.cos(columns / (43 - band))
            hills = hills + rng.normal(0, 0.03, self.size)
            hills -= hills.min()
            planes.append(np.rint(hills / max(hills.max(), 1e-9) * span).astype(np.int64) + low)
        return np.stack(planes).astype(np.int32)

    def coded(self, coding: Coding, bands: int = 1) -> bytes:
        """Return a file coded by OpenJPEG."""
        return encode(self.pixels(coding, bands), self.scaled(coding))

    def turned(self, coding: Coding) -> bytes:
        """Return a codestream of another image: its rows are in reverse order."""
        coding = replace(coding, raw=True)
        return encode(self.pixels(coding)[:, ::-1].copy(), self.scaled(coding))

    def scaled(self, coding: Coding) -> Coding:
        """Return a coding with larger tiles."""
        if coding.tile is None:
            return coding
        return replace(coding, tile=(coding.tile[0] * self.scale, coding.tile[1] * self.scale))

    def changed(self, change: Callable[[bytes], bytes], coding: Coding = PLAIN, bands: int = 1) -> bytes:
        """Return a coded file after a change of its bytes."""
        return change(self.coded(coding, bands))

    def drafted(self, change: Callable[[Draft], object], coding: Coding = PLAIN, bands: int = 1) -> bytes:
        """Return a JP2 file put together from its tile-parts after a change of them."""
        return change_draft(self.pixels(coding, bands), self.scaled(coding), change)


def change_draft(pixels: NDArray[np.int32], coding: Coding, change: Callable[[Draft], object]) -> bytes:
    """Code an image, divide it as OpenJPEG does, and change tile-parts and marker segments.

    `change` sees the tiles before their division; if it returns a function, this sees the tile-parts.
    """
    taken = encode_tiles(pixels, coding, 0)
    assert taken is not None, "OpenJPEG cannot code this"
    draft = Draft(np.random.default_rng(0), pixels, coding, 0, *taken)
    draft.boxes = boxes_of(pixels, coding)
    later = change(draft)
    variant_tile_parts.divide_as_openjpeg(draft)
    if callable(later):
        later(draft)
    return draft.to_bytes()


def boxes_of(pixels: NDArray[np.int32], coding: Coding) -> Boxes:
    """Return the usual boxes of an image."""
    bands, rows, columns = pixels.shape
    return Boxes.of(rows, columns, bands, coding.bits - 1 | coding.signed << 7)


def boxed(canvas: Canvas, change: Callable[[Boxes], object], coding: Coding = PLAIN, bands: int = 1) -> bytes:
    """Return a JP2 file after a change of its boxes."""
    pixels = canvas.pixels(coding, bands)
    boxes = boxes_of(pixels, coding)
    change(boxes)
    return jp2(boxes, canvas.coded(replace(coding, raw=True), bands))
