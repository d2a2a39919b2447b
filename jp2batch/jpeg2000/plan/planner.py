"""The planner: which bytes a read wants next, given what has been read (pure; see `pieces.Steps`).

A read is a conversation of up to three rounds: boxes and main header; headers of the tile-parts, with a guess of what
will be wanted of their packets; the packets that the guess has missed, in batches (`batches.py`). Every shortcut is
checked against what the file says elsewhere. In doubt the read falls back, from packets to whole tile-parts to the
whole file, and says so.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from jp2batch.core.costs import PRICE, StoreCosts
from jp2batch.core.errors import ImageTooLarge
from jp2batch.core.ranges import ByteRange, merged
from jp2batch.jpeg2000.geometry.grid import Selection, check_grid, tile_count
from jp2batch.jpeg2000.geometry.precincts import is_partial
from jp2batch.jpeg2000.geometry.progression import Packet, check_packets
from jp2batch.jpeg2000.locate.completeness import InconsistentFile
from jp2batch.jpeg2000.locate.interpolation_search import interpolation_cost, locate_by_interpolation
from jp2batch.jpeg2000.locate.parallel_walk import Cost, WalkStrategy, choose_pace, locate_by_walk
from jp2batch.jpeg2000.locate.sot_chain import check_present
from jp2batch.jpeg2000.locate.tile_parts import ReadAhead, TilePartExtent, locate_by_index, locate_by_tlm
from jp2batch.jpeg2000.plan.estimates import LARGEST_AHEAD, expected_bytes, guess_ahead
from jp2batch.jpeg2000.plan.gate import header_obstacle, misplaced_boxes
from jp2batch.jpeg2000.plan.packet_ranges import locate_packets, needs_whole_tiles
from jp2batch.jpeg2000.syntax.boxes import Container, read_container
from jp2batch.jpeg2000.syntax.channels import check_header_box
from jp2batch.jpeg2000.syntax.headers import MainHeader, TilePartHeader, read_header
from jp2batch.jpeg2000.syntax.markers import Marker
from jp2batch.jpeg2000.syntax.sparse_file import Ahead, SparseFile, Steps, fetch

LocatedBy = Literal["tlm", "index", "walk", "whole"]
"""How tile-parts were found."""
Precision = Literal["packets", "tile-parts", "file"]
"""The unit of what was read."""

_IN_MEMORY = 1.1  # what is read whole is held whole: it must be worth it
_LARGEST_WHOLE = 8 << 20  # where requests are free: a larger file is not held in memory for a few saved


@dataclass(frozen=True, slots=True)
class Image:
    """What the beginning of a file tells."""

    container: Container
    header: MainHeader
    misplaced: str = ""
    """Misplaced boxes: only the decoder can then tell the type of samples."""
    obstacle: str = ""
    """Why only the whole file may be decoded: no part of such a file is proven to give the same pixels."""


@dataclass(frozen=True, slots=True)
class Tile:
    """What is known of a tile."""

    parts: tuple[TilePartHeader, ...]
    """Its tile-parts."""
    packets: Mapping[Packet, ByteRange] | None
    """Where the packets lie that are wanted; None = all of its tile-parts, as they are."""

    def ranges(self) -> list[ByteRange]:
        """Return the bytes that are wanted of this tile."""
        if self.packets is None:
            return [ByteRange(part.start, part.stop) for part in self.parts]
        return merged(self.packets.values())

    @property
    def weight(self) -> int:
        """Bytes of memory that it takes, about."""
        return sum(600 + 40 * len(part.packet_lengths or ()) for part in self.parts) + 250 * len(self.packets or ())


@dataclass(frozen=True, slots=True)
class ResolvedRead:
    """The outcome of a conversation: which bytes hold what was asked for."""

    selection: Selection
    located_by: LocatedBy
    tiles: Mapping[int, Tile]
    """What is wanted of each tile; empty where the file must be decoded as a whole."""
    reasons: tuple[str, ...]
    """Why less precise ways were taken; empty where all went as well as it can."""

    @property
    def unit(self) -> Precision:
        """What is decoded, however it was fetched; all tiles are alike."""
        if not self.tiles:
            return "file"
        return "tile-parts" if any(tile.packets is None for tile in self.tiles.values()) else "packets"

    @property
    def weight(self) -> int:
        """Bytes of memory that it takes, about."""
        return 500 + sum(tile.weight for tile in self.tiles.values())

    @property
    def precision(self) -> Precision:
        """The unit of what was fetched."""
        return "file" if self.located_by == "whole" else self.unit


def read_image(pieces: SparseFile, ahead: Ahead) -> Steps[Image]:
    """Read boxes and main header.

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


def plan_read(
    pieces: SparseFile,
    image: Image,
    selection: Selection,
    store: StoreCosts,
    *,
    at_best: Precision,
    whole_limit: int,
    places: Sequence[TilePartExtent] = (),
    headers_only: bool = False,
) -> Steps[ResolvedRead]:
    """Find what of its tiles a selection needs. Their packets are not all read yet: `batches.py` tells them.

    Parameters
    ----------
    at_best : {"packets", "tile-parts", "file"}
        The unit to read; coarser ones are taken where this one cannot serve.
    whole_limit : int
        The largest file, in bytes, that may be read whole.
    places : sequence of Place, optional
        Where tile-parts are known to lie.
    headers_only : bool
        Nobody is going to read packets: fetch none together with headers.

    Raises
    ------
    CorruptImage
        The file is cut short, or tiles are missing.
    StaleIndex
        They do not lie there.
    """
    free = replace(store, latency=0)
    ahead = guess_ahead(image.header, image.container.codestream, selection, free if headers_only else store)
    reasons = [image.obstacle] if image.obstacle else []
    found = rank_strategies(pieces, image, selection, store, whole_limit, places=places, headers_only=headers_only)
    for way in [] if image.obstacle or at_best == "file" else found:
        try:
            parts = yield from _locate(way, pieces, image, selection, ahead=ahead, store=store, places=places)
        except InconsistentFile as doubt:
            reasons.append(str(doubt))
            continue
        tiles, coarse = _tiles(image.header, parts, selection, at_best)
        return ResolvedRead(selection, way, tiles, (*reasons, *_without_eoc(image, parts), *coarse))
    check_whole(pieces.size, reasons[0] if reasons else "its parts cannot be decoded", whole_limit)
    yield from fetch(pieces, [ByteRange(0, pieces.size)])
    yield from check_present(pieces, image.header, selection.tiles)
    return ResolvedRead(selection, "whole", {}, tuple(reasons))


def check_whole(size: int, why: str, limit: int) -> None:
    """Refuse to read a file whole that is larger than the limit.

    Raises
    ------
    ImageTooLarge
        It is.
    """
    if size > limit:
        raise ImageTooLarge(
            "",
            f"it must be read whole ({why}), and its {size} bytes are more than {limit}",
            "raise jp2batch.max-whole-file",
        )


def rank_strategies(
    pieces: SparseFile,
    image: Image,
    selection: Selection,
    store: StoreCosts,
    whole_limit: int,
    *,
    places: Sequence[TilePartExtent] = (),
    headers_only: bool = False,
) -> list[LocatedBy]:
    """Return the ways of finding tile-parts, by the seconds that they are estimated to take.

    What the index or TLM tells is of use only where that is the quickest way. A file is read whole for its headers only
    where these are most of it.
    """
    if image.obstacle:
        return ["whole"]
    size = expected_bytes(image.header, image.container.codestream, selection)
    codestream, tiles = image.container.codestream, selection.tiles
    span = (codestream.stop - image.header.stop) * (tiles[-1] - tiles[0] + 1) // tile_count(image.header.siz)
    at_once = store.spread_cost(len(tiles), size, span)
    seconds: dict[LocatedBy, float] = {}
    if {place.tile for place in places}.issuperset(tiles) and not image.header.has(Marker.PLM):
        seconds["index"] = at_once
    if image.header.tile_parts:
        seconds["tlm"] = at_once
    cost = walk_cost(pieces, image, selection, store)
    seconds["walk"] = cost.seconds + cost.size * PRICE
    most = whole_limit if store.latency else min(whole_limit, _LARGEST_WHOLE)
    if pieces.size <= (min(most, 2 * cost.size) if headers_only else most):
        missing = sum(gap.size for gap in pieces.missing(0, pieces.size))
        waiting = max(0, min(size, missing) - LARGEST_AHEAD)  # elsewhere it is decoded while more is fetched
        seconds["whole"] = _IN_MEMORY * store.cost(1, missing) + waiting / min(store.line, store.bandwidth)
    ordered = sorted(seconds, key=lambda way: seconds[way])
    return [way for way in ordered if way in ("walk", "whole") or way == ordered[0]]


def walk_cost(pieces: SparseFile, image: Image, selection: Selection, store: StoreCosts) -> Cost:
    """Estimate what it takes to find the tiles of a selection without TLM, and to read them."""
    pace, interpolated = _walks(pieces, image, selection, store)
    return min(pace.cost, interpolated, key=lambda cost: cost.weighed)


def _walks(pieces: SparseFile, image: Image, selection: Selection, store: StoreCosts) -> tuple[WalkStrategy, Cost]:
    """Choose how to walk along the codestream up to the last tile of a selection; and estimate interpolation."""
    codestream, tiles = image.container.codestream, tile_count(image.header.siz)
    length, end = codestream.stop - image.header.stop, selection.tiles[-1] + 1
    size = expected_bytes(image.header, codestream, selection)
    if pieces.covers(image.header.stop, codestream.stop):
        return WalkStrategy(1, end, Cost(0, 0, 0, 0)), Cost(0, 0, 0, 0)
    interpolated = interpolation_cost(length, tiles, selection.tiles, size, store)
    return choose_pace(length * end // tiles, end, size, store), interpolated


def _locate(
    way: LocatedBy,
    pieces: SparseFile,
    image: Image,
    selection: Selection,
    *,
    ahead: ReadAhead,
    store: StoreCosts,
    places: Sequence[TilePartExtent] = (),
) -> Steps[list[TilePartHeader]]:
    where = pieces, image.header, image.container.codestream, set(selection.tiles), ahead
    if way == "index":
        return (yield from locate_by_index(*where, places=places))
    if way == "whole":
        yield from fetch(pieces, [ByteRange(0, pieces.size)])
    if way == "tlm":
        return (yield from locate_by_tlm(*where))
    pace, interpolated = _walks(pieces, image, selection, store)
    if interpolated.weighed < pace.cost.weighed:
        with suppress(InconsistentFile):
            return (yield from locate_by_interpolation(*where))
    return (yield from locate_by_walk(*where, pace=pace))


def _tiles(
    header: MainHeader, parts: list[TilePartHeader], selection: Selection, at_best: Precision
) -> tuple[dict[int, Tile], list[str]]:
    """Return what is wanted of each tile, and why it is more than the packets."""
    by_tile: dict[int, list[TilePartHeader]] = {}
    for part in parts:
        by_tile.setdefault(part.sot.tile, []).append(part)
    whole = {number: Tile(tuple(own), None) for number, own in by_tile.items()}
    if at_best != "packets" or not needs_packets(header, selection):
        return whole, []
    if reason := needs_whole_tiles(header):
        return whole, [reason]
    tiles, reasons = {}, dict[str, None]()
    for number, tile in whole.items():
        packets, reason = locate_packets(header, tile.parts, selection)
        tiles[number] = Tile(tile.parts, packets)
        reasons.update({reason: None} if reason else {})
    return (whole if reasons else tiles), list(reasons)  # one codestream cannot hold tiles of both kinds


def needs_packets(header: MainHeader, selection: Selection) -> bool:
    """Tell whether there are packets that a selection does not need."""
    return selection.rlevel > 0 or any(is_partial(header, selection, tile) for tile in selection.tiles)


def _without_eoc(image: Image, parts: list[TilePartHeader]) -> list[str]:
    """Return the reason that EOC is missing: decoders may refuse the file, though it has every tile."""
    seen = any(part.stop == image.container.codestream.stop for part in parts)
    return ["EOC is missing"] if seen else []
