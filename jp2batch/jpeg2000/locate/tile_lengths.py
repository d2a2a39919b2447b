"""Expected lengths of tile-parts, from a sibling of the image.

Bands of a product, and dates of a ground tile, have land, sea and no data at the same places, so that the lengths of
their tile-parts are nearly proportional. They only say where to search: all that is found is proven as without them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from statistics import fmean

import numpy as np

from jp2batch.core.ranges import ByteRange
from jp2batch.jpeg2000.locate.stretches import Landmark

_SHORT = 1 / 16  # of the mean: shorter tile-parts hardly count, and are passed in the round of another
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
        short = _SHORT * fmean(self.lengths)
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
        seen = _deviation(sizes)
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
    scale, least = size / sum(sibling), _SHORT * fmean(sibling)
    pairs = [(own / scale, sibling[tile]) for tile, own in lengths.items()]
    ratios = [math.log(own / other) for own, other in pairs if own > least and other > least]
    differ = sum((own > least) != (other > least) for own, other in pairs)  # land instead of no data
    spread = math.sqrt(fmean(ratio * ratio for ratio in ratios)) if ratios else 0.0
    return max(_LEAST_DEVIATION, spread + differ / max(1, len(pairs)))


def _deviation(spans: Iterable[tuple[int, int, int]]) -> float:
    """Return the standard deviation of the logarithm of ratios of tile-part lengths.

    Parameters
    ----------
    spans : iterable of (int, int, int)
        Bytes of consecutive tile-parts, the same of a sibling, and the number of tile-parts with data among them.
    """
    listed = list(spans)
    if len(listed) < _FEWEST:
        return 0.0
    least = [_SHORT * fmean(sizes) for sizes in list(zip(*listed, strict=True))[:2]]
    long = [(math.log(one / other), count) for one, other, count in listed if one > least[0] and other > least[1]]
    mean = fmean(ratio for ratio, _ in long) if long else 0.0
    squares = [(ratio - mean) ** 2 * max(1, count) for ratio, count in long]
    differ = sum((one > least[0]) != (other > least[1]) for one, other, _ in listed)  # land instead of no data
    return (math.sqrt(fmean(squares)) if squares else 0.0) + differ / len(listed)
