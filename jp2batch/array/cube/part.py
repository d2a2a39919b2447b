"""Cut a cube to a map area: its samples, chunks and mask."""

from dataclasses import dataclass
from typing import Any

import xarray as xr

from jp2batch.array.chunk_lengths import edges_within, grouped, is_single, part_chunks
from jp2batch.array.chunks import with_chunks
from jp2batch.array.cube.grid import SampleGrid
from jp2batch.array.cube.layout import CubeLayout
from jp2batch.array.dataarray import spatial_ref
from jp2batch.core.map_area import MapArea
from jp2batch.core.window import Window
from jp2batch.image.map_area import GeometryMask, projected
from jp2batch.image.near import outside
from jp2batch.image.open import naming
from jp2batch.jpeg2000.geometry.grid import Rect, Selection


@dataclass(frozen=True, slots=True)
class CubePart:
    """The positions of a cube in an area."""

    rect: Rect
    """Rows and columns of the grid."""
    mask: GeometryMask | None = None
    """Geometry outside which values become no data."""


def part_of(layout: CubeLayout, area: MapArea | None) -> CubePart:
    """Return the positions of the grid in an area.

    The area is projected once.

    Raises
    ------
    OutsideImage
        The area does not meet the images.
    """
    import shapely

    grid = layout.grid
    if area is None or not area.has_extent:
        return CubePart(Rect(0, 0, *grid.shape))
    with naming(grid.path):
        shape: Any = projected(area, grid.place, grid.pixels)
        Window.from_bounds(shape.bounds, grid.place.transform, grid.pixels)  # raises if it lies elsewhere
        rows, columns = Window.from_bounds(shape.bounds, grid.transform, grid.shape, nearest=True)
        rect = Rect(rows.start, columns.start, rows.stop, columns.stop)
        if not any(one.meets(rect) for _, one in layout.members):
            raise outside()
    if area.geometry is None or not area.mask:
        return CubePart(rect)
    return CubePart(rect, GeometryMask(shapely.to_wkb(shape), grid.transform, layout.fill))


def cut(array: xr.DataArray, layout: CubeLayout, rect: Rect) -> xr.DataArray:
    """Return a part of a cube, with preferred chunks.

    The chunks of a part fit it; if all bands need the same mask of classes, a chunk has all of them.
    """
    whole = Rect(0, 0, *layout.grid.shape)
    if rect != whole:
        array = array.isel(y=slice(rect.y0, rect.y1), x=slice(rect.x0, rect.x1))
        array = array.assign_coords(spatial_ref(layout.grid.place, selection_of(layout.grid, rect)))
    spans = {"y": (rect.y0, rect.y1), "x": (rect.x0, rect.x1)}
    edges = {dim: edges_within(layout.edges[dim], *span) for dim, span in spans.items()}
    area, shortest = layout.options.area, dict[str, int]()
    if area is None or not area.has_extent:
        chunks = {"time": 1, "band": 1} | {dim: grouped(bounds) for dim, bounds in edges.items()}
    else:
        if layout.options.classes is not None and is_single(array.shape[2:]):
            shortest["band"] = len(layout.bands)
        chunks = part_chunks(array.variable, shortest, edges)
    return with_chunks(array, chunks, edges, shortest)


def selection_of(grid: SampleGrid, rect: Rect) -> Selection:
    """Return a part of a grid as samples of a single image."""
    whole = grid.selection
    y0, x0 = whole.area.y0 + rect.y0, whole.area.x0 + rect.x0
    first = whole.first[0] + rect.y0 * whole.step, whole.first[1] + rect.x0 * whole.step
    return Selection(whole.rlevel, Rect(y0, x0, y0 + rect.height, x0 + rect.width), (), first)
