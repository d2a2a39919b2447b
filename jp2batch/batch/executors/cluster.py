"""Run requests on a cluster; isolate the requests of dead workers.

A dead worker loses all its running requests, and dask cannot tell which caused the crash. Therefore each is run again
in a subprocess (`run_task_in_subprocess`): only a request that crashes the subprocess as well has failed.
"""

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from dask.base import tokenize

from jp2batch.batch.executors.in_flight import InFlightWindow
from jp2batch.compute.checked_cluster import CheckedCluster
from jp2batch.compute.cluster import reaching
from jp2batch.compute.isolated import run_task_in_subprocess
from jp2batch.compute.result import Result
from jp2batch.compute.task import PickledSpec, TaskSpec, run_task
from jp2batch.core.errors import ClusterLost, UnexpectedError
from jp2batch.core.location import Location
from jp2batch.core.request import Request

_POLL = 0.1  # seconds between calls of `check`
_GLANCE = 1.0  # seconds between queries of the cluster: a query costs as much as a request
_MOST_TRIES_ALONE = 3  # a worker can also be killed from outside


def key_of(request: Request, *more: object) -> str:
    """Return a readable task key, equal for equal requests."""
    return f"jp2batch-{Location.of(request.path).stem[-60:]}-r{request.rlevel}-{tokenize(request, *more)[:12]}"


def on_cluster(
    requests: Iterator[Request], order: TaskSpec, cluster: CheckedCluster, check: Callable[[], object]
) -> Generator[Result, None, None]:
    """Run requests on a cluster.

    Parameters
    ----------
    requests : iterator of Request
        Requests to run.
    order : TaskSpec
        Settings of all tasks.
    cluster : CheckedCluster
        The cluster; only workers that have passed its check run requests.
    check : callable
        Called periodically; an exception it raises ends the batch.

    Raises
    ------
    ClusterLost
        The scheduler does not respond, or has had no worker for a time.
    """
    flight = ClusterExecutor(cluster, order, check)
    try:
        while True:
            flight.launch(run_task, islice(requests, flight.room()))
            if not flight.requests:
                return
            for request, outcome in flight.completed():
                if isinstance(outcome, Result):
                    yield flight.count(outcome)
                elif flight.may_try_alone(request, outcome):
                    flight.launch(run_task_in_subprocess, [request])
                else:
                    yield flight.count(Result(request, "failed", error=_lost(request, outcome), attempts=2))
    finally:
        flight.cancel()


class ClusterExecutor:
    """Running requests on a cluster."""

    def __init__(self, cluster: CheckedCluster, order: TaskSpec, check: Callable[[], object]) -> None:
        from distributed import as_completed as futures_as_completed

        self.requests: dict[str, Request] = {}
        self._cluster, self._client = cluster, cluster.client
        self._order, self._check = PickledSpec.of(order), check
        # The default is the loop of the client opened last: both would write to the same connection
        loop = self._client.loop
        self._landing: Any = futures_as_completed(loop=loop, with_results=True, raise_errors=False)
        self._futures: dict[str, object] = {}
        self._alone: dict[Request, int] = {}
        self._launched = 0
        self._run = tokenize(time.time_ns())[:6]  # makes keys distinct from other runs, whose results dask would reuse
        self._threads, self._next_look, self._last_seen = 0, 0.0, time.monotonic()
        self._pace = InFlightWindow(time.monotonic())

    def room(self) -> int:
        """Return the number of requests to launch now."""
        self._look()
        window = self._pace.window(max(1, self._threads))
        room = window - len(self.requests)
        return room if room * 4 >= window else 0  # launch in groups: each message costs the scheduler time

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
            futures = self._client.map(
                function, batch, order=self._order, key=keys, pure=False, resources=self._cluster.resources
            )
        self.requests.update(zip(keys, batch, strict=True))
        self._futures.update(zip(keys, futures, strict=True))
        self._landing.update(futures)

    def completed(self) -> Iterator[tuple[Request, object]]:
        """Wait for results; iterate over (request, outcome).

        The outcome is a Result, or the exception of dask.
        """
        while not self._landing.has_ready():
            self._check()
            self._look()
            with self._landing.thread_condition:
                self._landing.thread_condition.wait(_POLL)
        landed = self._landing.next_batch(block=False)
        self._pace.note_completed(len(landed), time.monotonic())
        for future, outcome in landed:
            self._check()
            request = self.requests.pop(future.key)
            del self._futures[future.key]
            yield request, outcome[1] if isinstance(outcome, tuple) else outcome

    def may_try_alone(self, request: Request, outcome: object) -> bool:
        """Return whether to retry a request without a result."""
        from distributed import KilledWorker

        if not isinstance(outcome, KilledWorker):
            self._next_look = 0.0
            self._look()
        return self._alone.get(request, 0) < _MOST_TRIES_ALONE

    def count(self, result: Result) -> Result:
        """Return a result with its attempts, including attempts lost with workers."""
        return replace(result, attempts=result.attempts + max(0, self._alone.get(result.request, 0) - 1))

    def cancel(self) -> None:
        """Cancel all running requests."""
        if self._futures:
            with contextlib.suppress(Exception):  # the cluster may be gone
                self._client.cancel(list(self._futures.values()))
        self._futures.clear()

    def _look(self) -> None:
        """Query the cluster's number of threads, at most once a second.

        Raises
        ------
        ClusterLost
            The cluster has had no worker for `wait_workers`.
        """
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _GLANCE
        self._threads = self._cluster.counts().threads
        if self._threads:
            self._last_seen = now
        elif now - self._last_seen > self._cluster.wait_workers:
            problem = f"the cluster has had no worker for {self._cluster.wait_workers:g} s"
            raise ClusterLost("", problem, "start workers, or raise wait_workers=")


def _lost(request: Request, outcome: object) -> UnexpectedError:
    text = str(outcome).partition("\n")[0] or type(outcome).__name__
    return UnexpectedError(request.shown_path, f"its worker was lost repeatedly: {text}"[:300], "run it again")
