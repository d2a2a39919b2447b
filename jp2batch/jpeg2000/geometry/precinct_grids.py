"""Partition of tile-components into precincts (T.800 B.6)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from jp2batch.jpeg2000.geometry.grid import Rect, ceil_div, tile_area, tile_counts
from jp2batch.jpeg2000.syntax.coding import CodingStyle
from jp2batch.jpeg2000.syntax.headers import MainHeader
from jp2batch.jpeg2000.syntax.markers import Component


@dataclass(frozen=True, slots=True)
class PrecinctAxis:
    """Precincts of a resolution level along an axis of a tile-component, B.6."""

    count: int
    """Number of precincts."""
    first: int
    """Index of the first precinct in the partition, anchored at 0."""
    spacing: int
    """Distance between precincts on the reference grid."""
    origin: int
    """Start of the tile on the reference grid."""

    def position(self, index: int) -> int:
        """Return a precinct's position on the reference grid, B.12.1.3 to B.12.1.5."""
        return max(self.origin, (self.first + index) * self.spacing)

    def from_origin(self) -> tuple[int, int, int]:
        """Return count, first position from the tile's origin, and spacing.

        A single precinct has no spacing, so that it is the same in all tiles.
        """
        first = self.first * self.spacing - self.origin
        return (self.count, first, self.spacing) if self.count > 1 else (self.count, max(0, first), 0)


PrecinctGrid = tuple[PrecinctAxis, PrecinctAxis]
"""The precincts of a resolution level: rows, columns."""

PrecinctGrids = tuple[tuple[PrecinctGrid, ...], ...]
"""Precincts of a tile, by component and resolution level (lowest first)."""


@lru_cache(maxsize=4096)
def precinct_axis(start: int, stop: int, sampling: int, drop: int, exponent: int) -> PrecinctAxis:
    """Return the precincts along an axis of a tile-component, (B-16).

    Parameters
    ----------
    start, stop : int
        Extent of the tile on the reference grid.
    sampling : int
        XRsiz or YRsiz.
    drop : int
        N_L - r, the decompositions between the tile-component and the resolution level.
    exponent : int
        PPx or PPy.
    """
    first = ceil_div(ceil_div(start, sampling), 1 << drop)
    last = ceil_div(ceil_div(stop, sampling), 1 << drop)
    index = first >> exponent
    count = ceil_div(last, 1 << exponent) - index if last > first else 0
    return PrecinctAxis(count, index, sampling << (exponent + drop), start)


def tile_precincts(header: MainHeader, tile: int) -> PrecinctGrids:
    """Return the precincts of a tile."""
    area = tile_area(header.siz, tile)
    alike = zip(header.siz.components, header.codings, strict=True)
    return tuple(_component_precincts(area, component, coding) for component, coding in alike)


class _Computed(dict[int, int]):
    """Values of a function, each computed once."""

    def __init__(self, function: Callable[[int], int]) -> None:
        self._function = function

    def __missing__(self, key: int) -> int:
        value = self[key] = self._function(key)
        return value


class TileShapes:
    """Numbers for the shapes of tiles.

    Tiles of equal shape have equal precincts, relative to their own place.
    The precincts of an axis are computed once for each row or column of tiles.

    Parameters
    ----------
    header : MainHeader
        The main header.
    """

    def __init__(self, header: MainHeader) -> None:
        self._siz, self._columns = header.siz, tile_counts(header.siz)[1]
        self._alike = set(zip(header.siz.components, header.codings, strict=True))
        self._of_row, self._of_column = _Computed(self._row), _Computed(self._column)
        self._numbers: dict[tuple[int, ...], int] = {}

    def __getitem__(self, tile: int) -> tuple[int, int]:
        """Return the shape of a tile."""
        row, column = divmod(tile, self._columns)
        return self._of_row[row], self._of_column[column]

    def _row(self, row: int) -> int:
        area = tile_area(self._siz, row * self._columns)
        return self._number(
            precinct_axis(area.y0, area.y1, component.yrsiz, coding.levels - resolution, ppy)
            for component, coding in self._alike
            for resolution, (_, ppy) in enumerate(coding.precincts)
        )

    def _column(self, column: int) -> int:
        area = tile_area(self._siz, column)
        return self._number(
            precinct_axis(area.x0, area.x1, component.xrsiz, coding.levels - resolution, ppx)
            for component, coding in self._alike
            for resolution, (ppx, _) in enumerate(coding.precincts)
        )

    def _number(self, axes: Iterable[PrecinctAxis]) -> int:
        """Return a number for equal precincts, relative to their tiles."""
        relative = tuple(value for axis in axes for value in axis.from_origin())
        return self._numbers.setdefault(relative, len(self._numbers))


def precinct_counts(grids: PrecinctGrids) -> tuple[tuple[int, ...], ...]:
    """Return the precinct counts of a tile.

    They are ordered by component and resolution level (lowest first).
    """
    return tuple(tuple(rows.count * columns.count for rows, columns in levels) for levels in grids)


@lru_cache(maxsize=4096)
def _component_precincts(area: Rect, component: Component, coding: CodingStyle) -> tuple[PrecinctGrid, ...]:
    levels = []
    for resolution, (ppx, ppy) in enumerate(coding.precincts):
        drop = coding.levels - resolution
        rows = precinct_axis(area.y0, area.y1, component.yrsiz, drop, ppy)
        columns = precinct_axis(area.x0, area.x1, component.xrsiz, drop, ppx)
        if not (rows.count and columns.count):
            rows = columns = PrecinctAxis(0, 0, 1, 0)
        levels.append((rows, columns))
    return tuple(levels)
