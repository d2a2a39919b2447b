"""Which requests are made for a round: they cover what is wanted, and no other choice at hand costs less."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jp2batch.core.costs import LARGEST_PART, StoreCosts
from jp2batch.core.ranges import ByteRange, merged
from jp2batch.core.store_settings import store_costs
from jp2batch.jpeg2000.plan.coalesce import coalesced

SIZE = 84_000_000
LINK = StoreCosts(0.03, 60e6, 128, 125e6)
CDSE = store_costs("s3", "eodata.dataspace.copernicus.eu")

stores = st.builds(
    StoreCosts,
    latency=st.sampled_from([0.0, 0.001, 0.03, 0.5]),
    bandwidth=st.sampled_from([1e5, 2e7, 6e7, 1e9]),
    connections=st.sampled_from([1, 4, 128]),
    line=st.sampled_from([math.inf, 125e6, 1e5]),
    requests_per_minute=st.sampled_from([None, 60.0, 2000.0]),
)
wanted = st.lists(
    st.tuples(st.integers(0, SIZE - 1), st.integers(1, 10**6) | st.integers(1, 10**4) | st.integers(1, 4 * 10**7)).map(
        lambda span: ByteRange(span[0], min(SIZE, sum(span)))
    ),
    max_size=40,
)


def size_of(ranges: list[ByteRange]) -> int:
    return sum(span.size for span in ranges)


def cost(ranges: list[ByteRange], store: StoreCosts) -> float:
    """Return the price of exactly these requests."""
    return store.price(len(ranges), size_of(ranges))


def short_enough(ranges: list[ByteRange]) -> list[ByteRange]:
    """Cut what is too long to be asked for at once."""
    cut = []
    for start, stop in ranges:
        edges = np.linspace(start, stop, max(1, round((stop - start) / LARGEST_PART)) + 1).astype(int)
        cut += [ByteRange(int(a), int(b)) for a, b in itertools.pairwise(edges)]
    return cut


def verify_covers(asked: list[ByteRange], ranges: list[ByteRange]) -> None:
    """Requests must be sorted, disjoint, inside the file, and hold every byte that is wanted."""
    assert asked == sorted(asked)
    assert all(left.stop <= right.start for left, right in itertools.pairwise(asked))
    assert all(0 <= start < stop <= SIZE for start, stop in asked)
    runs = merged(asked)
    assert all(any(run.start <= start and stop <= run.stop for run in runs) for start, stop in ranges)


@given(wanted, stores)
def test_requests_cover_and_cost_no_more_than_the_extremes(ranges, store):
    asked = coalesced(ranges, store)
    verify_covers(asked, ranges)
    if not ranges:
        assert asked == []
        return
    apart = merged(ranges)
    together = [ByteRange(apart[0].start, apart[-1].stop)]
    if not store.latency:
        assert asked == apart
        return
    apart, together = short_enough(apart), short_enough(together)
    assert cost(asked, store) <= min(cost(apart, store), cost(together, store)) + 1e-9
    if size_of(asked) > size_of(apart):
        assert cost(asked, store) < cost(apart, store)  # no byte is read for nothing


@given(st.integers(1, 3000), st.integers(1, 10**5), st.integers(1, 50), stores)
def test_the_estimate_for_many_ranges_is_that_of_looking_at_each_choice(ranges, each, spread, store):
    size, span = ranges * each, ranges * each * spread
    gap = max(0, span - size) / max(1, ranges - 1)
    joins = range(ranges if store.latency else 1)
    least = min(store.cost(ranges - joined, int(size + joined * gap)) for joined in joins)
    assert least <= store.spread_cost(ranges, size, span) <= 1.05 * least


@given(wanted, stores, st.integers(0, SIZE))
def test_what_may_not_be_crossed_is_not(ranges, store, barrier):
    asked = coalesced(ranges, store, lambda start, stop: not start <= barrier < stop)
    verify_covers(asked, ranges)
    if not any(start <= barrier < stop for start, stop in ranges):
        assert not any(start <= barrier < stop for start, stop in asked)


def tiles(share: float) -> list[ByteRange]:
    """Return a prefix of each tile of a 10 m band."""
    lengths = np.random.default_rng(3).normal(1, 0.15, 121)
    bounds = np.concatenate([[2600], 2600 + np.cumsum(lengths * (SIZE - 2602) / lengths.sum())]).astype(int)
    return [ByteRange(int(a), int(a + (b - a) * share)) for a, b in itertools.pairwise(bounds)]


def test_an_overview_is_asked_for_tile_by_tile_over_a_good_link():
    asked = coalesced(tiles(0.0125), LINK)
    assert len(asked) == 121
    assert size_of(asked) < 1_300_000


def test_an_overview_takes_few_requests_where_they_are_counted():
    asked = coalesced(tiles(0.0125), CDSE)
    assert len(asked) <= 30
    by_tile = 121 * 60 / 2000
    assert CDSE.price(len(asked), size_of(asked)) < by_tile / 2
    most = replace(CDSE, requests_per_minute=None, latency=0.03)
    assert len(coalesced(tiles(0.0125), most)) > 60  # four connections alone are no reason


def test_small_gaps_are_not_worth_a_request():
    near = [ByteRange(start, start + 5000) for start in range(0, 100_000, 10_000)]
    assert len(coalesced(near, LINK)) <= 2
    assert len(coalesced([ByteRange(r.start * 100, r.start * 100 + 5000) for r in near], LINK)) == 10


def test_a_long_range_is_cut_over_free_connections():
    asked = coalesced([ByteRange(0, SIZE)], LINK)
    assert 2 <= len(asked) <= 8  # which fill the line
    assert len({stop - start for start, stop in asked}) <= 2
    assert len(coalesced([ByteRange(0, 1_000_000)], LINK)) == 1
    assert len(coalesced([ByteRange(0, SIZE)], CDSE)) == 3  # none too long; more would use up the quota


def test_no_request_is_too_long():
    asked = coalesced([ByteRange(0, SIZE)], StoreCosts(0.03, 60e6, 1))
    assert max(stop - start for start, stop in asked) <= 1.5 * 32 * 2**20


@pytest.mark.parametrize("count", [2, 1000])
def test_free_requests_are_made_for_just_what_is_wanted(count):
    ranges = [ByteRange(start * 10, start * 10 + 9) for start in range(count)]
    assert coalesced(ranges, StoreCosts(0, 1e9, 8)) == ranges
