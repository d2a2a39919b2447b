"""An image with its headers read; the resolved read of a selection."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from jp2batch.core.ranges import ByteRange
from jp2batch.jpeg2000.geometry.grid import Selection
from jp2batch.jpeg2000.geometry.packet_choice import TilePackets
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
    packets: TilePackets | None
    """Byte ranges of the wanted packets; None = whole tile-parts."""

    def ranges(self) -> list[ByteRange]:
        """Return the byte ranges wanted of this tile."""
        if self.packets is None:
            return [ByteRange(part.start, part.stop) for part in self.parts]
        return self.packets.ranges()

    @property
    def weight(self) -> int:
        """Approximate size in memory, in bytes."""
        lengths = (0 if part.packet_lengths is None else part.packet_lengths.nbytes for part in self.parts)
        return 600 * len(self.parts) + sum(lengths) + (0 if self.packets is None else 400 + 16 * len(self.packets))


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
