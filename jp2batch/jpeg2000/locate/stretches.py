"""Known and unknown stretches of a codestream whose tile-parts are searched for."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

NEAR = 4
"""Tile-parts to walk along instead of searching past them."""


class Landmark(NamedTuple):
    """The known position of a tile-part."""

    tile: int
    """Index of its tile; the number of tiles behind the last."""
    position: int
    """Position of its SOT in the file."""


@dataclass(slots=True, eq=False)
class KnownStretch:
    """A growing stretch of consecutive tile-parts."""

    start: int
    """Position of the first tile-part."""
    first: int
    """Tile of the first tile-part."""
    stop: int
    """Position behind the last tile-part."""
    tile: int
    """Tile expected next."""
    clear: int
    """No tile-part begins between this position and `start`."""
    is_proven: bool = True
    """Whether its first tile-part is proven genuine."""


@dataclass(slots=True, eq=False)
class Scan:
    """A search for the first SOT between two positions."""

    position: int
    limit: int
    aside: bool
    """Whether it serves only a check."""


@dataclass(frozen=True, slots=True)
class Gap:
    """An unknown part of the codestream between two stretches."""

    start: int
    """Position of the first unknown tile-part."""
    tile: int
    """Tile expected at `start`."""
    stop: int
    """Position of the next known tile-part."""
    end: int
    """Tile at `stop`; the gap should contain all tiles in between."""
    clear: int
    """No tile-part begins between this position and `stop`."""
    walked: bool
    """Whether a walk is active at its start."""
    scanned: bool
    """Whether a search is active in it."""

    @property
    def ends(self) -> tuple[Landmark, Landmark]:
        """The known tile-parts before and behind it."""
        return Landmark(self.tile, self.start), Landmark(self.end, self.stop)

    @property
    def tiles(self) -> int:
        """Number of tiles expected in the gap.

        0 if the tile-parts have another order.
        """
        return max(0, self.end - self.tile)


def runs_of_near(tiles: list[int]) -> Iterator[tuple[int, int]]:
    """Iterate over the first and last tile of groups of near tiles."""
    if not tiles:
        return
    first = tiles[0]
    for tile, following in pairwise([*tiles, tiles[-1] + 2 * NEAR]):
        if following - tile > NEAR:
            yield first, tile
            first = following
