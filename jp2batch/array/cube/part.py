"""Cut a cube to a map area: its samples, chunks and mask."""

from dataclasses import replace

import xarray as xr

from jp2batch.array.cube.layout import CubeLayout
from jp2batch.array.dataarray import spatial_ref, tile_chunks
from jp2batch.core.map_area import MapArea
from jp2batch.image.georeference import level_transform
from jp2batch.image.map_area import GeometryMask, geometry_in, select_on_map
from jp2batch.image.open import naming
from jp2batch.jpeg2000.geometry.grid import Rect, Selection, select_area

_LARGEST = 4096  # rows or columns of a single chunk; larger parts have groups of tiles


def part_of(layout: CubeLayout, area: MapArea | None) -> Selection:
    """Return the samples of the grid in an area.

    Raises
    ------
    OutsideImage
        The area does not meet the images.
    """
    base = layout.base
    if area is None or not area.has_extent:
        return base.selection
    with naming(base.head.path):
        return select_on_map(base.head.header, base.place, replace(area, resolution=None), base.selection.rlevel)


def cut(array: xr.DataArray, layout: CubeLayout, part: Selection) -> xr.DataArray:
    """Return a part of a cube, with preferred chunks.

    A part has one chunk per time and band, unless it is large.
    """
    whole, own = layout.base.selection.area, part.area
    y, x = own.y0 - whole.y0, own.x0 - whole.x0
    if own != whole:
        array = array.isel(y=slice(y, y + own.height), x=slice(x, x + own.width))
        array = array.assign_coords(spatial_ref(layout.base.place, part))
    chunks: dict[str, tuple[int, ...]] = {"y": (own.height,), "x": (own.width,)}
    if own == whole or max(own.height, own.width) > _LARGEST:
        header, finest = layout.finest.head.header, layout.finest.selection
        y0, x0 = finest.area.y0 + y, finest.area.x0 + x
        rect = Rect(y0, x0, y0 + own.height, x0 + own.width)
        chunks = tile_chunks(header.siz, select_area(header, finest.rlevel, rect))
    array.encoding["preferred_chunks"] = {"time": 1, "band": 1} | chunks
    return array


def cube_mask(layout: CubeLayout, area: MapArea | None) -> GeometryMask | None:
    """Return the mask of a cube, by row and column numbers."""
    if area is None or area.geometry is None or not area.mask:
        return None
    base = layout.base
    transform = level_transform(base.place.transform, *base.selection.first, base.selection.step)
    return GeometryMask(geometry_in(area, base.place, base.head.header), transform, layout.fill)
