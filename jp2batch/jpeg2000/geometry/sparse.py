"""Select many small parts of an image, and collect their samples.

Only the surroundings of the samples are read and decoded, never the rectangle around all of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jp2batch.jpeg2000.geometry.grid import Rect, Selection, select_area, tile_counts, tile_edges
from jp2batch.jpeg2000.geometry.runs import Numbers, Runs
from jp2batch.jpeg2000.syntax.headers import MainHeader

_CELLS = range(6, 16)  # exponents: smaller cells save no code-block
_TOGETHER = 1 << 20  # samples whose positions are in memory at once


@dataclass(frozen=True, slots=True)
class _Cells:
    """Grid of cells within tiles and precincts."""

    rows: Numbers
    columns: Numbers

    @classmethod
    def of(cls, header: MainHeader, rlevel: int, area: Rect) -> "_Cells":
        """Return the cells of an area at a resolution level.

        A cell is about a precinct of the highest resolution level in use.
        """
        sizes = [size for coding in header.codings for size in coding.precincts[coding.levels - rlevel]]
        step = 1 << min(max(*sizes, _CELLS[0]), _CELLS[-1])
        ys, xs = tile_edges(header.siz, rlevel)
        return cls(_edges(ys, step, area.y0, area.y1), _edges(xs, step, area.x0, area.x1))


def _edges(tiles: list[int], step: int, start: int, stop: int) -> Numbers:
    inner = [edge for edge in tiles if start < edge < stop]
    return np.unique([start, *inner, *range(start // step * step + step, stop, step), stop])


def select_runs(header: MainHeader, rlevel: int, runs: Runs) -> Selection:
    """Select the samples of runs, all inside the image; not none."""
    area = Rect(int(runs.y.min()), int(runs.x0.min()), int(runs.y.max()) + 1, int(runs.x1.max()))
    cells = _Cells.of(header, rlevel, area)
    pieces, column = runs.cut(cells.columns)
    row = np.searchsorted(cells.rows, pieces.y, "right") - 1
    order = np.lexsort((column, row))
    pieces, row, column = pieces.take(order), row[order], column[order]
    begins = np.flatnonzero(np.diff(row, prepend=-1) | np.diff(column, prepend=-1))
    bounds = (
        np.minimum.reduceat(pieces.y, begins),
        np.minimum.reduceat(pieces.x0, begins),
        np.maximum.reduceat(pieces.y, begins) + 1,
        np.maximum.reduceat(pieces.x1, begins),
    )
    parts: dict[int, list[Rect]] = {}
    tiles = _tiles_at(header, rlevel, bounds[0], bounds[1])
    for tile, *one in zip(tiles.tolist(), *(bound.tolist() for bound in bounds), strict=True):
        parts.setdefault(tile, []).append(Rect(*one))
    numbers = tuple(sorted(parts))
    whole = select_area(header, rlevel, area)
    return Selection(rlevel, area, numbers, whole.first, tuple(tuple(parts[tile]) for tile in numbers), runs)


def _tiles_at(header: MainHeader, rlevel: int, y: Numbers, x: Numbers) -> Numbers:
    """Return the tiles of some samples."""
    ys, xs = tile_edges(header.siz, rlevel)
    row, column = np.searchsorted(ys, y, "right") - 1, np.searchsorted(xs, x, "right") - 1
    found: Numbers = row * tile_counts(header.siz)[1] + column
    return found


@dataclass(frozen=True, slots=True, eq=False)
class SampleSink:
    """Collects the values of runs from decoded tiles."""

    rlevel: int
    """Resolution level."""
    runs: Runs
    """Runs cut at the tiles, in the order of these."""
    ends: dict[int, tuple[int, int]]
    """Start and stop of the runs of each tile."""
    windows: dict[int, Rect]
    """Samples to decode of each tile."""
    out: NDArray[np.generic]
    """Receives the values, of shape (bands, samples)."""

    @classmethod
    def of(cls, header: MainHeader, selection: Selection, runs: Runs, out: NDArray[np.generic]) -> "SampleSink":
        """Return a sink for the runs of a selection."""
        _, xs = tile_edges(header.siz, selection.rlevel)
        runs, _ = runs.cut(np.unique(xs))
        tiles = _tiles_at(header, selection.rlevel, runs.y, runs.x0)
        order = np.argsort(tiles, kind="stable")
        numbers = np.array(selection.tiles)
        starts, stops = (np.searchsorted(tiles[order], numbers, side).tolist() for side in ("left", "right"))
        ends = dict(zip(selection.tiles, zip(starts, stops, strict=True), strict=True))
        windows = dict(zip(selection.tiles, map(around, selection.parts), strict=True))
        return cls(selection.rlevel, runs.take(order), ends, windows, out)

    def tiles_in(self, header: MainHeader, area: Rect) -> list[int]:
        """Return the tiles with wanted samples inside an area of whole tiles."""
        tiles = select_area(header, self.rlevel, area).tiles
        return [tile for tile in tiles if tile in self.windows]

    def put(self, tile: int, window: Rect, values: NDArray[np.generic]) -> None:
        """Keep the values of a tile's samples.

        Parameters
        ----------
        tile : int
            Number of the tile.
        window : Rect
            Position of `values`, which include the samples of the tile.
        values : ndarray
            Decoded samples of shape (bands, rows, columns).
        """
        for runs in self._portions(*self.ends[tile]):
            number, y, x = runs.positions()
            self.out[:, number] = values[:, y - window.y0, x - window.x0]

    def _portions(self, start: int, stop: int) -> Iterator[Runs]:
        """Iterate over runs with a limited number of samples each."""
        own = self.runs.take(slice(start, stop))
        portion = np.cumsum(own.lengths) // _TOGETHER
        for part in np.split(np.arange(len(own)), np.flatnonzero(np.diff(portion)) + 1):
            yield own.take(part)


def around(parts: Sequence[Rect]) -> Rect:
    """Return the smallest rectangle around some."""
    y0, x0, y1, x1 = zip(*parts, strict=True)
    return Rect(min(y0), min(x0), max(y1), max(x1))
