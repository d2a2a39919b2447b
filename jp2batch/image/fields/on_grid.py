"""Samples of fields on a grid, shared by its images."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jp2batch.core.errors import InvalidWindow, OutsideImage
from jp2batch.core.map_area import Bounds
from jp2batch.core.request import Request
from jp2batch.core.runtime import process_state
from jp2batch.image.fields.field_set import FieldSet
from jp2batch.image.fields.rasterize import FieldRuns, rasterize
from jp2batch.image.georeference import Transform, level_transform
from jp2batch.image.map_area import area_rlevel
from jp2batch.image.near import bounds_around
from jp2batch.image.open import OpenImage
from jp2batch.image.place import place_of
from jp2batch.jpeg2000.geometry.grid import Selection, select
from jp2batch.jpeg2000.geometry.runs import Numbers, Runs
from jp2batch.jpeg2000.geometry.sparse import select_runs

_DEGREE = 0.01  # longest segment of longitude and latitude: its curve departs by centimetres
_METRES = 1000.0  # the same of other systems
_GRIDS = 16  # whose samples are kept


@dataclass(frozen=True, slots=True)
class Grid:
    """Grid of samples of an image at a resolution level."""

    crs_wkt: str
    """Coordinate reference system."""
    transform: Transform
    """Transform of samples to coordinates."""
    shape: tuple[int, int]
    """Rows and columns."""

    @classmethod
    def of(cls, opened: OpenImage, request: Request) -> tuple["Grid", Selection]:
        """Return the grid of an open image, and its whole selection.

        Raises
        ------
        InvalidWindow, InvalidRlevel
            The image has no georeference, or no such level.
        """
        place, header = place_of(opened), opened.image.header
        if place is None or place.crs_wkt is None:
            raise InvalidWindow("", "the image has no georeference for fields", "give images with one")
        area, rlevel = request.area, request.rlevel
        whole = select(header, rlevel if area is None else area_rlevel(area, place, header.levels, rlevel))
        transform = level_transform(place.transform, *whole.first, whole.step)
        return cls(place.crs_wkt, transform, (whole.area.height, whole.area.width)), whole

    def bounds(self) -> Bounds:
        """Return the bounds of the image."""
        a, b, c, d, e, f = self.transform
        rows, columns = self.shape
        xs = [a * x + b * y + c for x in (0, columns) for y in (0, rows)]
        ys = [d * x + e * y + f for x in (0, columns) for y in (0, rows)]
        return min(xs), min(ys), max(xs), max(ys)

    def samples_at(self, xy: Any) -> Any:
        """Return columns and rows of coordinates, with fractions."""
        a, b, c, d, e, f = self.transform
        x, y = xy[:, 0] - c, xy[:, 1] - f
        if b == d == 0:
            return np.column_stack([x / a, y / e])
        scale = a * e - b * d
        return np.column_stack([(e * x - b * y) / scale, (a * y - d * x) / scale])

    def centres(self, y: Numbers, x: Numbers) -> tuple[Any, Any]:
        """Return coordinates of the centres of samples."""
        a, b, c, d, e, f = self.transform
        return a * (x + 0.5) + b * (y + 0.5) + c, d * (x + 0.5) + e * (y + 0.5) + f


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """Selects the samples of fields in images."""

    fields: FieldSet
    all_touched: bool = False
    """True for all samples overlapped by a polygon."""

    def select(self, opened: OpenImage, request: Request) -> Selection:
        """Return the samples of all fields in an image.

        Raises
        ------
        OutsideImage
            No field has a sample in it.
        InvalidWindow, InvalidRlevel
            The image has no georeference, or no such level.
        """
        grid, whole = Grid.of(opened, request)
        found, area = field_runs(self.fields, grid, self.all_touched), whole.area
        if not len(found.fields):
            raise OutsideImage("", "no field meets the image", "see the bounds of the image")
        runs = found.runs if len(found.runs) else Runs.of(*np.array([[0], [0], [1]]))  # a read has a sample at least
        there = Runs.of(runs.y + area.y0, runs.x0 + area.x0, runs.x1 + area.x0)
        return select_runs(opened.image.header, whole.rlevel, there)


@process_state(limit=_GRIDS)
def field_runs(fields: FieldSet, grid: Grid, all_touched: bool) -> FieldRuns:
    """Return the samples of fields on a grid.

    Raises
    ------
    InvalidWindow
        The reference system of the fields is unknown.
    """
    shapes, indices = projected_fields(fields, grid)
    return rasterize(shapes, indices, grid.shape, all_touched=all_touched)


def projected_fields(fields: FieldSet, grid: Grid) -> tuple[Any, Numbers]:
    """Return the fields near an image in its samples, and their indices.

    Edges are densified: a straight line of one map is a curve on another.
    """
    import shapely
    from pyproj import CRS, Transformer
    from pyproj.exceptions import ProjError

    try:
        own, target = CRS.from_user_input(fields.crs), CRS.from_wkt(grid.crs_wkt)
        there = Transformer.from_crs(own, target, always_xy=True)
        around = bounds_around(grid.bounds(), there)
    except ProjError:  # also of an unknown system
        raise InvalidWindow("", "the crs of the fields cannot be read", "give a code such as EPSG:4326") from None
    shapes, indices = _near(fields.shapes(), around, wraps=own.is_geographic)
    if own != target:
        shapes = shapely.segmentize(shapes, _DEGREE if own.is_geographic else _METRES)
    moved = shapely.transform(shapes, lambda xy: grid.samples_at(np.column_stack(there.transform(*xy.T))))
    is_finite = np.isfinite(shapely.bounds(moved)).all(axis=1)
    return moved[is_finite], indices[is_finite]


def _near(shapes: Any, around: Bounds, *, wraps: bool) -> tuple[Any, Numbers]:
    """Return the geometries, or parts of them, in a box.

    Parameters
    ----------
    wraps : bool
        True for longitudes, which may differ by 360 degrees.
    """
    import shapely

    box, bounds = shapely.box(*around), shapely.bounds(shapes)
    found, indices = [], []
    for shift in (0, 360, -360) if wraps else (0,):
        x0, x1 = around[0] - shift, around[2] - shift
        meets = (bounds[:, 0] <= x1) & (bounds[:, 2] >= x0) & (bounds[:, 1] <= around[3]) & (bounds[:, 3] >= around[1])
        within = (bounds[:, 0] >= x0) & (bounds[:, 2] <= x1) & (bounds[:, 1] >= around[1]) & (bounds[:, 3] <= around[3])
        there = shapely.transform(box, lambda xy, d=shift: xy - [d, 0])
        some = np.flatnonzero(meets & within)
        cut = np.flatnonzero(meets & ~within)  # what lies far away could not be projected
        found += [shapes[some], shapely.intersection(shapely.make_valid(shapes[cut]), there)]
        indices += [some, cut]
    return np.concatenate(found), np.concatenate(indices)
