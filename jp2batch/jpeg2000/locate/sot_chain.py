"""The chain of tile-parts, from SOT to SOT by Psot (T.800 A.4.2)."""

from collections.abc import Iterable
from dataclasses import dataclass

from jp2batch.core.errors import CorruptImage
from jp2batch.core.ranges import ByteRange
from jp2batch.jpeg2000.geometry.grid import tile_count
from jp2batch.jpeg2000.locate.completeness import InconsistentFile, missing_tiles
from jp2batch.jpeg2000.locate.tile_parts import TileQuery
from jp2batch.jpeg2000.syntax.headers import MainHeader, TilePartHeader, read_tile_part
from jp2batch.jpeg2000.syntax.markers import SOT_SIZE, Marker, Sot, chained_tiles
from jp2batch.jpeg2000.syntax.sparse_file import Ahead, SparseFile, Steps, require


@dataclass(frozen=True, slots=True)
class ChainedTilePart:
    """A tile-part as a link of the chain."""

    sot: Sot
    start: int
    """Position of SOT in the file."""
    stop: int
    """Position behind the tile-part."""
    part: TilePartHeader | None
    """Header of the tile-part; None if its tile is not wanted."""


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """End of the tile-part chain."""

    has_eoc: bool
    """Whether EOC ends the chain; else the codestream just ends."""


def read_link(query: TileQuery, position: int, guess: Ahead) -> Steps[ChainedTilePart | ChainEnd]:
    """Read SOT at `position`; for a wanted tile, the whole header.

    `guess` is the read-ahead for SOT.

    Raises
    ------
    InconsistentFile
        SOT is missing, or its length is impossible.
    CorruptImage
        The file ends before the tile-part.
    """
    pieces, codestream = query.pieces, query.codestream
    data = yield from require(pieces, position, min(position + SOT_SIZE, codestream.stop), guess)
    if len(data) < SOT_SIZE or data.startswith(Marker.EOC.code):
        return ChainEnd(data.startswith(Marker.EOC.code))
    sot = Sot.parse(data)
    if sot is None or sot.tile >= tile_count(query.header.siz):
        raise InconsistentFile(f"no start of a tile-part at byte {position}")
    stop = yield from _stop(pieces, position, sot, codestream)
    if sot.tile not in query.tiles:
        return ChainedTilePart(sot, position, stop, None)
    own = query.ahead(sot.tile, stop - position)
    beyond = guess.header + guess.data - own.header  # a short tile-part is read together with the next
    ahead = Ahead(own.header, max(own.data, beyond))
    part = yield from read_tile_part(pieces, position, sot, stop, ahead)
    return ChainedTilePart(sot, position, stop, part)


def check_present(file: bytes, header: MainHeader, tiles: Iterable[int]) -> None:
    """Refuse a file with missing tiles, or cut short in a tile-part.

    Decoders would silently fill some tiles with zeros.

    The chain of tile-parts is followed as far as possible; the decoder judges other irregularities.

    Raises
    ------
    CorruptImage
        A tile of `tiles` has no tile-part, or the file is cut short.
    """
    lacking = set(tiles)
    for tile, stop in chained_tiles(file, header.stop):
        lacking.discard(tile)
        if stop > len(file):
            raise cut_short(tile, stop, len(file))
    if lacking:
        raise missing_tiles(sorted(lacking))


def may_be_link(data: bytes, position: int, header: MainHeader, codestream: ByteRange) -> Sot | None:
    """Return the SOT parsed from 12 bytes; None if it is impossible."""
    sot = Sot.parse(data)
    if sot is None or sot.tile >= tile_count(header.siz) or (sot.parts and sot.part >= sot.parts):
        return None
    return sot if SOT_SIZE + 2 <= sot.length <= codestream.stop - position else None


def _stop(pieces: SparseFile, position: int, sot: Sot, codestream: ByteRange) -> Steps[int]:
    """Return the end of a tile-part.

    Psot = 0 means the end of the codestream (A.4.2).
    """
    if sot.length == 0:
        end = yield from require(pieces, codestream.stop - 2, codestream.stop)
        if end != Marker.EOC.code:
            raise InconsistentFile(f"the tile-part at byte {position} has no length, and no EOC at its expected end")
        return codestream.stop - 2
    if sot.length < SOT_SIZE + 2:
        raise InconsistentFile(f"the tile-part at byte {position} claims a length of {sot.length}")
    stop = position + sot.length
    if stop > pieces.size:
        raise cut_short(sot.tile, stop, pieces.size)
    if stop > codestream.stop:
        raise InconsistentFile(f"the tile-part at byte {position} reaches beyond the codestream")
    return stop


def cut_short(tile: int, stop: int, size: int) -> CorruptImage:
    """Return the error for a file cut short in a tile-part."""
    return CorruptImage("", f"the file is cut short: tile {tile} ends at byte {stop} of {size}", "fetch it again")
