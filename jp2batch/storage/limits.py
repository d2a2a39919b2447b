"""Limits of requests to a store: at once, and per minute.

A request takes a slot and keeps it for a minimum time, even if it is answered sooner. The number of slots divided by
this time is the quota, so no counter is needed. All threads of a process use the same slots; all workers of a cluster
take turns with shared slots (`cluster_limits`).
"""

import asyncio
import math
import threading
import time
from typing import Protocol
from weakref import WeakKeyDictionary

from jp2batch.core.costs import StoreCosts
from jp2batch.core.runtime import process_state


class Lease(Protocol):
    """Request slots shared by several processes."""

    async def acquire(self) -> bool:
        """Wait for a slot; False if the scheduler is unreachable.

        After False, no slot needs to be released.
        """
        ...

    async def release(self) -> None:
        """Release the slot."""
        ...


class _Busy:
    """Number of requests under way, now and lately; thread-safe."""

    _KEPT_OPEN = 10.0  # seconds for which clients surely keep an idle connection

    def __init__(self) -> None:
        self._count, self._most, self._when = 0, 0, -math.inf
        self._lock = threading.Lock()

    @property
    def most_lately(self) -> int:
        with self._lock:
            return self._most if time.monotonic() < self._when + self._KEPT_OPEN else self._count

    def begin(self) -> None:
        """Count a request."""
        with self._lock:
            self._count += 1
            if self._count >= self._most or time.monotonic() >= self._when + self._KEPT_OPEN:
                self._most, self._when = self._count, time.monotonic()

    def end(self) -> None:
        """Count the end of a request."""
        with self._lock:
            self._count -= 1


class RequestLimiter:
    """Request slots of a store in this process.

    Parameters
    ----------
    count : int
        Number of slots.
    hold : float
        Minimum seconds for which a request keeps its slot.
    """

    def __init__(self, count: int, hold: float) -> None:
        self.count, self.hold = count, hold
        self._free: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
        self._paused_until = 0.0
        self._busy = _Busy()

    @property
    def open_connections(self) -> int:
        """Number of connections that requests have left open."""
        return self._busy.most_lately

    @property
    def is_full(self) -> bool:
        """True if a request of this loop would wait."""
        free = self._free.get(asyncio.get_running_loop())
        return free is not None and free.locked()

    def pause(self, seconds: float) -> None:
        """Start no request for some seconds, as the store demanded."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def slot(self, lease: Lease | None = None) -> "_Slot":
        """Return a context: a slot for a request, perhaps with a lease."""
        return _Slot(self, lease)

    def slots_of_loop(self) -> asyncio.Semaphore:
        """Return the slots of the running event loop, and of no other."""
        loop = asyncio.get_running_loop()
        if (free := self._free.get(loop)) is None:
            free = self._free[loop] = asyncio.Semaphore(self.count)
        return free

    async def enter(self) -> float:
        """Count a request after the end of a pause; return its time."""
        while (wait := self._paused_until - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        self._busy.begin()
        return time.monotonic()

    def leave(self, begin: float, free: asyncio.Semaphore, lease: Lease | None) -> None:
        """Give back the slots of a request that began at a time."""
        self._busy.end()
        rest = begin + self.hold - time.monotonic() if self.hold else 0.0
        if rest > 0:
            asyncio.get_running_loop().call_later(rest, _give_back, free, lease)
        else:
            _give_back(free, lease)


class _Slot:
    """A request's slots, as an asynchronous context.

    A generator would cost several times as much per request.
    """

    __slots__ = ("_begin", "_free", "_lease", "_limiter")

    def __init__(self, limiter: RequestLimiter, lease: Lease | None) -> None:
        self._limiter, self._lease = limiter, lease

    async def __aenter__(self) -> None:
        self._free = self._limiter.slots_of_loop()
        await self._free.acquire()
        leased = None
        try:
            leased = self._lease if self._lease is not None and await self._lease.acquire() else None
            self._begin = await self._limiter.enter()
        except BaseException:
            _give_back(self._free, leased)
            raise
        self._lease = leased

    async def __aexit__(self, *_error: object) -> None:
        self._limiter.leave(self._begin, self._free, self._lease)


def _give_back(free: asyncio.Semaphore, lease: Lease | None) -> None:
    free.release()
    if lease is not None:
        task = asyncio.get_running_loop().create_task(lease.release())
        releasing = _releasing()  # the loop holds tasks only weakly
        releasing.add(task)
        task.add_done_callback(releasing.discard)


@process_state()
def _releasing() -> set[asyncio.Task[None]]:
    return set()


def slots_of(store: str, profile: StoreCosts) -> RequestLimiter:
    """Return the request limiter of a store, by the store's name."""
    quota = profile.requests_per_minute
    hold = 60 * profile.connections / quota if quota else 0.0
    return _limiter(store, profile.connections, hold)


@process_state()
def _limiter(_store: str, count: int, hold: float) -> RequestLimiter:
    return RequestLimiter(count, hold)
