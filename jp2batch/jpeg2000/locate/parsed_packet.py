"""Parsed packets, and the state of their precincts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from jp2batch.jpeg2000.geometry.code_blocks import BandGrid
from jp2batch.jpeg2000.syntax.headers import MainHeader
from jp2batch.jpeg2000.syntax.markers import Marker
from jp2batch.jpeg2000.syntax.packet_header_writer import BandWriter, write_packet_header
from jp2batch.jpeg2000.syntax.packet_headers import (
    BadPacketHeader,
    BandState,
    MoreBytes,
    PacketHeader,
    parse_packet_header,
)

_SOP_SIZE, _EPH_SIZE = 6, 2
_LARGE = range(1 << 12, 1 << 17)  # code-blocks: parsing so many takes longer than a request; more take 20 MB


@dataclass(slots=True)
class ParsedPrecinct:
    """Code-blocks of a precinct, and the state left by its packets."""

    component: int
    grids: Sequence[BandGrid]
    states: list[BandState]
    writers: list[BandWriter] | None = None
    """Writers of the wanted code-blocks; None until needed."""

    @classmethod
    def new(cls, component: int, grids: Sequence[BandGrid]) -> "ParsedPrecinct":
        """Return a precinct before its first packet."""
        states = [BandState.new(len(grid.columns), len(grid.rows)) for grid in grids]
        return cls(component, grids, states)

    @property
    def count(self) -> int:
        """Number of code-blocks."""
        return sum(state.shape.leaves for state in self.states)

    def update(self, states: list[BandState]) -> None:
        """Take the states behind a packet."""
        self.states = states
        for writer, state in zip(self.writers or (), states, strict=False):
            writer.state = state

    def cut(self, header: PacketHeader, layer: int) -> bytes:
        """Return a header for the wanted code-blocks."""
        if self.writers is None:
            self.writers = [
                BandWriter.new(state, grid.numbers()) for state, grid in zip(self.states, self.grids, strict=True)
            ]
        return write_packet_header(self.writers, header.bands, layer)


@dataclass(frozen=True, slots=True)
class ParsedPacket:
    """A packet in the file."""

    precinct: ParsedPrecinct
    layer: int
    body: int
    """Position behind the header, and EPH."""
    parsed: PacketHeader
    data: bytes
    """The header, without SOP and EPH."""

    @property
    def stop(self) -> int:
        """Position behind the packet."""
        return self.body + self.parsed.body


def parse_packet(header: MainHeader, precinct: ParsedPrecinct, layer: int, start: int, data: bytes) -> ParsedPacket:
    """Parse a packet at the start of some data; update its precinct."""
    begin = 0
    if header.cod.sop:
        if len(data) < _SOP_SIZE and Marker.SOP.code.startswith(data[:2]):
            raise MoreBytes
        begin = _SOP_SIZE if data.startswith(Marker.SOP.code) else 0
    own = data[begin:]
    style = header.codings[precinct.component].style
    if header.cod.layers == 1 and precinct.count in _LARGE:
        shapes = tuple((len(grid.columns), len(grid.rows)) for grid in precinct.grids)
        parsed, states = _first_layer(own, shapes, style)
    else:
        states = [state.copy() for state in precinct.states]
        parsed = parse_packet_header(own, states, layer, style)
    end = begin + parsed.size
    if header.cod.eph:
        if len(data) < end + _EPH_SIZE:
            raise MoreBytes
        if not data.startswith(Marker.EPH.code, end):
            raise BadPacketHeader("EPH is missing behind a packet header")
        end += _EPH_SIZE
    precinct.update(states)
    return ParsedPacket(precinct, layer, start + end, parsed, own[: parsed.size])


@lru_cache(maxsize=4)
def _first_layer(data: bytes, shapes: tuple[tuple[int, int], ...], style: int) -> tuple[PacketHeader, list[BandState]]:
    """Parse a large packet header of a single layer, once."""
    states = [BandState.new(*shape) for shape in shapes]
    return parse_packet_header(data, states, 0, style), states
