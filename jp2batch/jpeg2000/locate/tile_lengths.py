"""Expected lengths of tile-parts, from a sibling of the image.

Bands of a product, and dates of a ground tile, have land, sea and no data at the same places, so that the lengths of
their tile-parts are nearly proportional. They only say where to search: all that is found is proven as without them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from statistics import fmean

import numpy as np

from jp2batch.core.ranges import ByteRange
from jp2batch.jpeg2000.locate.stretches import Landmark

SHORT = 1 / 16
"""Share of the mean length below which tile-parts hardly count.

They are passed in the round of another.
"""
MISFIT = 0.07
"""Deviation from which lengths are no better than none."""
_SURPRISE = 1.5  # ratio of the deviation seen to the expected one, from which it counts
_LEAST_DEVIATION = 0.01
_REACH = 2.0  # standard deviations around an expected position: nearly all are within
_FEWEST, _ENOUGH = 3, 8  # stretches to notice a misfit, and to learn the deviation


@dataclass(frozen=True, slots=True)
class TileLengths:
    """Lengths of a sibling's tile-parts, in the order of tiles.

    Parameters
    ----------
    lengths : tuple of int
        Bytes of the tile-parts.
    deviation : float
        Standard deviation of an image's lengths from proportional ones, relative to these.
    is_tried : bool
        Whether the deviation has been learned from other images.
    """

    lengths: tuple[int, ...]
    deviation: float
    is_tried: bool = False
    _sums: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _squares: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _hops: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        short = SHORT * fmean(self.lengths)
        object.__setattr__(self, "_sums", tuple(accumulate(self.lengths, initial=0)))
        object.__setattr__(self, "_squares", tuple(accumulate((n * n for n in self.lengths), initial=0)))
        object.__setattr__(self, "_hops", tuple(accumulate((n > short for n in self.lengths), initial=0)))

    def expected(self, first: Landmark, last: Landmark, tile: int) -> tuple[float, float]:
        """Return the expected position of a tile, and its standard deviation.

        Parameters
        ----------
        first, last : Landmark
            Known tile-parts before and behind it.
        """
        (start, begin), (stop, end) = first, last
        total = max(1, self._sums[stop] - self._sums[start])
        scale = (end - begin) / total
        before = self._squares[tile] - self._squares[start]
        behind = self._squares[stop] - self._squares[tile]
        spread = math.sqrt(before * behind / max(1, before + behind)) * scale * self.deviation
        return begin + scale * (self._sums[tile] - self._sums[start]), spread

    def place(self, first: Landmark, last: Landmark, tile: int) -> ByteRange:
        """Return the bytes with the probable start of a tile.

        See `expected`.
        """
        position, spread = self.expected(first, last, tile)
        return ByteRange(int(position - _REACH * spread), int(position + _REACH * spread) + 1)

    def hops(self, start: int, stop: int) -> int:
        """Return the number of tile-parts with data from tile `start` to `stop`."""
        return self._hops[stop] - self._hops[start]

    def after_hops(self, start: int, hops: int) -> int:
        """Return the tile reached from `start` after some tile-parts with data."""
        wanted = self._hops[start] + hops
        return int(np.searchsorted(self._hops, wanted))

    def corrected(self, landmarks: Sequence[Landmark]) -> "TileLengths | None":
        """Return the lengths with the deviation seen in an image.

        None if they do not fit.

        Parameters
        ----------
        landmarks : sequence of Landmark
            Known tile-parts of the image, in order.
        """
        spans = [(t0, t1, p1 - p0) for (t0, p0), (t1, p1) in pairwise(landmarks) if t1 > t0]
        if any(size <= 0 for _, _, size in spans):  # the tile-parts lie in another order
            return None
        sizes = [(size, self._sums[t1] - self._sums[t0], self.hops(t0, t1)) for t0, t1, size in spans]
        seen = _deviation_of_spans(sizes)
        if max(seen, self.deviation * (len(spans) < _ENOUGH)) > MISFIT:
            return None
        if seen > _SURPRISE * self.deviation or len(spans) >= _ENOUGH:
            return replace(self, deviation=max(_LEAST_DEVIATION, seen))
        return self


def deviation_between(lengths: Mapping[int, int], size: int, sibling: Sequence[int]) -> float:
    """Return the standard deviation of lengths from a sibling's, relative to these.

    Parameters
    ----------
    lengths : mapping of int to int
        Lengths of an image's tile-parts, of some or all tiles.
    size : int
        Bytes of all its tile-parts.
    sibling : sequence of int
        Lengths of the sibling's tile-parts.
    """
    scale = size / sum(sibling)
    pairs = [(own / scale, sibling[tile], 1) for tile, own in lengths.items()]
    return max(_LEAST_DEVIATION, _deviation(pairs, [SHORT * fmean(sibling)] * 2, 0.0))


def _deviation_of_spans(spans: Sequence[tuple[int, int, int]]) -> float:
    """Return the standard deviation of spans from proportional ones, relative to these.

    See `_deviation`; the numbers are those of the tile-parts with data in a span.
    """
    if len(spans) < _FEWEST:
        return 0.0
    return _deviation(spans, [SHORT * fmean(sizes) for sizes in list(zip(*spans, strict=True))[:2]], None)


def _deviation(pairs: Sequence[tuple[float, float, int]], least: Sequence[float], usual: float | None) -> float:
    """Return the deviation of ratios, plus the share of unlike pairs.

    It is that of their logarithms; unlike pairs have one short side.

    Parameters
    ----------
    pairs : sequence of (float, float, int)
        Bytes of an image, those of a sibling, and the number of tile-parts that they are of.
    least : sequence of float
        Bytes of either side that are not short.
    usual : float or None
        Expected logarithm; None is the mean one.
    """
    long = [(math.log(one / other), count) for one, other, count in pairs if one > least[0] and other > least[1]]
    if usual is None:
        usual = fmean(ratio for ratio, _ in long) if long else 0.0
    squares = [(ratio - usual) ** 2 * max(1, count) for ratio, count in long]
    differ = sum((one > least[0]) != (other > least[1]) for one, other, _ in pairs)  # land instead of no data
    return (math.sqrt(fmean(squares)) if squares else 0.0) + differ / max(1, len(pairs))
