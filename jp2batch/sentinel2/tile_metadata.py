"""Metadata of a tile: grid of its images."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from jp2batch.core.errors import StorageError
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions
from jp2batch.sentinel2 import names as sentinel2
from jp2batch.sentinel2.tile_info import tile_folder
from jp2batch.storage.files import read_bytes

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

Grid = tuple[int, tuple[float, float, float, float, float, float]]
"""EPSG code, and transform of pixel corners to coordinates."""

_LARGEST = 32 << 20  # ESA's takes some 500 kB: angles on a coarse grid
_OLD = re.compile(r"(S2[A-D]_(?:OPER|USER)_)MSI(_L(?:1C|2A)_TL_\w+?_T\d\d[A-Z]{3})_N\d\d\.\d\d[/\\]$")


def read_grid(path: str, shape: tuple[int, int], *, storage_options: StorageOptions) -> Grid | None:
    """Return the grid of an image from the metadata of its tile.

    None if these cannot be read, or have no grid of this shape.

    Parameters
    ----------
    path : str
        Path or URL of the image.
    shape : (int, int)
        Rows and columns of the full image.
    storage_options : mapping, optional
        fsspec's options for the store.
    """
    place, name = tile_metadata_url(path), sentinel2.parse_name(path)
    metres = None if name is None else name.resolution or sentinel2.METRES.get(name.band or "")
    if place is None or metres is None:
        return None
    try:
        return parse_grid(read_bytes(place, storage_options=storage_options, limit=_LARGEST), metres, shape)
    except StorageError:
        return None


def tile_metadata_url(path: str) -> str | None:
    """Return the location of the metadata of an image's tile, or None."""
    location = Location.of(path)
    inside = re.match(r"(.*[/\\]|)IMG_DATA[/\\]", location.plain_path, re.DOTALL)
    if inside is not None:
        old = _OLD.search(inside[1])
        name = "MTD_TL.xml" if old is None else f"{old[1]}MTD{old[2]}.xml"
        return location.with_path(f"{inside[1]}{name}").text
    tile = tile_folder(location.plain_path)
    return None if tile is None else location.with_path(f"{tile}metadata.xml").text


def parse_grid(document: bytes, metres: int, shape: tuple[int, int]) -> Grid | None:
    """Parse the grid of images with pixels of a size."""
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        root = fromstring(document)
        (code,) = re.findall(r"EPSG:(\d{4,6})", next(_texts(root, "HORIZONTAL_CS_CODE")))
        size = next(_of_resolution(root, "Size", metres))
        corner = next(_of_resolution(root, "Geoposition", metres))
        if (_number(size, "NROWS"), _number(size, "NCOLS")) != shape:
            return None
        x, y, dx, dy = (_number(corner, name) for name in ("ULX", "ULY", "XDIM", "YDIM"))
    except (SyntaxError, ValueError, StopIteration, DefusedXmlException):
        return None
    return int(code), (dx, 0.0, x, 0.0, dy, y)


def _of_resolution(root: "Element", name: str, metres: int) -> Iterator["Element"]:
    return (one for one in root.iter(name) if one.get("resolution") == str(metres))


def _texts(element: "Element", name: str) -> Iterator[str]:
    return ((one.text or "").strip() for one in element.iter(name))


def _number(element: "Element", name: str) -> float:
    return float(next(_texts(element, name)))
