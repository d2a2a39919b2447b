"""Searches of a walk at positions expected from a sibling.

They fetch little, for the starts of tiles lie within few bytes; a search that misses goes on like any other.
"""

import math
from collections.abc import Iterator

from jp2batch.jpeg2000.locate.chain_search import HOP, ChainSearch
from jp2batch.jpeg2000.locate.stretches import Gap
from jp2batch.jpeg2000.locate.tile_lengths import TileLengths
from jp2batch.jpeg2000.syntax.sparse_file import Steps

SHORTEST = 2
"""Rounds of walking cheaper than a search."""
CLOSE = 0.045
"""Largest deviation of a sibling saving bytes of a walk."""
_FIRST = 8  # searches across the whole image, before those in the gaps between
_WORTH = 2  # rounds that are worth the bytes of a tile-part
_MOST = 0.75  # part of a tile-part read by a search before it finds a SOT, at most
_CHUNK = 0.5  # part of a tile-part fetched per request of a search that missed


def searches_by_sibling(
    front: ChainSearch, sibling: TileLengths, gap: Gap, starts: int, end: int
) -> Iterator[Steps[None]]:
    """Start searches where tile-parts should lie by the lengths of a sibling.

    Parameters
    ----------
    starts : int
        Number of start positions of a walk.
    end : int
        The tile behind the last needed.
    """
    left = rounds_by_sibling(sibling, front.count) - front.rounds
    hops = sibling.hops(gap.tile, min(gap.end, end))
    if gap.scanned or hops <= max(left, SHORTEST):
        return
    stretches = max(2, math.ceil(hops / max(left - 1, 1))) if front.rounds else starts
    tiles = sorted({sibling.after_hops(gap.tile, hops * n // stretches) for n in range(1, stretches)})
    places = [sibling.place(*gap.ends, tile) for tile in tiles if tile > gap.tile]
    begins = [max(gap.start + 1, place.start) for place in places]
    limits = [*begins[1:], gap.stop][: len(begins)]
    for start, limit, place in zip(begins, limits, places, strict=True):
        if start < limit:
            yield front.search(start, limit, place.size + HOP, further=int(_CHUNK * front.mean) + 1)


def rounds_by_sibling(sibling: TileLengths, count: int) -> int:
    """Return the planned rounds of a walk with a sibling's lengths.

    Fewer rounds need more searches: first some across the image, then more in the shorter gaps.
    """
    hops = sibling.hops(0, count)

    def cost(rounds: int) -> float:
        searches = hops / (rounds - 2)
        first = min(searches, _FIRST)
        wide, narrow = (min(_MOST, sibling.deviation * math.sqrt(gap)) for gap in (hops, hops / first))
        return rounds + _WORTH * (first * wide + (searches - first) * narrow)

    return min(range(4, max(5, hops)), key=cost)
