"""Places for requests: so many at once to a store, and no more in a minute than it allows.

A request takes a slot and keeps it for a while, even if it is answered sooner; the number of slots divided by that
while is the quota. So it is kept without anybody counting: by the threads of a process, and by all workers of a
cluster, who take turns with the same slots (`leases`).
"""

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol
from weakref import WeakKeyDictionary

from jp2batch.core.costs import StoreCosts


class Lease(Protocol):
    """Slots that several processes share."""

    async def acquire(self) -> bool:
        """Wait for one; False: there is nobody to ask, and none to be given back."""
        ...

    async def release(self) -> None:
        """Give it back."""
        ...


class RequestLimiter:
    """The slots of a store in this process.

    Parameters
    ----------
    count : int
        How many there are.
    hold : float
        Seconds for which a request keeps one at least.
    """

    def __init__(self, count: int, hold: float) -> None:
        self.count, self.hold = count, hold
        self._free: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
        self._paused_until = 0.0

    def pause(self, seconds: float) -> None:
        """Begin no request for some time: the store has asked for it."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    @asynccontextmanager
    async def slot(self, lease: Lease | None = None) -> AsyncIterator[None]:
        """Wait for a slot, and for one of those that processes share; have both for a request."""
        loop = asyncio.get_running_loop()
        free = self._free.setdefault(loop, asyncio.Semaphore(self.count))  # of Python's, each is for one loop
        await free.acquire()
        leased = None
        begin = -math.inf  # no request yet
        try:
            leased = lease if lease is not None and await lease.acquire() else None
            while (wait := self._paused_until - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            begin = time.monotonic()
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
        _releasing.add(task)
        task.add_done_callback(_releasing.discard)


_releasing: set[asyncio.Task[None]] = set()  # a loop alone does not keep its tasks
_slots: dict[tuple[str, int, float], RequestLimiter] = {}
_lock = threading.Lock()


def slots_of(store: str, profile: StoreCosts) -> RequestLimiter:
    """Return the slots of a store in this process, by whatever names it."""
    quota = profile.requests_per_minute
    hold = 60 * profile.connections / quota if quota else 0.0
    key = (store, profile.connections, hold)
    with _lock:
        return _slots.setdefault(key, RequestLimiter(profile.connections, hold))
