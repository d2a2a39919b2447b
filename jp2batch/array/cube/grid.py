"""Grid of a cube, and positions of images on it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from jp2batch.core.errors import CubeMismatch
from jp2batch.image.georeference import Georeference, Transform, level_transform
from jp2batch.image.header import Head
from jp2batch.jpeg2000.geometry.grid import Rect, Selection, select, tile_bounds

TileEdges = tuple[int, ...]
"""Positions of the edges of tiles along an axis."""

_EXACT = 1e-6  # of a sample; coordinates of metres have more digits


@dataclass(frozen=True, slots=True)
class AxisSpan:
    """Positions of an image along an axis, and its samples."""

    start: int
    """First position."""
    stop: int
    """End of the positions."""
    repeat: int = 1
    """Positions of each sample."""
    step: int = 1
    """Samples from a position to the next."""
    lead: int = 0
    """Number of the first sample."""

    def samples(self, start: int, stop: int) -> NDArray[np.intp]:
        """Return the number of the sample at each position."""
        return (np.arange(start, stop) - self.start) // self.repeat * self.step + self.lead

    def position(self, sample: int) -> int:
        """Return the first position at or after the start of a sample."""
        return self.start + -(-(sample - self.lead) // self.step) * self.repeat

    def moved(self, positions: int) -> "AxisSpan":
        """Return the span at other positions."""
        return replace(self, start=self.start + positions, stop=self.stop + positions)


@dataclass(frozen=True, slots=True)
class Lattice:
    """Endless grid of positions."""

    crs_wkt: str | None
    corner: tuple[float, float]
    """Coordinates y and x of a corner of the first position."""
    spacing: tuple[float, float]
    """Distance from position to position in y and x; with sign."""


@dataclass(frozen=True, slots=True)
class PlacedImage:
    """An image on the grid of a cube."""

    head: Head
    """The image."""
    selection: Selection
    """All its samples at a resolution level."""
    lattice: Lattice
    """The grid, beginning at the image."""
    rows: AxisSpan
    columns: AxisSpan
    offset: tuple[float, float] = (0.0, 0.0)
    """Distance in y and x from positions to samples."""
    shift: tuple[float, float] = (0.0, 0.0)
    """Rows and columns from samples to interpolated values, 0 to below 1."""

    def meets(self, part: Rect) -> bool:
        """Return whether it covers a position of a rectangle."""
        return not part.intersection(self.covered).empty

    @property
    def covered(self) -> Rect:
        """Rows and columns of its positions."""
        return Rect(self.rows.start, self.columns.start, self.rows.stop, self.columns.stop)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of samples."""
        return self.selection.area.height, self.selection.area.width

    @property
    def tile_edges(self) -> tuple[TileEdges, TileEdges]:
        """Positions of the edges of tiles, along y and x."""
        found = tile_bounds(self.head.header.siz, self.selection)
        ys, xs = (
            tuple(sorted({min(max(span.position(edge), span.start), span.stop) for edge in edges}))
            for span, edges in zip((self.rows, self.columns), found, strict=True)
        )
        return ys, xs


@dataclass(frozen=True, slots=True)
class SampleGrid:
    """Positions of a cube: rows and columns."""

    path: str
    """An image, for messages."""
    place: Georeference
    """Georeference of the pixels whose samples are at the positions."""
    selection: Selection
    """Samples at the positions, as of a single image."""
    pixels: tuple[int, int]
    """Rows and columns of pixels."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.selection.area.height, self.selection.area.width

    @property
    def transform(self) -> Transform:
        """Transform of the positions to coordinates."""
        return level_transform(self.place.transform, *self.selection.first, self.selection.step)


def place_native(head: Head, spacing: float, *, classes: bool) -> PlacedImage:
    """Place an image on a grid from its own corner.

    Larger pixels are repeated. Of smaller ones, resolution levels are dropped, and every second, third, … sample is
    taken if no level fits. Levels would mix classes, hence these are taken from the full image.

    Raises
    ------
    CubeMismatch
        The size of the pixels is no fraction or multiple of the spacing.
    """
    place = place_in(head)
    transform = place.transform
    pixel = abs(transform[0])
    repeat, times = _whole(pixel / spacing), _whole(spacing / pixel)
    if abs(transform[4]) != pixel or not (repeat or times):
        problem = f"has pixels of {pixel:g}, which do not fit into a grid of {spacing:g}"
        raise CubeMismatch(head.path, problem, "leave it out, or give another resolution")
    twos = 0 if classes or not times else min(head.header.levels, (times & -times).bit_length() - 1)
    selection = select(head.header, twos)
    step = max(1, times >> twos)
    lead = (step - 1) // 2
    area = selection.area
    rows, columns = (
        AxisSpan(0, max(0, (size - 1 - lead) // step + 1) * max(1, repeat), max(1, repeat), step, lead)
        for size in (area.height, area.width)
    )
    if not (rows.stop and columns.stop):
        raise CubeMismatch(head.path, f"is smaller than a position of {spacing:g}", "leave it out of the cube")
    a, _, c, _, e, f = transform
    first = selection.first
    ds = (math.copysign(spacing, e), math.copysign(spacing, a))
    corner = f + e * first[0], c + a * first[1]
    beside = 0.5 + (lead << twos)  # pixels from the corner to the first sample
    offset = (e * beside - ds[0] / 2, a * beside - ds[1] / 2) if times else (0.0, 0.0)
    return PlacedImage(head, selection, Lattice(place.crs_wkt, corner, ds), rows, columns, offset)


def native_grid(image: PlacedImage) -> SampleGrid:
    """Return the native grid of an image."""
    (y, x), (dy, dx) = image.lattice.corner, image.lattice.spacing
    place = replace(place_in(image.head), transform=(dx, 0.0, x, 0.0, dy, y))
    shape = image.rows.stop, image.columns.stop
    return SampleGrid(image.head.path, place, Selection(0, Rect(0, 0, *shape), (), (0, 0)), shape)


def join(
    placed: Sequence[PlacedImage], grids: Sequence[SampleGrid], others: Sequence[PlacedImage] = ()
) -> tuple[list[PlacedImage], SampleGrid]:
    """Move images to a common grid; return them, and the grid.

    Parameters
    ----------
    placed : sequence of PlacedImage
        The images.
    grids : sequence of SampleGrid
        Grid of each image alone.
    others : sequence of PlacedImage
        Further images, which do not extend the grid; they are returned after the first.

    Raises
    ------
    CubeMismatch
        The grids do not join exactly.
    """
    base, grid = placed[0], grids[0]
    moves = [_move(base, image) for image in (*placed, *others)]
    top = min(dy for dy, _ in moves[: len(placed)])
    left = min(dx for _, dx in moves[: len(placed)])
    moves = [(dy - top, dx - left) for dy, dx in moves]
    moved = [
        replace(image, rows=image.rows.moved(dy), columns=image.columns.moved(dx))
        for image, (dy, dx) in zip((*placed, *others), moves, strict=True)
    ]
    step = grid.selection.step
    sizes = [
        (dy + own.shape[0], dx + own.shape[1], dy * step + own.pixels[0], dx * step + own.pixels[1])
        for (dy, dx), own in zip(moves, grids, strict=False)
    ]
    rows, columns, height, width = (max(values) for values in zip(*sizes, strict=True))
    return moved, _extended(grid, (top, left), (rows, columns), (height, width))


def _extended(grid: SampleGrid, corner: tuple[int, int], shape: tuple[int, int], pixels: tuple[int, int]) -> SampleGrid:
    """Return a grid with another corner and shape."""
    a, b, c, d, e, f = grid.place.transform
    y0, x0, step = grid.selection.area.y0, grid.selection.area.x0, grid.selection.step
    place = replace(grid.place, transform=(a, b, c + a * step * corner[1], d, e, f + e * step * corner[0]))
    area = Rect(y0, x0, y0 + shape[0], x0 + shape[1])
    return replace(grid, place=place, selection=replace(grid.selection, area=area), pixels=pixels)


def _move(base: PlacedImage, image: PlacedImage) -> tuple[int, int]:
    """Return the position of an image's corner on the grid of another.

    Raises
    ------
    CubeMismatch
        It lies between positions, or on another map.
    """
    one, other = base.lattice, image.lattice
    if one.crs_wkt != other.crs_wkt:
        problem = f"is in another reference system than {base.head.path}"
        hint = 'zones are joined by odc-stac: odc.stac.load(items, crs="EPSG:…", resolution=…); or by_tile=True'
        raise CubeMismatch(image.head.path, problem, hint)
    if one.spacing != other.spacing:
        problem = f"has samples {abs(other.spacing[0]):g} apart, and {base.head.path} {abs(one.spacing[0]):g}"
        raise CubeMismatch(image.head.path, problem, "give resolution=10, 20 or 60, or by_tile=True")
    moves = [(b - a) / step for a, b, step in zip(one.corner, other.corner, one.spacing, strict=True)]
    whole = [round(move) for move in moves]
    off = [abs(move - near) * abs(one.spacing[0]) for move, near in zip(moves, whole, strict=True)]
    if max(off) > _EXACT * abs(one.spacing[0]):
        problem = f"is {off[1]:g} in x and {off[0]:g} in y beside the grid of {base.head.path}"
        hint = "give resolution=10, 20 or 60; or by_tile=True; or resample with odc.stac.load(items, …)"
        raise CubeMismatch(image.head.path, problem, hint)
    return whole[0], whole[1]


def place_in(head: Head) -> Georeference:
    """Return the georeference of an image, unless it is rotated.

    Raises
    ------
    CubeMismatch
        It has none, or a rotated one.
    """
    if head.place is None or head.place.transform[1] != 0 or head.place.transform[3] != 0:
        raise CubeMismatch(head.path, "has no georeference, or a rotated one", "leave it out of the cube")
    return head.place


def _whole(ratio: float) -> int:
    """Return a ratio as a whole number; 0 if it is none."""
    near = round(ratio)
    return near if near and math.isclose(ratio, near, rel_tol=1e-9) else 0


def shared_edges(axes: Sequence[TileEdges], length: int, longest: int) -> list[int]:
    """Return positions between the tiles of all images.

    If they are farther apart than `longest`, the largest tiles are cut.

    Parameters
    ----------
    axes : sequence of tuple of int
        Edges of the tiles of each image, including those of the image.
    length : int
        Positions of the axis.
    longest : int
        Largest distance of edges.
    """
    positions = sorted({0, length, *(edge for edges in axes for edge in edges if 0 < edge < length)})
    for edges in sorted({*axes}, key=len, reverse=True):
        fewer = list(_uncut(positions, edges))
        if max(stop - start for start, stop in pairwise(fewer)) <= longest or len(fewer) == len(positions):
            positions = fewer
    return positions


def _uncut(positions: Sequence[int], edges: TileEdges) -> Iterator[int]:
    own = set(edges)
    return (at for at in positions if at <= edges[0] or at >= edges[-1] or at in own)
