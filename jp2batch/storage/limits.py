"""Limits of requests to a store: at once, and per minute.

A request takes a slot and keeps it for a minimum time, even if it is answered sooner. The number of slots divided by
this time is the quota, so no counter is needed. All threads of a process use the same slots; all workers of a cluster
take turns with shared slots (`cluster_limits`).
"""

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
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

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count a request."""
        with self._lock:
            self._count += 1
            if self._count >= self._most or time.monotonic() >= self._when + self._KEPT_OPEN:
                self._most, self._when = self._count, time.monotonic()
        try:
            yield
        finally:
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

    @asynccontextmanager
    async def slot(self, lease: Lease | None = None) -> AsyncIterator[None]:
        """Hold a slot for a request, and a shared slot of `lease`."""
        loop = asyncio.get_running_loop()
        free = self._free.setdefault(loop, asyncio.Semaphore(self.count))  # each belongs to a single loop
        await free.acquire()
        leased = None
        begin = -math.inf  # no request yet
        try:
            leased = lease if lease is not None and await lease.acquire() else None
            while (wait := self._paused_until - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            begin = time.monotonic()
            with self._busy.one():
                yield
        finally:
            rest = begin + self.hold - time.monotonic()
            if rest > 0:
                loop.call_later(rest, _give_back, free, leased)
            else:
                _give_back(free, leased)


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
