"""Layout of a cube: its axes, grid and images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from jp2batch.array.cube.alignment import AlignedImage, place_all, reference
from jp2batch.array.cube.inputs import CubeImage
from jp2batch.array.cube.metadata import CubeOptions, attributes, coordinates, facts, fill_value, unapplied
from jp2batch.array.dataarray import tile_chunks
from jp2batch.core.errors import CubeMismatch
from jp2batch.image.header import Head

_SHOWN = 5  # missing cells in a message


@dataclass(frozen=True, slots=True)
class CubeLayout:
    """Axes, grid and images of a cube."""

    members: Sequence[tuple[CubeImage, Head]]
    """Images with their headers."""
    by_cell: Mapping[tuple[np.datetime64, str], tuple[CubeImage, AlignedImage]]
    """Image of each time and band."""
    times: Sequence[np.datetime64]
    bands: Sequence[str]
    base: AlignedImage
    """Image of the largest pixels, whose coordinates the cube has."""
    finest: AlignedImage
    """Image of the smallest pixels, whose tiles are the chunks."""
    unread: Sequence[CubeImage]
    """Images without readable header."""
    absent: Sequence[tuple[np.datetime64, str]]
    """Times and bands without an image."""
    fill: int
    """Value of cells without an image."""
    options: CubeOptions

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Numbers of times, bands, rows and columns."""
        return (len(self.times), len(self.bands), *self.base.shape)

    def _coordinates(self) -> dict[str, object]:
        found = coordinates(self.times, self.bands, self.by_cell, self.base, self.options)
        images = [*(image for image, _ in self.by_cell.values()), *self.unread]
        numbers = {} if self.options.scaled else unapplied(self.times, self.bands, images)
        return numbers | found | facts(self.times, self.bands, images)

    @property
    def chunks(self) -> dict[str, tuple[int, ...]]:
        """Chunks of whole tiles for y and x."""
        return tile_chunks(self.finest.head.header.siz, self.finest.selection)

    def array(self, values: Any) -> xr.DataArray:
        """Return a DataArray of values, with coordinates and attributes."""
        array = xr.DataArray(
            values,
            coords=self._coordinates(),
            dims=("time", "band", "y", "x"),
            name="cube",
            attrs=attributes(self.members, self.absent, self.options),
        )
        array.encoding["grid_mapping"] = "spatial_ref"
        return array


def cube_layout(
    members: Sequence[tuple[CubeImage, Head]], options: CubeOptions, unread: Sequence[CubeImage] = ()
) -> CubeLayout:
    """Return the layout of a cube, with cells also for `unread` images.

    Raises
    ------
    CubeMismatch
        The images do not fit into a single cube, or do not fill it.
    """
    _check_members(members)
    placed = place_all([head for _, head in members], options.rlevel, options.area)
    by_cell = {(image.time, image.band): (image, one) for (image, _), one in zip(members, placed, strict=True)}
    cells = [*by_cell, *((image.time, image.band) for image in unread)]
    times = sorted({time for time, _ in cells})
    bands = list(options.bands or sorted_bands([image for image, _ in members] + list(unread)))
    absent = [(time, band) for time in times for band in bands if (time, band) not in cells]
    fill = fill_value(members)
    _check_absent(absent, by_cell, fill, options)
    finest = min(placed, key=lambda one: one.pixel)
    return CubeLayout(members, by_cell, times, bands, reference(placed), finest, unread, absent, fill, options)


def _check_members(members: Sequence[tuple[CubeImage, Head]]) -> None:
    seen: dict[tuple[np.datetime64, str], Head] = {}
    for image, head in members:
        if head.channels != 1:
            raise CubeMismatch(head.path, f"has {head.channels} bands", "leave it out of the cube; open it alone")
        other = seen.setdefault((image.time, image.band), head)
        if other is not head:
            problem = f"is another image of {image.band} at {image.time.astype('datetime64[s]')} than {other.path}"
            raise CubeMismatch(head.path, problem, "give only one of them: of a single pixel size and processing")
    levels = {image.name.level for image, _ in members if image.band in image.mission.bands} - {None}
    if len(levels) > 1:
        shown = " and ".join(sorted(level.removeprefix("L") for level in levels if level))
        raise CubeMismatch("", f"images of levels {shown} have different quantities", "open a cube of each level")


def _check_absent(
    absent: Sequence[tuple[np.datetime64, str]],
    by_cell: Mapping[tuple[np.datetime64, str], tuple[CubeImage, AlignedImage]],
    number: int,
    options: CubeOptions,
) -> None:
    """Refuse cells without an image, unless `number` is their no-data value."""
    if not absent:
        return
    named = ", ".join(f"{band} at {time.astype('datetime64[s]')}" for time, band in absent[:_SHOWN])
    more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
    if options.missing == "raise":
        raise CubeMismatch("", f"missing images: {named}{more}", 'add them, or give missing="fill"')
    lacking = {band for _, band in absent}
    if nowhere := sorted(lacking - {band for _, band in by_cell}):
        tile = next(iter(by_cell.values()))[0].name.tile
        raise CubeMismatch("", f"tile {tile} has no image of {', '.join(nowhere)}", "leave it out")
    for image, _ in by_cell.values():
        if image.band in lacking and image.nodata != number:
            problem = f"missing images: {named}{more}, and the no-data value of {image.band} is not {number}"
            raise CubeMismatch("", problem, "add them, or leave the band out")


def sorted_bands(images: Sequence[CubeImage]) -> list[str]:
    """Return the bands of images, in the order of their mission."""
    return sorted({image.band for image in images}, key=partial(_rank, images[0].mission.bands))


def _rank(order: Sequence[str], band: str) -> tuple[int, str]:
    """Order spectral bands as their mission does, and all others after them."""
    return (order.index(band) if band in order else len(order), band)
