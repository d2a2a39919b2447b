"""Hedged requests: late requests are repeated, and the first good reply wins.

The late request goes on meanwhile.
"""

import asyncio
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
        self._loop = asyncio.get_running_loop()
        self._others: set[asyncio.Future[T]] = set()
        self._count = 1
        self._begin = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._winner: asyncio.Future[T] | None = None

    @property
    def is_late(self) -> bool:
        """True if the last attempt takes longer than nearly all replies did."""
        patience = self._patience()
        return patience is not None and self._timer is not None and self._loop.time() > self._begin + patience

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
            self._stop_timer()
            for other in self._others:
                other.cancel()

    def _started(self) -> None:
        self._begin = self._loop.time()
        self._look_in(_AGAIN)

    def _look_in(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(seconds, self._look)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Repeat the request if its last attempt is late."""
        patience, taken = self._patience(), self._loop.time() - self._begin
        if patience is None or taken < patience:
            self._look_in(_AGAIN if patience is None else max(patience - taken, 0.001))
        elif self._count < _MOST_AT_ONCE:
            if not self._spend(taken / patience):
                self._look_in(_AGAIN)
                return
            self._count += 1
            other = asyncio.ensure_future(self._attempt(self._started))
            self._others.add(other)
            other.add_done_callback(self._done)

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
