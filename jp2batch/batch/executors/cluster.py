"""Many requests on a cluster, few at a time; and each again, alone, that was there when a worker died.

A worker dies with all requests that it had begun, and dask cannot tell whose fault it was. So all of them are done
again, each in a process of its own (`alone.perform_alone`): only what ends that process too is blamed.
"""

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from dask.base import tokenize

from jp2batch.batch.executors.in_flight import InFlightWindow
from jp2batch.compute.cluster import check_cluster, reaching, threads_of
from jp2batch.compute.isolated import run_task_in_subprocess
from jp2batch.compute.result import Result
from jp2batch.compute.task import PickledSpec, TaskSpec, run_task
from jp2batch.core.errors import ClusterLost, UnexpectedError
from jp2batch.core.location import Location
from jp2batch.core.request import Request

if TYPE_CHECKING:
    from distributed import Client

_POLL = 0.1  # seconds between looks at whether to go on
_GLANCE = 1.0  # seconds between looks at the cluster: asking costs as much as a request
_DESERTED = 60.0  # seconds without any worker after which a cluster is given up
_MOST_TRIES_ALONE = 3  # a worker may be killed from outside at any time


def key_of(request: Request, *more: object) -> str:
    """Return a key that people can read, the same for the same request."""
    return f"jp2batch-{Location.of(request.path).stem[-60:]}-r{request.rlevel}-{tokenize(request, *more)[:12]}"


def on_cluster(
    requests: Iterator[Request], order: TaskSpec, client: "Client", check: Callable[[], object]
) -> Generator[Result, None, None]:
    """Do requests on a cluster.

    Parameters
    ----------
    requests : iterator of Request
        What to do.
    order : TaskSpec
        How to do it.
    client : distributed.Client
        Where to do it.
    check : callable
        Is called now and then; what it raises ends the batch.

    Raises
    ------
    ClusterMismatch
        Workers cannot do the work.
    ClusterLost
        The scheduler does not answer, or has had no worker for a minute.
    """
    check_cluster(client)
    flight = ClusterExecutor(client, order, check)
    try:
        while True:
            flight.launch(run_task, islice(requests, flight.room()))
            if not flight.requests:
                return
            for request, outcome in flight.landed():
                if isinstance(outcome, Result):
                    yield flight.counted(outcome)
                elif flight.may_try_alone(request, outcome):
                    flight.launch(run_task_in_subprocess, [request])
                else:
                    yield flight.counted(Result(request, "failed", error=_lost(request, outcome), attempts=2))
    finally:
        flight.cancel()


class ClusterExecutor:
    """The requests that are under way on a cluster."""

    def __init__(self, client: "Client", order: TaskSpec, check: Callable[[], object]) -> None:
        from distributed import as_completed as futures_as_completed

        self.requests: dict[str, Request] = {}
        self._client, self._order, self._check = client, PickledSpec.of(order), check
        loop = client.loop  # else it takes that of whichever client was opened last, and both write to one connection
        self._landing: Any = futures_as_completed(loop=loop, with_results=True, raise_errors=False)
        self._futures: dict[str, Any] = {}
        self._alone: dict[Request, int] = {}
        self._launched = 0
        self._run = tokenize(time.time_ns())[:6]  # keys of another run must not answer for this one
        self._threads, self._next_look, self._last_seen = 0, 0.0, time.monotonic()
        self._pace = InFlightWindow(time.monotonic())

    def room(self) -> int:
        """Return how many more requests may be launched."""
        self._look()
        window = self._pace.window(max(1, self._threads))
        room = window - len(self.requests)
        return room if room * 4 >= window else 0  # a few at once: each message costs the scheduler

    def launch(self, function: Callable[..., Result], requests: Iterable[Request]) -> None:
        """Submit requests."""
        batch = list(requests)
        if not batch:
            return
        keys = []
        for request in batch:
            self._launched += 1
            keys.append(f"{key_of(request)}-{self._run}-{self._launched}")
            if function is run_task_in_subprocess:
                self._alone[request] = self._alone.get(request, 0) + 1
        with reaching():
            futures = self._client.map(function, batch, order=self._order, key=keys, pure=False)
        self.requests.update(zip(keys, batch, strict=True))
        self._futures.update(zip(keys, futures, strict=True))
        self._landing.update(futures)

    def landed(self) -> Iterator[tuple[Request, Any]]:
        """Wait for results; iterate over (request, result, or what dask says in its place)."""
        while not self._landing.has_ready():
            self._check()
            self._look()
            with self._landing.thread_condition:
                self._landing.thread_condition.wait(_POLL)
        landed = self._landing.next_batch(block=False)
        self._pace.landed(len(landed), time.monotonic())
        for future, outcome in landed:
            self._check()
            request = self.requests.pop(future.key)
            del self._futures[future.key]
            yield request, outcome[1] if isinstance(outcome, tuple) else outcome

    def may_try_alone(self, request: Request, outcome: object) -> bool:
        """Tell whether a request that brought no result may be done again, by a cluster that can."""
        from distributed import KilledWorker

        if not isinstance(outcome, KilledWorker):
            self._next_look = 0.0
            self._look()
            check_cluster(self._client)  # workers may have come that lack the package
        return self._alone.get(request, 0) < _MOST_TRIES_ALONE

    def counted(self, result: Result) -> Result:
        """Return a result with all attempts: besides its own, those of workers that were lost at it."""
        return replace(result, attempts=result.attempts + max(0, self._alone.get(result.request, 0) - 1))

    def cancel(self) -> None:
        """Give up what is under way."""
        if self._futures:
            with contextlib.suppress(Exception):  # the cluster may be gone
                self._client.cancel(list(self._futures.values()))
        self._futures.clear()

    def _look(self) -> None:
        """See now and then whether the cluster is still there, and how large it is."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _GLANCE
        self._threads = threads_of(self._client)
        if self._threads:
            self._last_seen = now
        elif now - self._last_seen > _DESERTED:
            raise ClusterLost("", f"the cluster has had no worker for {_DESERTED:.0f} s", "start workers")


def _lost(request: Request, outcome: object) -> UnexpectedError:
    text = str(outcome).partition("\n")[0] or type(outcome).__name__
    return UnexpectedError(request.shown_path, f"its worker was lost again and again: {text}"[:300], "run it again")
