"""Proof of complete tiles: no further tile-part can follow (T.800 A.4.2).

TNsot alone proves nothing: it may be 0, and an old encoder writes a number too low by 1. A tile is complete if any of
these conditions holds:

- TNsot is 1, and PLT lists all packets of the tile, which fill the tile-part: nothing can follow. (If TNsot is larger,
  a further tile-part without packets could still change the coding of the tile.)
- The chain of tile-parts has been followed far enough for the rule of decoders: if the first tile complete by TNsot has
  another tile-part, with TPsot = TNsot, all tiles have one more than TNsot; if it has none up to the end of the chain,
  all tiles have as many as TNsot. (If TNsot is 1, decoders differ.)
- The chain has ended in EOC, and TNsot is 0.
"""

from collections.abc import Collection, Sequence

from jp2batch.core.errors import CorruptImage
from jp2batch.jpeg2000.geometry.precinct_grids import tile_precincts
from jp2batch.jpeg2000.geometry.progression import count_packets
from jp2batch.jpeg2000.syntax.headers import MainHeader, TilePartHeader
from jp2batch.jpeg2000.syntax.markers import Marker, Sot


class InconsistentFile(Exception):  # not an error for the user: the reader falls back
    """The file contradicts itself; the text says at which position."""


def has_all_packets(header: MainHeader, parts: Sequence[TilePartHeader]) -> bool:
    """Return whether the packets of a tile fill its only tile-part."""
    if len(parts) != 1 or header.has(Marker.POC):
        return False
    part, lengths = parts[0], parts[0].packet_lengths
    if (part.sot.part, part.sot.parts) != (0, 1) or part.changes_coding or lengths is None:
        return False
    fills = part.data + int(lengths.sum()) == part.stop
    return fills and len(lengths) == count_packets(header, tile_precincts(header, part.sot.tile))


def check_claims(parts: Collection[TilePartHeader]) -> None:
    """Check TNsot of a tile's tile-parts against their number.

    Raises
    ------
    InconsistentFile
        TNsot is neither 0 nor the number of tile-parts.
    """
    if others := {part.sot.parts for part in parts} - {0, len(parts)}:
        raise InconsistentFile(f"a tile has {len(parts)} tile-parts, but TNsot {others.pop()}")


class Completeness:
    """Completeness of the wanted tiles while the chain is followed.

    Parameters
    ----------
    header : MainHeader
        The main header.
    count : int
        Tiles of the image.
    tiles : collection of int
        Tiles that must be complete.
    """

    def __init__(self, header: MainHeader, count: int, tiles: Collection[int]) -> None:
        self._header = header
        self._claims = _Claims(count)
        self._lacking = set(tiles)
        self._parts: dict[int, list[TilePartHeader]] = {tile: [] for tile in tiles}
        self._unclaimed = set(tiles)
        self._by_packets: bool | None = None

    @property
    def complete(self) -> bool:
        """Whether all wanted tiles are complete."""
        if self._lacking and not self._unclaimed and self._by_packets is None:
            self._by_packets = all(has_all_packets(self._header, self._parts[tile]) for tile in self._lacking)
        return not self._lacking or self._by_packets is True

    @property
    def needs_chain(self) -> bool:
        """Whether the chain must be followed further, for lack of PLT proof."""
        return self._by_packets is False

    @property
    def parts(self) -> list[TilePartHeader]:
        """Tile-parts of the wanted tiles, in codestream order, without repetitions."""
        counted = self._claims.located if self._claims.decided else {}
        parts = (part for tile, own in self._parts.items() for part in own[: counted.get(tile)])
        return sorted(parts, key=lambda part: part.start)

    def add(self, sot: Sot, part: TilePartHeader | None) -> None:
        """Count the next tile-part of the chain.

        Raises
        ------
        InconsistentFile
            A decoder would refuse the tile-part.
        """
        if part is not None:
            self._parts[sot.tile].append(part)
            if sot.parts and sot.part + 1 >= sot.parts:
                self._unclaimed.discard(sot.tile)
        if self._claims.add(sot):
            self._lacking -= self._claims.complete
        elif sot.tile in self._claims.complete:
            self._lacking.discard(sot.tile)

    def end(self, eoc: bool) -> None:
        """Complete the remaining tiles at the end of the chain.

        `eoc`: the chain has ended in EOC, so that no tile-part has been cut off.

        Raises
        ------
        CorruptImage
            A tile has no tile-part.
        InconsistentFile
            A tile has fewer tile-parts than TNsot says, or EOC is missing and TNsot is 0.
        """
        self._claims.decide(0)
        self._lacking -= self._claims.complete
        if absent := sorted(tile for tile in self._lacking if not self._parts[tile]):
            raise missing_tiles(absent)
        for tile in sorted(self._lacking):
            if self._claims.announced.get(tile):
                raise InconsistentFile(f"tile {tile} has fewer tile-parts than its TNsot")
            if not eoc:
                raise InconsistentFile(f"tile {tile} is not proven complete: EOC is missing")
        self._lacking.clear()


def missing_tiles(tiles: list[int]) -> CorruptImage:
    """Return the error for tiles without a tile-part.

    Decoders would silently fill them with zeros. `tiles` are sorted.
    """
    shown = ", ".join(map(str, tiles[:5])) + (", …" if len(tiles) > 5 else "")
    return CorruptImage("", f"parts of {len(tiles)} tiles are missing (tile {shown})", "fetch the file again")


class _Claims:
    """Tile-part counts of all tiles by TNsot, corrected like decoders do."""

    def __init__(self, count: int) -> None:
        self.located: dict[int, int] = {}
        """Number of tile-parts found, by tile."""
        self.announced: dict[int, int] = {}
        """Corrected TNsot by tile; absent or 0 if TNsot was 0."""
        self.complete: set[int] = set()
        """Tiles with all their tile-parts."""
        self.decided = False
        """Whether the correction is decided."""
        self._count, self._correction = count, 0
        self._first: int | None = None
        self._pending: list[Sot] = []

    def add(self, sot: Sot) -> bool:
        """Count the next tile-part; return whether it decided the correction."""
        if sot.tile == self._first and not self.decided:
            if sot.part == sot.parts == 1:
                raise InconsistentFile(f"tile {sot.tile} has TNsot 1 and two tile-parts: decoders differ")
            self.decide(int(sot.part == sot.parts))
            self._count_part(sot)
            return True
        if self.decided:
            self._count_part(sot)
        else:
            self._pending.append(sot)
            if self._first is None:
                self._note_first(sot)
        return False

    def decide(self, correction: int) -> None:
        """Fix the correction, unless already fixed, and count pending tile-parts."""
        if self.decided:
            return
        pending, self._pending = self._pending, []
        self.decided, self._correction = True, correction
        self.located, self.announced = {}, {}
        for sot in pending:
            self._count_part(sot)

    def _note_first(self, sot: Sot) -> None:
        """Remember the first tile complete by uncorrected TNsot."""
        self.located[sot.tile] = self.located.get(sot.tile, 0) + 1
        self.announced[sot.tile] = sot.parts or self.announced.get(sot.tile, 0)
        if self.announced[sot.tile] == self.located[sot.tile]:
            self._first = sot.tile

    def _count_part(self, sot: Sot) -> None:
        if len(self.complete) == self._count:
            return  # all tiles are complete: no decoder reads further
        located = self.located.get(sot.tile, 0)
        if sot.part != located:
            raise InconsistentFile(f"tile-part {sot.part} of tile {sot.tile} is out of order")
        if sot.parts:
            self.announced[sot.tile] = sot.parts + self._correction
        announced = self.announced.get(sot.tile, 0)
        if announced and located >= announced:
            raise InconsistentFile(f"tile {sot.tile} has more tile-parts than its TNsot")
        self.located[sot.tile] = located + 1
        if announced == located + 1:
            self.complete.add(sot.tile)
