"""Packets of a tile chosen for a selection, as arrays.

Tiles of equal geometry share order and choice, so that each costs only a few array operations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from jp2batch.core.ranges import ByteRange
from jp2batch.jpeg2000.geometry.precincts import Precincts, PrecinctUnion
from jp2batch.jpeg2000.geometry.progression import PacketOrder, Places


@dataclass(frozen=True, slots=True, eq=False)
class PacketChoice:
    """Some packets of an order."""

    order: PacketOrder
    places: Places
    """Indices in the order, ascending."""


@dataclass(frozen=True, slots=True, eq=False)
class TilePackets:
    """Chosen packets of a tile, and their positions in the file."""

    choice: PacketChoice
    starts: NDArray[np.int64]
    """Position of each packet, ascending."""
    stops: NDArray[np.int64]
    """Position behind each packet, at most the start of the next."""

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def weight(self) -> int:
        """Approximate size in memory, in bytes."""
        return self.starts.nbytes + self.stops.nbytes

    def ranges(self) -> list[ByteRange]:
        """Return the byte ranges of the packets, sorted and merged."""
        return merged_ranges(self.starts, self.stops)


@dataclass(frozen=True, slots=True, eq=False)
class CutPackets:
    """Chosen packets of a tile, with some of their code-blocks."""

    choice: PacketChoice
    headers: tuple[bytes, ...]
    """New header of each packet, without EPH."""
    starts: NDArray[np.int64]
    """Positions of the bodies' parts in the file, packet by packet."""
    stops: NDArray[np.int64]
    """Positions behind them."""
    ends: NDArray[np.int64]
    """For each packet, the number of parts up to its end."""

    def __len__(self) -> int:
        return len(self.headers)

    @property
    def weight(self) -> int:
        """Approximate size in memory, in bytes."""
        return self.starts.nbytes + self.stops.nbytes + sum(len(header) + 60 for header in self.headers)


def merged_ranges(starts: NDArray[np.int64], stops: NDArray[np.int64]) -> list[ByteRange]:
    """Return ranges sorted and merged, as `merged` of `core.ranges`."""
    if not len(starts):
        return []
    order = np.argsort(starts, kind="stable")
    starts, stops = starts[order], np.maximum.accumulate(stops[order])
    breaks = np.flatnonzero(starts[1:] > stops[:-1])
    first, last = starts[np.append(0, breaks + 1)], stops[np.append(breaks, -1)]
    return list(map(ByteRange, first.tolist(), last.tolist()))


_NONE = np.zeros(0, np.int64)
_NO_ORDER = PacketOrder((), 0, _NONE.astype(np.int32), _NONE.astype(np.uint16))
NO_PACKETS = TilePackets(PacketChoice(_NO_ORDER, _NONE), _NONE, _NONE)
"""The packets of a tile without samples at a resolution level."""


def choose_packets(order: PacketOrder, levels: Mapping[tuple[int, int], Precincts | PrecinctUnion]) -> PacketChoice:
    """Choose the packets of some precincts, in all layers.

    The keys are (component, resolution level); no packets of other levels are chosen.
    """
    return _chosen(order, tuple(levels.items()))


@lru_cache(maxsize=64)
def _chosen(order: PacketOrder, levels: Sequence[tuple[tuple[int, int], Precincts | PrecinctUnion]]) -> PacketChoice:
    mask, firsts = np.zeros(sum(map(sum, order.counts)), np.bool_), order.first_precincts()
    for key, precincts in levels:
        precincts.mark(mask[firsts[key] : firsts[key] + precincts.count])
    return PacketChoice(order, np.flatnonzero(mask[order.precinct]))


@lru_cache(maxsize=64)
def places_in(choice: PacketChoice, order: PacketOrder) -> Places:
    """Return the places of chosen packets in another order.

    The other order has the resolution levels of the choice, and at least as many layers.
    """
    numbers = np.full(sum(map(sum, choice.order.counts)), -1, np.int64)
    firsts = choice.order.first_precincts()
    for (component, level), start in order.first_precincts().items():
        count = order.counts[component][level]
        numbers[firsts[component, level] : firsts[component, level] + count] = np.arange(start, start + count)
    place = np.empty(len(order), np.int64)
    place[order.precinct.astype(np.int64) * order.layers + order.layer] = np.arange(len(order))
    packets = choice.places
    precincts, layers = choice.order.precinct[packets], choice.order.layer[packets]
    result: Places = place[numbers[precincts] * order.layers + layers]
    return result
