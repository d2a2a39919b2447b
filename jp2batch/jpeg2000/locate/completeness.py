"""Which tiles have all their tile-parts: the proof that reading a tile may end (T.800 A.4.2).

TNsot alone proves nothing: it may be 0, and an old encoder's habit is to tell one tile-part too few. A tile is complete
where one of these holds:

- It tells of one tile-part, and PLT lists as many packets as the tile has, which fill that: nothing can follow. (If it
  tells of several, one more without packets could still change how the tile is coded.)
- The chain of tile-parts has been followed so far that the rule of decoders decides: if the first tile that TNsot calls
  complete has another tile-part, with TPsot = TNsot, all tiles have one more than TNsot tells; if it has none up to the
  end of the chain, they have as many as it tells. (If TNsot is 1, decoders differ.)
- The chain has ended in EOC, and TNsot tells nothing.
"""

from collections.abc import Collection, Sequence

from jp2batch.core.errors import CorruptImage
from jp2batch.jpeg2000.geometry.grid import tile_precincts
from jp2batch.jpeg2000.geometry.progression import count_packets
from jp2batch.jpeg2000.syntax.headers import MainHeader, TilePartHeader
from jp2batch.jpeg2000.syntax.markers import Marker, Sot


class InconsistentFile(Exception):  # not an error for the user: another way is taken
    """What the file says of itself does not agree; its text says where."""


def has_all_packets(header: MainHeader, parts: Sequence[TilePartHeader]) -> bool:
    """Tell whether a tile has one tile-part, which is filled by as many packets as the tile has."""
    if len(parts) != 1 or header.has(Marker.POC):
        return False
    part, lengths = parts[0], parts[0].packet_lengths
    if (part.sot.part, part.sot.parts) != (0, 1) or part.changes_coding or lengths is None:
        return False
    fills = part.data + sum(lengths) == part.stop
    return fills and len(lengths) == count_packets(header, tile_precincts(header, part.sot.tile))


def check_claims(parts: Collection[TilePartHeader]) -> None:
    """Doubt all tile-parts of a tile, unless TNsot tells their number, or nothing.

    Raises
    ------
    InconsistentFile
        It tells another one.
    """
    if others := {part.sot.parts for part in parts} - {0, len(parts)}:
        raise InconsistentFile(f"a tile has {len(parts)} tile-parts, and tells of {others.pop()}")


class Completeness:
    """Which of the wanted tiles are complete, along the chain of tile-parts from the first on.

    Parameters
    ----------
    header : MainHeader
        The main header.
    count : int
        Tiles of the image.
    wanted : collection of int
        Tiles that must be complete.
    """

    def __init__(self, header: MainHeader, count: int, wanted: Collection[int]) -> None:
        self._header = header
        self._claims = _Claims(count)
        self._lacking = set(wanted)
        self._parts: dict[int, list[TilePartHeader]] = {tile: [] for tile in wanted}
        self._unclaimed = set(wanted)
        self._by_packets: bool | None = None

    @property
    def complete(self) -> bool:
        """Whether all tiles that are wanted are."""
        if self._lacking and not self._unclaimed and self._by_packets is None:
            self._by_packets = all(has_all_packets(self._header, self._parts[tile]) for tile in self._lacking)
        return not self._lacking or self._by_packets is True

    @property
    def needs_chain(self) -> bool:
        """Whether PLT does not prove it, so that the chain has to be followed on."""
        return self._by_packets is False

    @property
    def parts(self) -> list[TilePartHeader]:
        """All tile-parts of the wanted tiles, in the order of the codestream; without those that come once more."""
        counted = self._claims.found if self._claims.decided else {}
        parts = (part for tile, own in self._parts.items() for part in own[: counted.get(tile)])
        return sorted(parts, key=lambda part: part.start)

    def add(self, sot: Sot, part: TilePartHeader | None) -> None:
        """Count the next tile-part of the chain; `part`: its header, where its tile is wanted.

        Raises
        ------
        InconsistentFile
            A decoder would refuse it.
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
        """Judge by all tile-parts, the chain having ended; `eoc`: with EOC, so that none has been cut off.

        Raises
        ------
        CorruptImage
            A tile has no tile-part.
        InconsistentFile
            A tile has fewer tile-parts than TNsot tells.
        """
        self._claims.decide(0)
        self._lacking -= self._claims.complete
        if absent := sorted(tile for tile in self._lacking if not self._parts[tile]):
            raise missing_tiles(absent)
        for tile in sorted(self._lacking):
            if self._claims.told.get(tile):
                raise InconsistentFile(f"tile {tile} has fewer tile-parts than it tells")
            if not eoc:
                raise InconsistentFile(f"nothing tells that tile {tile} is complete: EOC is missing")
        self._lacking.clear()


def missing_tiles(tiles: list[int]) -> CorruptImage:
    """Return the error for tiles (sorted) without a tile-part: decoders would silently fill them with zeros."""
    shown = ", ".join(map(str, tiles[:5])) + (", …" if len(tiles) > 5 else "")
    return CorruptImage("", f"parts of {len(tiles)} tiles are missing (tile {shown})", "fetch the file again")


class _Claims:
    """Counts of tile-parts by TNsot of all tiles, corrected as decoders do."""

    def __init__(self, count: int) -> None:
        self.found: dict[int, int] = {}
        """How many tile-parts each tile has."""
        self.told: dict[int, int] = {}
        """How many it should have, corrected; nothing where TNsot was 0."""
        self.complete: set[int] = set()
        """The tiles that have as many as they should."""
        self.decided = False
        """Whether the correction is known."""
        self._count, self._correction = count, 0
        self._first: int | None = None
        self._pending: list[Sot] = []

    def add(self, sot: Sot) -> bool:
        """Count the next tile-part; return whether it has decided the correction."""
        if sot.tile == self._first and not self.decided:
            if sot.part == sot.parts == 1:
                raise InconsistentFile(f"tile {sot.tile} tells of one tile-part and has another: decoders differ")
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
        """Take a correction for true, unless one is already; count what has come before."""
        if self.decided:
            return
        pending, self._pending = self._pending, []
        self.decided, self._correction = True, correction
        self.found, self.told = {}, {}
        for sot in pending:
            self._count_part(sot)

    def _note_first(self, sot: Sot) -> None:
        """Remember the first tile that TNsot, as it is, calls complete."""
        self.found[sot.tile] = self.found.get(sot.tile, 0) + 1
        self.told[sot.tile] = sot.parts or self.told.get(sot.tile, 0)
        if self.told[sot.tile] == self.found[sot.tile]:
            self._first = sot.tile

    def _count_part(self, sot: Sot) -> None:
        if len(self.complete) == self._count:
            return  # all tiles are decoded: no decoder reads further
        found = self.found.get(sot.tile, 0)
        if sot.part != found:
            raise InconsistentFile(f"tile-part {sot.part} of tile {sot.tile} is out of order")
        if sot.parts:
            self.told[sot.tile] = sot.parts + self._correction
        told = self.told.get(sot.tile, 0)
        if told and found >= told:
            raise InconsistentFile(f"tile {sot.tile} has more tile-parts than it tells")
        self.found[sot.tile] = found + 1
        if told == found + 1:
            self.complete.add(sot.tile)
