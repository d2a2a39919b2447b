"""Parallel walk: find all tile-parts without TLM.

The codestream is cut into stretches, which are walked concurrently, each from its first SOT; headers of wanted tiles
are read on the way. Only tile-parts connected without a gap to the first are trusted, so that the result equals a
single long walk, whatever else looked like a SOT.
"""

import math
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean
from typing import Self

from jp2batch.core.costs import cheapest
from jp2batch.jpeg2000.locate.chain_search import HOP, ChainSearch
from jp2batch.jpeg2000.locate.completeness import Completeness, InconsistentFile
from jp2batch.jpeg2000.locate.packed_headers import check_packed_order
from jp2batch.jpeg2000.locate.sibling_search import CLOSE, SHORTEST, searches_by_sibling
from jp2batch.jpeg2000.locate.sot_chain import ChainedTilePart, ChainEnd
from jp2batch.jpeg2000.locate.strategies import IN_VAIN, SEARCH, Cost, WalkStrategy
from jp2batch.jpeg2000.locate.stretches import Gap
from jp2batch.jpeg2000.locate.tile_lengths import SHORT
from jp2batch.jpeg2000.locate.tile_parts import LocatedTiles, TileQuery, with_pointers
from jp2batch.jpeg2000.syntax.headers import TilePartHeader
from jp2batch.jpeg2000.syntax.markers import SOT_SIZE
from jp2batch.jpeg2000.syntax.sparse_file import Steps

_CHUNK = 0.45  # part of a usual tile-part fetched per request of a search: the average distance to the next SOT
_LEAST_SHARE = 0.6  # of the usual share of tile-parts with data: a gap has more than this
_ENOUGH = 4  # tile-parts to learn their usual length from


def locate_by_walk(query: TileQuery, pace: WalkStrategy) -> Steps[LocatedTiles]:
    """Read the tile-part headers by following Psot.

    Raises
    ------
    InconsistentFile
        The chain breaks.
    CorruptImage
        The file ends before the chain, or a tile is missing.
    """
    front = ChainSearch(query, hop=HOP if pace.starts > 1 else 0)
    proof, last = _Proof(front, query.tiles), max(query.tiles)

    def begin() -> list[Steps[None]] | None:
        if proof.is_complete():
            return None
        walks = [front.walk(proof.position, proof.tile)] if proof.is_stuck() else []
        end = front.count if proof.needs_chain else last + 1
        return [*walks, *(_searches(front, pace, end) if pace.starts > 1 else [])]

    yield from front.advance(begin)
    check_packed_order(query.header, proof.passed)
    return LocatedTiles(proof.parts, front.passed())


def _searches(front: ChainSearch, pace: WalkStrategy, end: int) -> Iterator[Steps[None]]:
    """Start searches if walks would exceed the expected rounds.

    Tile `end` is the last tile needed.
    """
    front.correct_sibling()
    usual = _Usual.of(front)
    left = min(pace.rounds - front.rounds, _best_rounds(front, end, usual))
    for gap in front.gaps():
        if front.sibling is not None and front.sibling.deviation <= CLOSE and gap.tiles:
            yield from searches_by_sibling(front, front.sibling, gap, pace.starts, end)
            continue
        hops = usual.hops(gap, end)
        if gap.scanned or hops <= max(left, SHORTEST):
            continue
        stretches = (
            max(2, min(math.ceil(hops / max(left - SEARCH, 1)), int(hops) // 2)) if front.rounds else pace.starts
        )
        share = min(1.0, (end - gap.tile) / gap.tiles) if gap.tiles else 1.0
        length = (gap.stop - gap.start) * share / stretches
        cuts = [gap.start + int(n * length) for n in range(1, stretches)] + [gap.stop]
        yield from (front.search(a, b, int(_CHUNK * usual.length) + 1) for a, b in pairwise(cuts))


def _best_rounds(front: ChainSearch, end: int, usual: "_Usual") -> int:
    """Choose the rounds left: fewer take more searches."""
    hops = [usual.hops(gap, end) for gap in front.gaps()]

    def price(rounds: int) -> float:
        searches = sum(math.ceil(one / max(1, rounds - SEARCH)) - 1 for one in hops if one > rounds)
        return Cost.estimate(2 * searches, rounds, 0, IN_VAIN * usual.length * searches, front.query.store).weighed

    most = max(SHORTEST, math.ceil(max(hops, default=0)))
    return SHORTEST + cheapest(lambda more: price(SHORTEST + more), most - SHORTEST)


@dataclass(frozen=True, slots=True)
class _Usual:
    """Usual tile-parts, without short ones.

    A short one is passed in the round of another.
    """

    length: float
    """Their mean length."""
    share: float
    """Their share of all tile-parts."""

    @classmethod
    def of(cls, front: ChainSearch) -> Self:
        """Learn from the tile-parts met."""
        lengths = [link.stop - link.start for link in front.outcomes.values() if isinstance(link, ChainedTilePart)]
        long = [length for length in lengths if length > SHORT * front.mean]
        if len(long) < _ENOUGH:
            return cls(front.mean, 0.0)
        return cls(fmean(long), len(long) / len(lengths))

    def hops(self, gap: Gap, end: int) -> float:
        """Estimate the rounds to walk through a gap, to tile `end`."""
        size, tiles = gap.stop - gap.start, min(gap.end, end) - gap.tile
        if not gap.tiles:
            return size / self.length
        return min(tiles, max(size * tiles / gap.tiles / self.length, _LEAST_SHARE * self.share * tiles))


@dataclass
class _Proof:
    """Proven tile-parts: consecutive from the first."""

    front: ChainSearch
    tiles: Collection[int]
    tile: int = 0
    """Tile expected next."""
    passed: list[int] = field(default_factory=list)
    """Tile of each tile-part passed."""

    def __post_init__(self) -> None:
        self.position = self.front.header.stop
        self._completeness = Completeness(self.front.header, self.front.count, self.tiles)

    @property
    def parts(self) -> list[TilePartHeader]:
        """Tile-parts of the wanted tiles."""
        return self._completeness.parts

    @property
    def needs_chain(self) -> bool:
        """Whether the chain may have to be followed to its end.

        Packets then do not prove tiles complete.
        """
        return self._completeness.needs_chain

    def is_complete(self) -> bool:
        """Advance through the known tile-parts; return whether they suffice."""
        while not self._is_over():
            outcome = self.front.outcomes.get(self.position)
            if isinstance(outcome, Exception):
                raise outcome
            if isinstance(outcome, ChainEnd):
                self._completeness.end(outcome.has_eoc)
                return True
            if outcome is None:
                return False
            self._add(outcome)
        return True

    def is_stuck(self) -> bool:
        """Return whether no walk is active at the current position."""
        return not self.front.is_open(self.position)

    def _is_over(self) -> bool:
        """Return whether the proof is complete without the next tile-part.

        Beyond the end of the codestream, no further tile-part has room.
        """
        if self.front.codestream.stop - self.position < SOT_SIZE:
            with suppress(InconsistentFile):  # if TNsot is 0, EOC decides
                self._completeness.end(eoc=False)
        return self._completeness.complete

    def _add(self, link: ChainedTilePart) -> None:
        part = None if link.part is None else with_pointers(self.front.header, link.part, len(self.passed))
        self.passed.append(link.sot.tile)
        self._completeness.add(link.sot, part)
        self.position, self.tile = link.stop, link.sot.tile + 1
