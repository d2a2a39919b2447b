"""Georeference in the boxes of a JP2 file: GeoJP2 and GMLJP2."""

import io
import math
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

from jp2batch.image.geo_keys import USER_DEFINED, defined_crs
from jp2batch.image.georeference import Georeference, Transform, corner_transform, is_invertible
from jp2batch.jpeg2000.syntax.boxes import Box

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_GEOTIFF_UUID = bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03")
_PIXEL_SCALE, _TIEPOINT, _MATRIX, _KEYS, _DOUBLES = 33550, 33922, 34264, 34735, 34736  # GeoTIFF tags
_TAGS = (_PIXEL_SCALE, _TIEPOINT, _MATRIX, _KEYS, _DOUBLES)
_MODEL_TYPE, _RASTER_TYPE, _GEOGRAPHIC_CRS, _PROJECTED_CRS = 1024, 1025, 2048, 3072  # GeoKeys
_MODEL_IS_GEOGRAPHIC = _PIXEL_IS_POINT = 2

_DEEPEST = 4  # GMLJP2 nests its XML two boxes deep
_MOST_BOXES = 1000
_LARGEST_XML = 4 << 20  # ESA's takes 2 kB; GMLJP2 may carry features and styles as well
_LARGEST_GEOTIFF = 16 << 10  # it has no pixels: tags and keys take some 400 bytes

_SRS_NAME = re.compile(
    r"(?P<ordered>urn:(?:x-)?ogc:def:crs:|https?://www\.opengis\.net/def/crs/)?"
    r"(?P<authority>EPSG|OGC)[:/](?:[\w.]*[:/])?(?P<code>\d{1,6}|CRS\d\d)",
    re.ASCII | re.IGNORECASE,
)
_VECTORS_EXCHANGED = b"GDAL_JP2K_ALT_OFFSETVECTOR_ORDER=TRUE"  # GDAL's comment: columns' step before rows'


@dataclass(frozen=True, slots=True)
class _Crs:
    """A coordinate reference system, and its axis order."""

    wkt: str | None = None
    """WKT 2; None for an unknown system."""
    epsg: int | None = None
    """EPSG code, if EPSG is the authority."""
    northing_first: bool = False
    """True if the authority lists northing or latitude before easting or longitude."""


def from_boxes(boxes: Iterable[Box]) -> Georeference | None:
    """Read the georeference from the boxes of a JP2 file.

    As in GDAL, GeoJP2 takes precedence over GMLJP2, unless only GMLJP2 names a known coordinate reference system.

    Parameters
    ----------
    boxes : iterable of Box
        The top-level boxes of the file.

    Returns
    -------
    Georeference or None
        None if the file has none, or a damaged one: pixels can be read without it.
    """
    unnamed = None
    for found in _read_all(islice(_within(boxes, _DEEPEST), _MOST_BOXES)):
        if found is not None and is_invertible(found.transform):
            if found.crs_wkt is not None:
                return found
            unnamed = unnamed or found
    return unnamed


def from_epsg(code: int, transform: Transform) -> Georeference | None:
    """Return a georeference with an EPSG code; None for an unknown code."""
    crs = _look_up("EPSG", str(code))
    return Georeference(transform, crs.wkt, crs.epsg) if crs.wkt and is_invertible(transform) else None


def _within(boxes: Iterable[Box], depth: int) -> Iterator[Box]:
    """Iterate over boxes and their children, down to a limited depth.

    A hostile file may nest a million boxes.
    """
    for box in boxes:
        yield box
        if depth:
            yield from _within(box.children(), depth - 1)


def _read_all(boxes: Iterable[Box]) -> Iterator[Georeference | None]:
    """Iterate over the georeferences of boxes, GeoJP2 first.

    An unreadable box yields None.
    """
    documents = []
    for box in boxes:
        if box.type == "uuid" and box.content.startswith(_GEOTIFF_UUID) and len(box.content) <= _LARGEST_GEOTIFF:
            yield _read_geotiff(box.content[len(_GEOTIFF_UUID) :])
        elif box.type == "xml " and len(box.content) <= _LARGEST_XML:
            documents.append(box.content)
    yield from map(_read_gml, documents)


def _read_gml(document: bytes) -> Georeference | None:
    """Read a GMLJP2 document (OGC 05-047r3, 08-085r8), in any XML namespaces."""
    from defusedxml.ElementTree import fromstring

    try:
        root = fromstring(document.rstrip(b"\0"))  # GDAL ends its XML boxes with a NUL
        grid = next(_named(root, "RectifiedGrid"))
        centre = _parse_point(next(_named(next(_named(grid, "origin")), "pos", "coordinates")))
        along_row, along_column = map(_parse_point, islice(_named(grid, "offsetVector"), 2))
    except (SyntaxError, ValueError, LookupError, StopIteration):
        return None
    crs, ordered = _find_crs(_srs_name(root, grid))
    if crs.northing_first and ordered and not _says_easting_first(grid):
        if _VECTORS_EXCHANGED in document:
            along_row, along_column = along_column, along_row
        centre, along_row, along_column = centre[::-1], along_row[::-1], along_column[::-1]
    return Georeference(corner_transform(centre, along_row, along_column), crs.wkt, crs.epsg)


def _named(element: "Element", *names: str) -> Iterator["Element"]:
    """Iterate over the elements with these local names, at any depth."""
    return (child for child in element.iter() if child.tag.rpartition("}")[2] in names)


def _parse_point(element: "Element") -> tuple[float, float]:
    first, second, *_ = (float(number) for number in re.split(r"[\s,]+", (element.text or "").strip()))
    return first, second


def _srs_name(root: "Element", grid: "Element") -> str:
    """Return the name of the reference system.

    Several elements may have it; the element nearest to the coordinates is preferred.
    """
    places = (*_named(grid, "Point"), grid, *_named(grid, "offsetVector"), *_named(root, "Envelope"))
    return next((name for place in places if (name := place.get("srsName"))), "")


def _says_easting_first(grid: "Element") -> bool:
    """Return whether the document overrules the axis order of its reference system.

    Documents of Pléiades do.
    """
    names = [(axis.text or "").strip().lower() for axis in islice(_named(grid, "axisName"), 2)]
    return len(names) == 2 and names[0].startswith(("east", "long")) and names[1].startswith(("north", "lat"))


def _find_crs(srs_name: str) -> tuple[_Crs, bool]:
    """Return the reference system, and whether the axes follow its authority."""
    match = _SRS_NAME.fullmatch(srs_name.strip())
    if match is None:
        return _Crs(), False
    return _look_up(match["authority"].upper(), match["code"].upper()), match["ordered"] is not None


@lru_cache(maxsize=256)
def _look_up(authority: str, code: str) -> _Crs:
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        crs = CRS.from_authority(authority, code)
        first_axis = crs.axis_info[0].name.lower()
    except (CRSError, IndexError):
        return _Crs()
    epsg = int(code) if authority == "EPSG" else None
    return _Crs(crs.to_wkt(), epsg, "latitude" in first_axis or first_axis.startswith("northing"))


def _read_geotiff(content: bytes) -> Georeference | None:
    """Read the degenerate GeoTIFF of a GeoJP2 box."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    try:
        directory = ImageFileDirectory_v2(content[: 16 if content[2:3] == b"\x2b" else 8])
        stream = io.BytesIO(content)
        stream.seek(directory.next)
        directory.load(stream)
        numbers = {tag: _numbers(directory.get(tag)) for tag in _TAGS}
        keys = _parse_keys(numbers[_KEYS], numbers[_DOUBLES])
        transform = _parse_geotiff_grid(numbers, point=keys.get(_RASTER_TYPE) == _PIXEL_IS_POINT)
    # Pillow warns of damage; if warnings are turned into errors, it raises UserWarning.
    except (SyntaxError, ValueError, TypeError, LookupError, OSError, OverflowError, struct.error, UserWarning):
        return None
    code = keys.get(_GEOGRAPHIC_CRS if keys.get(_MODEL_TYPE) == _MODEL_IS_GEOGRAPHIC else _PROJECTED_CRS, 0)
    if code == USER_DEFINED:
        return Georeference(transform, defined_crs(keys), None)
    crs = _look_up("EPSG", str(code))
    return Georeference(transform, crs.wkt, crs.epsg)


def _numbers(value: object) -> tuple[float, ...]:
    return tuple(map(float, value)) if isinstance(value, tuple) else ()


def _parse_keys(numbers: tuple[float, ...], doubles: tuple[float, ...]) -> dict[int, float]:
    """Return the GeoKeys of short integers or single doubles."""
    entries, keys = [int(number) for number in numbers[4:]], dict[int, float]()
    for key, place, count, value in zip(*(entries[i::4] for i in range(4)), strict=False):
        if place == 0:
            keys[key] = value
        elif place == _DOUBLES and count == 1 and value < len(doubles) and math.isfinite(doubles[value]):
            keys[key] = doubles[value]
    return keys


def _parse_geotiff_grid(numbers: dict[int, tuple[float, ...]], point: bool) -> Transform:
    """Return the transform of pixel corners from the tags of a GeoTIFF.

    If `point`, the tags refer to pixel centres.
    """
    if numbers[_PIXEL_SCALE]:
        width, height, *_ = numbers[_PIXEL_SCALE]
        column, row, _, x, y, *_ = numbers[_TIEPOINT]
        a, b, c, d, e, f = width, 0.0, x - column * width, 0.0, -height, y + row * height
    else:
        a, b, _, c, d, e, _, f, *_ = numbers[_MATRIX]
    return corner_transform((c, f), (a, d), (b, e)) if point else (a, b, c, d, e, f)
