"""Byte ranges of a tile's wanted packets, from PLT (T.800 A.7.3)."""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from jp2batch.jpeg2000.geometry.grid import Selection
from jp2batch.jpeg2000.geometry.packet_choice import TilePackets, choose_packets
from jp2batch.jpeg2000.geometry.precinct_grids import tile_precincts
from jp2batch.jpeg2000.geometry.precincts import wanted_precincts
from jp2batch.jpeg2000.geometry.progression import count_packets, packet_order
from jp2batch.jpeg2000.syntax.headers import MainHeader, TilePartHeader
from jp2batch.jpeg2000.syntax.markers import Marker

_CHANGES = "a tile changes its coding or progression"
_MOST_LAYERS = 65535
_MOST_PACKETS = 1 << 20  # packets of a tile: more take too much memory to list


def locate_packets(
    header: MainHeader, parts: Iterable[TilePartHeader], selection: Selection
) -> tuple[TilePackets | None, str]:
    """Return the byte ranges of a tile's packets for a selection.

    Returns
    -------
    packets : TilePackets or None
        None if the ranges are uncertain.
    reason : str
        Reason of the uncertainty; else empty.
    """
    parts = tuple(parts)
    if reason := _obstacle(parts):
        return None, reason
    starts, stops = _positions(parts)
    if len(starts) > _MOST_PACKETS:
        return None, f"a tile has more than {_MOST_PACKETS} packets"
    tile = parts[0].sot.tile
    grids = tile_precincts(header, tile)
    if count_packets(header, grids) != len(starts):
        return None, "PLT has another number of packets than the tile"
    choice = choose_packets(packet_order(header, grids), wanted_precincts(header, selection, tile, grids))
    return TilePackets(choice, starts[choice.places], stops[choice.places]), ""


def _positions(parts: tuple[TilePartHeader, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
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
        if part.data + int(part.packet_lengths.sum()) != part.stop:
            return "PLT does not add up to Psot"
    if any(before.stop > part.start for before, part in pairwise(parts)):
        return "tile-parts of a tile are not in order"
    return ""
