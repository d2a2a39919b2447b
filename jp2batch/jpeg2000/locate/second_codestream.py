"""Whether a gap between tile-parts may hide more of them than it should: another codestream, or tiles once more.

A search takes for granted that in front of a tile-part lie those of the tiles before it, each once. Behind the end of
a codestream, another one may follow (`cat a b`), and be found instead. Then a gap in front of what was found holds many
more tile-parts than it should, which makes them seem longer than their neighbours: such a gap is looked into.

If what is wanted lies at the end of the image, the gap in front of it is divided by some more searches, the nearer the
shorter: then a few tiles that come once more behind the last one are noticed as well.

This is evidence, no proof: where the lengths of tiles vary much, some may go unseen. The proof would be to follow the
whole chain, as `walk` does.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from statistics import fmean, pstdev

_LEAST_LENGTHS = 4  # from which to tell how much they vary
_EVEN = 4.0  # standard deviations of the lengths of tile-parts: the mean of a gap differs by less
_LEAST_MORE = 0.1  # of the mean
_CAUTION = 0.4  # 0.5: as likely as not that all tiles come once more; less looks into more gaps
_TAIL = 0.2  # of the tiles, at the end of the image: some of them may come once more
_FARTHER = 4  # times as far away is the next look


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


def lookouts(found: Sequence[int], last: int, count: int) -> Iterator[int]:
    """Iterate over tiles to search for in front of the last one that is wanted, if the image ends soon behind it.

    If it is one of a few tiles that come once more, too many lie between it and one of these.

    Parameters
    ----------
    found : sequence of int
        Tiles that have been found.
    """
    distance = 2 * (count - last) + _FARTHER
    while count - last <= _TAIL * count and 2 * distance < last:
        if not any(distance <= 2 * (last - tile) <= 3 * distance for tile in found):
            yield last - distance
        distance *= _FARTHER


def _more_than_vary(lengths: Sequence[int]) -> float:
    """Return how many times as long as their neighbours tile-parts can hardly be, by how much lengths vary."""
    if len(lengths) < _LEAST_LENGTHS:
        return math.inf
    return 1 + max(_LEAST_MORE, _EVEN * pstdev(lengths) / fmean(lengths))


def _sooner_another(span: Span, count: int) -> float:
    """Return from how many times as long on all tiles may come once more in a gap."""
    return float(((count + span.tile_parts) / max(1, span.tile_parts)) ** _CAUTION)


def _longer_than_beside(spans: Sequence[Span], index: int) -> float:
    """Return how many times as long as those beside it the tile-parts of a gap seem.

    They are compared with what was found in front of it and behind it, and with that and the next gap together: each
    time with the longer ones of both sides.
    """
    before, behind = spans[:index][::-1], spans[index + 1 :]
    found = [list(takewhile(_is_found, side)) for side in (before, behind)]
    wider = [side[: len(some) + 1] for side, some in zip((before, behind), found, strict=True)]
    beside = min(max(map(_mean_length, found)), max(map(_mean_length, wider)))
    return spans[index].size / max(1, spans[index].tile_parts) / beside if beside else 0.0


def _is_found(span: Span) -> bool:
    return span.found


def _mean_length(spans: Sequence[Span]) -> float:
    tile_parts = sum(span.tile_parts for span in spans)
    return sum(span.size for span in spans) / tile_parts if tile_parts else 0.0
