"""Whether a gap between tile-parts may hide more of them than it should: another codestream, or tiles once more.

A search takes for granted that in front of a tile-part lie those of the tiles before it, each once. Behind the end of
a codestream, another one may follow (`cat a b`), and be found instead. Then a gap in front of what was found holds many
more tile-parts than it should, which makes them seem longer than their neighbours: such a gap is looked into.

This is evidence, no proof: where the lengths of tiles vary much, a few tiles that are repeated at the very end go
unseen. The proof would be to follow the whole chain, as `walk` does.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

_LEAST_LENGTHS = 4  # from which to tell how much they vary
_EVEN = 4.0  # standard deviations of the lengths of tile-parts, by which the mean of a gap does not differ from others
_LEAST_MORE = 0.1  # of the mean


@dataclass(frozen=True, slots=True)
class Span:
    """Some tile-parts that follow each other, or a gap in which so many should lie."""

    tile_parts: int
    size: int
    """Bytes of them together."""
    found: bool
    """Whether they have been found."""


def doubtful(spans: Sequence[Span], count: int) -> list[int]:
    """Return the indices of those gaps that may hold more tile-parts than they should.

    Parameters
    ----------
    spans : sequence of Span
        All of the codestream; what was found of it, a tile-part each.
    count : int
        Tiles of the image.
    """
    more = _more_than_vary([span.size for span in spans if span.found])
    return [
        index
        for index, span in enumerate(spans)
        if not span.found and _longer_than_beside(spans, index) > min(more, _sooner_another(span, count))
    ]


def _more_than_vary(lengths: Sequence[int]) -> float:
    """Return how many times as long as their neighbours no tile-parts are, by how much their lengths vary."""
    if len(lengths) < _LEAST_LENGTHS:
        return math.inf
    return 1 + max(_LEAST_MORE, _EVEN * pstdev(lengths) / fmean(lengths))


def _sooner_another(span: Span, count: int) -> float:
    """Return from how many times as long on it is likelier that all tiles come once more in a gap."""
    return math.sqrt((count + span.tile_parts) / max(1, span.tile_parts))


def _longer_than_beside(spans: Sequence[Span], index: int) -> float:
    """Return how many times as long as their neighbours the tile-parts of a gap seem; of both sides the longer ones."""
    sides = spans[max(0, index - 2) : index], spans[index + 1 : index + 3]
    sums = [(sum(span.size for span in side), sum(span.tile_parts for span in side)) for side in sides]
    beside = max((size / tile_parts for size, tile_parts in sums if tile_parts), default=math.inf)
    return spans[index].size / max(1, spans[index].tile_parts) / beside
