"""Bytes of a tile's packets for a decoder; unwanted packets are empty.

Contiguous empty packets are a slice of a template, so that a tile costs little per packet.
"""

import re
import struct
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from jp2batch.core.errors import CorruptImage
from jp2batch.jpeg2000.geometry.packet_choice import TilePackets, places_in
from jp2batch.jpeg2000.geometry.precinct_grids import tile_precincts
from jp2batch.jpeg2000.geometry.progression import PacketOrder, count_packets, packet_order
from jp2batch.jpeg2000.plan.resolved_read import Tile
from jp2batch.jpeg2000.syntax.headers import MainHeader, TilePartHeader
from jp2batch.jpeg2000.syntax.markers import Marker
from jp2batch.jpeg2000.syntax.sparse_file import SparseFile

_NO_DATA = (b"\0", b"\x80")  # an empty packet, and a packet without code-blocks
_SOP, _EPH = Marker.SOP.code, Marker.EPH.code
_FEW = 16  # packets: fewer are handled one by one
_SOP_LAYOUT = struct.Struct(">2sHH")


def whole_tile(
    pieces: SparseFile, header: MainHeader, number: int, tile: Tile, guarded: bool
) -> list[bytes | memoryview]:
    """Return all packets of a tile; unwanted packets are empty.

    If `guarded`, SOP precedes each packet, and a layer is added.
    """
    grids, packets = tile_precincts(header, number), tile.packets
    if packets is None or not len(packets):
        return [_empty_packets(count_packets(header, grids, more_layers=int(guarded)), header.cod.eph, guarded)]
    order = packet_order(header, grids, more_layers=int(guarded))
    empty = _empty_packets(len(order), header.cod.eph, guarded)
    if len(packets) <= _FEW:
        return _few_packets(pieces, header, tile.parts, packets, order, guarded=guarded)
    data = b"".join(pieces.read(start, stop) for start, stop in packets.ranges())
    edges = np.zeros(len(packets) + 1, np.int64)  # of the packets in `data`
    np.cumsum(packets.stops - packets.starts, out=edges[1:])
    sops = _check_cut(header, data, edges, _certain(tile.parts, packets))
    size, places = len(empty) // len(order), places_in(packets.choice, order)
    if (places[1:] < places[:-1]).any():
        raise CorruptImage("", "its packets change places at another resolution level")
    own = np.where(sops, 0, _SOP_LAYOUT.size) if guarded else 0  # no packet header begins like SOP, B.10.1
    ends = (places * size + own).tolist()
    begins = [0, *((places + 1) * size).tolist()]
    view, bounds = memoryview(data), edges.tolist()
    result: list[bytes | memoryview] = [b""] * (2 * len(packets) + 1)
    result[:-1:2] = [empty[start:stop] for start, stop in zip(begins, ends, strict=False)]
    result[1::2] = [view[start:stop] for start, stop in pairwise(bounds)]
    result[-1] = empty[begins[-1] :]
    return result


def _few_packets(
    pieces: SparseFile,
    header: MainHeader,
    parts: tuple[TilePartHeader, ...],
    packets: TilePackets,
    order: PacketOrder,
    *,
    guarded: bool,
) -> list[bytes | memoryview]:
    """Return all packets of a tile, reading them one by one.

    It does the same as `whole_tile`, faster than operations on short arrays.
    """
    empty = _empty_packets(len(order), header.cod.eph, guarded)
    size, position = len(empty) // len(order), 0
    certain = {part.data for part in parts}
    places = places_in(packets.choice, order).tolist()
    result: list[bytes | memoryview] = []
    for place, start, stop in zip(places, packets.starts.tolist(), packets.stops.tolist(), strict=True):
        data = pieces.read(start, stop)
        several = data.find(_SOP, 1) >= 0 or (header.cod.eph and data.count(_EPH) != 1)
        if several or (len(data) == 1 and data not in _NO_DATA and start not in certain):
            raise CorruptImage("", "PLT contradicts the packets", "fetch the file again")
        if place * size < position:
            raise CorruptImage("", "its packets change places at another resolution level")
        certain.add(stop)
        own = _SOP_LAYOUT.size if guarded and not data.startswith(_SOP) else 0
        result += (empty[position : place * size + own], data)
        position = (place + 1) * size
    return [*result, empty[position:]]


@lru_cache(maxsize=8)
def _empty_packets(count: int, eph: bool, guarded: bool) -> bytes:
    """Return empty packets; all have the same size.

    If `guarded`, SOP precedes each.
    """
    packet = b"\0" + (_EPH if eph else b"")
    if not guarded:
        return packet * count
    model = np.frombuffer(_SOP_LAYOUT.pack(_SOP, 4, 0) + packet, np.uint8)
    packets = np.tile(model, (count, 1))
    packets[:, 4:6] = np.arange(count).astype(">u2").view(np.uint8).reshape(-1, 2)
    return packets.tobytes()


def _certain(parts: tuple[TilePartHeader, ...], packets: TilePackets) -> NDArray[np.bool_]:
    """Return which packets certainly start at a packet's start.

    They are the first of a tile-part, or follow another packet.
    """
    certain = np.zeros(len(packets), np.bool_)
    for part in parts:
        certain |= packets.starts == part.data
    certain[1:] |= packets.starts[1:] == packets.stops[:-1]
    return certain


def _check_cut(
    header: MainHeader, data: bytes, edges: NDArray[np.int64], certain: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Refuse data unlike single packets; return which begin with SOP.

    SOP occurs only before a packet, EPH once in it, and no other data look like them (B.10.1). Half of all byte values
    could be an empty packet: unless the start of the packet is certain, only the usual two are accepted. (The packet
    number in SOP is useless: encoders do not always count as in A.8.1.)
    """
    count = len(edges) - 1
    sops, packet = _occurrences(_SOP, data, edges)
    begins = np.zeros(count, np.bool_)
    begins[packet[sops == edges[packet]]] = True
    wrong = len(sops) > int(np.count_nonzero(begins))
    if header.cod.eph and not wrong:
        _, packet = _occurrences(_EPH, data, edges)
        wrong = bool((np.bincount(packet, minlength=count) != 1).any())
    single = np.flatnonzero((np.diff(edges) == 1) & ~certain)
    if wrong or any(data[at : at + 1] not in _NO_DATA for at in edges[single].tolist()):
        raise CorruptImage("", "PLT contradicts the packets", "fetch the file again")
    return begins


def _occurrences(marker: bytes, data: bytes, edges: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of a marker inside packets, and their packets."""
    if data.find(marker) < 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    places = np.array([match.start() for match in re.finditer(re.escape(marker), data)], np.int64)
    packet = np.searchsorted(edges, places, "right") - 1
    inside = places + len(marker) <= edges[packet + 1]
    return places[inside], packet[inside]
