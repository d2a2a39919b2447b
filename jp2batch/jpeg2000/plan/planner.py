"""The planner: byte ranges needed next, from the bytes already read.

It is pure (see `sparse_file.Steps`). A read takes up to three rounds: boxes and main header; tile-part headers, with
read-ahead for their packets; the packets still missing, in batches (`decode_batches`). Every shortcut is checked
against other parts of the file. In doubt the read falls back from packets to whole tile-parts to the whole file, and
states the reason.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from jp2batch.core.costs import PRICE, StoreCosts
from jp2batch.core.errors import ImageTooLarge
from jp2batch.core.ranges import ByteRange
from jp2batch.jpeg2000.geometry.grid import Selection, check_grid, largest_tile, tile_count
from jp2batch.jpeg2000.geometry.progression import check_packets
from jp2batch.jpeg2000.locate.completeness import InconsistentFile
from jp2batch.jpeg2000.locate.interpolation_search import locate_by_interpolation
from jp2batch.jpeg2000.locate.parallel_walk import locate_by_walk
from jp2batch.jpeg2000.locate.sot_chain import check_present
from jp2batch.jpeg2000.locate.strategies import Cost, WalkStrategy, choose_pace, interpolation_cost
from jp2batch.jpeg2000.locate.tile_lengths import TileLengths
from jp2batch.jpeg2000.locate.tile_parts import (
    LocatedTiles,
    PacketRanges,
    ReadAhead,
    TilePartExtent,
    TilePartHandler,
    TileQuery,
    ignore_part,
    locate_by_index,
    locate_by_tlm,
    no_packets,
)
from jp2batch.jpeg2000.plan.estimates import LARGEST_AHEAD, SMALL_TILES, expected_bytes, favors_whole_file, guess_ahead
from jp2batch.jpeg2000.plan.gate import header_obstacle, misplaced_boxes
from jp2batch.jpeg2000.plan.packet_ranges import locate_packets, needs_whole_tiles
from jp2batch.jpeg2000.plan.resolved_read import Image, LocatedBy, Precision, ResolvedRead
from jp2batch.jpeg2000.plan.tile_packets import TileResolver, needs_packets
from jp2batch.jpeg2000.syntax.boxes import read_container
from jp2batch.jpeg2000.syntax.channels import check_header_box
from jp2batch.jpeg2000.syntax.headers import TilePartHeader, read_header
from jp2batch.jpeg2000.syntax.markers import Marker
from jp2batch.jpeg2000.syntax.sparse_file import Ahead, SparseFile, Steps, fetch

_IN_MEMORY = 1.1  # cost factor of a whole file, since it is held in memory
_USUAL = 0.3  # usual share of a tile's bytes left by lossless coding
_LARGEST_WHOLE = 8 << 20  # bytes of the largest file read whole if requests are free


def read_image(pieces: SparseFile, ahead: Ahead) -> Steps[Image]:
    """Read the boxes and the main header.

    Raises
    ------
    NotJpeg2000, CorruptImage
        The file is something else, or damaged.
    """
    container = yield from read_container(pieces, ahead)
    header = yield from read_header(pieces, container.codestream.start, ahead)
    check_grid(header.siz)
    check_header_box(container, header.siz)
    packed = sum(len(segment.body) for segment in header.segments if segment.marker == Marker.PPM)
    check_packets(header, container.codestream.stop - header.stop + packed)
    misplaced = misplaced_boxes(container)
    return Image(container, header, misplaced, misplaced or container.problem or header_obstacle(header))


@dataclass(frozen=True, slots=True)
class ReadQuery:
    """A selection to locate, and the costs of its store."""

    pieces: SparseFile
    image: Image
    selection: Selection
    store: StoreCosts
    whole_limit: int
    """Size of the largest file to read whole, in bytes."""
    places: Sequence[TilePartExtent] = ()
    """Extents of tile-parts from the index."""
    sibling: TileLengths | None = None
    """Lengths of the tile-parts of a sibling."""
    whole_fits: bool = True
    """Whether memory suffices to decode the whole file of many tiles."""
    announce: TilePartHandler = ignore_part
    """Called with tile-parts of the selection, as a search reads them.

    They may never be proven.
    """


def plan_read(query: ReadQuery, at_best: Precision, *, headers_only: bool) -> Steps[ResolvedRead]:
    """Locate the tile-parts and packets of a selection.

    Afterwards, some packets are still to be read (`decode_batches`).

    Parameters
    ----------
    at_best : {"packets", "tile-parts", "file"}
        The unit to read; a coarser unit is used if this one is impossible.
    headers_only : bool
        No packets will be read: do not fetch any together with headers.

    Raises
    ------
    CorruptImage
        The file is cut short, or tiles are missing.
    StaleIndex
        The extents do not fit the file.
    """
    pieces, image, selection, store = query.pieces, query.image, query.selection, query.store
    free = replace(store, latency=0)
    ahead = guess_ahead(image.header, image.container.codestream, selection, free if headers_only else store)
    reason = why_whole(query, headers_only=headers_only)
    reasons = [reason] if reason else []
    for way in [] if reason or at_best == "file" else rank_strategies(query, headers_only=headers_only):
        try:
            located = yield from _locate(way, query, ahead)
        except InconsistentFile as doubt:
            reasons.append(str(doubt))
            continue
        resolver = TileResolver(pieces, image.header, selection, store)
        tiles, coarse = yield from resolver.resolve(located.parts, at_best)
        told = (*reasons, *_without_eoc(image, located.parts), *coarse)
        return ResolvedRead(selection, way, tiles, told, tuple(located.passed))
    check_whole(pieces.size, reasons[0] if reasons else "its parts cannot be decoded", query.whole_limit)
    yield from fetch(pieces, [ByteRange(0, pieces.size)])
    check_present(pieces.read(0, pieces.size), image.header, selection.tiles)
    return ResolvedRead(selection, "whole", {}, tuple(reasons))


def check_whole(size: int, why: str, limit: int) -> None:
    """Refuse to read a whole file larger than the limit.

    Raises
    ------
    ImageTooLarge
        The file is larger.
    """
    if size > limit:
        raise ImageTooLarge(
            "",
            f"it must be read whole ({why}), and its {size} bytes are more than {limit}",
            "raise jp2batch.max-whole-file",
        )


def why_whole(query: ReadQuery, *, headers_only: bool = False) -> str:
    """Return why the whole file must or should be decoded, else empty."""
    image, fits = query.image, query.whole_fits and query.pieces.size <= query.whole_limit
    if image.obstacle or headers_only or not fits:
        return image.obstacle
    codestream = image.container.codestream
    return SMALL_TILES if favors_whole_file(image.header, codestream, query.selection, query.store) else ""


def rank_strategies(query: ReadQuery, *, headers_only: bool = False) -> list[LocatedBy]:
    """Return the methods of locating tile-parts, fastest first.

    The index and TLM are listed only if they are the fastest. To read only headers, a whole file is fetched only if a
    walk would fetch at least half of it.
    """
    pieces, image, store, tiles = query.pieces, query.image, query.store, query.selection.tiles
    if why_whole(query, headers_only=headers_only):
        return ["whole"]
    codestream = image.container.codestream
    size = expected_bytes(image.header, codestream, query.selection)
    span = (codestream.stop - image.header.stop) * (tiles[-1] - tiles[0] + 1) // tile_count(image.header.siz)
    at_once = store.spread_cost(len(tiles), size, span)
    seconds: dict[LocatedBy, float] = {}
    by_ordinal = image.header.has(Marker.PLM, Marker.PPM)  # the index does not prove the ordinals of tile-parts
    if {place.tile for place in query.places}.issuperset(tiles) and not by_ordinal:
        seconds["index"] = at_once
    if image.header.tile_parts:
        seconds["tlm"] = at_once
    cost = walk_cost(query)
    seconds["walk"] = (cost.weighed if store.requests_per_minute else cost.seconds) + cost.size * PRICE
    most = query.whole_limit if store.latency else min(query.whole_limit, _LARGEST_WHOLE)
    if pieces.size <= (min(most, 2 * cost.size) if headers_only else most):
        missing = sum(gap.size for gap in pieces.missing(0, pieces.size))
        waiting = max(0, min(size, missing) - LARGEST_AHEAD)  # other methods decode while fetching
        seconds["whole"] = _IN_MEMORY * store.cost(1, missing) + waiting / min(store.line, store.bandwidth)
    ordered = sorted(seconds, key=lambda way: seconds[way])
    return [way for way in ordered if way in ("walk", "whole") or way == ordered[0]]


def walk_cost(query: ReadQuery) -> Cost:
    """Estimate the cost of locating and reading a selection without TLM."""
    pace, interpolated = _walks(query)
    return min(pace.cost, interpolated, key=lambda cost: cost.weighed)


def _walks(query: ReadQuery) -> tuple[WalkStrategy, Cost]:
    """Choose the walk's parameters, and estimate the cost of interpolation.

    The walk ends at the last tile of the selection.
    """
    image, selection, store = query.image, query.selection, query.store
    codestream, tiles = image.container.codestream, tile_count(image.header.siz)
    length, end = codestream.stop - image.header.stop, selection.tiles[-1] + 1
    size = expected_bytes(image.header, codestream, selection)
    if query.pieces.covers(image.header.stop, codestream.stop):
        return WalkStrategy(1, end, Cost(0, 0, 0, 0)), Cost(0, 0, 0, 0)
    led = query.sibling is not None
    interpolated = interpolation_cost(length, tiles, selection.tiles, size, store, led=led)
    usual = _USUAL * largest_tile(image.header.siz) * sum(one.bits for one in image.header.siz.components) / 8
    return choose_pace(length * end // tiles, end, size, store, usual), interpolated


def _locate(way: LocatedBy, query: ReadQuery, ahead: ReadAhead) -> Steps[LocatedTiles]:
    pieces, image = query.pieces, query.image
    codestream = image.container.codestream
    wanted = set(query.selection.tiles)
    tiles = TileQuery(
        pieces,
        image.header,
        codestream,
        wanted,
        ahead,
        announce=query.announce,
        sibling=query.sibling,
        store=query.store,
    )
    if way == "index":
        return LocatedTiles((yield from locate_by_index(tiles, query.places)))
    if way == "whole":
        yield from fetch(pieces, [ByteRange(0, pieces.size)])
    if way == "tlm":
        return LocatedTiles((yield from locate_by_tlm(tiles)))
    pace, interpolated = _walks(query)
    if interpolated.weighed < pace.cost.weighed and not image.header.has(Marker.PPM):  # a walk counts tile-parts
        with suppress(InconsistentFile):
            return (yield from locate_by_interpolation(replace(tiles, packets=_packets_at_once(query))))
    return (yield from locate_by_walk(tiles, pace))


def _packets_at_once(query: ReadQuery) -> PacketRanges:
    """Return the packets to fetch while other tiles are located."""
    header, selection = query.image.header, query.selection
    if not query.store.latency or not needs_packets(header, selection) or needs_whole_tiles(header):
        return no_packets

    def packets(part: TilePartHeader) -> Sequence[ByteRange]:
        ranges, _ = locate_packets(header, (part,), selection)
        return ranges.ranges() if ranges else ()

    return packets


def _without_eoc(image: Image, parts: Sequence[TilePartHeader]) -> list[str]:
    """Return a reason if EOC is missing: decoders may refuse the file."""
    seen = any(part.stop == image.container.codestream.stop for part in parts)
    return ["EOC is missing"] if seen else []
