"""Detection of a second codestream or repeated tiles hidden in gaps.

A search assumes that the tile-parts of all previous tiles precede a tile-part, each once. But a second codestream may
follow the first (`cat a b`), and the search may find its tiles. A gap before such a find contains many more tile-parts
than expected, so that they seem longer than their neighbours: the gap is checked.

If the wanted tiles are at the end of the image, further searches divide the gap before them, into shorter parts near
the end. They detect a few tiles repeated behind the last tile.

This is evidence, not proof: if the lengths of tiles vary much, some repetitions stay undetected. Only following the
whole chain, as `parallel_walk` does, is a proof.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from operator import attrgetter
from statistics import fmean, pstdev

_LEAST_LENGTHS = 4  # lengths needed to estimate their variation
_LEAST_GROUPS = 2  # groups of neighbours needed, likewise
_EVEN = 4.0  # standard deviations of tile-part lengths: the mean of a normal gap differs by less
_LEAST_MORE = 0.1  # smallest suspicious excess, as part of the mean
_EMPTY = 32  # a tile-part without data is shorter by more than this factor
_CAUTION = 0.4  # at 0.5, repetition of all tiles is as likely as not; a lower value checks more gaps
_TAIL = 0.2  # part of the tiles, at the end of the image, whose repetition is checked
_FARTHER = 4  # factor between the distances of searches
_is_found = attrgetter("is_found")


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive tile-parts, or a gap with an expected number of tile-parts."""

    tile_parts: int
    size: int
    """Total size in bytes."""
    is_found: bool
    """Whether the tile-parts have been found; False for a gap."""


def doubtful(spans: Sequence[Span], count: int) -> list[int]:
    """Return the indices of gaps with too many possible tile-parts.

    Parameters
    ----------
    spans : sequence of Span
        The whole codestream, in order; each found tile-part is a span.
    count : int
        Tiles of the image.
    """
    more = _more_than_vary([list(run) for is_found, run in groupby(spans, _is_found) if is_found])
    return [
        index
        for index, span in enumerate(spans)
        if not span.is_found and _longer_than_beside(spans, index) > min(more, _sooner_another(span, count))
    ]


def lookouts(tiles: Sequence[int], last: int, count: int) -> Iterator[int]:
    """Iterate over tiles to search for before the last wanted tile.

    Empty unless the image ends soon behind it. If it is one of a few repeated tiles, too many tile-parts lie between it
    and one of these.

    Parameters
    ----------
    tiles : sequence of int
        Tiles already found.
    """
    distance = 2 * (count - last) + _FARTHER
    while count - last <= _TAIL * count and 2 * distance < last:
        if not any(distance <= 2 * (last - tile) <= 3 * distance for tile in tiles):
            yield last - distance
        distance *= _FARTHER


def _more_than_vary(groups: Sequence[Sequence[Span]]) -> float:
    """Return the largest plausible length ratio between neighbouring tile-parts.

    Parameters
    ----------
    groups : sequence of sequence of Span
        Neighbouring tile-parts; a single group does not show the variation across the image.
    """
    lengths = [span.size for group in groups for span in group]
    if len(lengths) < _LEAST_LENGTHS or len(groups) < _LEAST_GROUPS:
        return math.inf
    return 1 + max(_LEAST_MORE, _EVEN * pstdev(lengths) / fmean(lengths))


def _sooner_another(span: Span, count: int) -> float:
    """Return the length ratio at which all tiles may be repeated."""
    return float(((count + span.tile_parts) / max(1, span.tile_parts)) ** _CAUTION)


def _longer_than_beside(spans: Sequence[Span], index: int) -> float:
    """Return the ratio of a gap's tile-part length to its neighbours'.

    The neighbours are the tile-parts found before and behind the gap, alone and together with the next gap. Of both
    sides, the longer tile-parts count. Tile-parts without data, far shorter than the mean of all, count only together.
    """
    empty = _mean_length(spans) / _EMPTY
    before, behind = spans[:index][::-1], spans[index + 1 :]
    found = [list(takewhile(_is_found, side)) for side in (before, behind)]
    wider = [side[: len(some) + 1] for side, some in zip((before, behind), found, strict=True)]
    alone = [[span for span in some if span.size > empty] for some in found]
    means = [max(map(_mean_length, sides)) for sides in (alone, wider)]
    beside = min(filter(None, means), default=0.0)
    return spans[index].size / max(1, spans[index].tile_parts) / beside if beside else 0.0


def _mean_length(spans: Sequence[Span]) -> float:
    tile_parts = sum(span.tile_parts for span in spans)
    return sum(span.size for span in spans) / tile_parts if tile_parts else 0.0
