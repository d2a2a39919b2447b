"""Selection of precincts for a window (T.800 B.6, B.7, F.3)."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jp2batch.jpeg2000.geometry.grid import Rect, Selection, ceil_div, tile_samples
from jp2batch.jpeg2000.geometry.precinct_grids import PrecinctAxis, PrecinctGrids, tile_precincts
from jp2batch.jpeg2000.syntax.coding import CodingStyle
from jp2batch.jpeg2000.syntax.headers import MainHeader

REACH = {0: 4, 1: 2}
"""Reach of the filters beyond a window, in subband samples, by transform.

Transforms are 0 = 9/7 and 1 = 5/3. A sample is computed from low-pass samples up to 3 (5/3: 1) positions away and
high-pass samples up to 4 (2), where every other position is low-pass (F.3.8). If n samples beyond the window are
needed, a further decomposition needs ⌈(n + 3) / 2⌉ of LL and ⌈(n + 4) / 2⌉ of the other subbands: never more than 3
and 4 (1 and 2).
"""


_COARSE = 8  # log2 of the code-blocks of a resolution level in a precinct


@dataclass(frozen=True, slots=True)
class Precincts:
    """A rectangle of the precincts of a resolution level of a tile-component."""

    rows: range
    columns: range
    across: int
    """Number of precincts in a row of the resolution level."""
    count: int
    """Number of precincts of the resolution level."""

    def __contains__(self, precinct: int) -> bool:
        row, column = divmod(precinct, self.across)
        return row in self.rows and column in self.columns

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def mark(self, mask: NDArray[np.bool_]) -> None:
        """Set the elements of these precincts in a mask of all."""
        if self.all:
            mask[:] = True
        else:
            rows, columns = slice(self.rows.start, self.rows.stop), slice(self.columns.start, self.columns.stop)
            mask.reshape(-1, self.across)[rows, columns] = True

    @property
    def all(self) -> bool:
        """Whether all precincts of the resolution level are included."""
        return len(self) == self.count


@dataclass(frozen=True, slots=True)
class PrecinctUnion:
    """Several rectangles of the precincts of a resolution level."""

    parts: tuple[Precincts, ...]

    def __contains__(self, precinct: int) -> bool:
        return any(precinct in part for part in self.parts)

    def __len__(self) -> int:
        return len({pair for part in set(self.parts) for pair in itertools.product(part.rows, part.columns)})

    def mark(self, mask: NDArray[np.bool_]) -> None:
        """Set the elements of these precincts in a mask of all."""
        for part in self.parts:
            part.mark(mask)

    @property
    def count(self) -> int:
        """Number of precincts of the resolution level."""
        return self.parts[0].count

    @property
    def all(self) -> bool:
        """Whether all precincts of the resolution level are included."""
        return any(part.all for part in self.parts) or len(self) == self.count


def wanted_precincts(
    header: MainHeader, selection: Selection, tile: int, grids: PrecinctGrids
) -> Mapping[tuple[int, int], Precincts | PrecinctUnion]:
    """Return the precincts needed for a selection.

    The keys are (component, resolution level); levels that are not needed are absent. `grids` are all precincts of the
    tile. A precinct is needed if any of its samples is within the filters' reach of the window in its subband.
    """
    samples = tile_samples(header.siz, tile, selection.rlevel)
    each = [
        _around(header, selection.rlevel, part, grids, whole=part == samples)
        for part in selection.parts_in(tile, samples)
    ]
    return each[0] if len(each) == 1 else {key: PrecinctUnion(tuple(one[key] for one in each)) for key in each[0]}


def _around(
    header: MainHeader, rlevel: int, inside: Rect, grids: PrecinctGrids, *, whole: bool
) -> dict[tuple[int, int], Precincts]:
    """Return the precincts needed for a rectangle of samples of a tile."""
    wanted = {}
    for component, levels in enumerate(grids):
        coding = header.codings[component]
        reach = REACH[coding.transform]
        for resolution, (rows, columns) in enumerate(levels[: coding.levels - rlevel + 1]):
            near_rows, near_columns = range(rows.count), range(columns.count)
            if not whole:
                ppx, ppy = coding.precincts[resolution]
                drop = coding.levels - rlevel - resolution
                near_rows = _near(rows, ppy, (inside.y0, inside.y1), drop, halved=resolution > 0, reach=reach)
                near_columns = _near(columns, ppx, (inside.x0, inside.x1), drop, halved=resolution > 0, reach=reach)
            count = rows.count * columns.count
            wanted[component, resolution] = Precincts(near_rows, near_columns, max(1, columns.count), count)
    return wanted


def is_partial(header: MainHeader, selection: Selection, tile: int) -> bool:
    """Return whether a selection needs only some precincts of a tile.

    Only the resolution levels of the selection count.
    """
    inside = tile_samples(header.siz, tile, selection.rlevel)
    if inside in selection.parts_in(tile, inside):
        return False
    wanted = wanted_precincts(header, selection, tile, tile_precincts(header, tile))
    return not all(precincts.all for precincts in wanted.values())


def wanted_area(header: MainHeader, selection: Selection) -> int:
    """Estimate the number of samples in the precincts of a selection.

    Only the highest resolution level of the selection counts.
    """
    parts = [part for of_tile in selection.parts for part in of_tile] or [selection.area]
    coding = header.codings[0]
    ppx, ppy = coding.precincts[coding.levels - selection.rlevel]
    if is_coarse(coding, coding.levels - selection.rlevel):
        ppx, ppy = (exponent + 1 for exponent in coding.code_block)  # of a code-block in a subband
    first, last = (
        tile_samples(header.siz, tile, selection.rlevel) for tile in (selection.tiles[0], selection.tiles[-1])
    )
    whole = Rect(first.y0, min(first.x0, selection.area.x0), last.y1, max(last.x1, selection.area.x1))
    return sum(covered.height * covered.width for covered in (_covered(part, ppx, ppy, whole) for part in parts))


def wanted_share(header: MainHeader, selection: Selection, tile: int) -> float:
    """Return the share of a tile's precincts needed for a selection.

    Only the highest resolution level of the selection counts.
    """
    grids = tile_precincts(header, tile)
    level = header.codings[0].levels - selection.rlevel
    wanted = wanted_precincts(header, selection, tile, grids)[0, level]
    return len(wanted) / max(1, wanted.count)


def is_coarse(coding: CodingStyle, resolution: int) -> bool:
    """Return whether precincts have many code-blocks, of which windows need few."""
    pairs = zip(coding.precincts[resolution], coding.code_block, strict=True)
    return sum(precinct - block for precinct, block in pairs) >= _COARSE


def _covered(area: Rect, ppx: int, ppy: int, whole: Rect) -> Rect:
    """Return the precincts around an area, as samples."""
    y0, x0 = area.y0 >> ppy << ppy, area.x0 >> ppx << ppx
    return Rect(y0, x0, ceil_div(area.y1, 1 << ppy) << ppy, ceil_div(area.x1, 1 << ppx) << ppx).intersection(whole)


def _near(axis: PrecinctAxis, exponent: int, samples: tuple[int, int], drop: int, *, halved: bool, reach: int) -> range:
    """Return the precincts along an axis within reach of some samples.

    Parameters
    ----------
    exponent : int
        PPx or PPy.
    samples : (int, int)
        Start and stop of the samples, at the requested resolution level.
    drop : int
        Decompositions between the requested level and the precincts' level.
    halved : bool
        True if the level has the subbands HL, LH and HH, one decomposition deeper; False for LL.
    reach : int
        Distance in subband samples.
    """
    decompositions, size = drop + halved, 1 << (exponent - halved)
    bounds = [  # (B-15), for the low-pass and the high-pass subband
        ceil_div(sample - (high << (decompositions - 1) if high else 0), 1 << decompositions)
        for high in range(1 + halved)
        for sample in samples
    ]
    first = (min(bounds) - reach) // size - axis.first
    last = (max(bounds) + reach - 1) // size - axis.first
    return range(max(0, first), max(0, min(axis.count, last + 1)))
