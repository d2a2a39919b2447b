"""Hedged requests: late requests are repeated, and the first good reply wins.

The late request goes on meanwhile.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from jp2batch.core.runtime import process_state

T = TypeVar("T")

_MOST_SAVED = 32  # requests that may be repeated at once, after many without
_RESERVED = 4  # of these: the last ones are for requests that are late by far, not for those of a slow moment
_MOST_AT_ONCE = 4  # of a request, the first one included
_MOST_LATE, _SHARE_LATE = 12, 0.1  # late requests at once, and their share; with more, the whole store is slow
_AGAIN = 0.05  # seconds between looks at a request that is not late yet, or cannot be repeated

Started = Callable[[], None]


class HedgeBudget:
    """Number of requests to a store that may be repeated while late.

    It belongs to the event loop of the drivers.
    """

    def __init__(self) -> None:
        self._saved = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.active: set[Hedge[Any]] = set()
        """Requests under way."""

    def earn(self, share: float) -> None:
        """Add the share of a request."""
        self._saved = min(_MOST_SAVED, self._saved + share)

    def spend(self, lateness: float) -> bool:
        """Take a whole request; False if the budget has none.

        It has none while many requests are late: not a reply, but the store or this machine is slow.

        Parameters
        ----------
        lateness : float
            Time of the late request, in times of its patience. The less is saved, the later it must be.
        """
        if self._saved < 1 or lateness * self._saved < _RESERVED:
            return False
        if sum(one.is_late for one in self.active) > max(_MOST_LATE, _SHARE_LATE * len(self.active)):
            return False
        self._saved -= 1
        return True

    async def run(self, hedge: "Hedge[T]") -> T:
        """Return the first good reply to a request, which is watched."""
        self.active.add(hedge)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_AGAIN, self._look)
        try:
            return await hedge.run()
        finally:
            self.active.discard(hedge)

    def _look(self) -> None:
        """Look at all requests: a timer for each would cost more."""
        soonest = min([_AGAIN, *(hedge.look() for hedge in tuple(self.active))])
        self._timer = asyncio.get_running_loop().call_later(soonest, self._look) if self.active else None


@process_state()
def hedge_budget(_store: str) -> HedgeBudget:
    """Return the budget of a store, by its name."""
    return HedgeBudget()


class Hedge(Generic[T]):
    """Attempts of a request beside each other.

    Parameters
    ----------
    attempt : callable
        Makes the request. It calls its argument when the request is sent, not while it waits for a slot.
    patience : callable
        Returns the seconds after which the request is late; None if unknown.
    spend : callable
        Returns whether the request may be repeated now, from its time in times of its patience.
    """

    def __init__(
        self,
        attempt: Callable[[Started], Awaitable[T]],
        patience: Callable[[], float | None],
        spend: Callable[[float], bool],
    ) -> None:
        self._attempt, self._patience, self._spend = attempt, patience, spend
        self._others: set[asyncio.Future[T]] = set()
        self._count = 1
        self._begin: float | None = None  # of the last attempt; None until it is sent
        self._task: asyncio.Task[object] | None = None
        self._winner: asyncio.Future[T] | None = None

    @property
    def is_late(self) -> bool:
        """True if the last attempt takes longer than nearly all replies did."""
        patience = self._patience()
        return patience is not None and self._begin is not None and time.monotonic() > self._begin + patience

    async def run(self) -> T:
        """Return the first good reply.

        If all attempts fail, the error of the first is raised.
        """
        task = self._task = _current_task()
        cancelling = task.cancelling()
        try:
            return await self._attempt(self._started)
        except asyncio.CancelledError:
            if self._winner is None or task.uncancel() > cancelling:
                raise
            return self._winner.result()
        except Exception:
            self._task = None  # nothing more to cancel
            while self._others and self._winner is None:
                await asyncio.wait(self._others, return_when=asyncio.FIRST_COMPLETED)
            winner = self._winner
            if winner is None:
                raise
            return winner.result()
        finally:
            self._task = None
            for other in self._others:
                other.cancel()

    def _started(self) -> None:
        self._begin = time.monotonic()

    def look(self) -> float:
        """Repeat the request if its last attempt is late.

        Returns the seconds until the next look.
        """
        patience = self._patience() if self._begin is not None and self._count < _MOST_AT_ONCE else None
        if patience is None or self._begin is None:
            return _AGAIN
        taken = time.monotonic() - self._begin
        if taken < patience:
            return max(patience - taken, 0.001)
        if self._spend(taken / patience):
            self._count, self._begin = self._count + 1, None
            other = asyncio.ensure_future(self._attempt(self._started))
            self._others.add(other)
            other.add_done_callback(self._done)
        return _AGAIN

    def _done(self, other: asyncio.Future[T]) -> None:
        self._others.discard(other)
        if other.cancelled() or other.exception() is not None or self._winner is not None:
            return
        self._winner = other
        if self._task is not None:
            self._task.cancel()


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("no task is running")
    return task
