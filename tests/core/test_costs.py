"""What reads cost: how many connections pay."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jp2batch.core.costs import LARGEST_PART, PRICE, StoreCosts

PLAIN = StoreCosts(latency=0.03, bandwidth=60e6, connections=128, line=125e6)
SECURE = replace(PLAIN, handshake=0.0035)

costs = st.builds(
    StoreCosts,
    latency=st.floats(0.001, 1),
    bandwidth=st.floats(1e6, 1e9),
    connections=st.integers(1, 200),
    handshake=st.floats(0, 0.1),
)


@given(costs, st.integers(1, 500), st.integers(0, 200))
def test_a_round_has_connections_as_allowed_and_needed(store: StoreCosts, requests: int, already_open: int) -> None:
    count = store.connections_for(requests, already_open)
    assert 1 <= count <= min(store.connections, requests)
    assert count >= min(already_open, store.connections, requests)


@given(costs, st.integers(1, 500))
def test_without_tls_each_request_has_a_connection_of_its_own(store: StoreCosts, requests: int) -> None:
    assert replace(store, handshake=0).connections_for(requests) == min(store.connections, requests)


@given(costs, st.integers(1, 500))
def test_no_other_number_of_connections_is_much_faster(store: StoreCosts, requests: int) -> None:
    def seconds(count: int) -> float:
        return -(-requests // count) * store.latency + count * store.handshake

    best = min(map(seconds, range(1, min(store.connections, requests) + 1)))
    assert seconds(store.connections_for(requests)) <= 1.5 * best


@pytest.mark.parametrize(("requests", "connections"), [(1, 1), (4, 4), (9, 9), (17, 17), (120, 30), (1000, 91)])
def test_connections_with_tls_are_few_and_used_evenly(requests: int, connections: int) -> None:
    assert SECURE.connections_for(requests) == connections


def test_open_connections_are_all_used() -> None:
    assert SECURE.connections_for(120, already_open=80) == 80
    assert SECURE.connections_for(120, already_open=128) == 120


def test_where_requests_are_free_connections_are_not_counted() -> None:
    assert replace(SECURE, latency=0.0).connections_for(120) == 120


def test_handshakes_do_not_change_requests() -> None:
    assert PLAIN.seconds(120, 1_000_000, 3) == SECURE.seconds(120, 1_000_000, 3)
    assert PLAIN.parts(1, 100_000_000) == SECURE.parts(1, 100_000_000)


CDSE = StoreCosts(latency=0.06, bandwidth=20e6, connections=4, requests_per_minute=2000)


def test_under_a_quota_a_request_is_worth_the_bytes_of_its_time() -> None:
    assert CDSE.request_worth == 2_400_000
    assert CDSE.price(2, 1_000_000) == pytest.approx(CDSE.price(1, 1_000_000 + CDSE.request_worth), rel=0.15)
    assert CDSE.price(2, 1_000_000) < CDSE.price(1, 5_000_000)
    assert PLAIN.request_worth == 0


@given(costs, st.integers(1, 60), st.integers(0, 10**9), st.none() | st.integers(100, 10_000))
def test_long_ranges_are_cut_only_where_it_is_cheaper(
    store: StoreCosts, ranges: int, size: int, quota: int | None
) -> None:
    store = replace(store, requests_per_minute=quota)
    whole = max(ranges, -(-size // LARGEST_PART))
    assert store.cost(ranges, size) <= store.price(whole, size)
    assert quota is None or store.parts(ranges, size) == whole


@given(costs, st.integers(1, 500), st.integers(0, 10**9), st.integers(1, 20))
def test_without_a_quota_the_price_is_the_time_and_little_for_bytes(
    store: StoreCosts, requests: int, size: int, rounds: int
) -> None:
    assert store.price(requests, size, rounds) == store.seconds(requests, size, rounds) + size * PRICE


@given(st.integers(1, 99), st.integers(1, 99), st.integers(0, 10**8), st.integers(0, 10**8))
def test_under_a_quota_reads_cost_together_what_they_cost_apart(one: int, other: int, size: int, more: int) -> None:
    waits = CDSE.price(0, 0)
    together = CDSE.price(one + other, size + more) - waits
    assert together == pytest.approx(CDSE.price(one, size) + CDSE.price(other, more) - 2 * waits)
