"""Tile-parts at positions from TLM or an index (T.800 A.7.1).

All methods of location are generators of requests that return the headers of the wanted tile-parts. Each position is
checked against the SOT there; if they disagree, the method ends in `InconsistentFile`, and the reader falls back to
another.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from jp2batch.core.errors import CorruptImage
from jp2batch.core.ranges import ByteRange
from jp2batch.jpeg2000.geometry.grid import tile_count
from jp2batch.jpeg2000.locate.completeness import InconsistentFile, check_claims, has_all_packets
from jp2batch.jpeg2000.syntax.headers import MainHeader, TilePartHeader, read_tile_part
from jp2batch.jpeg2000.syntax.markers import Marker, Sot
from jp2batch.jpeg2000.syntax.sparse_file import Ahead, SparseFile, Steps, gather, require

ReadAhead = Callable[[int, int], Ahead]
"""Read-ahead for the SOT of a tile-part, from (tile, Psot)."""


class StaleIndex(Exception):  # not an error for the user: the file is read afresh
    """The image index does not fit the file; the text says why."""


@dataclass(frozen=True, slots=True)
class TilePartExtent:
    """Expected extent of a tile-part."""

    ordinal: int
    """Index of the tile-part in the codestream."""
    tile: int
    """Tile index; without it in TLM, equal to the ordinal."""
    start: int
    length: int
    proven: bool = False
    """Whether the extents of its tile are proven complete."""


def tlm_places(header: MainHeader, codestream: ByteRange) -> list[TilePartExtent]:
    """Return the extents of all tile-parts in TLM.

    Raises
    ------
    InconsistentFile
        The extents do not fill the codestream.
    """
    places = consecutive(header.tile_parts, header.stop)
    if not fill_codestream(header, codestream, places):
        position = header.stop + sum(place.length for place in places)
        raise InconsistentFile(f"TLM, to byte {position}, does not list all tile-parts up to byte {codestream.stop}")
    return places


def consecutive(entries: Sequence[tuple[int | None, int]], start: int) -> list[TilePartExtent]:
    """Return the extents of the entries of TLM, from position `start` on."""
    starts = accumulate((length for _, length in entries), initial=start)
    numbered = enumerate(zip(entries, starts, strict=False))
    return [TilePartExtent(n, n if tile is None else tile, at, length) for n, ((tile, length), at) in numbered]


def locate_by_tlm(
    pieces: SparseFile, header: MainHeader, codestream: ByteRange, tiles: Collection[int], ahead: ReadAhead
) -> Steps[list[TilePartHeader]]:
    """Read the tile-part headers of `tiles` at the positions in TLM.

    Raises
    ------
    InconsistentFile
        TLM contradicts the file.
    """
    places = tlm_places(header, codestream)
    parts = yield from _at_places(pieces, header, codestream, places, tiles, ahead)
    for own in _by_tile(parts, tiles):
        check_claims(own)  # TLM fills the codestream, so these are all tile-parts
    return parts


def locate_by_index(
    pieces: SparseFile,
    header: MainHeader,
    codestream: ByteRange,
    tiles: Collection[int],
    ahead: ReadAhead,
    *,
    places: Sequence[TilePartExtent],
) -> Steps[list[TilePartHeader]]:
    """Read the tile-part headers of `tiles` at the positions in `places`.

    Raises
    ------
    StaleIndex
        A tile-part lies elsewhere, or nothing proves a tile complete.
    """
    try:
        parts = yield from _at_places(pieces, header, codestream, places, tiles, ahead)
        unproven = {place.tile for place in places if not place.proven}
        for own in _by_tile(parts, tiles):
            if own[0].sot.tile in unproven and not has_all_packets(header, own):
                _check_all_told(header, codestream, places, own)
    except (InconsistentFile, CorruptImage) as error:
        raise StaleIndex(str(error)) from None
    return parts


def _check_all_told(
    header: MainHeader, codestream: ByteRange, places: Sequence[TilePartExtent], parts: Sequence[TilePartHeader]
) -> None:
    if not fill_codestream(header, codestream, places):
        raise InconsistentFile(f"tile {parts[0].sot.tile} is not proven complete")
    check_claims(parts)


def with_plm(header: MainHeader, part: TilePartHeader, ordinal: int) -> TilePartHeader:
    """Return a tile-part with packet lengths from PLM, unless PLT has them."""
    if part.packet_lengths is None and ordinal < len(header.packed_lengths):
        return replace(part, packet_lengths=header.packed_lengths[ordinal])
    return part


def fill_codestream(header: MainHeader, codestream: ByteRange, places: Iterable[TilePartExtent]) -> bool:
    """Return whether consecutive tile-parts fill the codestream.

    They must begin at the end of the main header. False if a tile index exceeds the number of tiles, as it may if TLM
    names no tiles.
    """
    position, tiles = header.stop, tile_count(header.siz)
    for place in places:
        if place.start != position or place.tile >= tiles:
            return False
        position += place.length
    return position in (codestream.stop, codestream.stop - len(Marker.EOC.code))


def _at_places(  # noqa: PLR0917  # the parameters of its callers
    pieces: SparseFile,
    header: MainHeader,
    codestream: ByteRange,
    places: Iterable[TilePartExtent],
    tiles: Collection[int],
    ahead: ReadAhead,
) -> Steps[list[TilePartHeader]]:
    wanted = [place for place in places if place.tile in tiles]
    return (yield from gather([_at_place(pieces, header, codestream, place, ahead) for place in wanted]))


def _by_tile(parts: Iterable[TilePartHeader], tiles: Collection[int]) -> Iterable[list[TilePartHeader]]:
    """Return lists of the tile-parts of each tile.

    Raises
    ------
    InconsistentFile
        A tile has no tile-part, or its tile-parts are not numbered in order.
    """
    by_tile: dict[int, list[TilePartHeader]] = {tile: [] for tile in tiles}
    for part in parts:
        by_tile[part.sot.tile].append(part)
    for tile, own in by_tile.items():
        if not own or [part.sot.part for part in own] != list(range(len(own))):
            raise InconsistentFile(f"not all tile-parts of tile {tile} are listed")
    return by_tile.values()


def _at_place(
    pieces: SparseFile, header: MainHeader, codestream: ByteRange, place: TilePartExtent, ahead: ReadAhead
) -> Steps[TilePartHeader]:
    if place.length < Sot.SIZE + 2:
        raise InconsistentFile(f"TLM entry {place.ordinal} claims a tile-part of {place.length} bytes")
    data = yield from require(pieces, place.start, place.start + Sot.SIZE, ahead(place.tile, place.length))
    sot = Sot.parse(data)
    is_last = place.start + place.length >= codestream.stop - len(Marker.EOC.code)
    if sot is None or sot.tile != place.tile or (sot.length or is_last * place.length) != place.length:
        raise InconsistentFile(f"TLM entry {place.ordinal} leads to byte {place.start}, without this tile-part")
    try:
        part = yield from read_tile_part(pieces, place.start, sot, place.start + place.length, Ahead())
    except CorruptImage as error:
        raise InconsistentFile(str(error)) from None
    return with_plm(header, part, place.ordinal)
