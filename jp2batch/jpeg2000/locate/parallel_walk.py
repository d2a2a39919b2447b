"""Parallel walk: find all tile-parts without TLM.

The codestream is cut into stretches, which are walked concurrently, each from its first SOT; headers of wanted tiles
are read on the way. Only tile-parts connected without a gap to the first are trusted, so that the result equals a
single long walk, whatever else looked like a SOT.
"""

import math
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Self

from jp2batch.core.costs import StoreCosts
from jp2batch.jpeg2000.locate.chain_search import HOP, ChainSearch
from jp2batch.jpeg2000.locate.completeness import Completeness, InconsistentFile
from jp2batch.jpeg2000.locate.sibling_search import CLOSE, SHORTEST, searches_by_sibling
from jp2batch.jpeg2000.locate.sot_chain import ChainedTilePart, ChainEnd
from jp2batch.jpeg2000.locate.stretches import Gap
from jp2batch.jpeg2000.locate.tile_parts import LocatedTiles, TileQuery, with_plm
from jp2batch.jpeg2000.syntax.headers import TilePartHeader
from jp2batch.jpeg2000.syntax.markers import Sot
from jp2batch.jpeg2000.syntax.sparse_file import Steps

_CHUNK = 0.5  # part of a usual tile-part fetched per request of a search: the average distance to the next SOT
_SEARCH = 2  # rounds of a search
_IN_VAIN = 0.75  # part of a usual tile-part read by a search before it finds a SOT
_PRICE = 1.8  # price of a byte read in vain, as a multiple of its seconds on a single connection
_MOST_EMPTY = 0.4  # largest share of tile-parts without data assumed beforehand
_SHORT = 1 / 16  # of the mean: a shorter tile-part is passed in the round of another
_ENOUGH = 4  # tile-parts to learn their usual length from


@dataclass(frozen=True, slots=True)
class Cost:
    """Estimated cost of finding tile-parts and reading the wanted bytes."""

    requests: int
    size: int
    """Bytes to fetch."""
    seconds: float
    price: float
    """Price beyond its seconds: of bytes in vain, or a quota."""

    @classmethod
    def estimate(cls, requests: int, rounds: int, size: int, in_vain: float, store: StoreCosts) -> Self:
        """Estimate the cost of `size` useful bytes and of bytes read `in_vain`."""
        total = size + int(in_vain)
        seconds = store.seconds(requests, total, rounds)
        if store.requests_per_minute:
            return cls(requests, total, seconds, store.price(requests, total, rounds) - seconds)
        return cls(requests, total, seconds, _PRICE * in_vain / store.bandwidth)

    def __add__(self, other: "Cost") -> "Cost":
        sums = (self.requests + other.requests, self.size + other.size, self.seconds + other.seconds)
        return Cost(*sums, self.price + other.price)

    @property
    def weighed(self) -> float:
        """Cost used for comparison, in seconds."""
        return self.seconds + self.price


@dataclass(frozen=True, slots=True)
class WalkStrategy:
    """Parameters of a walk."""

    starts: int
    """Number of start positions."""
    rounds: int
    """Expected number of rounds."""
    cost: Cost
    """Expected cost."""


def choose_pace(length: int, tiles: int, size: int, store: StoreCosts, usual: float = 0.0) -> WalkStrategy:
    """Choose the number of start positions of a walk.

    Parameters
    ----------
    length : int
        Bytes of all tile-parts.
    tiles : int
        Expected number of tile-parts.
    size : int
        Bytes wanted of them, headers included.
    usual : float
        Usual bytes of a tile-part with data. If the mean is lower, some tile-parts probably have no data, and take no
        round.
    """
    usual = max(usual, length / tiles)
    hops = max(length / usual, tiles * (1 - _MOST_EMPTY))

    def pace(starts: int) -> WalkStrategy:
        rounds, requests = math.ceil(hops / starts) + (starts > 1), tiles + 2 * (starts - 1)
        in_vain = min(_IN_VAIN * (starts - 1) * length / hops, max(0, length - size))
        cost = Cost.estimate(requests, rounds, size, in_vain, store)
        return WalkStrategy(starts, math.ceil(tiles / starts) + (starts > 1), cost)

    if store.latency == 0:
        return pace(1)
    most = max(1, min(store.connections, tiles // 2))
    return min(map(pace, range(1, most + 1)), key=lambda p: p.cost.weighed)


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
    return LocatedTiles(proof.parts, front.passed())


def _searches(front: ChainSearch, pace: WalkStrategy, end: int) -> Iterator[Steps[None]]:
    """Start searches if walks would exceed the expected rounds.

    Tile `end` is the last tile needed.
    """
    front.correct_sibling()
    left, usual = pace.rounds - front.rounds, _usual_length(front)
    for gap in front.gaps():
        if front.sibling is not None and front.sibling.deviation <= CLOSE and gap.tiles:
            yield from searches_by_sibling(front, front.sibling, gap, pace.starts, end)
            continue
        hops = _hops(gap, end, usual)
        if gap.scanned or hops <= max(left, SHORTEST):
            continue
        stretches = (
            max(2, min(math.ceil(hops / max(left - _SEARCH, 1)), int(hops) // 2)) if front.rounds else pace.starts
        )
        share = min(1.0, (end - gap.tile) / gap.tiles) if gap.tiles else 1.0
        length = (gap.stop - gap.start) * share / stretches
        cuts = [gap.start + int(n * length) for n in range(1, stretches)] + [gap.stop]
        yield from (front.search(a, b, int(_CHUNK * usual) + 1) for a, b in pairwise(cuts))


def _hops(gap: Gap, end: int, usual: float) -> float:
    """Estimate the rounds to walk through a gap, to tile `end`."""
    size, tiles = gap.stop - gap.start, min(gap.end, end) - gap.tile
    return min(tiles, size * tiles / gap.tiles / usual) if gap.tiles else size / usual


def _usual_length(front: ChainSearch) -> float:
    """Return the mean length of tile-parts seen, without short ones."""
    lengths = [link.stop - link.start for link in front.outcomes.values() if isinstance(link, ChainedTilePart)]
    long = [length for length in lengths if length > _SHORT * front.mean]
    return fmean(long) if len(long) >= _ENOUGH else front.mean


@dataclass
class _Proof:
    """Proven tile-parts: consecutive from the first."""

    front: ChainSearch
    tiles: Collection[int]
    tile: int = 0
    """Tile expected next."""
    _ordinal: int = 0

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
        if self.front.codestream.stop - self.position < Sot.SIZE:
            with suppress(InconsistentFile):  # if TNsot is 0, EOC decides
                self._completeness.end(eoc=False)
        return self._completeness.complete

    def _add(self, link: ChainedTilePart) -> None:
        part = None if link.part is None else with_plm(self.front.header, link.part, self._ordinal)
        self._completeness.add(link.sot, part)
        self.position, self.tile, self._ordinal = link.stop, link.sot.tile + 1, self._ordinal + 1
