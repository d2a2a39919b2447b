"""Samples of an image under a map area: window, level and mask."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jp2batch.core.errors import InvalidRlevel, InvalidWindow, OutsideImage
from jp2batch.core.map_area import Bounds, MapArea
from jp2batch.core.request import LOWEST
from jp2batch.core.window import Window
from jp2batch.image.georeference import Georeference, Transform, level_transform, lon_lat_bounds
from jp2batch.image.missions import identify
from jp2batch.image.near import SEGMENTS, bounds_around, cut, outside
from jp2batch.image.open import OpenImage
from jp2batch.image.place import place_of
from jp2batch.jpeg2000.geometry.grid import Rect, Selection, select, select_area
from jp2batch.jpeg2000.syntax.headers import MainHeader

_NEARLY = 1 + 1e-9  # a resolution that arithmetic has made smaller
_DEGREE = 0.01  # longest segment of longitude and latitude
_BLOCK = 128  # rows and columns tested together


def select_samples(
    opened: OpenImage, rlevel: int, window: Window | None = None, area: MapArea | None = None
) -> Selection:
    """Return the samples of a window or map area, unchecked.

    Under a map area, these are all samples whose surroundings, of the size of their distance, the area touches.

    Raises
    ------
    OutsideImage
        The area does not meet the image.
    InvalidWindow, InvalidRlevel
        Window, area or level do not fit the image, or it has no georeference.
    """
    header = opened.image.header
    if area is None:
        return select(header, rlevel, window)
    return select_on_map(header, place_of(opened), area, rlevel, window)


def select_on_map(
    header: MainHeader, place: Georeference | None, area: MapArea, rlevel: int, window: Window | None = None
) -> Selection:
    """Return the samples under a map area, by header and georeference.

    Raises
    ------
    OutsideImage, InvalidWindow, InvalidRlevel
        As for `select_samples`.
    """
    whole = select(header, area_rlevel(area, place, header.levels, rlevel), window)
    if not area.has_extent:
        return whole
    if place is None or place.crs_wkt is None:
        lack = "georeference" if place is None else "reference system"
        raise InvalidWindow("", f"the image has no {lack} for a bbox or geometry", "give a window in pixels")
    full, here = select(header, 0).area, whole.area
    try:
        bounds = projected(area, place, (full.height, full.width)).bounds
        Window.from_bounds(bounds, place.transform, (full.height, full.width))  # raises if it lies elsewhere
    except OutsideImage:
        raise _outside(place, (full.height, full.width)) from None
    transform = level_transform(place.transform, *whole.first, whole.step)
    rows, columns = Window.from_bounds(bounds, transform, (here.height, here.width), nearest=True)
    part = Rect(here.y0 + rows.start, here.x0 + columns.start, here.y0 + rows.stop, here.x0 + columns.stop)
    return select_area(header, whole.rlevel, part)


def area_rlevel(area: MapArea, place: Georeference | None, levels: int, rlevel: int = LOWEST) -> int:
    """Return the lowest level of an image with samples near enough.

    Without a resolution, it is `rlevel`. If all samples are too far apart, it is 0.

    Raises
    ------
    InvalidRlevel
        The distance of the image's pixels in metres is unknown.
    """
    if area.resolution is None:
        return rlevel
    metres = None if place is None else pixel_metres(place)
    if metres is None:
        raise InvalidRlevel("", "the pixels of the image have no size in metres", "give an rlevel")
    ratio = area.resolution * _NEARLY / metres
    return 0 if ratio < 1 else min(levels, int(math.log2(ratio)))


def pixel_metres(place: Georeference) -> float | None:
    """Return the larger side of a pixel in metres; None if unknown."""
    from pyproj import CRS

    if place.crs_wkt is None or not CRS.from_wkt(place.crs_wkt).is_projected:
        return None
    a, b, _, d, e, _ = place.transform
    return max(math.hypot(a, d), math.hypot(b, e))


def projected(area: MapArea, place: Georeference, shape: tuple[int, int]) -> Any:
    """Return the part of an area near an image, projected.

    Edges are densified before they are projected: a straight line of one map is a curve on another.

    Parameters
    ----------
    area : MapArea
        Box or geometry.
    place : Georeference
        Georeference of the image, with a reference system.
    shape : (int, int)
        Rows and columns of the image.

    Returns
    -------
    shapely.Geometry
        A geometry that is not empty.

    Raises
    ------
    OutsideImage
        The area lies elsewhere.
    InvalidWindow
        The reference system of the area is unknown.
    """
    import shapely
    from pyproj import CRS, Transformer
    from pyproj.exceptions import CRSError, ProjError

    try:
        own, target = CRS.from_user_input(area.crs), CRS.from_wkt(str(place.crs_wkt))
        there = Transformer.from_crs(own, target, always_xy=True)
        around = bounds_around(_extent(place.transform, shape), there)
    except CRSError:
        raise InvalidWindow("", "the crs cannot be read", "give a code such as EPSG:4326") from None
    except ProjError:
        problem = "the crs cannot be turned into that of the image, such as one of another planet"
        raise InvalidWindow("", problem, "give another crs, or a window in pixels") from None
    near = cut(shape_of(area), around, wraps=own.is_geographic)
    if near.is_empty:
        raise outside()
    x0, y0, x1, y1 = near.bounds
    longest = max(x1 - x0, y1 - y0) / SEGMENTS
    dense = shapely.segmentize(near, min(longest, _DEGREE) if own.is_geographic else longest) if longest else near
    moved = shapely.transform(dense, lambda xy: np.column_stack(there.transform(xy[:, 0], xy[:, 1])))
    extent = shapely.Polygon(_corners(place.transform, slice(0, shape[0]), slice(0, shape[1])))
    if not all(map(math.isfinite, moved.bounds)) or not shapely.intersects(moved, extent):
        raise outside()
    return moved


def shape_of(area: MapArea) -> Any:
    """Return the box or geometry of an area as a shapely geometry."""
    import shapely

    return shapely.from_wkt(area.geometry) if area.bbox is None else shapely.box(*area.bbox)


def _outside(place: Georeference, shape: tuple[int, int]) -> OutsideImage:
    """Return this error with the bounds of the image."""
    bounds = lon_lat_bounds(place, shape)
    if bounds is None:
        return outside()
    hint = f"the image lies in the bbox {','.join(f'{value:.6g}' for value in bounds)}, in longitude and latitude"
    return OutsideImage("", "the area does not meet the image", hint)


def mask_of(opened: OpenImage, area: MapArea | None) -> "GeometryMask | None":
    """Return the mask of an area; None if nothing is masked."""
    if area is None or area.geometry is None or not area.mask:
        return None
    place = place_of(opened)
    if place is None:
        return None
    mission, name = identify(opened.source.path)
    wkb = geometry_in(area, place, opened.image.header)
    return GeometryMask(wkb, place.transform, int(mission.nodata(name) or 0))


def geometry_in(area: MapArea, place: Georeference, header: MainHeader) -> bytes:
    """Return the part of an area in an image, projected, as WKB."""
    import shapely

    full = select(header, 0).area
    found: bytes = shapely.to_wkb(projected(area, place, (full.height, full.width)))
    return found


@dataclass(frozen=True, slots=True)
class GeometryMask:
    """A geometry in the reference system of an image.

    Samples belong to a polygon if their centres lie in it, and to a line or point if it touches their surroundings.
    """

    wkb: bytes
    """The geometry."""
    transform: Transform
    """Transform of the full image."""
    nodata: int
    """Value of the samples outside."""

    def apply(self, values: NDArray[Any], selection: Selection) -> NDArray[Any]:
        """Set the samples outside to no data; return the array.

        Parameters
        ----------
        values : ndarray
            Samples of shape (bands, rows, columns).
        selection : Selection
            Their position in the image.
        """
        values[:, ~self.inside(selection)] = self.nodata
        return values

    def inside(self, selection: Selection) -> NDArray[np.bool_]:
        """Return which samples belong to the geometry, of shape (rows, columns)."""
        import shapely

        geometry = shapely.from_wkb(self.wkb)
        transform = level_transform(self.transform, *selection.first, selection.step)
        parts = shapely.get_parts(shapely.get_parts(geometry))
        flat = shapely.get_dimensions(parts) == 2  # polygons
        polygons, others = shapely.union_all(parts[flat]), shapely.union_all(parts[~flat])
        result = np.zeros((selection.area.height, selection.area.width), bool)
        for rows in _blocks(selection.area.height):
            for columns in _blocks(selection.area.width):
                if flat.any():
                    result[rows, columns] |= _centres_in(polygons, transform, rows, columns)
                if not flat.all():
                    result[rows, columns] |= _touched_by(others, transform, rows, columns)
        return result


def _blocks(size: int) -> list[slice]:
    return [slice(start, min(start + _BLOCK, size)) for start in range(0, size, _BLOCK)]


def _centres_in(polygons: Any, transform: Transform, rows: slice, columns: slice) -> Any:
    """Return which samples of a block are inside polygons."""
    import shapely

    block = shapely.Polygon(_corners(transform, rows, columns))
    shapely.prepare(polygons)
    if shapely.contains_properly(polygons, block):
        return True
    if shapely.disjoint(polygons, block):
        return False
    a, b, c, d, e, f = transform
    x, y = np.meshgrid(np.arange(columns.start, columns.stop) + 0.5, np.arange(rows.start, rows.stop) + 0.5)
    return shapely.contains_xy(polygons, a * x + b * y + c, d * x + e * y + f)


def _touched_by(shape: Any, transform: Transform, rows: slice, columns: slice) -> Any:
    """Return which samples of a block a shape touches."""
    import shapely

    shapely.prepare(shape)
    if shapely.disjoint(shape, shapely.Polygon(_corners(transform, rows, columns))):
        return False
    cells = [
        [_corners(transform, slice(y, y + 1), slice(x, x + 1)) for x in range(columns.start, columns.stop)]
        for y in range(rows.start, rows.stop)
    ]
    return shapely.intersects(shape, shapely.polygons(np.array(cells)))


def _extent(transform: Transform, shape: tuple[int, int]) -> Bounds:
    xs, ys = zip(*_corners(transform, slice(0, shape[0]), slice(0, shape[1])), strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _corners(transform: Transform, rows: slice, columns: slice) -> list[tuple[float, float]]:
    a, b, c, d, e, f = transform
    around = [
        (rows.start, columns.start),
        (rows.start, columns.stop),
        (rows.stop, columns.stop),
        (rows.stop, columns.start),
    ]
    return [(a * x + b * y + c, d * x + e * y + f) for y, x in around]
