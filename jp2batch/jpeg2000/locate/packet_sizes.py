"""Expected sizes of packets, and the read-ahead along a chain of them."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jp2batch.core.costs import StoreCosts
from jp2batch.jpeg2000.geometry.code_blocks import TileBlocks
from jp2batch.jpeg2000.geometry.packet_choice import PacketChoice
from jp2batch.jpeg2000.syntax.headers import MainHeader

_FIXED = 6  # bytes of a packet header besides its code-blocks
_HEADER = 4 * _FIXED  # the same with a margin: too few bytes cost a request
EACH_BLOCK = 4.3
"""Bytes of a code-block in a packet header: measured on lossless files."""
_MARGIN = 1.15
_LARGEST_AHEAD = 16 << 20
_COARSER = 0.28  # bytes of a resolution level, in parts of the level above: measured on lossless files


class ChainCost(NamedTuple):
    """Expected cost of a chain of packets."""

    requests: int
    """Number of requests in sequence."""
    size: int
    """Bytes of packet headers, and of packets read along."""
    needed: int
    """Further bytes, of the wanted code-blocks."""
    packets: int
    """Packets in the chain."""
    blocks: int
    """Code-blocks in their headers."""


@dataclass(slots=True, eq=False)
class PacketSizes:
    """Sizes of the packets of a tile: expected, then learned.

    Sizes are those of a resolution level; a level without packets so far is expected in proportion.
    """

    level: NDArray[np.int64]
    """Resolution level of each packet up to the last wanted, in order."""
    guesses: list[float]
    """Expected bytes of a packet, by resolution level."""
    blocks: list[float]
    """Code-blocks of a packet, by resolution level."""
    needed: list[float]
    """Expected bytes of the wanted code-blocks, by resolution level."""
    worth: float
    """Bytes to read rather than to ask again."""
    seen: list[list[int]]
    """Packets and bytes seen of each resolution level."""
    chunk: float = 0.0
    each_block: float = EACH_BLOCK

    @classmethod
    def expected(
        cls,
        header: MainHeader,
        length: int,
        choice: PacketChoice,
        blocks: TileBlocks,
        store: StoreCosts,
    ) -> "PacketSizes":
        """Return the expected sizes for a tile of a length in bytes."""
        levels = max(coding.levels for coding in header.codings)
        counts, of_blocks, of_wanted = ([0] * (levels + 1) for _ in range(3))
        by_precinct: list[NDArray[np.int64]] = []
        for component, own in enumerate(choice.order.counts):
            drop = levels - header.codings[component].levels  # count the levels from the highest
            for resolution, count in enumerate(own):
                counts[resolution + drop] += count * choice.order.layers
                of_blocks[resolution + drop] += blocks.count(component, resolution)
                if resolution <= header.codings[component].levels - blocks.rlevel:
                    of_wanted[resolution + drop] += blocks.needed_count(component, resolution)
                by_precinct.append(np.full(count, resolution + drop))
        shares = [_COARSER ** (levels - level) if counts[level] else 0.0 for level in range(levels + 1)]
        total = sum(shares) or 1.0
        guesses = [length * share / total / max(1, count) for share, count in zip(shares, counts, strict=True)]
        each = [found / max(1, count // choice.order.layers) for found, count in zip(of_blocks, counts, strict=True)]
        needed = [
            guess * count * some / max(1, all_of)
            for guess, count, some, all_of in zip(guesses, counts, of_wanted, of_blocks, strict=True)
        ]
        last = int(choice.places[-1]) + 1 if len(choice.places) else 0
        level = np.concatenate(by_precinct)[choice.order.precinct[:last]]
        worth = max(store.latency * store.bandwidth, store.request_worth)
        return cls(level, guesses, each, needed, worth, [[0, 0] for _ in guesses], worth)

    def header(self, blocks: int) -> int:
        """Return the probable bytes of a packet header."""
        return _HEADER + int(_MARGIN * self.each_block * blocks)

    def learn(self, place: int, header: int, blocks: int, size: int) -> None:
        """Take in a packet."""
        seen = self.seen[self.level[place]]
        seen[0] += 1
        seen[1] += size
        if blocks:
            weight = min(0.5, blocks / 256)
            self.each_block += weight * (max(1.0, (header - _FIXED) / blocks) - self.each_block)

    def ahead(self, place: int) -> int:
        """Return the bytes to read ahead behind a missing header.

        If the next packets are short, reading them costs less than asking for each header.
        """
        rest = self.level[place:]
        if self._size(int(rest[0])) >= self.worth:
            return 0
        levels, counts = np.unique(rest, return_counts=True)
        total = sum(
            count * self._size(level)
            for level, count in zip(levels.tolist(), counts.tolist(), strict=True)
            if self._size(level) < self.worth
        )
        self.chunk = min(2 * self.chunk, _LARGEST_AHEAD)
        return int(min(total, self.chunk))

    def cost(self, *, packed: bool) -> ChainCost:
        """Return the expected cost of the chain, and of its wanted code-blocks.

        If `packed`, all packet headers have been read, from PPM or PPT.
        """
        requests, size, wanted, parsed = 0.0 if packed else 1.0, 0.0, 0.0, 0.0
        for level, count in enumerate(np.bincount(self.level, minlength=len(self.guesses)).tolist()):
            data = count * self.guesses[level]
            parsed += count * self.blocks[level]
            if packed:
                wanted += self.needed[level]
            elif self.guesses[level] < self.worth:
                requests += data / _LARGEST_AHEAD + (math.log2(1 + data / self.worth) if data else 0)
                size += data
            else:
                requests += count
                size += count * self.header(int(self.blocks[level]))
                wanted += self.needed[level]
        return ChainCost(math.ceil(requests), int(size), int(wanted), len(self.level), int(parsed))

    def _size(self, level: int) -> float:
        packets, size = self.seen[level]
        return size / packets if packets else self.guesses[level]
