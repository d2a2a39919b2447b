"""Make images as of other archives: a single tile, without packet lengths.

The landscape of the samples is laid out in mirrored copies and coded as orthophotos often are, by OpenJPEG's or GDAL's
defaults. Any `Coding` may be given instead.
"""

from pathlib import Path
from typing import Any

import numpy as np

from jp2batch.core.errors import InvalidRequest
from jp2batch.core.location import Location
from jp2batch.sample import landscape
from jp2batch.sample.coding import Coding
from jp2batch.sample.encode import encode
from jp2batch.sample.georeference import gmljp2
from jp2batch.sample.landscape import Image

ORTHOPHOTO = Coding(
    tile=None, levels=5, code_block=(64, 64), precincts=None, progression="RPCL", bits=8, mct=True, plt=False
)
"""Colours of 8 bits in a single tile without precincts, without loss."""
NAME = "orthophoto.jp2"
"""Name of the file of `jp2batch sample`."""

_BANDS = ("B04", "B03", "B02", "B08")
_PAINTED = 2048  # pixels a side; a larger image repeats them
_SMALLEST = 60  # pixels a side of a landscape
_BLACK, _WHITE = 1000, 4560  # digital numbers of colours of 8 bits
_EPSG, _CORNER, _METRES = 32629, (499980, 5900040), 2


def make_orthophoto(path: str | Path, size: int = 1024, *, bands: int = 3, coding: Coding = ORTHOPHOTO) -> Path:
    """Write a georeferenced image of a single tile without packet lengths.

    Parameters
    ----------
    path : path
        The file; its folder is created if missing.
    size : int
        Pixels a side, at least 60.
    bands : int
        Number of bands, 1 to 4: red, green, blue and near infrared.
    coding : Coding
        Coding parameters. Samples of 8 bits are colours, of more bits digital numbers.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InvalidRequest
        No image has this size or number of bands.
    EncodingError
        As for `encode`.
    """
    pixels = paint(size, bands, coding.bits)
    boxes = gmljp2(size, size, _EPSG, _CORNER, _METRES)
    path = Path(Location.of(path).expanded.text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(pixels, coding, boxes=boxes))
    return path


def paint(size: int, bands: int, bits: int) -> Image:
    """Paint bands of shape (bands, size, size), of uint8 or uint16."""
    if size < _SMALLEST or not 1 <= bands <= len(_BANDS):
        hint = f"take at least {_SMALLEST} pixels and 1 to {len(_BANDS)} bands"
        raise InvalidRequest("", f"no image of size {size}, {bands} bands", hint)
    painted = landscape.scene(min(size, _PAINTED), bands=_BANDS[:bands])
    planes: Any = np.stack([painted[band] for band in _BANDS[:bands]])
    if bits <= 8:
        top = (1 << bits) - 1
        colours = (planes.astype(np.int32) - _BLACK) * top // (_WHITE - _BLACK)
        planes = (colours.clip(1, top) * (planes > 0)).astype(np.uint8)
    elif bits < 15:
        planes = planes >> np.uint16(15 - bits)
    more = size - planes.shape[1]
    padded: Image = np.pad(planes, ((0, 0), (0, more), (0, more)), "symmetric")
    return padded
