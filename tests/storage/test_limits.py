"""A store that allows so many connections and requests gets no more, from threads, processes and clusters."""

import asyncio
import itertools
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import dask
import numpy as np
import pytest

from jp2batch.batch import run as batch
from jp2batch.compute.cluster import local_cluster
from jp2batch.core.costs import StoreCosts
from jp2batch.core.ranges import ByteRange
from jp2batch.core.request import Request
from jp2batch.image.read import read_pixels
from jp2batch.storage.cluster_limits import SharedLimiter, cluster_lease
from jp2batch.storage.limits import RequestLimiter, slots_of
from jp2batch.storage.source import open_source
from support.images import WITH_TLM
from support.waiting import wait_until

PROFILE = {"latency": "20ms", "bandwidth": "20 MB", "connections": 4, "requests-per-minute": 1800, "line": "20 kB"}
"""Four connections, 30 requests a second; bytes are so dear that nothing is joined."""


@pytest.fixture
def limited(http_server):
    """Return a server that refuses what exceeds the profile, and lets reads know of the profile."""
    http_server.places, http_server.quota = 4, (32, 1.0)
    http_server.retry_after, http_server.delay = "1", 0.02
    settings = {"jp2batch.stores": {"127.0.0.1": PROFILE}, "jp2batch.max-whole-file": 0, "jp2batch.first-read": 1000}
    with dask.config.set(settings):
        yield http_server


def held(slots: RequestLimiter, requests: int, seconds: float) -> list[tuple[float, float]]:
    """Return when each of some requests, all made at once, was begun and answered."""

    async def request() -> tuple[float, float]:
        async with slots.slot():
            begin = time.monotonic()
            await asyncio.sleep(seconds)
            return begin, time.monotonic()

    async def all_at_once() -> list[tuple[float, float]]:
        return sorted(await asyncio.gather(*(request() for _ in range(requests))))

    return asyncio.run(all_at_once())


def test_no_more_at_once_than_there_are_slots():
    times = held(RequestLimiter(3, 0.0), 20, 0.01)
    for begin, _ in times:
        assert sum(first <= begin < last for first, last in times) <= 3


def test_a_slot_is_held_for_its_time():
    begun = [begin for begin, _ in held(RequestLimiter(4, 0.2), 13, 0.001)]
    for first, later in zip(begun, begun[4:], strict=False):
        assert later - first >= 0.19
    assert begun[-1] - begun[0] < 2


def test_who_has_had_a_slot_does_not_wait_for_its_end():
    begin, end = held(RequestLimiter(1, 30.0), 1, 0.0)[0]
    assert end - begin < 30


def test_a_pause_is_for_all():
    slots = RequestLimiter(4, 0.0)
    slots.pause(0.2)
    slots.pause(0.05)
    start = time.monotonic()
    assert held(slots, 1, 0.0)[0][0] - start >= 0.19


def test_a_request_that_fails_gives_its_slot_back():
    slots = RequestLimiter(1, 0.0)

    async def fail() -> None:
        async with slots.slot():
            raise OSError

    async def fail_often() -> None:
        for _ in range(5):
            with pytest.raises(OSError):  # noqa: PT011
                await asyncio.wait_for(fail(), 5)

    asyncio.run(fail_often())


def test_a_lease_that_is_not_given_is_not_given_back():
    class Absent:
        released = 0

        async def acquire(self) -> bool:
            return False

        async def release(self) -> None:
            self.released += 1

    class Present(Absent):
        async def acquire(self) -> bool:
            return True

    async def once(lease: Absent) -> None:
        async with RequestLimiter(1, 0.0).slot(lease):
            assert not lease.released
        await asyncio.sleep(0.01)

    absent, present = Absent(), Present()
    asyncio.run(once(absent))
    asyncio.run(once(present))
    assert (absent.released, present.released) == (0, 1)


@pytest.mark.parametrize("hold", [0.0, 0.001])
def test_whoever_is_cancelled_keeps_neither_slot_nor_lease(hold):
    """Requests are cancelled in each turn of the event loop, while others begin and end."""

    class Counted:
        free = 2

        async def acquire(self) -> bool:
            await asyncio.sleep(0)
            self.free -= 1
            return True

        async def release(self) -> None:
            await asyncio.sleep(0)
            self.free += 1

    slots, lease, random_ = RequestLimiter(2, hold), Counted(), random.Random(0)

    async def request(turns: int) -> None:
        async with slots.slot(lease):
            for _ in range(turns):
                await asyncio.sleep(0)

    async def many() -> None:
        requests: list[asyncio.Task[None]] = []
        for _ in range(3000):
            requests.append(asyncio.ensure_future(request(random_.randrange(5))))
            await asyncio.sleep(0)
            for one in random_.sample(requests[-6:], k=min(len(requests), 2)):
                one.cancel()
        await asyncio.gather(*requests, return_exceptions=True)
        assert {one.cancelled() for one in requests} == {False, True}
        end = time.monotonic() + 10
        while lease.free < 2 and time.monotonic() < end:
            await asyncio.sleep(0.001)
        assert lease.free == 2
        async with asyncio.timeout(10), slots.slot(lease), slots.slot(lease):
            assert lease.free == 0

    asyncio.run(many())


class FakeSemaphore:
    """A semaphore of a cluster, on an event loop of its own: it grants a slot once it is let."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.let = asyncio.Event()
        self.asked, self.granted, self.released = threading.Event(), threading.Event(), threading.Event()

    async def acquire(self) -> bool:
        self.asked.set()
        await self.let.wait()
        self.granted.set()
        return True

    async def release(self) -> None:
        assert self.granted.is_set()
        self.released.set()

    def grant(self) -> None:
        self.loop.call_soon_threadsafe(self.let.set)
        assert self.granted.wait(10)


@pytest.fixture
def semaphore():
    semaphore = FakeSemaphore()
    thread = threading.Thread(target=semaphore.loop.run_forever)
    thread.start()
    yield semaphore
    semaphore.loop.call_soon_threadsafe(semaphore.loop.stop)
    thread.join()
    semaphore.loop.close()


@pytest.mark.parametrize("granted", ["before", "after"])
def test_a_lease_that_is_granted_to_nobody_is_given_back(semaphore, granted):
    lease = SharedLimiter(semaphore, semaphore.loop)

    async def cancelled() -> None:
        asking = asyncio.ensure_future(lease.acquire())
        await asyncio.to_thread(semaphore.asked.wait, 10)
        if granted == "before":  # this event loop does not notice before it cancels
            semaphore.grant()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        if granted == "after":
            assert not semaphore.released.is_set()
            semaphore.grant()
        assert await asyncio.to_thread(semaphore.released.wait, 10)

    asyncio.run(cancelled())


def test_a_lease_that_is_granted_is_given_back_once(semaphore):
    lease = SharedLimiter(semaphore, semaphore.loop)

    async def kept() -> None:
        asking = asyncio.ensure_future(lease.acquire())
        await asyncio.to_thread(semaphore.asked.wait, 10)
        semaphore.grant()
        assert await asking
        asking.cancel()
        assert not semaphore.released.is_set()
        await lease.release()
        assert semaphore.released.is_set()

    asyncio.run(kept())


def test_cancelled_requests_leave_no_lease_at_the_scheduler():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster:
        lease = cluster_lease("store", 2)
        leases = cluster.scheduler.extensions["semaphores"].leases

        async def request(seconds: float) -> None:
            async with RequestLimiter(8, 0.0).slot(lease):
                await asyncio.sleep(seconds)

        async def many() -> None:
            random_ = random.Random(0)
            for _ in range(40):
                requests = [asyncio.ensure_future(request(random_.uniform(0, 0.005))) for _ in range(6)]
                await asyncio.sleep(random_.uniform(0, 0.02))
                for one in requests:
                    one.cancel()
                await asyncio.gather(*requests, return_exceptions=True)
            end = time.monotonic() + 10  # less than the scheduler takes to call one back itself
            while leases["jp2batch-store-2"] and time.monotonic() < end:
                await asyncio.sleep(0.01)
            assert not leases["jp2batch-store-2"]
            await asyncio.wait_for(request(0), 10)

        asyncio.run(many())


def test_the_quota_makes_the_time_of_a_slot():
    assert slots_of("a", StoreCosts(0.1, 1e6, 4, requests_per_minute=2000)).hold == pytest.approx(0.12)
    assert slots_of("a", StoreCosts(0.1, 1e6, 4)).hold == 0
    assert slots_of("a", StoreCosts(0.1, 1e6, 4)) is slots_of("a", StoreCosts(0.2, 2e6, 4))
    assert slots_of("a", StoreCosts(0.1, 1e6, 4)) is not slots_of("b", StoreCosts(0.1, 1e6, 4))


def test_threads_of_a_process_share_the_slots(limited):
    limited.files["image.jp2"] = WITH_TLM.data
    requests = [Request(limited.url("image.jp2"), rlevel) for rlevel in (0, 1, 2)] * 4
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(read_pixels, requests))
    for request, pixels in zip(requests, results, strict=True):
        np.testing.assert_array_equal(pixels.values, WITH_TLM.oracle.at(request.rlevel))
    assert limited.refused <= 1
    assert limited.most_at_once <= 5


def test_retry_after_lets_everybody_wait(limited):
    limited.files["file"] = bytes(100_000)
    url = limited.url("file")
    sources = [open_source(url) for _ in range(2)]
    for source in sources:
        source.read_many([ByteRange(0, 10)])
    limited.quota = (len(limited.times), 600.0)  # which is used up
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(source.read_many, [ByteRange(10, 20)]) for source in sources]
        wait_until(lambda: limited.refused)
        with pytest.raises(TimeoutError):
            waiting[0].result(timeout=0.7)
        assert limited.refused <= len(sources)  # nobody asks again
        limited.quota = None
        assert [future.result(timeout=20) for future in waiting] == [[(10, bytes(10))]] * 2


def test_without_a_cluster_there_is_nothing_to_share():
    assert cluster_lease("store", 4) is None


@pytest.mark.parametrize("workers", [2, 5])
def test_all_workers_of_a_cluster_together_keep_to_the_limits(limited, workers):
    names = [f"{number}.jp2" for number in range(12)]
    for name in names:
        limited.files[name] = WITH_TLM.data
    requests = [Request(limited.url(name), 1) for name in names]
    with local_cluster(workers) as client:
        limited.times.clear()
        report = batch.run(requests, client)
    assert [str(result.error) for result in report.failed] == []
    for result in report.results:
        np.testing.assert_array_equal(result.value.values, WITH_TLM.oracle.at(1)[0])
    assert limited.refused <= 2  # an answer may be on its way when its slot is free again
    for first, later in zip(limited.times, itertools.islice(limited.times, 34, None), strict=False):
        assert later - first > 0.9
    assert sum(result.stats.retries for result in report.results) <= 2  # type: ignore[union-attr]
