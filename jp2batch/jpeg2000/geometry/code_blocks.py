"""Code-blocks of precincts and windows (T.800 B.7)."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from jp2batch.jpeg2000.geometry.grid import Selection, WholeTiles, ceil_div, tile_area, tile_samples
from jp2batch.jpeg2000.geometry.precinct_grids import precinct_axis
from jp2batch.jpeg2000.geometry.precincts import REACH
from jp2batch.jpeg2000.syntax.headers import MainHeader


class BlockSpan(NamedTuple):
    """Code-blocks along an axis of a subband, counted from coordinate 0."""

    start: int
    stop: int

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def intersection(self, other: "BlockSpan") -> "BlockSpan":
        """Return the common code-blocks."""
        return BlockSpan(max(self.start, other.start), min(self.stop, other.stop))


class SubbandAxis(NamedTuple):
    """Position of a subband along an axis, (B-15)."""

    high: bool
    """Whether it holds the high-pass samples of this axis."""
    levels: int
    """Decomposition level n_b; 0 for an image without decompositions."""

    def bound(self, sample: int, drop: int) -> int:
        """Return the coordinate of a sample's bound in the subband.

        `drop` is the number of resolution levels above the sample's.
        """
        levels = self.levels - drop
        shift = 1 << levels - 1 if self.high else 0
        return ceil_div(sample - shift, 1 << levels)


_SUBBANDS = ((True, False), (False, True), (True, True))
"""HL, LH, HH: whether high-pass by columns, and by rows."""


def subbands(levels: int, resolution: int) -> list[tuple[SubbandAxis, SubbandAxis]]:
    """Return the subbands of a resolution level, as (rows, columns).

    `levels` are the decomposition levels of the component.
    """
    if resolution == 0:
        return [(SubbandAxis(False, levels), SubbandAxis(False, levels))]
    deep = levels - resolution + 1
    return [(SubbandAxis(high_y, deep), SubbandAxis(high_x, deep)) for high_x, high_y in _SUBBANDS]


@lru_cache(maxsize=1024)
def blocks_of_precincts(
    extent: tuple[int, int], sampling: int, *, levels: int, resolution: int, exponents: tuple[int, int], high: bool
) -> tuple[BlockSpan, ...]:
    """Return the code-blocks of each precinct along an axis of a subband.

    Parameters
    ----------
    extent : (int, int)
        The tile on the reference grid.
    sampling : int
        XRsiz or YRsiz.
    levels, resolution : int
        Decomposition levels of the component, and the resolution level.
    exponents : (int, int)
        PPx and xcb, or PPy and ycb.
    high : bool
        Whether the subband is high-pass along the axis.
    """
    exponent, block = exponents
    halved = resolution > 0
    drop = levels - resolution
    subband = SubbandAxis(high, drop + halved)
    start, stop = (subband.bound(ceil_div(edge, sampling), 0) for edge in extent)
    axis = precinct_axis(*extent, sampling, drop, exponent)
    size, block = exponent - halved, min(block, exponent - halved)
    spans = []
    for precinct in range(axis.first, axis.first + axis.count):
        low, high_end = max(start, precinct << size), min(stop, precinct + 1 << size)
        spans.append(BlockSpan(low >> block, ceil_div(high_end, 1 << block)) if low < high_end else BlockSpan(0, 0))
    return tuple(spans)


@dataclass(frozen=True, slots=True)
class BandGrid:
    """Code-blocks of a subband in a precinct; some are near the window."""

    rows: BlockSpan
    columns: BlockSpan
    needed: tuple[tuple[BlockSpan, BlockSpan], ...]
    """Rows and columns of rectangles of code-blocks to decode, in the subband."""

    @property
    def is_whole(self) -> bool:
        """Whether all its code-blocks are wanted."""
        return any(
            self.rows.intersection(rows) == self.rows and self.columns.intersection(columns) == self.columns
            for rows, columns in self.needed
        )

    def numbers(self) -> frozenset[int]:
        """Return the raster numbers of the wanted code-blocks."""
        across = len(self.columns)
        return frozenset(
            (row - self.rows.start) * across + column - self.columns.start
            for near_rows, near_columns in self.needed
            for row in range(*self.rows.intersection(near_rows))
            for column in range(*self.columns.intersection(near_columns))
        )


class TileBlocks:
    """Code-blocks of a tile, all and for a selection.

    Parameters
    ----------
    header : MainHeader
        The main header.
    selection : Selection
        Samples to decode.
    tile : int
        Number of the tile.
    """

    def __init__(self, header: MainHeader, selection: Selection, tile: int) -> None:
        self._header, self.rlevel = header, selection.rlevel
        self._area = tile_area(header.siz, tile)
        inside = tile_samples(header.siz, tile, selection.rlevel)
        parts = selection.parts_in(tile, inside)
        self._parts = None if inside in parts else parts

    def precinct(self, component: int, resolution: int, precinct: int) -> list[BandGrid]:
        """Return the code-blocks of a precinct, by nonempty subband."""
        coding = self._header.codings[component]
        result = []
        for index, (rows, columns) in enumerate(subbands(coding.levels, resolution)):
            by_row, by_column = self._spans(component, resolution, rows.high, columns.high)
            row, column = divmod(precinct, max(1, len(by_column)))
            if len(by_row[row]) and len(by_column[column]):
                result.append(BandGrid(by_row[row], by_column[column], self._needed(component, resolution, index)))
        return result

    def count(self, component: int, resolution: int) -> int:
        """Return the number of code-blocks of a resolution level."""
        total = 0
        for rows, columns in subbands(self._header.codings[component].levels, resolution):
            by_row, by_column = self._spans(component, resolution, rows.high, columns.high)
            total += sum(map(len, by_row)) * sum(map(len, by_column))
        return total

    def needed_count(self, component: int, resolution: int) -> int:
        """Return the approximate number of code-blocks of a resolution level to decode."""
        total = 0
        for index, (rows, columns) in enumerate(subbands(self._header.codings[component].levels, resolution)):
            axes = self._spans(component, resolution, rows.high, columns.high)
            filled = [[span for span in axis if len(span)] for axis in axes]
            if not all(filled):
                continue
            of_rows, of_columns = (BlockSpan(spans[0].start, spans[-1].stop) for spans in filled)
            total += sum(
                len(of_rows.intersection(near_rows)) * len(of_columns.intersection(near_columns))
                for near_rows, near_columns in self._needed(component, resolution, index)
            )
        return total

    def _spans(self, component: int, resolution: int, high_y: bool, high_x: bool) -> tuple[tuple[BlockSpan, ...], ...]:
        sampling, coding = self._header.siz.components[component], self._header.codings[component]
        (ppx, ppy), (xcb, ycb) = coding.precincts[resolution], coding.code_block
        area, level = self._area, {"levels": coding.levels, "resolution": resolution}
        by_row = blocks_of_precincts((area.y0, area.y1), sampling.yrsiz, **level, exponents=(ppy, ycb), high=high_y)
        by_column = blocks_of_precincts((area.x0, area.x1), sampling.xrsiz, **level, exponents=(ppx, xcb), high=high_x)
        return by_row, by_column

    def _needed(self, component: int, resolution: int, index: int) -> tuple[tuple[BlockSpan, BlockSpan], ...]:
        """Return the code-blocks near the window in a subband, by its index."""
        coding = self._header.codings[component]
        if resolution > coding.levels - self.rlevel:
            return ()
        if self._parts is None:
            return ((_ALL, _ALL),)
        rows, columns = subbands(coding.levels, resolution)[index]
        (ppx, ppy), (xcb, ycb) = coding.precincts[resolution], coding.code_block
        halved, reach = resolution > 0, REACH[coding.transform]
        sizes = min(ycb, ppy - halved), min(xcb, ppx - halved)
        return tuple(
            (
                _near(rows.bound(part.y0, self.rlevel) - reach, rows.bound(part.y1, self.rlevel) + reach, sizes[0]),
                _near(
                    columns.bound(part.x0, self.rlevel) - reach, columns.bound(part.x1, self.rlevel) + reach, sizes[1]
                ),
            )
            for part in self._parts
        )


_ALL = BlockSpan(0, 1 << 40)


def _near(start: int, stop: int, exponent: int) -> BlockSpan:
    """Return the code-blocks at some coordinates of a subband."""
    return BlockSpan(max(0, start) >> exponent, max(0, ceil_div(stop, 1 << exponent)))


def needs_blocks(header: MainHeader, selection: Selection) -> bool:
    """Return whether a selection can omit some code-blocks."""
    whole = WholeTiles(header.siz, selection)
    return any(omits_blocks(header, selection, tile) for tile in selection.tiles if tile not in whole)


def omits_blocks(header: MainHeader, selection: Selection, tile: int) -> bool:
    """Return whether a selection can omit some code-blocks of a tile."""
    blocks = TileBlocks(header, selection, tile)
    levels = ((index, coding.levels - selection.rlevel) for index, coding in enumerate(header.codings))
    return any(blocks.needed_count(*key) < blocks.count(*key) for key in levels)
