"""What stores have taken for replies is believed, once there were enough of them."""

import dask
import pytest

from jp2batch.core.costs import StoreCosts
from jp2batch.core.ranges import ByteRange
from jp2batch.core.store_settings import store_costs
from jp2batch.storage.latency import LatencyEstimator
from jp2batch.storage.source import open_source

GUESSED = StoreCosts(0.03, 60e6, 128, measured=True)


def noted(count: int, size: int, seconds: float, into: LatencyEstimator | None = None) -> LatencyEstimator:
    gauge = into or LatencyEstimator()
    for _ in range(count):
        gauge.note(size, seconds)
    return gauge


def test_few_samples_change_nothing():
    assert noted(7, 8192, 0.2, noted(7, 2_000_000, 0.1)).applied(GUESSED) == GUESSED


def test_a_single_reply_shows_a_line_that_is_much_slower():
    assert noted(1, 3_000_000, 6.0).applied(GUESSED).bandwidth == pytest.approx(2e6)
    assert noted(1, 30_000_000, 6.0).applied(GUESSED).bandwidth == pytest.approx(20e6)
    assert noted(8, 3_000_000, 6.0).applied(GUESSED).bandwidth == pytest.approx(0.5e6)


def test_small_replies_tell_latency_and_large_ones_bandwidth():
    found = noted(8, 10_000_000, 0.7, noted(8, 8192, 0.2)).applied(GUESSED)
    assert found.latency == pytest.approx(0.2)
    assert found.bandwidth == pytest.approx(20e6)
    assert (found.connections, found.name) == (GUESSED.connections, GUESSED.name)


def test_the_latest_count():
    gauge = noted(64, 100, 0.5)
    assert noted(64, 100, 0.05, gauge).applied(GUESSED).latency == pytest.approx(0.05)


def test_many_at_once_do_not_look_like_a_slow_store():
    gauge = LatencyEstimator()
    for place in range(64):
        gauge.note(8192, 0.03 if place % 3 == 0 else 0.03 + 0.002 * place)
    assert gauge.applied(GUESSED).latency < 0.04


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_whatever_a_clock_says_it_stays_a_store(seconds):
    found = noted(9, 2_000_000, seconds, noted(9, 1, seconds)).applied(GUESSED)
    assert 0 < found.latency <= 10
    assert 1e5 <= found.bandwidth <= 1e10


def test_what_is_configured_stands():
    pinned = StoreCosts(0.03, 60e6, 128)
    free = StoreCosts(0.0, 1e9, 8, measured=True)
    assert noted(20, 100, 0.5).applied(pinned) == pinned
    assert noted(20, 100, 0.5).applied(free) == free


def test_sources_note_and_follow(http_server):
    http_server.files["file"] = bytes(100_000)
    url = http_server.url("file")
    slow = {"jp2batch.profiles": {"default": {"latency": "9s"}}}
    with dask.config.set({"jp2batch.measure": True, **slow}):
        assert open_source(url).profile.latency == store_costs("http").latency == 9
        source = open_source(url)
        source.read_many([ByteRange(0, 100)])
        source.read_many([ByteRange(start, start + 100) for start in range(100, 2000, 100)])
        assert source.profile.latency == 9  # it stays the same while an image is read
        assert 0.0001 <= open_source(url).profile.latency < 9
        with dask.config.set({"jp2batch.stores": {"127.0.0.1": {"latency": "7ms"}}}):
            assert open_source(url).profile.latency == 0.007
    assert open_source(url).profile.latency == 0.03
