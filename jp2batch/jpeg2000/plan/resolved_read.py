"""An image with its headers read; the resolved read of a selection."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from jp2batch.core.ranges import ByteRange, merged
from jp2batch.jpeg2000.geometry.grid import Selection
from jp2batch.jpeg2000.geometry.packet_choice import CutPackets, TilePackets, merged_ranges
from jp2batch.jpeg2000.locate.tile_parts import TilePartExtent
from jp2batch.jpeg2000.syntax.boxes import Container
from jp2batch.jpeg2000.syntax.headers import MainHeader, TilePartHeader
from jp2batch.jpeg2000.syntax.markers import Marker

LocatedBy = Literal["tlm", "index", "walk", "whole"]
"""Method of locating tile-parts."""
Precision = Literal["packets", "tile-parts", "file"]
"""Unit of the bytes read."""


@dataclass(frozen=True, slots=True)
class Image:
    """Boxes and main header of a file."""

    container: Container
    header: MainHeader
    misplaced: str = ""
    """Description of misplaced boxes; only decoding then tells the sample type."""
    obstacle: str = ""
    """Reason for decoding only the whole file; empty if parts suffice.

    No part of such a file is proven to give the same pixels.
    """

    @property
    def first_part(self) -> int:
        """Position behind the first marker after the main header."""
        return min(self.header.stop + len(Marker.SOT.code), self.container.codestream.stop)


class Tile(NamedTuple):  # a read makes a hundred of them
    """Tile-parts and wanted packets of a tile."""

    parts: tuple[TilePartHeader, ...]
    """All tile-parts of the tile."""
    packets: TilePackets | CutPackets | None
    """Byte ranges of the wanted packets; None = whole tile-parts."""
    packet_headers: tuple[ByteRange, ...] = ()
    """Headers of packets found without PLT, for the index."""

    @property
    def weight(self) -> int:
        """Approximate size in memory, in bytes."""
        lengths = (0 if part.packet_lengths is None else part.packet_lengths.nbytes for part in self.parts)
        packets = 0 if self.packets is None else 400 + self.packets.weight
        packed = sum(len(part.packed_headers or b"") for part in self.parts)
        segments = sum(len(segment.body) for part in self.parts for segment in part.segments)
        return 600 * len(self.parts) + sum(lengths) + packets + packed + segments + 100 * len(self.packet_headers)


def wanted_ranges(tiles: Iterable[Tile]) -> list[ByteRange]:
    """Return the byte ranges wanted of tiles, sorted and merged."""
    tiles = list(tiles)
    parts = [part for tile in tiles if tile.packets is None for part in tile.parts]
    packets = [tile.packets for tile in tiles if tile.packets is not None]
    starts = np.concatenate([np.array([part.start for part in parts], np.int64), *(own.starts for own in packets)])
    stops = np.concatenate([np.array([part.stop for part in parts], np.int64), *(own.stops for own in packets)])
    return merged_ranges(starts, stops)


@dataclass(frozen=True, slots=True)
class ResolvedRead:
    """The result of planning: tiles, packets and their byte ranges."""

    selection: Selection
    located_by: LocatedBy
    tiles: Mapping[int, Tile]
    """Wanted parts of each tile; empty for decoding the whole file."""
    reasons: tuple[str, ...]
    """Reasons for less precise methods; empty without fallback."""
    passed: tuple[TilePartExtent, ...] = ()
    """Extents of other tile-parts met by a walk; not proven complete."""

    @property
    def packet_headers(self) -> list[ByteRange]:
        """Headers of packets found without PLT; sorted and merged."""
        return merged(header for tile in self.tiles.values() for header in tile.packet_headers)

    @property
    def unit(self) -> Precision:
        """Unit of decoding, the same for all tiles."""
        if not self.tiles:
            return "file"
        return "packets" if next(iter(self.tiles.values())).packets is not None else "tile-parts"

    @property
    def weight(self) -> int:
        """Approximate size in memory, in bytes."""
        return 500 + sum(tile.weight for tile in self.tiles.values())

    @property
    def precision(self) -> Precision:
        """Unit of fetching."""
        return "file" if self.located_by == "whole" else self.unit
