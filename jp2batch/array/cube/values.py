"""Lazy values of the images of a layout."""

from collections.abc import Sequence

import numpy as np

from jp2batch.array.cube.grid import PlacedImage
from jp2batch.array.cube.inputs import CubeImage
from jp2batch.array.cube.layout import CubeLayout, Member
from jp2batch.array.cube.lazy import Cell, CubeArray, Layer
from jp2batch.array.cube.metadata import CubeOptions
from jp2batch.array.lazy import ImageArray
from jp2batch.image.map_area import GeometryMask


def cube_values(layout: CubeLayout, mask: GeometryMask | None) -> CubeArray:
    """Return the lazy values of a cube.

    Parameters
    ----------
    layout : CubeLayout
        Axes, grid and images.
    mask : GeometryMask, optional
        Geometry outside which values become no data.
    """
    made: dict[object, Cell] = {}

    def cell(members: Sequence[Member]) -> Cell:
        """Return the same cell for the same images."""
        key = tuple((image.url, one.selection.rlevel, one.rows, one.columns, one.shift) for image, one in members)
        if key not in made:
            made[key] = _cell(members, layout.options)
        return made[key]

    cells = tuple(
        tuple(cell(found) if (found := layout.by_cell.get((time, band))) else None for band in layout.bands)
        for time in layout.times
    )
    classes = tuple(cell(layout.classes[time]) for time in layout.times) if layout.options.classes else ()
    dtype = np.result_type(*(one.dtype for row in cells for one in row if one is not None))
    fill = np.nan if dtype.kind == "f" else layout.fill
    masked = layout.options.classes.values if layout.options.classes else ()
    return CubeArray(cells, layout.shape, dtype, fill, mask, classes, masked)


def _cell(members: Sequence[Member], options: CubeOptions) -> Cell:
    image = members[0][0]
    scaled = options.scaled and image.scaling is not None
    layers = tuple(_layer(*member, options) for member in members)
    return Cell(layers, np.nan if scaled else image.nodata or 0)


def _layer(image: CubeImage, one: PlacedImage, options: CubeOptions) -> Layer:
    scaling = image.scaling if options.scaled else None
    lazy = ImageArray(
        one.head.url,
        one.selection.rlevel,
        one.selection.area,
        one.shape,
        one.head.dtype if scaling is None else np.dtype(np.float32),
        options.storage_options,
        scaling,
        index=one.head.index,
        likeness=one.head.likeness,
    )
    method = "nearest" if image.band in image.mission.classes else options.resampling
    return Layer(lazy, one.rows, one.columns, one.shift, method, image.nodata)
