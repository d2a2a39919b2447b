"""Bytes of a tile's packets for a decoder; unwanted packets are empty.

They are in the progression order of the main header, whatever their order in the file.

Contiguous empty packets are a slice of a template, shared by tiles of equal shape, so that a tile costs little.
"""

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from jp2batch.core.errors import CorruptImage
from jp2batch.jpeg2000.geometry.packet_choice import NO_PACKETS, CutPackets, PacketChoice, TilePackets, places_in
from jp2batch.jpeg2000.geometry.precinct_grids import TileShapes, tile_precincts
from jp2batch.jpeg2000.geometry.progression import PacketOrder, count_packets, packet_order
from jp2batch.jpeg2000.plan.resolved_read import Tile
from jp2batch.jpeg2000.syntax.headers import MainHeader
from jp2batch.jpeg2000.syntax.markers import Marker
from jp2batch.jpeg2000.syntax.sparse_file import SparseFile

_NO_DATA = (b"\0", b"\x80")  # an empty packet, and a packet without code-blocks
_SOP, _EPH = Marker.SOP.code, Marker.EPH.code
_AT_ONCE = 1 << 16  # packets cut together
_SOP_LAYOUT = struct.Struct(">2sHH")

Parts = list[bytes | memoryview]
"""Bytes in parts, to be joined."""


def whole_tiles(pieces: SparseFile, header: MainHeader, tiles: Mapping[int, Tile], guarded: bool) -> dict[int, Parts]:
    """Return all packets of each tile; unwanted packets are empty.

    If `guarded`, SOP precedes each packet, and a layer is added. Tiles of equal shape with the same wanted packets are
    cut together.
    """
    alike: dict[tuple[tuple[int, int] | None, PacketChoice], list[int]] = {}
    shapes = TileShapes(header)
    result: dict[int, Parts] = {}
    for number, tile in tiles.items():
        if isinstance(tile.packets, CutPackets):
            order = packet_order(header, tile_precincts(header, number), more_layers=int(guarded))
            result[number] = _cut_tile(pieces, header, tile.packets, order, guarded=guarded)
        else:
            choice = (tile.packets or NO_PACKETS).choice
            shape = shapes[number] if choice is NO_PACKETS.choice else None  # the order of others tells their shape
            alike.setdefault((shape, choice), []).append(number)
    for (_, choice), numbers in alike.items():
        grids, count = tile_precincts(header, numbers[0]), len(choice.places)
        if not count:
            packets = count_packets(header, grids, more_layers=int(guarded))
            result.update({number: [_empty_packets(packets, header.cod.eph, guarded)] for number in numbers})
            continue
        order, step = packet_order(header, grids, more_layers=int(guarded)), max(1, _AT_ONCE // count)
        for first in range(0, len(numbers), step):
            some = numbers[first : first + step]
            own = _tiles_alike(pieces, header, [tiles[number] for number in some], order, guarded=guarded)
            result.update(zip(some, own, strict=True))
    return result


def _cut_tile(
    pieces: SparseFile, header: MainHeader, packets: CutPackets, order: PacketOrder, *, guarded: bool
) -> Parts:
    """Return all packets of a tile, the wanted ones with new headers."""
    places, sequence = _ascending_places(packets.choice, order)
    empty = _empty_packets(len(order), header.cod.eph, guarded)
    result: Parts = [b""] * (2 * len(places) + 1)
    result[::2] = _between(empty, len(order), places, np.zeros(len(places), np.bool_) if guarded else None)
    bodies = list(map(pieces.read, packets.starts.tolist(), packets.stops.tolist()))
    end_of_header = _EPH if header.cod.eph else b""
    ends = [0, *packets.ends.tolist()]
    for index, number in enumerate(sequence.tolist()):
        parts = bodies[ends[number] : ends[number + 1]]
        result[2 * index + 1] = b"".join([packets.headers[number], end_of_header, *parts])
    return result


def _ascending_places(choice: PacketChoice, order: PacketOrder) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return places in another order, ascending, with the packets there."""
    places = places_in(choice, order)
    sequence = np.argsort(places)
    return places[sequence], sequence


def _tiles_alike(
    pieces: SparseFile, header: MainHeader, tiles: Sequence[Tile], order: PacketOrder, *, guarded: bool
) -> Iterator[Parts]:
    """Iterate over all packets of tiles with the same choice."""
    located = [tile.packets for tile in tiles if isinstance(tile.packets, TilePackets)]
    starts, stops = (np.concatenate(each) for each in zip(*((one.starts, one.stops) for one in located), strict=True))
    follows = np.append(False, starts[1:] == stops[:-1])
    runs = np.flatnonzero(~follows)
    ends = np.append(runs[1:], 0) - 1
    data = b"".join(map(pieces.read, starts[runs].tolist(), stops[ends].tolist()))
    edges = np.zeros(len(starts) + 1, np.int64)  # of the packets in `data`
    np.cumsum(stops - starts, out=edges[1:])
    certain = {part.data for tile in tiles for part in tile.parts}  # starts of packets
    single = runs[stops[runs] - starts[runs] == 1].tolist()
    sops = _check_cut(header, data, edges, [place for place in single if int(starts[place]) not in certain])
    places, sequence = _ascending_places(located[0].choice, order)
    count, view = len(located[0]), memoryview(data)
    empty = _empty_packets(len(order), header.cod.eph, guarded)
    between: dict[bytes, list[bytes]] = {}
    numbers = sequence.tolist()
    packets = [view[start:stop] for start, stop in pairwise(edges.tolist())]
    for first in range(0, len(packets), count):
        own = sops[first : first + count][sequence]
        if (key := own.tobytes()) not in between:
            between[key] = _between(empty, len(order), places, own if guarded else None)
        result: Parts = [b""] * (2 * count + 1)
        result[::2], result[1::2] = between[key], [packets[first + number] for number in numbers]
        yield result


def _between(empty: bytes, count: int, places: NDArray[np.int64], sops: NDArray[np.bool_] | None) -> list[bytes]:
    """Return the empty packets before, between and behind wanted packets.

    With `sops`, a SOP precedes each wanted packet that does not begin with one. No packet header begins like SOP,
    B.10.1.
    """
    size = len(empty) // count
    ends = places * size + (0 if sops is None else np.where(sops, 0, _SOP_LAYOUT.size))
    bounds = zip([0, *((places + 1) * size).tolist()], [*ends.tolist(), len(empty)], strict=True)
    return [empty[start:stop] for start, stop in bounds]


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


def _check_cut(header: MainHeader, data: bytes, edges: NDArray[np.int64], doubtful: list[int]) -> NDArray[np.bool_]:
    """Refuse data unlike single packets; return which begin with SOP.

    SOP occurs only before a packet, EPH once in it, and no other data look like them (B.10.1). Half of all byte values
    could be an empty packet: of `doubtful` packets, whose start is not certain, only the usual two are
    accepted. (The packet number in SOP is useless: encoders do not always count as in A.8.1.)
    """
    count = len(edges) - 1
    sops, packet = _occurrences(_SOP, data, edges)
    begins = np.zeros(count, np.bool_)
    begins[packet[sops == edges[packet]]] = True
    wrong = len(sops) > int(np.count_nonzero(begins))
    if header.cod.eph and not wrong:
        _, packet = _occurrences(_EPH, data, edges)
        wrong = bool((np.bincount(packet, minlength=count) != 1).any())
    if wrong or any(data[at : at + 1] not in _NO_DATA for at in edges[doubtful].tolist()):
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
