"""Strategies of locating tile-parts without TLM, and their estimated costs."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from jp2batch.core.costs import StoreCosts
from jp2batch.jpeg2000.locate import sot_proof
from jp2batch.jpeg2000.locate.stretches import runs_of_near

SEARCH = 2
"""Rounds of a search in a walk."""
IN_VAIN = 0.75
"""Part of a usual tile-part that it reads in vain."""
_PRICE = 1.5  # price of a byte read in vain, as a multiple of its seconds on a single connection
_MOST_EMPTY = 0.4  # largest share of tile-parts without data assumed beforehand
_ROUNDS, _ROUNDS_LED = 4, 2  # usual rounds to find a tile; with a sibling
_SEARCHED, _SEARCHED_MORE = 1.6, 0.7  # tile-parts' bytes usually searched for the first tile, and for each further one
_LACKING = 0.5  # part of the proof's bytes that no search has read before


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
        in_vain = min(IN_VAIN * (starts - 1) * length / hops, max(0, length - size))
        cost = Cost.estimate(requests, rounds, size, in_vain, store)
        return WalkStrategy(starts, math.ceil(tiles / starts) + (starts > 1), cost)

    if store.latency == 0:
        return pace(1)
    most = max(1, min(store.connections, tiles // 2))
    return min(map(pace, range(1, most + 1)), key=lambda p: p.cost.weighed)


def interpolation_cost(
    length: int, tiles: int, selected: Iterable[int], size: int, store: StoreCosts, *, led: bool = False
) -> Cost:
    """Estimate the cost of interpolation; see `choose_pace`.

    `led`: a sibling tells where the tiles probably lie.
    """
    runs = list(runs_of_near(sorted(selected)))
    longest = max(last - first for first, last in runs)
    rounds = _ROUNDS_LED if led else _ROUNDS
    requests = sum(last - first + rounds for first, last in runs)
    searched = (_SEARCHED_MORE * len(runs) + (0 if led else _SEARCHED - _SEARCHED_MORE)) * length / tiles
    in_vain = min(searched + _LACKING * sot_proof.look_back(0, length), max(0, length - size))
    return Cost.estimate(requests, rounds + longest, size, in_vain, store)
