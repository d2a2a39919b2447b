"""Reference-grid arithmetic: tiles, resolution levels, windows (T.800 annex B)."""

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from jp2batch.core.errors import CorruptImage, InvalidRlevel, InvalidWindow
from jp2batch.core.request import LOWEST
from jp2batch.core.window import Window
from jp2batch.jpeg2000.geometry.runs import Runs
from jp2batch.jpeg2000.syntax.headers import MainHeader
from jp2batch.jpeg2000.syntax.markers import Siz


def ceil_div(value: int, divisor: int) -> int:
    """Return ⌈value / divisor⌉."""
    return -(-value // divisor)


class Rect(NamedTuple):  # a read makes a hundred of them: a dataclass would cost three times as much
    """A half-open rectangle of samples."""

    y0: int
    x0: int
    y1: int
    x1: int

    @property
    def height(self) -> int:
        """Rows; never negative."""
        return max(0, self.y1 - self.y0)

    @property
    def width(self) -> int:
        """Columns; never negative."""
        return max(0, self.x1 - self.x0)

    @property
    def empty(self) -> bool:
        """Whether it holds no sample."""
        return not (self.height and self.width)

    def scaled(self, dy: int, dx: int) -> "Rect":
        """Return the samples at multiples of `dy` and `dx` inside.

        Each bound is divided and rounded up.
        """
        return Rect(ceil_div(self.y0, dy), ceil_div(self.x0, dx), ceil_div(self.y1, dy), ceil_div(self.x1, dx))

    def grown(self, border: int) -> "Rect":
        """Return the rectangle with a border on all sides."""
        return Rect(self.y0 - border, self.x0 - border, self.y1 + border, self.x1 + border)

    def intersection(self, other: "Rect") -> "Rect":
        """Return the intersection; it may be empty."""
        return Rect(max(self.y0, other.y0), max(self.x0, other.x0), min(self.y1, other.y1), min(self.x1, other.x1))


def image_area(siz: Siz) -> Rect:
    """Return the image area on the reference grid, (B-1)."""
    return Rect(siz.yosiz, siz.xosiz, siz.ysiz, siz.xsiz)


def tile_counts(siz: Siz) -> tuple[int, int]:
    """Return the rows and columns of tiles, (B-5)."""
    return ceil_div(siz.ysiz - siz.ytosiz, siz.ytsiz), ceil_div(siz.xsiz - siz.xtosiz, siz.xtsiz)


def tile_count(siz: Siz) -> int:
    """Return the number of tiles."""
    rows, columns = tile_counts(siz)
    return rows * columns


def check_grid(siz: Siz) -> None:
    """Refuse a grid without samples, or with too many tiles for Isot.

    Raises
    ------
    CorruptImage
        The grid has more than 65535 tiles, or the first component is empty.
    """
    if samples(siz, image_area(siz), 0).empty:
        raise CorruptImage("", "the SIZ marker segment claims an image without samples", "fetch the file again")
    if tile_count(siz) > 65535:
        rows, columns = tile_counts(siz)
        raise CorruptImage("", f"the SIZ marker segment claims {rows} x {columns} tiles", "fetch the file again")


def tile_area(siz: Siz, tile: int) -> Rect:
    """Return a tile's area on the reference grid, (B-6) to (B-10)."""
    row, column = divmod(tile, tile_counts(siz)[1])
    y, x = siz.ytosiz + row * siz.ytsiz, siz.xtosiz + column * siz.xtsiz
    return Rect(max(y, siz.yosiz), max(x, siz.xosiz), min(y + siz.ytsiz, siz.ysiz), min(x + siz.xtsiz, siz.xsiz))


def samples(siz: Siz, area: Rect, rlevel: int) -> Rect:
    """Return the samples of a reference-grid area at a resolution level.

    Follows (B-12) and (B-15). All components are sampled alike (`check_supported`).
    """
    component = siz.components[0]
    return area.scaled(component.yrsiz, component.xrsiz).scaled(1 << rlevel, 1 << rlevel)


@dataclass(frozen=True, slots=True)
class Selection:
    """Samples and tiles of a request."""

    rlevel: int
    """Resolution levels to drop; 0 = full."""
    area: Rect
    """Requested samples, in coordinates of the resolution level."""
    tiles: tuple[int, ...]
    """Tiles containing the samples, in raster order."""
    first: tuple[int, int]
    """Row and column of the first sample, in full-image pixels."""
    parts: tuple[tuple[Rect, ...], ...] = ()
    """Rectangles to decode of each tile; empty = all of `area`."""
    runs: Runs | None = field(default=None, compare=False, repr=False)
    """Requested samples in the rectangles; None = all of `area`."""

    @property
    def samples(self) -> int:
        """Number of samples of the result, of a component."""
        return self.area.height * self.area.width if self.runs is None else self.runs.samples

    def parts_in(self, tile: int, inside: Rect) -> tuple[Rect, ...]:
        """Return the rectangles to decode of a tile, whose samples are `inside`."""
        return self.parts[bisect_left(self.tiles, tile)] if self.parts else (self.area.intersection(inside),)

    @property
    def step(self) -> int:
        """Distance between samples, in pixels of the full image."""
        return 1 << self.rlevel


def select(header: MainHeader, rlevel: int, window: Window | None = None) -> Selection:
    """Turn rlevel and window into samples and tiles.

    Raises
    ------
    InvalidRlevel
        The image has no such level.
    InvalidWindow
        The window reaches outside the image, or holds no sample at this level.
    """
    rlevel = _checked_rlevel(header, rlevel)
    full = samples(header.siz, image_area(header.siz), 0)
    asked = full if window is None else _placed(window, full)
    area = asked.scaled(1 << rlevel, 1 << rlevel)
    if area.empty:
        raise _no_sample(asked, rlevel)
    return select_area(header, rlevel, area)


def select_area(header: MainHeader, rlevel: int, area: Rect) -> Selection:
    """Select samples by their coordinates at a resolution level."""
    full = samples(header.siz, image_area(header.siz), 0)
    first = (area.y0 << rlevel) - full.y0, (area.x0 << rlevel) - full.x0
    return Selection(rlevel, area, _tiles(header.siz, rlevel, area), first)


def _checked_rlevel(header: MainHeader, rlevel: int) -> int:
    if rlevel == LOWEST:
        return header.levels
    if not 0 <= rlevel <= header.levels:
        valid = ", ".join(str(level) for level in range(header.levels + 1))
        raise InvalidRlevel("", f"rlevel {rlevel} is not in this image", f"it has -1 (lowest), {valid}")
    return rlevel


def _placed(window: Window, full: Rect) -> Rect:
    rows, columns = window.rows, window.columns
    if rows.stop > full.height or columns.stop > full.width:
        hint = f"it has {full.height} rows and {full.width} columns"
        raise InvalidWindow("", f"window {window} reaches outside the image", hint)
    return Rect(full.y0 + rows.start, full.x0 + columns.start, full.y0 + rows.stop, full.x0 + columns.stop)


def _no_sample(area: Rect, rlevel: int) -> InvalidWindow:
    largest = max(level for level in range(rlevel) if not area.scaled(1 << level, 1 << level).empty)
    return InvalidWindow("", f"the window holds no sample at rlevel {rlevel}", f"the largest with one is {largest}")


def tile_bounds(siz: Siz, selection: Selection) -> tuple[list[int], list[int]]:
    """Return the tile boundaries among the rows and columns of a selection.

    They are counted from the first row and column of the selection.
    """
    area = selection.area
    parts = [tile_samples(siz, tile, selection.rlevel).intersection(area) for tile in selection.tiles]
    ys = {edge - area.y0 for part in parts for edge in (part.y0, part.y1)}
    xs = {edge - area.x0 for part in parts for edge in (part.x0, part.x1)}
    return sorted(ys), sorted(xs)


def tile_edges(siz: Siz, rlevel: int) -> tuple[list[int], list[int]]:
    """Return the bounds of tiles along both axes of a resolution level."""
    rows, columns = tile_counts(siz)
    sampling = siz.components[0]
    ys = [siz.yosiz, *(siz.ytosiz + row * siz.ytsiz for row in range(1, rows)), siz.ysiz]
    xs = [siz.xosiz, *(siz.xtosiz + column * siz.xtsiz for column in range(1, columns)), siz.xsiz]
    at_rows = [ceil_div(ceil_div(edge, sampling.yrsiz), 1 << rlevel) for edge in ys]
    return at_rows, [ceil_div(ceil_div(edge, sampling.xrsiz), 1 << rlevel) for edge in xs]


class WholeTiles:
    """Tiles whose samples a selection wants all.

    Tiles of a selection in parts are not among them.
    """

    def __init__(self, siz: Siz, selection: Selection) -> None:
        area, (ys, xs) = selection.area, tile_edges(siz, selection.rlevel)
        self._rows = {n for n, (low, high) in enumerate(pairwise(ys)) if area.y0 <= low and high <= area.y1}
        self._columns = {n for n, (low, high) in enumerate(pairwise(xs)) if area.x0 <= low and high <= area.x1}
        self._across, self._any = tile_counts(siz)[1], not selection.parts

    def __contains__(self, tile: int) -> bool:
        row, column = divmod(tile, self._across)
        return self._any and row in self._rows and column in self._columns


def _tiles(siz: Siz, rlevel: int, area: Rect) -> tuple[int, ...]:
    def met(edges: Iterable[int], start: int, stop: int) -> list[int]:
        """Return the tiles of an axis with samples between bounds."""
        return [tile for tile, (low, high) in enumerate(pairwise(edges)) if max(low, start) < min(high, stop)]

    ys, xs = tile_edges(siz, rlevel)
    columns, in_columns = tile_counts(siz)[1], met(xs, area.x0, area.x1)
    return tuple(row * columns + column for row in met(ys, area.y0, area.y1) for column in in_columns)


def tile_samples(siz: Siz, tile: int, rlevel: int) -> Rect:
    """Return the samples of a tile at a resolution level."""
    return samples(siz, tile_area(siz, tile), rlevel)


def largest_tile(siz: Siz) -> int:
    """Return the samples of a component in a whole tile."""
    component = siz.components[0]
    return math.prod((ceil_div(siz.xtsiz, component.xrsiz), ceil_div(siz.ytsiz, component.yrsiz)))
