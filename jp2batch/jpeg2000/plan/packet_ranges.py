"""Byte ranges of a tile's wanted packets, from PLT (T.800 A.7.3)."""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import cast

import numpy as np
from numpy.typing import NDArray

from jp2batch.jpeg2000.geometry.grid import Selection, WholeTiles
from jp2batch.jpeg2000.geometry.packet_choice import PacketChoice, TilePackets, choose_packets
from jp2batch.jpeg2000.geometry.precinct_grids import TileShapes, tile_precincts
from jp2batch.jpeg2000.geometry.precincts import wanted_precincts
from jp2batch.jpeg2000.geometry.progression import changed_order, count_packets
from jp2batch.jpeg2000.locate.packed_headers import has_packed_headers
from jp2batch.jpeg2000.syntax.coding import ProgressionChange, parse_poc
from jp2batch.jpeg2000.syntax.headers import MainHeader, TilePartHeader
from jp2batch.jpeg2000.syntax.markers import Marker
from jp2batch.jpeg2000.syntax.pointers import PacketLengths

NO_PLT = "no usable PLT"
_CHANGES = "a tile changes its coding or progression"
_MOST_LAYERS = 65535
_AT_ONCE = 1 << 16  # packets located together
MOST_PACKETS = 1 << 20  # packets of a tile: more take too much memory to list


def locate_packets(
    header: MainHeader, parts: Sequence[TilePartHeader], selection: Selection
) -> tuple[TilePackets | None, str]:
    """Return the byte ranges of a tile's packets for a selection.

    Returns
    -------
    packets : TilePackets or None
        None if the ranges are uncertain.
    reason : str
        Reason of the uncertainty; else empty.
    """
    if reason := _obstacle(header, parts):
        return None, reason
    starts, stops = _positions(parts)
    choice, reason = _choice(header, parts, selection, {len(starts)})
    return (TilePackets(choice, starts[choice.places], stops[choice.places]) if choice else None), reason


def locate_all(
    header: MainHeader, tiles: Mapping[int, Sequence[TilePartHeader]], selection: Selection
) -> tuple[dict[int, TilePackets], list[str]]:
    """Locate the packets of many tiles, as `locate_packets` does.

    Tiles of equal shape wanted as a whole are located together.

    Returns
    -------
    packets : dict of int to TilePackets
        Incomplete if there are reasons.
    reasons : list of str
        Reasons of the uncertainty.
    """
    packets: dict[int, TilePackets] = {}
    alike: dict[tuple[int, int], list[int]] = {}
    alone: list[int] = []
    shapes, whole = TileShapes(header), WholeTiles(header.siz, selection)
    for tile, parts in tiles.items():
        if len(parts) == 1 and parts[0].has_only_plt and header.changes is not None and tile in whole:
            alike.setdefault(shapes[tile], []).append(tile)
        else:
            alone.append(tile)
    for group in alike.values():
        located = _located_alike(header, [tiles[tile][0] for tile in group], selection)
        if located is None:
            alone += group  # each has its own reason
        else:
            packets.update(located)
    reasons = dict[str, None]()
    for tile in alone:
        found, reason = locate_packets(header, tiles[tile], selection)
        packets.update({tile: found} if found else {})
        reasons.update({reason: None} if reason else {})
    return packets, list(reasons)


def _choice(
    header: MainHeader, parts: Sequence[TilePartHeader], selection: Selection, counts: Collection[int]
) -> tuple[PacketChoice | None, str]:
    """Return the wanted packets of a tile, or a reason for None."""
    if max(counts) > MOST_PACKETS:
        return None, f"a tile has more than {MOST_PACKETS} packets"
    tile = parts[0].sot.tile
    grids, changes = tile_precincts(header, tile), tile_changes(header, parts) or ()
    count = count_packets(header, grids)
    if changes and count <= MOST_PACKETS:
        count = len(changed_order(header, grids, changes))
    if {count} != set(counts):
        return None, "PLT has another number of packets than the tile"
    order = changed_order(header, grids, changes)
    return choose_packets(order, wanted_precincts(header, selection, tile, grids)), ""


def _located_alike(
    header: MainHeader, parts: Sequence[TilePartHeader], selection: Selection
) -> dict[int, TilePackets] | None:
    """Return the packets of tiles of equal shape.

    Each tile has a single tile-part. None if the packet lengths of a tile are of another number, or do not add up.
    """
    choice, _ = _choice(header, parts[:1], selection, set(map(len, map(_lengths, parts))))
    if choice is None:
        return None
    count = len(choice.order)
    step = max(1, _AT_ONCE // max(1, count))
    found: dict[int, TilePackets] = {}
    for some in (parts[first : first + step] for first in range(0, len(parts), step)):
        lengths = np.concatenate(list(map(_lengths, some))).reshape(len(some), count)
        bounds = np.array([(part.data, part.stop) for part in some])
        if (bounds[:, 0] + lengths.sum(axis=1) != bounds[:, 1]).any():
            return None
        stops = np.cumsum(lengths, axis=1) + bounds[:, :1]
        starts, stops = (stops - lengths)[:, choice.places], stops[:, choice.places]
        for part, *own in zip(some, starts, stops, strict=True):
            found[part.sot.tile] = TilePackets(choice, *own)
    return found


def _lengths(part: TilePartHeader) -> PacketLengths:
    """Return the packet lengths of a tile-part without obstacle."""
    return cast(PacketLengths, part.packet_lengths)


def _positions(parts: Sequence[TilePartHeader]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the starts and stops of all packets."""
    lengths = [part.packet_lengths for part in parts if part.packet_lengths is not None]
    if len(lengths) == 1:
        stops = np.cumsum(lengths[0])
        stops += parts[0].data
        return stops - lengths[0], stops
    stops = np.concatenate([part.data + np.cumsum(own) for part, own in zip(parts, lengths, strict=True)])
    return stops - np.concatenate(lengths), stops


def needs_whole_tiles(header: MainHeader) -> str:
    """Return why packets cannot be located in any tile, else empty."""
    if header.changes is None:
        return _CHANGES
    if header.htj2k:
        return "the image is coded in HTJ2K"
    if header.cod.layers == _MOST_LAYERS:
        return "the image has the maximum number of layers"
    return ""


def tile_changes(header: MainHeader, parts: Sequence[TilePartHeader]) -> tuple[ProgressionChange, ...] | None:
    """Return the changes of progression in a tile.

    None if decoders could read them differently, as POC of a tile beside POC in the main header.
    """
    segments = [segment for part in parts for segment in part.segments if segment.marker == Marker.POC]
    if not segments:
        return header.changes
    if header.changes or segments[0] not in parts[0].segments:
        return None
    return parse_poc(segments, len(header.siz.components))


def chain_obstacle(header: MainHeader, parts: Sequence[TilePartHeader]) -> str:
    """Return why packet headers cannot be followed, else empty."""
    if any(part.changes_coding for part in parts) or tile_changes(header, parts) is None:
        return _CHANGES
    if any(before.stop > part.start for before, part in pairwise(parts)):
        return "tile-parts of a tile are not in order"
    return ""


def _obstacle(header: MainHeader, parts: Sequence[TilePartHeader]) -> str:
    """Return why PLT does not locate a tile's packets, else empty."""
    if reason := chain_obstacle(header, parts):
        return reason
    if has_packed_headers(parts):
        return NO_PLT
    for part in parts:
        if part.packet_lengths is None:
            return NO_PLT
        if part.data + int(part.packet_lengths.sum()) != part.stop:
            return "PLT does not add up to Psot"
    return ""
