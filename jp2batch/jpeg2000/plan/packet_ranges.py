"""Byte ranges of a tile's wanted packets, from PLT (T.800 A.7.3)."""

from collections.abc import Iterable, Mapping
from itertools import accumulate

from jp2batch.core.ranges import ByteRange
from jp2batch.jpeg2000.geometry.grid import Selection
from jp2batch.jpeg2000.geometry.precinct_grids import tile_precincts
from jp2batch.jpeg2000.geometry.precincts import wanted_precincts
from jp2batch.jpeg2000.geometry.progression import Packet, count_packets, packet_order
from jp2batch.jpeg2000.syntax.headers import MainHeader, TilePartHeader
from jp2batch.jpeg2000.syntax.markers import Marker

_CHANGES = "a tile changes its coding or progression"
_MOST_LAYERS = 65535
_MOST_PACKETS = 1 << 20  # packets of a tile: more take too much memory to list


def locate_packets(
    header: MainHeader, parts: Iterable[TilePartHeader], selection: Selection
) -> tuple[Mapping[Packet, ByteRange] | None, str]:
    """Return the byte ranges of a tile's packets for a selection.

    Returns
    -------
    packets : mapping or None
        None if the ranges are uncertain.
    reason : str
        Reason of the uncertainty; else empty.
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
    """Return the starts and stops of all packets."""
    starts: list[int] = []
    stops: list[int] = []
    for part in parts:
        bounds = list(accumulate(part.packet_lengths or (), initial=part.data))
        starts += bounds[:-1]
        stops += bounds[1:]
    return starts, stops


def needs_whole_tiles(header: MainHeader) -> str:
    """Return why packets cannot be located in any tile, else empty."""
    if header.has(Marker.POC):
        return _CHANGES
    if header.htj2k:
        return "the image is coded in HTJ2K"
    if header.cod.layers == _MOST_LAYERS:
        return "the image has the maximum number of layers"
    return ""


def _obstacle(parts: tuple[TilePartHeader, ...]) -> str:
    """Return why packets cannot be located in this tile, else empty."""
    for part in parts:
        if part.changes_coding:
            return _CHANGES
        if part.packed_headers:
            return "packet headers are kept in PPT"
        if part.packet_lengths is None:
            return "no usable PLT"
        if part.data + sum(part.packet_lengths) != part.stop:
            return "PLT does not add up to Psot"
    return ""
