"""Coalescing of byte ranges into requests.

Gaps are read through, and long ranges cut, if it costs less.
"""

from collections.abc import Callable, Iterable
from itertools import accumulate, pairwise

from jp2batch.core.costs import LARGEST_PART, StoreCosts, cheapest
from jp2batch.core.ranges import ByteRange, merged


def coalesced(
    spans: Iterable[ByteRange], store: StoreCosts, may_cross: Callable[[int, int], bool] = lambda _start, _stop: True
) -> list[ByteRange]:
    """Return the cheapest requests for some ranges, sorted and disjoint.

    If requests are free, they are the ranges themselves, merged.

    Parameters
    ----------
    spans : iterable of ByteRange
        Ranges to cover, in any order.
    store : StoreCosts
        Costs of requests and bytes.
    may_cross : callable
        Returns whether the gap between two positions may be read.
    """
    ranges = merged(spans)
    if not store.latency or not ranges:
        return ranges
    size = _size(ranges)
    gaps = sorted(
        (right.start - left.stop, place)
        for place, (left, right) in enumerate(pairwise(ranges))
        if may_cross(left.stop, right.start)
    )
    sizes = list(accumulate((gap for gap, _ in gaps), initial=size))
    best = cheapest(lambda count: store.cost(len(ranges) - count, sizes[count]), len(gaps))
    chosen = _cut(_joined(ranges, {place for _, place in gaps[:best]}), store)
    for count in (0, len(gaps)):  # cutting may cost more than estimated: also compare the extremes
        if _cost(len(ranges) - count, sizes[count], store) < _cost(len(chosen), _size(chosen), store):
            other = _cut(_joined(ranges, {place for _, place in gaps[:count]}), store)
            chosen = min(chosen, other, key=lambda asked: _cost(len(asked), _size(asked), store))
    return chosen


def _size(ranges: list[ByteRange]) -> int:
    return sum(span.size for span in ranges)


def _cost(requests: int, size: int, store: StoreCosts) -> float:
    """Return the cost of exactly this number of requests.

    `StoreCosts.cost` may assume additional cuts.
    """
    return store.price(requests, size)


def _joined(ranges: list[ByteRange], closed: set[int]) -> list[ByteRange]:
    result = ranges[:1]
    for place, one in enumerate(ranges[1:]):
        if place in closed:
            result[-1] = ByteRange(result[-1].start, one.stop)
        else:
            result.append(one)
    return result


def _cut(ranges: list[ByteRange], store: StoreCosts) -> list[ByteRange]:
    """Cut long ranges into equal parts if cheaper, or if too long."""
    size = _size(ranges)
    choices = (_in_parts(ranges, length) for length in (LARGEST_PART, store.part_length(len(ranges), size)))
    return min(choices, key=lambda parts: _cost(len(parts), size, store))


def _in_parts(ranges: list[ByteRange], length: int) -> list[ByteRange]:
    if max(span.size for span in ranges) <= length:
        return ranges
    result = []
    for start, stop in ranges:
        parts = max(1, round((stop - start) / length))
        edges = [start + (stop - start) * part // parts for part in range(parts + 1)]
        result += [ByteRange(a, b) for a, b in pairwise(edges)]
    return result
