"""Tile-parts at positions from TLM or an index (T.800 A.7.1).

All methods of location are generators of requests that return the headers of the wanted tile-parts. Each position is
checked against the SOT there; if they disagree, the method ends in `InconsistentFile`, and the reader falls back to
another.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from jp2batch.core.costs import StoreCosts
from jp2batch.core.errors import CorruptImage
from jp2batch.core.ranges import ByteRange
from jp2batch.jpeg2000.geometry.grid import tile_count
from jp2batch.jpeg2000.locate.completeness import InconsistentFile, check_claims, has_all_packets
from jp2batch.jpeg2000.locate.packed_headers import check_packed_order, with_packed_headers
from jp2batch.jpeg2000.locate.tile_lengths import TileLengths
from jp2batch.jpeg2000.syntax.headers import MainHeader, TilePartHeader, parse_tile_parts, read_tile_part
from jp2batch.jpeg2000.syntax.markers import SOT_SIZE, Marker, Sot
from jp2batch.jpeg2000.syntax.sparse_file import Ahead, SparseFile, Steps, Wanted, gather, require, requirements

_FREE = StoreCosts(latency=0, bandwidth=1e9, connections=1)

ReadAhead = Callable[[int, int], Ahead]
"""Read-ahead for the SOT of a tile-part, from (tile, Psot)."""


PacketRanges = Callable[[TilePartHeader], Sequence[ByteRange]]
"""Byte ranges of the wanted packets of a tile's only tile-part."""


TilePartHandler = Callable[[TilePartHeader], None]
"""Called with a tile-part whose header has been read."""


def no_packets(_part: TilePartHeader) -> Sequence[ByteRange]:
    """Return no ranges: the packets are fetched later."""
    return ()


def ignore_part(_part: TilePartHeader) -> None:
    """Do nothing with a tile-part."""


class StaleIndex(Exception):  # not an error for the user: the file is read afresh
    """The image index does not fit the file; the text says why."""


class TilePartExtent(NamedTuple):  # a read makes hundreds of them
    """Expected extent of a tile-part."""

    ordinal: int
    """Index of the tile-part in the codestream."""
    tile: int
    """Tile index; without it in TLM, equal to the ordinal."""
    start: int
    length: int
    proven: bool = False
    """Whether the extents of its tile are proven complete."""


@dataclass(frozen=True, slots=True)
class LocatedTiles:
    """Tile-parts of the wanted tiles, and all met on the way."""

    parts: Sequence[TilePartHeader]
    """Tile-parts of the wanted tiles, in codestream order."""
    passed: Sequence[TilePartExtent] = ()
    """Extents of the tile-parts met, in order; not proven complete."""


@dataclass(frozen=True, slots=True)
class TileQuery:
    """Tiles to locate in a codestream."""

    pieces: SparseFile
    header: MainHeader
    codestream: ByteRange
    tiles: Collection[int]
    """Tiles with tile-part headers to read."""
    ahead: ReadAhead
    """Read-ahead for the tile-parts of these tiles."""
    packets: PacketRanges = no_packets
    """Byte ranges wanted of a tile-part, once its header is read."""
    announce: TilePartHandler = ignore_part
    """Called with tile-parts of these tiles, as a search reads them.

    They may never be proven.
    """
    sibling: TileLengths | None = None
    """Probable lengths of all tile-parts, if a sibling's are known."""
    store: StoreCosts = _FREE
    """Costs of requests."""

    @property
    def request_worth(self) -> int:
        """Bytes worth a request, under a quota of requests; else 0."""
        return self.store.request_worth

    def fill_codestream(self, places: Iterable[TilePartExtent]) -> bool:
        """Return whether consecutive tile-parts fill the codestream.

        They must begin at the end of the main header. False if a tile index exceeds the number of tiles, as it may if
        TLM names no tiles.
        """
        position, tiles = self.header.stop, tile_count(self.header.siz)
        for place in places:
            if place.start != position or place.tile >= tiles:
                return False
            position += place.length
        return position in (self.codestream.stop, self.codestream.stop - len(Marker.EOC.code))


def consecutive(entries: Sequence[tuple[int | None, int]], start: int) -> list[TilePartExtent]:
    """Return the extents of the entries of TLM, from position `start` on."""
    starts = accumulate((length for _, length in entries), initial=start)
    numbered = enumerate(zip(entries, starts, strict=False))
    return [TilePartExtent(n, n if tile is None else tile, at, length) for n, ((tile, length), at) in numbered]


def locate_by_tlm(query: TileQuery) -> Steps[list[TilePartHeader]]:
    """Read the tile-part headers at the positions in TLM.

    Raises
    ------
    InconsistentFile
        TLM contradicts the file.
    """
    places = consecutive(query.header.tile_parts, query.header.stop)
    if not query.fill_codestream(places):
        position, stop = query.header.stop + sum(place.length for place in places), query.codestream.stop
        raise InconsistentFile(f"TLM, to byte {position}, does not list all tile-parts up to byte {stop}")
    check_packed_order(query.header, (place.tile for place in places))
    parts = yield from _at_places(query, places)
    for own in _by_tile(parts, query.tiles):
        check_claims(own)  # TLM fills the codestream, so these are all tile-parts
    return parts


def locate_by_index(query: TileQuery, places: Sequence[TilePartExtent]) -> Steps[list[TilePartHeader]]:
    """Read the tile-part headers at the positions in `places`.

    Raises
    ------
    StaleIndex
        A tile-part lies elsewhere, or nothing proves a tile complete.
    """
    try:
        parts = yield from _at_places(query, places)
        unproven = {place.tile for place in places if not place.proven}
        for own in _by_tile(parts, query.tiles):
            if own[0].sot.tile in unproven and not has_all_packets(query.header, own):
                if not query.fill_codestream(places):
                    raise InconsistentFile(f"tile {own[0].sot.tile} is not proven complete")
                check_claims(own)
    except (InconsistentFile, CorruptImage) as error:
        raise StaleIndex(str(error)) from None
    return parts


def with_pointers(header: MainHeader, part: TilePartHeader, ordinal: int) -> TilePartHeader:
    """Return a tile-part with its entries of PLM and PPM.

    Packet lengths in PLT come first.
    """
    if part.packet_lengths is None and ordinal < len(header.packed_lengths):
        part = part._replace(packet_lengths=header.packed_lengths[ordinal])
    return with_packed_headers(header, part, ordinal)


def _at_places(query: TileQuery, places: Iterable[TilePartExtent]) -> Steps[list[TilePartHeader]]:
    """Read the tile-part headers of the wanted tiles.

    Usual headers are parsed together, others one by one.
    """
    pieces, own = query.pieces, [place for place in places if place.tile in query.tiles]
    wanted: list[Wanted] = []
    for place in own:
        _check_length(place)
        if pieces.peek(place.start, place.start + SOT_SIZE) is None:
            ahead = query.ahead(place.tile, place.length)
            wanted += requirements(pieces, place.start, place.start + SOT_SIZE, ahead)
    if wanted:
        yield wanted
    parts = parse_tile_parts(pieces, [ByteRange(place.start, place.start + place.length) for place in own])
    pairs = [
        (place, part if part and _is_there(query, place, part.sot) else None)
        for place, part in zip(own, parts, strict=True)
    ]
    others = iter((yield from gather(_at_place(query, place) for place, part in pairs if part is None)))
    return [with_pointers(query.header, part or next(others), place.ordinal) for place, part in pairs]


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


def _at_place(query: TileQuery, place: TilePartExtent) -> Steps[TilePartHeader]:
    pieces = query.pieces
    data = yield from require(pieces, place.start, place.start + SOT_SIZE, query.ahead(place.tile, place.length))
    sot = Sot.parse(data)
    if sot is None or not _is_there(query, place, sot):
        raise InconsistentFile(f"TLM entry {place.ordinal} leads to byte {place.start}, without this tile-part")
    try:
        part = yield from read_tile_part(pieces, place.start, sot, place.start + place.length, Ahead())
    except CorruptImage as error:
        raise InconsistentFile(str(error)) from None
    return part


def _check_length(place: TilePartExtent) -> None:
    if place.length < SOT_SIZE + 2:
        raise InconsistentFile(f"TLM entry {place.ordinal} claims a tile-part of {place.length} bytes")


def _is_there(query: TileQuery, place: TilePartExtent, sot: Sot) -> bool:
    """Return whether a SOT fits an extent."""
    is_last = place.start + place.length >= query.codestream.stop - len(Marker.EOC.code)
    return sot.tile == place.tile and (sot.length or is_last * place.length) == place.length
