"""Layout of a cube: its axes, grid and images."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from jp2batch.array.chunk_lengths import grouped
from jp2batch.array.cube.alignment import aligned, place_all
from jp2batch.array.cube.grid import PlacedImage, SampleGrid, join, native_grid, place_native, shared_edges
from jp2batch.array.cube.inputs import CubeImage
from jp2batch.array.cube.metadata import CubeOptions, Place, attributes, coordinates, facts, fill_value, unapplied
from jp2batch.array.cube.times import grouped_times
from jp2batch.core.errors import CubeMismatch
from jp2batch.image.header import Head
from jp2batch.jpeg2000.geometry.grid import Rect

_SHOWN = 5  # missing cells in a message
_LONGEST = 5120  # rows or columns of a chunk, so that no tile of 10 and 20 m is cut

Member = tuple[CubeImage, PlacedImage]
"""An image on the grid."""


@dataclass(frozen=True, slots=True)
class CubeLayout:
    """Axes, grid and images of a cube."""

    members: Sequence[Member]
    """Images on the grid."""
    by_cell: Mapping[Place, Sequence[Member]]
    """Images of each time and band; the first with data is taken."""
    classes: Mapping[np.datetime64, Sequence[Member]]
    """Images of classes at each time, if these are masked."""
    times: Sequence[np.datetime64]
    bands: Sequence[str]
    grid: SampleGrid
    """Positions of all images."""
    unread: Sequence[CubeImage]
    """Images without readable header."""
    absent: Sequence[Place]
    """Times and bands without an image of a tile."""
    fill: int
    """Value of cells without an image."""
    options: CubeOptions

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Numbers of times, bands, rows and columns."""
        return (len(self.times), len(self.bands), *self.grid.shape)

    @property
    def edges(self) -> dict[str, list[int]]:
        """Positions of the edges of tiles, for y and x."""
        images = [image for members in self.by_cell.values() for _, image in members]
        alike = {(one.head.header.siz, one.selection, one.rows, one.columns): one for one in images}
        found = [image.tile_edges for image in alike.values()]
        return {
            dim: shared_edges([edges[axis] for edges in found], self.grid.shape[axis], _LONGEST)
            for axis, dim in enumerate("yx")
        }

    @property
    def chunks(self) -> dict[str, tuple[int, ...]]:
        """Chunks of whole tiles for y and x."""
        return {dim: grouped(edges) for dim, edges in self.edges.items()}

    def array(self, values: Any) -> xr.DataArray:
        """Return a DataArray of values, with coordinates and attributes."""
        images = {place: [image for image, _ in members] for place, members in self.by_cell.items()}
        images |= {(image.time, image.band): [image] for image in self.unread}
        numbers = {} if self.options.scaled else unapplied(self.times, self.bands, images)
        found = coordinates(self.times, self.bands, self.members, images, grid=self.grid, scaled=self.options.scaled)
        array = xr.DataArray(
            values,
            coords=numbers | found | facts(self.times, self.bands, images),
            dims=("time", "band", "y", "x"),
            name="cube",
            attrs=attributes([image for image, _ in self.members], self.absent, self.options),
        )
        array.encoding["grid_mapping"] = "spatial_ref"
        return array

    def near(self, part: Rect) -> "CubeLayout":
        """Return a layout without the images and times beside a part."""
        by_cell = {
            place: met
            for place, members in self.by_cell.items()
            if (met := [member for member in members if member[1].meets(part)])
        }
        there = {time for time, _ in by_cell}
        times = [time for time in self.times if time in there]
        absent = [place for place in self.absent if place[0] in times]
        return replace(self, by_cell=by_cell, times=times, absent=absent)


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
    inside = [pair for pair in members if options.has_band(pair[0].band)]
    aside = [pair for pair in members if options.is_aside(pair[0].band)]
    placed, masking, grid = _placed(inside, aside, options)
    times = grouped_times([image for image, _ in placed + masking], grid, options.groupby)
    by_cell: dict[Place, list[Member]] = defaultdict(list)
    for member in sorted(placed, key=_order):
        by_cell[times[id(member[0])], member[0].band].append(member)
    cells = {*by_cell, *((image.time, image.band) for image in unread)}
    found = sorted({time for time, _ in cells})
    bands = list(options.bands or sorted_bands([image for image, _ in inside] + list(unread)))
    absent = _absent(placed, times, bands) if not unread else []
    absent += [(time, band) for time in found for band in bands if (time, band) not in cells]
    absent = sorted(set(absent), key=lambda place: (place[0], bands.index(place[1])))
    fill = fill_value([image for image, _ in placed])
    _check_absent(absent, [image for image, _ in placed], fill, options)
    _check_cells(by_cell, grid, options)
    classes = _classes(placed, masking, times, found, options)
    return CubeLayout(placed, by_cell, classes, found, bands, grid, unread, absent, fill, options)


def _placed(
    members: Sequence[tuple[CubeImage, Head]], aside: Sequence[tuple[CubeImage, Head]], options: CubeOptions
) -> tuple[list[Member], list[Member], SampleGrid]:
    """Place images, also of the mask, on a grid."""
    placed: list[PlacedImage] = []
    grids: list[SampleGrid] = []
    if options.native is not None:
        placed = [_native(image, head, options.native) for image, head in members]
        grids = [native_grid(one) for one in placed]
    else:
        tiles: dict[str, list[tuple[CubeImage, Head]]] = defaultdict(list)
        for image, head in members:
            tiles[image.name.tile or ""].append((image, head))
        members = [pair for tile in sorted(tiles) for pair in tiles[tile]]
        for tile in sorted(tiles):
            heads = [head for _, head in tiles[tile]]
            found, grid = aligned(place_all(heads, options.rlevel, options.area), options.align)
            placed, grids = placed + found, grids + [grid] * len(found)
    spacing = abs(placed[0].lattice.spacing[0])
    _check_classes(members, placed)
    others = [_native(image, head, spacing) for image, head in aside]
    images = [image for image, _ in (*members, *aside)]
    moved, grid = join(placed, grids, others)
    both = list(zip(images, moved, strict=True))
    return both[: len(placed)], both[len(placed) :], grid


def _native(image: CubeImage, head: Head, spacing: float) -> PlacedImage:
    return place_native(head, spacing, classes=image.band in image.mission.classes)


def _order(member: Member) -> tuple[object, ...]:
    """Order images by time and tile, latest processing first."""
    name, made = member[0].name, member[0].name.processing_time
    return member[0].time, name.tile or "", -made.timestamp() if made else 0.0


def _check_classes(members: Sequence[tuple[CubeImage, Head]], placed: Sequence[PlacedImage]) -> None:
    for (image, head), one in zip(members, placed, strict=True):
        if any(one.shift) and image.band in image.mission.classes:
            raise CubeMismatch(head.path, "classes cannot be interpolated", 'give align="snap"')


def _check_members(members: Sequence[tuple[CubeImage, Head]]) -> None:
    for _, head in members:
        if head.channels != 1:
            raise CubeMismatch(head.path, f"has {head.channels} bands", "leave it out of the cube; open it alone")
    check_levels([image for image, _ in members])


def check_levels(images: Sequence[CubeImage]) -> None:
    """Refuse images of several processing levels.

    Raises
    ------
    CubeMismatch
        Levels have different quantities.
    """
    levels = {image.name.level for image in images if image.band in image.mission.bands} - {None}
    if len(levels) > 1:
        shown = " and ".join(sorted(level.removeprefix("L") for level in levels if level))
        raise CubeMismatch("", f"images of levels {shown} have different quantities", "open a cube of each level")


def _absent(
    placed: Sequence[Member], times: Mapping[int, np.datetime64], bands: Sequence[str]
) -> list[tuple[np.datetime64, str]]:
    """Return times and bands without an image of some tile."""
    there: dict[tuple[np.datetime64, str], set[str]] = defaultdict(set)
    for image, _ in placed:
        there[times[id(image)], f"{image.time} {image.name.tile}"].add(image.band)
    return [(time, band) for (time, _), found in there.items() for band in bands if band not in found]


def _check_absent(absent: Sequence[Place], images: Sequence[CubeImage], number: int, options: CubeOptions) -> None:
    """Refuse cells without an image, unless `number` is their no-data value."""
    if not absent:
        return
    named = ", ".join(f"{band} at {time.astype('datetime64[s]')}" for time, band in absent[:_SHOWN])
    more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
    if options.missing == "raise":
        raise CubeMismatch("", f"missing images: {named}{more}", 'add them, or give missing="fill"')
    lacking = {band for _, band in absent}
    if nowhere := sorted(lacking - {image.band for image in images}):
        raise CubeMismatch("", f"tile {images[0].name.tile} has no image of {', '.join(nowhere)}", "leave it out")
    for image in images:
        if image.band in lacking and image.nodata != number:
            problem = f"missing images: {named}{more}, and the no-data value of {image.band} is not {number}"
            raise CubeMismatch("", problem, "add them, or leave the band out")


def _check_cells(by_cell: Mapping[Place, Sequence[Member]], grid: SampleGrid, options: CubeOptions) -> None:
    """Refuse cells of several images whose numbers cannot be put together."""
    whole = Rect(0, 0, *grid.shape)
    for members in by_cell.values():
        image, one = members[0]
        if image.nodata is None and (len(members) > 1 or one.covered != whole):
            problem = f"{image.band} has no value for no data, hence cannot be put together of several images"
            raise CubeMismatch(one.head.path, problem, "leave the band out, or open a cube of each tile and time")
        for other, two in members[1:]:
            if not options.scaled and None not in (image.scaling, other.scaling) and image.scaling != other.scaling:
                problem = f"has another offset than {one.head.path}, at the same time of the cube"
                raise CubeMismatch(two.head.path, problem, "compare reflectance (scaled=True) instead")


def _classes(
    placed: Sequence[Member],
    masking: Sequence[Member],
    times: Mapping[int, np.datetime64],
    instants: Sequence[np.datetime64],
    options: CubeOptions,
) -> dict[np.datetime64, list[Member]]:
    """Return the images of masked classes at each time.

    Raises
    ------
    CubeMismatch
        A tile has none at a time.
    """
    if options.classes is None:
        return {}
    band = options.classes.band
    found: dict[np.datetime64, list[Member]] = {time: [] for time in instants}
    for image, one in sorted(masking or placed, key=_order):
        if image.band == band and times[id(image)] in found:
            found[times[id(image)]].append((image, one))
    there = {(image.time, image.name.tile) for members in found.values() for image, _ in members}
    for image, one in placed:
        if (image.time, image.name.tile) not in there:
            problem = f"its tile has no {band} at {image.time.astype('datetime64[s]')}, which mask= needs"
            raise CubeMismatch(one.head.path, problem, "add it (only level 2A has it), or give mask=True")
    return found


def sorted_bands(images: Sequence[CubeImage]) -> list[str]:
    """Return the bands of images, in the order of their mission."""
    return sorted({image.band for image in images}, key=partial(_rank, images[0].mission.bands))


def _rank(order: Sequence[str], band: str) -> tuple[int, str]:
    """Order spectral bands as their mission does, and all others after them."""
    return (order.index(band) if band in order else len(order), band)
