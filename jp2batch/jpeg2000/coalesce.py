"""Which requests to make for the ranges of a round: gaps are read through, and long ranges cut, where it pays."""

from collections.abc import Callable, Iterable
from itertools import pairwise

from jp2batch.jpeg2000.pieces import Range, merged
from jp2batch.profiles import StoreProfile


def coalesced(
    wanted: Iterable[Range], store: StoreProfile, may_cross: Callable[[int, int], bool] = lambda _start, _stop: True
) -> list[Range]:
    """Return the requests that cost the store's profile least: sorted, disjoint, covering what is wanted.

    Where requests are free that is just what is wanted.

    Parameters
    ----------
    wanted : iterable of Range
        Any ranges.
    store : StoreProfile
        What requests and bytes cost.
    may_cross : callable
        Tells whether the gap between two positions may be read.
    """
    ranges = merged(wanted)
    if not store.latency or not ranges:
        return ranges
    size = sum(stop - start for start, stop, _ in ranges)
    gaps = sorted(
        (right.start - left.stop, place)
        for place, (left, right) in enumerate(pairwise(ranges))
        if may_cross(left.stop, right.start)
    )
    best, least, crossed = 0, store.cost(len(ranges), size), size
    for count, (gap, _) in enumerate(gaps, 1):
        crossed += gap
        if (cost := store.cost(len(ranges) - count, crossed)) < least:
            best, least = count, cost
    closed = {place for _, place in gaps[:best]}
    return _cut(_joined(ranges, closed), store)


def _joined(ranges: list[Range], closed: set[int]) -> list[Range]:
    result = ranges[:1]
    for place, one in enumerate(ranges[1:]):
        if place in closed:
            result[-1] = Range(result[-1].start, one.stop)
        else:
            result.append(one)
    return result


def _cut(ranges: list[Range], store: StoreProfile) -> list[Range]:
    """Cut long ranges in parts of about the same length."""
    length = store.part_length(len(ranges), sum(stop - start for start, stop, _ in ranges))
    result = []
    for start, stop, _ in ranges:
        parts = max(1, round((stop - start) / length))
        edges = [start + (stop - start) * part // parts for part in range(parts + 1)]
        result += [Range(a, b) for a, b in pairwise(edges)]
    return result
