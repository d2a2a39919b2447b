"""Which packets of a tile are wanted, and where they lie: by PLT, where that can be relied on (T.800 A.7.3)."""

from collections.abc import Iterable, Mapping
from itertools import accumulate

from jp2batch.core.ranges import ByteRange
from jp2batch.jpeg2000.geometry.grid import Selection, tile_precincts
from jp2batch.jpeg2000.geometry.precincts import wanted_precincts
from jp2batch.jpeg2000.geometry.progression import Packet, count_packets, packet_order
from jp2batch.jpeg2000.syntax.headers import MainHeader, TilePartHeader
from jp2batch.jpeg2000.syntax.markers import Marker

_CHANGES = "a tile changes its coding or progression"
_MOST_LAYERS = 65535
_MOST_PACKETS = 1 << 20  # of a tile: more cannot be listed in reasonable memory


def locate_packets(
    header: MainHeader, parts: Iterable[TilePartHeader], selection: Selection
) -> tuple[Mapping[Packet, ByteRange] | None, str]:
    """Return where the packets of a tile lie that a selection needs.

    Returns
    -------
    packets : mapping or None
        None where that cannot be told for sure.
    reason : str
        Why not.
    """
    parts = tuple(parts)
    if reason := _obstacle(parts):
        return None, reason
    lengths = [length for part in parts for length in part.packet_lengths or ()]
    if len(lengths) > _MOST_PACKETS:
        return None, f"a tile has more than {_MOST_PACKETS} packets"
    tile = parts[0].sot.tile
    grids = tile_precincts(header, tile)
    if count_packets(header, grids) != len(lengths):
        return None, "PLT has another number of packets than the tile"
    order = packet_order(header, grids)
    wanted = wanted_precincts(header, selection, tile, grids)
    starts, stops = _positions(parts)
    return {
        packet: ByteRange(starts[place], stops[place])
        for place, packet in enumerate(order)
        if packet.precinct in wanted.get((packet.component, packet.resolution), ())
    }, ""


def _positions(parts: Iterable[TilePartHeader]) -> tuple[list[int], list[int]]:
    """Return where all packets begin, and where they end."""
    starts: list[int] = []
    stops: list[int] = []
    for part in parts:
        bounds = list(accumulate(part.packet_lengths or (), initial=part.data))
        starts += bounds[:-1]
        stops += bounds[1:]
    return starts, stops


def needs_whole_tiles(header: MainHeader) -> str:
    """Return why the packets of no tile can be told apart; an empty text where they can."""
    if header.has(Marker.POC):
        return _CHANGES
    if header.htj2k:
        return "the image is coded in HTJ2K"
    if header.cod.layers == _MOST_LAYERS:
        return "the image has as many layers as there can be"
    return ""


def _obstacle(parts: tuple[TilePartHeader, ...]) -> str:
    """Return why the packets of a tile cannot be told apart; an empty text where they can."""
    for part in parts:
        if part.changes_coding:
            return _CHANGES
        if part.packed_headers:
            return "packet headers are kept in PPT"
        if part.packet_lengths is None:
            return "there is no usable PLT"
        if part.data + sum(part.packet_lengths) != part.stop:
            return "PLT does not add up to Psot"
    return ""
