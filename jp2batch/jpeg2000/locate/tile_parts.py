"""Finding the tile-parts of a codestream by TLM, or at known places (T.800 A.7.1); what all ways of finding share.

Each way is a conversation that returns the headers of the wanted tile-parts. What TLM says is checked against the SOT
that it leads to; where they disagree the way ends in `InconsistentFile`, and another one is taken.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from jp2batch.core.errors import CorruptImage
from jp2batch.jpeg2000.geometry.grid import tile_count
from jp2batch.jpeg2000.locate.completeness import InconsistentFile, check_claims, has_all_packets
from jp2batch.jpeg2000.syntax.headers import MainHeader, TilePartHeader, read_tile_part
from jp2batch.jpeg2000.syntax.markers import Marker, Sot
from jp2batch.jpeg2000.syntax.sparse_file import Ahead, Range, SparseFile, Steps, gather, require

ReadAhead = Callable[[int, int], Ahead]
"""(tile, Psot) -> what to fetch together with the SOT of that tile-part."""


class StaleIndex(Exception):  # not an error for the user: the file is read afresh
    """What was known of the file from before does not prove true; its text says where."""


@dataclass(frozen=True, slots=True)
class TilePartExtent:
    """Where a tile-part should lie."""

    ordinal: int
    """Its index in the codestream."""
    tile: int
    """Its tile; where TLM does not tell it, tile-parts lie in the order of their tiles, one a tile."""
    start: int
    length: int
    proven: bool = False
    """Whether it is proven that its tile has all its tile-parts among those that are known with it."""


def tlm_places(header: MainHeader, codestream: Range) -> list[TilePartExtent]:
    """Return the places of all tile-parts that TLM tells of.

    Raises
    ------
    InconsistentFile
        They do not fill the codestream.
    """
    places, position = [], header.stop
    for ordinal, (tile, length) in enumerate(header.tile_parts):
        places.append(TilePartExtent(ordinal, ordinal if tile is None else tile, position, length))
        position += length
    if not fill_codestream(header, codestream, places):
        raise InconsistentFile(f"TLM, to byte {position}, does not tell of all tile-parts up to byte {codestream.stop}")
    return places


def locate_by_tlm(
    pieces: SparseFile, header: MainHeader, codestream: Range, tiles: Collection[int], ahead: ReadAhead
) -> Steps[list[TilePartHeader]]:
    """Read the headers of the tile-parts of `tiles`, all at once, where TLM says that they are.

    Raises
    ------
    InconsistentFile
        TLM is wrong.
    """
    places = tlm_places(header, codestream)
    parts = yield from _at_places(pieces, header, codestream, places, tiles, ahead)
    for own in _by_tile(parts, tiles):
        check_claims(own)  # TLM fills the codestream, so these are all that there are
    return parts


def locate_by_index(
    pieces: SparseFile,
    header: MainHeader,
    codestream: Range,
    tiles: Collection[int],
    ahead: ReadAhead,
    *,
    places: Sequence[TilePartExtent],
) -> Steps[list[TilePartHeader]]:
    """Read the headers of the tile-parts of `tiles`, all at once, where they are known to lie.

    Raises
    ------
    StaleIndex
        They do not, or nothing proves that they are all.
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
    header: MainHeader, codestream: Range, places: Sequence[TilePartExtent], parts: Sequence[TilePartHeader]
) -> None:
    if not fill_codestream(header, codestream, places):
        raise InconsistentFile(f"nothing proves that tile {parts[0].sot.tile} is complete")
    check_claims(parts)


def with_plm(header: MainHeader, part: TilePartHeader, ordinal: int) -> TilePartHeader:
    """Give a tile-part its packet lengths from PLM, where it has none of its own."""
    if part.packet_lengths is None and ordinal < len(header.packed_lengths):
        return replace(part, packet_lengths=header.packed_lengths[ordinal])
    return part


def fill_codestream(header: MainHeader, codestream: Range, places: Iterable[TilePartExtent]) -> bool:
    """Tell whether tile-parts lie one behind the other, from the main header to the end of the codestream.

    If tiles are not named (`Place.tile`) and there are more tile-parts than tiles, their numbers mean nothing.
    """
    position, tiles = header.stop, tile_count(header.siz)
    for place in places:
        if place.start != position or place.tile >= tiles:
            return False
        position += place.length
    return position in (codestream.stop, codestream.stop - len(Marker.EOC.code))


def _at_places(  # noqa: PLR0917  # as those that call it
    pieces: SparseFile,
    header: MainHeader,
    codestream: Range,
    places: Iterable[TilePartExtent],
    tiles: Collection[int],
    ahead: ReadAhead,
) -> Steps[list[TilePartHeader]]:
    wanted = [place for place in places if place.tile in tiles]
    return (yield from gather([_at_place(pieces, header, codestream, place, ahead) for place in wanted]))


def _by_tile(parts: Iterable[TilePartHeader], tiles: Collection[int]) -> Iterable[list[TilePartHeader]]:
    """Return the tile-parts of each tile.

    Raises
    ------
    InconsistentFile
        A tile has none, or they are not numbered in their order.
    """
    by_tile: dict[int, list[TilePartHeader]] = {tile: [] for tile in tiles}
    for part in parts:
        by_tile[part.sot.tile].append(part)
    for tile, own in by_tile.items():
        if not own or [part.sot.part for part in own] != list(range(len(own))):
            raise InconsistentFile(f"not all tile-parts of tile {tile} are told of")
    return by_tile.values()


def _at_place(
    pieces: SparseFile, header: MainHeader, codestream: Range, place: TilePartExtent, ahead: ReadAhead
) -> Steps[TilePartHeader]:
    if place.length < Sot.SIZE + 2:
        raise InconsistentFile(f"TLM entry {place.ordinal} claims a tile-part of {place.length} bytes")
    data = yield from require(pieces, place.start, place.start + Sot.SIZE, ahead(place.tile, place.length))
    sot = Sot.parse(data)
    is_last = place.start + place.length >= codestream.stop - len(Marker.EOC.code)
    if sot is None or sot.tile != place.tile or (sot.length or is_last * place.length) != place.length:
        raise InconsistentFile(f"TLM entry {place.ordinal} leads to byte {place.start}, where no such tile-part is")
    try:
        part = yield from read_tile_part(pieces, place.start, sot, place.start + place.length, Ahead())
    except CorruptImage as error:
        raise InconsistentFile(str(error)) from None
    return with_plm(header, part, place.ordinal)
