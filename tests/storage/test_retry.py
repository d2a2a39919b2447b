"""What fails in a way that passes is tried again, a bounded number of times, as the store asks."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import dask
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jp2batch.core.config import RetryPolicy, retry_policy
from jp2batch.core.errors import (
    CorruptImage,
    ImageNotFound,
    ObjectChanged,
    PermissionDenied,
    RangesIgnored,
    StoreUnavailable,
)
from jp2batch.core.request import Request
from jp2batch.image.read import read_pixels
from jp2batch.sample.encode import Coding
from jp2batch.storage.limits import RequestLimiter
from jp2batch.storage.retry import backoff_seconds, retried
from support.images import WITH_TLM, Made

POLICY = RetryPolicy(attempts=5, first_wait=0.2, longest_wait=30)
pytestmark = pytest.mark.usefixtures("dear_bytes")

MANY_TILES = Made(Coding(tile=(10, 10), levels=2, precincts=(8, 8), tlm=True))


@given(st.integers(1, 100), st.floats(0, 1), st.none() | st.floats(0, 100))
def test_waits_grow_are_bounded_and_honour_the_store(failed, luck, asked):
    wait = backoff_seconds(failed, StoreUnavailable("", "busy", "", asked), POLICY, luck)
    if failed >= 5 or (asked or 0) > 30:
        assert wait is None
    else:
        grown = 0.2 * 2 ** (failed - 1)
        assert (asked or 0) + grown / 2 <= wait <= (asked or 0) + grown


def test_a_quota_per_minute_may_ask_for_a_minute():
    assert backoff_seconds(1, StoreUnavailable("", "busy", "", 60.0), retry_policy(), 0.5) == pytest.approx(60, abs=1)


def test_a_replaced_object_is_not_asked_again():
    assert backoff_seconds(1, ObjectChanged("", "was replaced"), POLICY, 0.5) is None


def test_a_server_that_gives_no_ranges_is_asked_once_more():
    ignored = RangesIgnored("", "the server stopped honouring Range")
    assert backoff_seconds(1, ignored, POLICY, 0.5) is not None
    assert backoff_seconds(2, ignored, POLICY, 0.5) is None


@pytest.mark.parametrize("failures", range(6))
def test_attempts_are_made_until_one_succeeds_or_they_are_used_up(failures):
    left, retries = [failures], []

    async def attempt() -> str:
        if left[0]:
            left[0] -= 1
            raise StoreUnavailable("a.jp2", "busy")
        return "done"

    policy = RetryPolicy(attempts=4, first_wait=0.001, longest_wait=1)
    if failures < 4:
        assert asyncio.run(retried(attempt, policy, lambda: retries.append(1))) == "done"
        assert len(retries) == failures
    else:
        with pytest.raises(StoreUnavailable):
            asyncio.run(retried(attempt, policy, lambda: retries.append(1)))
        assert len(retries) == 3


def test_what_does_not_pass_is_tried_once():
    calls = []

    async def attempt() -> None:
        calls.append(1)
        raise CorruptImage("a.jp2", "damaged")

    with pytest.raises(CorruptImage):
        asyncio.run(retried(attempt, POLICY, lambda: None))
    assert len(calls) == 1


@pytest.fixture
def busy(http_server):
    """Return a server of an image of 121 tiles, to be asked for each of them."""
    http_server.files["image.jp2"] = MANY_TILES.data
    with dask.config.set({"jp2batch.max-whole-file": 0, "jp2batch.first-read": 1000}):
        yield http_server


@pytest.mark.parametrize("fault", [503, 500, 502, 504, 429, "reset", "cut", "short", "long", "wrong-range"])
def test_faults_that_pass_cost_neither_pixels_nor_the_read(busy, fault):
    busy.fault, busy.every = fault, 5
    with dask.config.set({"jp2batch.retries.attempts": 20}):  # a range may be the fifth more than once
        pixels = read_pixels(Request(busy.url("image.jp2"), 1))
    np.testing.assert_array_equal(pixels.values, MANY_TILES.oracle.at(1))
    assert pixels.stats.retries > 0


@pytest.mark.parametrize("fault", [503, "reset", "cut"])
def test_a_store_that_always_fails_is_given_up(busy, fault):
    busy.fault = fault
    with pytest.raises(StoreUnavailable, match=r"image\.jp2"):
        read_pixels(Request(busy.url("image.jp2")))
    assert 5 <= busy.requests <= 10  # aiohttp sends once more what a broken connection swallowed


@pytest.mark.parametrize(("fault", "error"), [(404, ImageNotFound), (403, PermissionDenied)])
def test_what_cannot_pass_is_asked_once(busy, fault, error):
    busy.fault = fault
    with pytest.raises(error):
        read_pixels(Request(busy.url("image.jp2")))
    assert busy.requests == 1


@pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "date"])
def test_a_store_is_left_alone_as_long_as_it_asks(http_server, as_date):
    http_server.files["image.jp2"] = WITH_TLM.data
    until = datetime.now(UTC) + timedelta(seconds=2.2)
    http_server.fault, http_server.every, http_server.faultless = 429, 3, 2
    http_server.retry_after = format_datetime(until, usegmt=True) if as_date else "1"
    start = time.monotonic()
    with dask.config.set({"jp2batch.max-whole-file": 0, "jp2batch.first-read": 300}):
        assert read_pixels(Request(http_server.url("image.jp2"))).stats.retries >= 1
    assert time.monotonic() - start >= 1  # the least that was asked for


def test_a_store_that_asks_for_too_long_is_given_up(http_server, monkeypatch):
    pauses = []
    monkeypatch.setattr(RequestLimiter, "pause", lambda _, seconds: pauses.append(seconds))
    http_server.files["image.jp2"] = WITH_TLM.data
    http_server.fault, http_server.retry_after = 503, "3600"
    with pytest.raises(StoreUnavailable) as raised:
        read_pixels(Request(http_server.url("image.jp2")))
    assert raised.value.retry_after == 3600
    assert pauses == []  # nobody else waits for what is given up
    assert http_server.requests == 1


@pytest.mark.seaweedfs
def test_the_drivers_own_retries_are_off(s3_server):
    path = s3_server.put("retry/none.jp2", WITH_TLM.data).replace("none", "missing")
    before = s3_server.requests()
    with pytest.raises(ImageNotFound):
        read_pixels(Request(path), storage_options=s3_server.options)
    assert s3_server.requests() - before == 1
