"""Estimates of a read's size and work from the main header alone."""

import sys

from jp2batch.core.costs import PRICE, StoreCosts
from jp2batch.core.ranges import ByteRange
from jp2batch.jpeg2000.geometry.code_blocks import omits_blocks
from jp2batch.jpeg2000.geometry.grid import Selection, largest_tile, tile_count, tile_counts
from jp2batch.jpeg2000.geometry.precinct_grids import tile_precincts
from jp2batch.jpeg2000.geometry.precincts import is_coarse, is_partial, wanted_area, wanted_share
from jp2batch.jpeg2000.geometry.progression import count_packets
from jp2batch.jpeg2000.locate.packet_sizes import EACH_BLOCK
from jp2batch.jpeg2000.locate.tile_parts import ReadAhead
from jp2batch.jpeg2000.syntax.headers import MainHeader
from jp2batch.jpeg2000.syntax.markers import SOT_SIZE
from jp2batch.jpeg2000.syntax.sparse_file import Ahead

_LARGEST_GUESS = 64 << 10  # bytes of packets read ahead: beyond, reading PLT first is cheaper
_MUCH_OF_A_TILE = 1 / 3  # of its largest precincts, and over half of its bytes
_MOST_OF_A_TILE = 1 / 2  # of its largest precincts, and two thirds of its bytes or more
_FEW_TILES = 4  # a window of more tiles wants little of some
_LARGEST_IN_PARTS = 128 << 20  # bytes: about a 10 m band; nothing else of the read takes as much
SMALL_TILES = "its many tiles are small: they are decoded fastest together"
MANY_TILES = 1000
"""Tiles from which decoding the whole file may take less time."""
_EACH_TILE, _EACH_SAMPLE = 3.2e-5, 7e-8  # seconds lost by planning each tile; by decoding samples in one thread
LARGEST_AHEAD = 16 << 20
"""Limit of bytes to read ahead for whole tiles.

A larger read is fetched in batches, and decoded meanwhile.
"""


def expected_bytes(header: MainHeader, codestream: ByteRange, selection: Selection) -> int:
    """Estimate the bytes of a selection, headers included."""
    tile_length = (codestream.stop - header.stop) // max(1, tile_count(header.siz))
    samples = max(1, largest_tile(header.siz) >> 2 * selection.rlevel)
    data = (
        min(tile_length >> selection.rlevel, _most_data(header, selection.rlevel))
        * wanted_area(header, selection)
        // samples
    )
    headers = len(selection.tiles) * (_expected_header(header) + _packet_headers(header, selection))
    return min(len(selection.tiles) * tile_length, headers + data)


def guess_ahead(header: MainHeader, codestream: ByteRange, selection: Selection, store: StoreCosts) -> ReadAhead:
    """Return the read-ahead for tile-parts.

    If requests are free, it is the rest of the header; otherwise also the packets probably wanted, unless many of these
    bytes may not be needed, or the whole read is large. Of a selection in parts, a tile is read in a request if a third
    of it is wanted: headers and packets alone would take several. A window that wants most of each of its tiles reads
    them whole, if that costs less than another round. Under a quota of requests, a tile is read in a single one, unless
    it is larger than a request is worth.
    """
    of_header, of_samples = _expected_header(header), _most_data(header, selection.rlevel)
    most = _LARGEST_IN_PARTS if selection.parts else LARGEST_AHEAD
    largest = max(_LARGEST_GUESS, store.request_worth // 2)
    has_data = store.latency > 0 and expected_bytes(header, codestream, selection) <= most
    wants_most = has_data and _wants_most(header, selection)

    def is_worth(tile: int, data: int) -> bool:
        """Return whether to read a partly wanted tile ahead."""
        if selection.parts:
            return wanted_share(header, selection, tile) >= _MUCH_OF_A_TILE
        if not wants_most:
            return False
        unwanted = (1 - wanted_share(header, selection, tile)) * data
        return unwanted * (1 / store.bandwidth + PRICE) < store.latency

    def ahead(tile: int, length: int) -> Ahead:
        rest = max(0, length - SOT_SIZE)
        data = min(length >> selection.rlevel, of_samples) if has_data else 0
        if data > largest and (selection.rlevel or _omits(header, selection, tile)):
            data = data if is_worth(tile, data) else 0
        return Ahead(min(of_header, rest), min(data, max(0, rest - of_header)))

    return ahead


def favors_whole_file(header: MainHeader, codestream: ByteRange, selection: Selection, store: StoreCosts) -> bool:
    """Return whether decoding the whole file is faster than tile by tile.

    Planning and assembling each of many small tiles takes longer than decoding it.
    """
    tiles = tile_count(header.siz)
    if tiles < MANY_TILES or selection.parts or len(selection.tiles) < tiles:
        return False
    samples = largest_tile(header.siz) * len(header.codings) >> 2 * selection.rlevel
    size, span = expected_bytes(header, codestream, selection), codestream.stop - header.stop
    more = store.cost(1, codestream.stop) - store.spread_cost(tiles, size, span)
    return more < tiles * (_EACH_TILE - samples * _EACH_SAMPLE)


def _wants_most(header: MainHeader, selection: Selection) -> bool:
    """Return whether a window wants most of each of its tiles."""
    if selection.rlevel or selection.parts or len(selection.tiles) > _FEW_TILES:
        return False
    if any(is_coarse(coding, coding.levels) for coding in header.codings):
        return False
    return all(wanted_share(header, selection, tile) >= _MOST_OF_A_TILE for tile in selection.tiles)


def _omits(header: MainHeader, selection: Selection, tile: int) -> bool:
    """Return whether a selection omits packets or code-blocks of a tile."""
    return is_partial(header, selection, tile) or omits_blocks(header, selection, tile)


def _packet_headers(header: MainHeader, selection: Selection) -> int:
    """Estimate the bytes of a tile's packet headers; 0 if unused."""
    coding = header.codings[0]
    if not is_coarse(coding, coding.levels - selection.rlevel):
        return 0
    samples = largest_tile(header.siz) * len(header.codings) >> 2 * selection.rlevel
    return int(EACH_BLOCK * samples) >> sum(coding.code_block)


def _expected_header(header: MainHeader) -> int:
    """Estimate the bytes of a tile-part header behind SOT.

    PLT takes up to three bytes for a packet of up to 2 MiB.
    """
    rows, columns = tile_counts(header.siz)
    middle = rows // 2 * columns + columns // 2
    return min(16 + 3 * count_packets(header, tile_precincts(header, middle)), _LARGEST_GUESS)


def _most_data(header: MainHeader, rlevel: int) -> int:
    """Estimate the most bytes of a tile up to a resolution level.

    A sample rarely takes more than its bits. (Dropping a level at least halves the bytes of a tile, on all images
    measured.)
    """
    bits = sum(component.bits for component in header.siz.components)
    return (largest_tile(header.siz) * bits >> 3) >> 2 * rlevel if rlevel else sys.maxsize
