"""A late request is repeated beside itself: within a budget, never past a quota, and the first good reply wins."""

import asyncio
import contextlib
import re
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Literal

import dask
import pytest

from benchmarks import range_server as web
from benchmarks.range_server import HttpRequest, HttpResponse
from jp2batch.core.errors import StoreUnavailable
from jp2batch.core.ranges import ByteRange
from jp2batch.storage.hedging import Hedge, HedgeBudget, Started
from jp2batch.storage.latency import LatencyEstimator
from jp2batch.storage.source import Source, open_source
from support.servers import in_a_thread

DATA = bytes(range(256)) * 400
STALL = 5.0


class StallingServer(web.RangeServer):
    """A web server that stalls some requests by their number, and counts what it was asked."""

    def __init__(self, late: Callable[[int], bool]) -> None:
        self.late, self.requests, self.tag = late, 0, "a"
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/x.jp2"
        self.late_tag = ""

    async def reply(self, connection: socket.socket, request: HttpRequest) -> Literal["keep", "close"]:
        self.requests += 1
        is_late, tag = self.late(self.requests), self.tag
        await asyncio.sleep(STALL if is_late else 0.01)
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers["range"])
        assert found is not None
        start, stop = int(found[1]), int(found[2]) + 1
        headers = {"Content-Range": f"bytes {start}-{stop - 1}/{len(DATA)}", "ETag": f'"{tag}"'}
        await web.send_bytes(connection, HttpResponse(206, headers, DATA[start:stop]), DATA[start:stop])
        return "keep"

    async def run(self, started: threading.Event) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        started.set()
        with self._listener, contextlib.suppress(asyncio.CancelledError):
            await self.accept(self._listener)

    def stop(self) -> None:
        assert self._task is not None
        self._loop.call_soon_threadsafe(self._task.cancel)


@pytest.fixture
def stalling() -> Iterator[Callable[[Callable[[int], bool]], StallingServer]]:
    """Return what starts a server; requests are hedged as by default."""
    with contextlib.ExitStack() as stack, dask.config.set({"jp2batch.retries.hedged": 0.05}):

        def start(late: Callable[[int], bool]) -> StallingServer:
            server = StallingServer(late)
            stack.enter_context(in_a_thread(server))
            return server

        yield start


def spans(count: int) -> list[ByteRange]:
    return [ByteRange(10 * n, 10 * n + 10) for n in range(count)]


def read(source: Source, count: int) -> float:
    """Read ranges side by side after a first one; return the seconds."""
    begin = time.monotonic()
    source.read_many([ByteRange(0, 100)])
    pieces = source.read_many(spans(count))
    assert pieces == [(span.start, DATA[span.start : span.stop]) for span in spans(count)]
    return time.monotonic() - begin


@pytest.mark.parametrize("driver", ["auto", "fsspec"])
def test_a_stalled_reply_delays_no_read(stalling: Any, driver: str) -> None:
    server = stalling(lambda number: number in (30, 60, 90))
    with dask.config.set({"jp2batch.driver": driver}):
        source = open_source(server.url)
        assert read(source, 120) < STALL / 2
    assert server.requests == 121 + 3 <= 1.05 * 121
    assert source.meter.requests == server.requests


def test_a_hedge_that_stalls_is_hedged(stalling: Any) -> None:
    server = stalling(lambda number: number in (60, 122))
    assert read(open_source(server.url), 120) < STALL / 2
    assert server.requests == 121 + 2


def test_no_more_than_the_budget(stalling: Any) -> None:
    server = stalling(lambda number: 41 <= number <= 50)
    assert read(open_source(server.url), 120) > STALL / 2
    assert 121 < server.requests <= 1.05 * 121


def test_without_hedges_a_stalled_reply_is_waited_for(stalling: Any) -> None:
    server = stalling(lambda number: number == 60)
    with dask.config.set({"jp2batch.retries.hedged": 0}):
        assert read(open_source(server.url), 120) > STALL / 2
    assert server.requests == 121


def test_a_quota_has_no_hedges(stalling: Any) -> None:
    server = stalling(lambda number: number == 60)
    quota = {"jp2batch.profiles": {"mine": {"requests-per-minute": 60_000}}, "jp2batch.stores": {"127.0.0.1": "mine"}}
    with dask.config.set(quota):
        assert read(open_source(server.url), 120) > STALL / 2
    assert server.requests == 121


def test_a_hedge_of_another_version_does_not_win(stalling: Any) -> None:
    server = stalling(lambda number: number == 61)
    source = open_source(server.url)
    read(source, 59)
    threading.Timer(0.02, lambda: setattr(server, "tag", "b")).start()
    begin = time.monotonic()
    assert source.read_many(spans(1)) == [(0, DATA[:10])]
    assert time.monotonic() - begin > STALL / 2
    assert server.requests > 61


def test_other_sources_of_a_store_profit(stalling: Any) -> None:
    server = stalling(lambda number: number == 122)
    read(open_source(server.url), 120)
    begin = time.monotonic()
    open_source(server.url).read_many([ByteRange(0, 100)])
    assert time.monotonic() - begin < STALL / 2
    assert server.requests == 123


class Late:
    """A request that is late."""

    is_late = True


# Hedges, without a network


def hedge(attempt: Callable[[int, Started], Awaitable[str]], *, allowed: int = 9, patience: float = 0.01) -> str:
    """Return the result of hedged attempts, by their number."""
    left, count = [allowed], [0]

    def spend(_lateness: float) -> bool:
        left[0] -= 1
        return left[0] >= 0

    async def numbered(started: Started) -> str:
        count[0] += 1
        return await attempt(count[0], started)

    async def run() -> str:
        return await HedgeBudget().run(Hedge(numbered, lambda: patience, spend))

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let late requests be looked at soon."""
    monkeypatch.setattr("jp2batch.storage.hedging._AGAIN", 0.01)


def test_the_first_good_reply_wins_and_the_other_is_cancelled() -> None:
    ended = []

    async def attempt(number: int, started: Started) -> str:
        started()
        try:
            await asyncio.sleep(9 if number == 1 else 0.01)
        except asyncio.CancelledError:
            ended.append(number)
            raise
        return str(number)

    assert hedge(attempt, allowed=1) == "2"
    assert ended == [1]


def test_a_late_first_reply_may_win() -> None:
    async def attempt(number: int, started: Started) -> str:
        started()
        await asyncio.sleep(0.05 if number == 1 else 9)
        return str(number)

    assert hedge(attempt) == "1"


def test_a_hedge_that_fails_is_no_reply() -> None:
    async def attempt(number: int, started: Started) -> str:
        started()
        if number > 1:
            raise StoreUnavailable("", "busy", "")
        await asyncio.sleep(0.1)
        return str(number)

    assert hedge(attempt) == "1"


def test_the_hedge_of_a_failed_request_is_waited_for() -> None:
    async def attempt(number: int, started: Started) -> str:
        started()
        await asyncio.sleep(0.03 * number)
        if number == 1:
            raise StoreUnavailable("", "busy", "")
        return str(number)

    assert hedge(attempt, patience=0.02, allowed=1) == "2"


def test_if_all_fail_the_error_is_that_of_the_first() -> None:
    async def attempt(number: int, started: Started) -> str:
        started()
        await asyncio.sleep(0.03)
        raise StoreUnavailable("", f"busy {number}", "")

    with pytest.raises(StoreUnavailable, match="busy 1"):
        hedge(attempt)


def test_waiting_for_a_slot_is_not_lateness() -> None:
    numbers = []

    async def attempt(number: int, started: Started) -> str:
        numbers.append(number)
        await asyncio.sleep(0.1)
        started()
        return str(number)

    assert hedge(attempt) == "1"
    assert numbers == [1]


def test_a_cancelled_read_cancels_all() -> None:
    ended = []

    async def attempt(started: Started) -> str:
        started()
        try:
            await asyncio.sleep(9)
        finally:
            ended.append(1)
        return ""

    async def run() -> None:
        task = asyncio.ensure_future(HedgeBudget().run(Hedge(attempt, lambda: 0.01, lambda _: True)))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)

    asyncio.run(run())
    assert len(ended) == 4


def test_a_budget_saves_little() -> None:
    budget = HedgeBudget()
    assert not budget.spend(99)
    for _ in range(1000):
        budget.earn(0.05)
    assert [budget.spend(99) for _ in range(33)] == 32 * [True] + [False]


def test_the_last_of_a_budget_is_for_the_latest() -> None:
    budget = HedgeBudget()
    for _ in range(201):
        budget.earn(0.05)
    assert [budget.spend(1) for _ in range(9)] == 7 * [True] + 2 * [False]
    assert [budget.spend(2) for _ in range(9)] == 2 * [True] + 7 * [False]
    assert [budget.spend(4) for _ in range(9)] == 1 * [True] + 8 * [False]


def test_replies_of_a_slow_moment_leave_the_budget_to_stalls() -> None:
    budget = HedgeBudget()
    for number in range(4000):
        budget.earn(0.05)
        if number % 10 == 0:  # twice as many as the budget allows
            budget.spend(1.2)
        if number > 400 and number % 50 == 0:
            assert budget.spend(3)


def test_a_slow_store_is_not_asked_more() -> None:
    budget = HedgeBudget()
    for _ in range(1000):
        budget.earn(0.05)
    late = [Late() for _ in range(13)]
    budget.active = set(late[:12])  # type: ignore[arg-type]
    assert budget.spend(9)
    budget.active = set(late)  # type: ignore[arg-type]
    assert not budget.spend(9)


def test_nearly_all_replies_tell_what_is_late() -> None:
    gauge = LatencyEstimator()
    assert gauge.patience(100) is None
    for number in range(100):
        gauge.note(100, 10.0 if number % 50 == 0 else 0.1)
    assert gauge.patience(100) == pytest.approx(0.15, rel=0.01)
    assert gauge.patience(200_000) == pytest.approx(0.15 * 1.19, rel=0.01)
    assert gauge.patience(1_000_000) is None
    for _ in range(16):
        gauge.note(1 << 20, 0.4)
    assert gauge.patience(2 << 20) == pytest.approx(0.9, rel=0.01)
    assert gauge.patience(1) == pytest.approx(0.15, rel=0.01)


def test_slow_bursts_change_nothing_of_what_is_late() -> None:
    gauge = LatencyEstimator()
    for number in range(3000):
        is_paused = number // 120 % 10 == 4  # a burst of requests in which this process was busy
        gauge.note(100, 1.0 if is_paused else 0.1)
        if number >= 120:
            assert gauge.patience(100) == pytest.approx(0.15, rel=0.01)


def test_a_store_that_becomes_slower_is_learned() -> None:
    gauge = LatencyEstimator()
    for number in range(2000):
        gauge.note(100, 0.1 if number < 1000 else 0.3)
    assert gauge.patience(100) == pytest.approx(0.45, rel=0.01)
