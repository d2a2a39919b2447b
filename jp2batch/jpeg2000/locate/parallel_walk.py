"""The parallel walk: finding all tile-parts where no TLM tells of them, reading what is wanted on the way.

The codestream is cut into stretches, each of which is walked along from its first SOT, all at once. What the walks have
found is believed only from the first tile-part on, without a gap: the outcome is that of one long walk, whatever else
looked like a SOT.
"""

import math
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from jp2batch.core.costs import StoreCosts
from jp2batch.jpeg2000.locate.chain_search import ChainSearch, Gap
from jp2batch.jpeg2000.locate.completeness import Completeness, InconsistentFile
from jp2batch.jpeg2000.locate.sot_chain import ChainedTilePart, ChainEnd
from jp2batch.jpeg2000.locate.tile_parts import ReadAhead, with_plm
from jp2batch.jpeg2000.syntax.headers import MainHeader, TilePartHeader
from jp2batch.jpeg2000.syntax.markers import Sot
from jp2batch.jpeg2000.syntax.sparse_file import Range, SparseFile, Steps

_CHUNK = 0.5  # of a tile-part, fetched at once in search of a SOT: on average one begins after that
_SEARCH = 1.5  # rounds that a search takes
_IN_VAIN = 0.75  # of a tile-part, that a search reads until it finds one
_PRICE = 1.5  # of a byte read in vain, as so many times of the seconds that it takes one connection


@dataclass(frozen=True, slots=True)
class Cost:
    """What finding tile-parts, and reading what is wanted of them, should take."""

    requests: int
    size: int
    """Bytes to fetch."""
    seconds: float
    price: float
    """Seconds as well: the bytes read in vain, which others could have had, weighed."""

    @classmethod
    def estimate(cls, requests: int, rounds: int, wanted: int, in_vain: float, store: StoreCosts) -> Self:
        """Estimate it from the bytes `wanted`, and those read `in_vain` beside them."""
        size = wanted + int(in_vain)
        return cls(requests, size, store.seconds(requests, size, rounds), _PRICE * in_vain / store.bandwidth)

    @property
    def weighed(self) -> float:
        """What to choose by."""
        return self.seconds + self.price


@dataclass(frozen=True, slots=True)
class WalkStrategy:
    """How a walk is to go."""

    starts: int
    """Places to begin at."""
    rounds: int
    """Rounds after which it should be over."""
    cost: Cost
    """What it should take."""


def choose_pace(length: int, tiles: int, wanted: int, store: StoreCosts) -> WalkStrategy:
    """Choose from how many places to walk.

    Parameters
    ----------
    length : int
        Bytes of all tile-parts.
    tiles : int
        How many there should be.
    wanted : int
        Bytes that are wanted of them, headers included.
    """
    of_a_tile = length / tiles

    def pace(starts: int) -> WalkStrategy:
        rounds, requests = math.ceil(tiles / starts) + (starts > 1), tiles + 2 * (starts - 1)
        in_vain = min(_IN_VAIN * (starts - 1) * of_a_tile, max(0, length - wanted))
        return WalkStrategy(starts, rounds, Cost.estimate(requests, rounds, wanted, in_vain, store))

    if store.latency == 0:
        return pace(1)
    most = max(1, min(store.connections, tiles // 2))
    return min(map(pace, range(1, most + 1)), key=lambda p: p.cost.weighed)


def locate_by_walk(
    pieces: SparseFile,
    header: MainHeader,
    codestream: Range,
    tiles: Collection[int],
    ahead: ReadAhead,
    *,
    pace: WalkStrategy,
) -> Steps[list[TilePartHeader]]:
    """Read the headers of the tile-parts of `tiles` by following each Psot to the next SOT, until all are found.

    Raises
    ------
    InconsistentFile
        The chain breaks.
    CorruptImage
        The file ends before the chain does, or a tile is nowhere.
    """
    front = ChainSearch(pieces, header, codestream, tiles, ahead)
    proof, last = _Proof(front, tiles), max(tiles)

    def begin() -> list[Steps[None]] | None:
        if proof.is_complete():
            return None
        walks = [front.walk(proof.position, proof.tile)] if proof.is_stuck() else []
        end = front.count if proof.needs_chain else last + 1
        return [*walks, *(_searches(front, pace, end) if pace.starts > 1 else [])]

    yield from front.advance(begin)
    return proof.parts


def _searches(front: ChainSearch, pace: WalkStrategy, end: int) -> Iterator[Steps[None]]:
    """Begin searches where one walk would take too long: it should be over with tile `end`."""
    left = pace.rounds - front.rounds
    for gap in front.gaps():
        hops = _hops(front, gap, end)
        if gap.scanned or hops <= max(left, 2):
            continue
        stretches = min(math.ceil(hops / max(left - _SEARCH, 1)), hops // 2)
        length = (gap.stop - gap.start) * min(1.0, hops / max(hops, gap.tiles)) / stretches
        cuts = [gap.start + int(n * length) for n in range(1, stretches)] + [gap.stop]
        chunk = max(1, int(_CHUNK * length * stretches / hops))
        yield from (front.search(a, b, chunk) for a, b in pairwise(cuts))


def _hops(front: ChainSearch, gap: Gap, end: int) -> int:
    """Estimate how many tile-parts lie in a gap, up to tile `end`."""
    if gap.tiles:
        return min(gap.end, end) - gap.tile
    return (gap.stop - gap.start) // front.mean


@dataclass
class _Proof:
    """What is proven: the tile-parts from the first on, without a gap."""

    front: ChainSearch
    tiles: Collection[int]
    tile: int = 0
    """The tile that should follow."""
    _ordinal: int = 0

    def __post_init__(self) -> None:
        self.position = self.front.header.stop
        self._found = Completeness(self.front.header, self.front.count, self.tiles)

    @property
    def parts(self) -> list[TilePartHeader]:
        """The tile-parts of the wanted tiles."""
        return self._found.parts

    @property
    def needs_chain(self) -> bool:
        """Whether the chain has to be followed to its end, perhaps: packets do not prove that tiles are complete."""
        return self._found.needs_chain

    def is_complete(self) -> bool:
        """Go on as far as tile-parts are known; tell whether that is far enough."""
        while not self._is_over():
            outcome = self.front.outcomes.get(self.position)
            if isinstance(outcome, Exception):
                raise outcome
            if isinstance(outcome, ChainEnd):
                self._found.end(outcome.told)
                return True
            if outcome is None:
                return False
            self._add(outcome)
        return True

    def is_stuck(self) -> bool:
        """Tell whether nobody is reading what comes next."""
        return not self.front.is_open(self.position)

    def _is_over(self) -> bool:
        """Tell whether all is found, without a look at what comes next: beyond the end there is no room for more."""
        if self.front.codestream.stop - self.position < Sot.SIZE:
            with suppress(InconsistentFile):  # where TNsot tells nothing, EOC does
                self._found.end(eoc=False)
        return self._found.complete

    def _add(self, link: ChainedTilePart) -> None:
        part = None if link.part is None else with_plm(self.front.header, link.part, self._ordinal)
        self._found.add(link.sot, part)
        self.position, self.tile, self._ordinal = link.stop, link.sot.tile + 1, self._ordinal + 1
