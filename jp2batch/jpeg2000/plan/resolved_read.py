"""An image with its headers read; the resolved read of a selection."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from jp2batch.core.ranges import ByteRange, merged
from jp2batch.jpeg2000.geometry.grid import Selection
from jp2batch.jpeg2000.geometry.progression import Packet
from jp2batch.jpeg2000.locate.tile_parts import TilePartExtent
from jp2batch.jpeg2000.syntax.boxes import Container
from jp2batch.jpeg2000.syntax.headers import MainHeader, TilePartHeader

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


@dataclass(frozen=True, slots=True)
class Tile:
    """Tile-parts and wanted packets of a tile."""

    parts: tuple[TilePartHeader, ...]
    """All tile-parts of the tile."""
    packets: Mapping[Packet, ByteRange] | None
    """Byte ranges of the wanted packets; None = whole tile-parts."""

    def ranges(self) -> list[ByteRange]:
        """Return the byte ranges wanted of this tile."""
        if self.packets is None:
            return [ByteRange(part.start, part.stop) for part in self.parts]
        return merged(self.packets.values())

    @property
    def weight(self) -> int:
        """Approximate size in memory, in bytes."""
        return sum(600 + 40 * len(part.packet_lengths or ()) for part in self.parts) + 250 * len(self.packets or ())


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
    def unit(self) -> Precision:
        """Unit of decoding, the same for all tiles."""
        if not self.tiles:
            return "file"
        return "tile-parts" if any(tile.packets is None for tile in self.tiles.values()) else "packets"

    @property
    def weight(self) -> int:
        """Approximate size in memory, in bytes."""
        return 500 + sum(tile.weight for tile in self.tiles.values())

    @property
    def precision(self) -> Precision:
        """Unit of fetching."""
        return "file" if self.located_by == "whole" else self.unit
