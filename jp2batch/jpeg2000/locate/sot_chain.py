"""From one tile-part to the next: each SOT tells where the following one lies (T.800 A.4.2)."""

from collections.abc import Container, Iterable
from dataclasses import dataclass

from jp2batch.core.errors import CorruptImage
from jp2batch.jpeg2000.geometry.grid import tile_count
from jp2batch.jpeg2000.locate.completeness import InconsistentFile, missing_tiles
from jp2batch.jpeg2000.locate.tile_parts import ReadAhead
from jp2batch.jpeg2000.syntax.headers import MainHeader, TilePartHeader, read_tile_part
from jp2batch.jpeg2000.syntax.markers import Marker, Sot
from jp2batch.jpeg2000.syntax.sparse_file import Ahead, Range, SparseFile, Steps, require


@dataclass(frozen=True, slots=True)
class ChainedTilePart:
    """A tile-part as a link of the chain."""

    sot: Sot
    start: int
    """Position of its SOT in the file."""
    stop: int
    """Position of what follows it."""
    part: TilePartHeader | None
    """Its header; None where its tile is not wanted."""


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """The end of the chain."""

    told: bool
    """Whether EOC stands there; else the codestream is merely over."""


def read_link(
    pieces: SparseFile,
    header: MainHeader,
    codestream: Range,
    position: int,
    *,
    tiles: Container[int],
    guess: Ahead,
    ahead: ReadAhead,
) -> Steps[ChainedTilePart | ChainEnd]:
    """Read SOT at `position`, and the rest of that header where the tile is one of `tiles`.

    Parameters
    ----------
    guess : Ahead
        What to fetch together with SOT.
    ahead : ReadAhead
        What to fetch together with the rest of the header, if that is missing.

    Raises
    ------
    InconsistentFile
        There is no SOT, or its length cannot be.
    CorruptImage
        The file ends before the tile-part does.
    """
    data = yield from require(pieces, position, min(position + Sot.SIZE, codestream.stop), guess)
    if len(data) < Sot.SIZE or data.startswith(Marker.EOC.code):
        return ChainEnd(data.startswith(Marker.EOC.code))
    sot = Sot.parse(data)
    if sot is None or sot.tile >= tile_count(header.siz):
        raise InconsistentFile(f"no start of a tile-part at byte {position}")
    stop = yield from _stop(pieces, position, sot, codestream)
    if sot.tile not in tiles:
        return ChainedTilePart(sot, position, stop, None)
    part = yield from read_tile_part(pieces, position, sot, stop, ahead(sot.tile, stop - position))
    return ChainedTilePart(sot, position, stop, part)


def check_present(pieces: SparseFile, header: MainHeader, tiles: Iterable[int]) -> Steps[None]:
    """Refuse a file that lacks tiles or ends in a tile-part.

    Decoders would silently fill some tiles with zeros.

    The chain of tile-parts is followed as far as it can be; the decoder judges its oddities.

    Raises
    ------
    CorruptImage
        One of `tiles` has no tile-part, or the file is cut short.
    """
    lacking, position = set(tiles), header.stop
    while position + Sot.SIZE <= pieces.size:
        sot = Sot.parse((yield from require(pieces, position, position + Sot.SIZE)))
        if sot is None:
            break
        lacking.discard(sot.tile)
        position = position + max(sot.length, Sot.SIZE) if sot.length else pieces.size
        if position > pieces.size:
            raise cut_short(sot.tile, position, pieces.size)
    if lacking:
        raise missing_tiles(sorted(lacking))


def may_be_link(data: bytes, position: int, header: MainHeader, codestream: Range) -> Sot | None:
    """Return the SOT that 12 bytes at `position` look like; None where they cannot be one."""
    sot = Sot.parse(data)
    if sot is None or sot.tile >= tile_count(header.siz) or (sot.parts and sot.part >= sot.parts):
        return None
    return sot if Sot.SIZE + 2 <= sot.length <= codestream.stop - position else None


def _stop(pieces: SparseFile, position: int, sot: Sot, codestream: Range) -> Steps[int]:
    """Return where a tile-part ends; Psot = 0 means: where the codestream does (A.4.2)."""
    if sot.length == 0:
        end = yield from require(pieces, codestream.stop - 2, codestream.stop)
        if end != Marker.EOC.code:
            raise InconsistentFile(
                f"the tile-part at byte {position} has no length, and EOC is not where it should end"
            )
        return codestream.stop - 2
    if sot.length < Sot.SIZE + 2:
        raise InconsistentFile(f"the tile-part at byte {position} claims a length of {sot.length}")
    stop = position + sot.length
    if stop > pieces.size:
        raise cut_short(sot.tile, stop, pieces.size)
    if stop > codestream.stop:
        raise InconsistentFile(f"the tile-part at byte {position} reaches beyond the codestream")
    return stop


def cut_short(tile: int, stop: int, size: int) -> CorruptImage:
    """Return the error for a file that ends in a tile-part."""
    return CorruptImage("", f"the file is cut short: tile {tile} ends at byte {stop} of {size}", "fetch it again")
