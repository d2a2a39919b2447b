"""Locate packets by their headers, in sequence (T.800 B.9 and B.10).

Without PLT, only the header of a packet tells where the next one begins. The chain ends at the last wanted packet; a
complete one must end at the end of the tile.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jp2batch.core.costs import StoreCosts
from jp2batch.core.ranges import ByteRange
from jp2batch.jpeg2000.geometry.code_blocks import TileBlocks
from jp2batch.jpeg2000.geometry.grid import Selection
from jp2batch.jpeg2000.geometry.packet_choice import CutPackets, PacketChoice
from jp2batch.jpeg2000.locate.completeness import InconsistentFile
from jp2batch.jpeg2000.locate.packet_sizes import PacketSizes
from jp2batch.jpeg2000.locate.parsed_packet import ParsedPacket, ParsedPrecinct, parse_packet
from jp2batch.jpeg2000.syntax.headers import MainHeader, TilePartHeader
from jp2batch.jpeg2000.syntax.packet_headers import BadPacketHeader, MoreBytes
from jp2batch.jpeg2000.syntax.sparse_file import Ahead, SparseFile, Steps, in_memory, requirements


@dataclass(frozen=True, slots=True)
class ChainedPackets:
    """Packets found by their headers."""

    packets: CutPackets
    """The wanted packets, with their wanted code-blocks."""
    headers: tuple[ByteRange, ...]
    """All headers passed."""


@dataclass(frozen=True, slots=True, eq=False)
class ChainQuery:
    """Packets of a tile to find."""

    pieces: SparseFile
    header: MainHeader
    parts: Sequence[TilePartHeader]
    """All tile-parts of the tile."""
    selection: Selection
    choice: PacketChoice
    """Packets with wanted code-blocks."""
    store: StoreCosts
    packed: bytes | None = None
    """Packet headers in PPM or PPT; None if with the packets."""

    @property
    def length(self) -> int:
        """Bytes of the packets of the tile."""
        return sum(part.stop - part.data for part in self.parts)

    @property
    def tile(self) -> int:
        """Number of the tile."""
        return self.parts[0].sot.tile


def chain_packets(query: ChainQuery) -> Steps[ChainedPackets]:
    """Find the wanted packets of a tile.

    Raises
    ------
    InconsistentFile
        The packets do not fit the tile-parts.
    """
    chain = _Chain.new(query)
    wanted = _Wanted()
    places = query.choice.places.tolist()
    for place in range(places[-1] + 1 if places else 0):
        is_wanted = place == places[len(wanted.headers)]
        packet = yield from chain.next_packet(place)
        if is_wanted:
            wanted.add(packet)
    if len(places) and places[-1] == len(query.choice.order) - 1:
        chain.check_end()
    return ChainedPackets(wanted.result(query.choice), tuple(chain.headers))


@dataclass(slots=True)
class _Wanted:
    """Wanted packets, with their wanted code-blocks."""

    headers: list[bytes] = field(default_factory=list)
    parts: list[tuple[int, int]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def add(self, packet: ParsedPacket) -> None:
        """Add a packet, with its wanted code-blocks."""
        if all(grid.is_whole for grid in packet.precinct.grids):
            self.headers.append(packet.data)
            self.parts.append((packet.body, packet.stop))
        else:
            self.headers.append(packet.precinct.cut(packet.parsed, packet.layer))
            self.parts += _bodies(packet)
        self.ends.append(len(self.parts))

    def result(self, choice: PacketChoice) -> CutPackets:
        """Return the packets found."""
        bounds = np.array(self.parts, np.int64).reshape(-1, 2)
        return CutPackets(choice, tuple(self.headers), bounds[:, 0], bounds[:, 1], np.array(self.ends, np.int64))


def _bodies(packet: ParsedPacket) -> Iterator[tuple[int, int]]:
    """Iterate over the extents of the wanted code-blocks of a packet."""
    position = begin = end = packet.body
    for writer, band in zip(packet.precinct.writers or (), packet.parsed.bands, strict=False):
        for block, size in zip(band.blocks, band.sizes, strict=True):
            if block in writer.needed and size:
                if position != end:
                    if end > begin:
                        yield begin, end
                    begin = position
                end = position + size
            position += size
    if end > begin:
        yield begin, end


class _Level(NamedTuple):
    """A resolution level of a component."""

    component: int
    resolution: int


@dataclass(slots=True, eq=False)
class _Chain:
    """The place of a search along the packets of a tile."""

    query: ChainQuery
    blocks: TileBlocks
    sizes: PacketSizes
    levels: NDArray[np.int64]
    """First precinct of each level of each component, in order."""
    keys: Sequence["_Level"]
    """Component and resolution level of each."""
    position: int
    part: int = 0
    """Index of the current tile-part."""
    precincts: dict[int, ParsedPrecinct] = field(default_factory=dict)
    """Precincts with further layers."""
    headers: list[ByteRange] = field(default_factory=list)
    """Headers passed, with the packets."""
    packed: SparseFile | None = None
    """Headers in PPM or PPT."""
    packed_position: int = 0
    """Position of the next header in them."""

    @classmethod
    def new(cls, query: ChainQuery) -> "_Chain":
        """Return a chain before the first packet."""
        firsts: Mapping[tuple[int, int], int] = query.choice.order.first_precincts()
        filled = {key: first for key, first in firsts.items() if query.choice.order.counts[key[0]][key[1]]}
        blocks = TileBlocks(query.header, query.selection, query.tile)
        return cls(
            query,
            blocks,
            PacketSizes.expected(query.header, query.length, query.choice, blocks, query.store),
            np.array(list(filled.values()), np.int64),
            [_Level(*key) for key in filled],
            query.parts[0].data,
            packed=None if query.packed is None else in_memory(query.packed),
        )

    def next_packet(self, place: int) -> Steps[ParsedPacket]:
        """Read the header of the next packet, and go behind the packet."""
        order = self.query.choice.order
        number, layer = int(order.precinct[place]), int(order.layer[place])
        precinct = self.precincts.get(number) or self._precinct(number)
        stop = self._next_part()
        if self.packed is None:
            packet = yield from self._read(self.query.pieces, precinct, layer, place, ByteRange(self.position, stop))
            self.headers.append(ByteRange(self.position, packet.body))
        else:
            rest = ByteRange(self.packed_position, self.packed.size)
            packet = yield from self._read(self.packed, precinct, layer, place, rest)
            self.packed_position, packet = packet.body, replace(packet, body=self.position)
        if packet.stop > stop:
            raise InconsistentFile("a packet reaches beyond its tile-part")
        self.sizes.learn(place, len(packet.data), precinct.count, packet.stop - self.position)
        self.position = packet.stop
        if layer + 1 < order.layers:
            self.precincts[number] = precinct
        else:
            self.precincts.pop(number, None)
        return packet

    def _next_part(self) -> int:
        """Enter the next tile-part if needed; return the end of it."""
        parts = self.query.parts
        while self.position == parts[self.part].stop and self.part + 1 < len(parts):
            self.part += 1
            self.position = parts[self.part].data
        return parts[self.part].stop

    def _read(
        self, pieces: SparseFile, precinct: ParsedPrecinct, layer: int, place: int, rest: ByteRange
    ) -> Steps[ParsedPacket]:
        """Read the header at the begin of the rest, and parse it."""
        start, stop = rest
        least = self.sizes.header(precinct.count)
        while True:
            data = _present(pieces, start, min(start + least, stop))
            try:
                return parse_packet(self.query.header, precinct, layer, start, data)
            except MoreBytes:
                if start + len(data) >= stop:
                    raise InconsistentFile("a packet header reaches beyond the end of its data") from None
                if len(data) >= least:
                    least = 2 * len(data)
                ahead = Ahead(0, self.sizes.ahead(place))
                if missing := requirements(pieces, start, min(start + least, stop), ahead):
                    yield missing
            except BadPacketHeader as problem:
                raise InconsistentFile(str(problem)) from None

    def check_end(self) -> None:
        """Check the end of the packets against the tile-parts.

        Raises
        ------
        InconsistentFile
            Something follows them.
        """
        if self.packed is not None and self.packed_position != self.packed.size:
            raise InconsistentFile("PPM or PPT has more packet headers than the tile")
        rest = self.query.parts[self.part + 1 :]
        if self.position != self.query.parts[self.part].stop or any(part.data != part.stop for part in rest):
            raise InconsistentFile("the packets of a tile do not fill its tile-parts")

    def _precinct(self, number: int) -> ParsedPrecinct:
        level = int(np.searchsorted(self.levels, number, "right")) - 1
        component, resolution = self.keys[level]
        return ParsedPrecinct.new(
            component, self.blocks.precinct(component, resolution, number - int(self.levels[level]))
        )


def _present(pieces: SparseFile, start: int, stop: int) -> bytes:
    """Return the bytes already read from a position, up to a limit."""
    data, at = pieces.piece_at(start)
    if len(data) - at >= stop - start:
        return data[at : at + stop - start]
    gaps = pieces.missing(start, stop)
    return pieces.read(start, gaps[0].start if gaps else stop)
