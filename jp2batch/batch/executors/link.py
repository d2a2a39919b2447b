"""Submit tasks to a cluster, and learn of their ends.

A link survives its scheduler: it connects again, and tells which tasks are lost.
"""

import asyncio
import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from jp2batch.batch.executors.patience import Patience
from jp2batch.compute.checked_cluster import CheckedCluster, WorkerCounts
from jp2batch.compute.cluster import reaching
from jp2batch.core.errors import ClusterLost, ConfigurationError
from jp2batch.core.runtime import process_state

if TYPE_CHECKING:
    from distributed import Client, Future

_POLL = 0.1  # seconds between calls of `check`
_GLANCE = 1.0  # seconds between queries of the cluster
_PER_WORKER = 0.01  # seconds more for each worker: the scheduler describes each
_TOPIC = "all"  # events of the scheduler
_PRIORITY = 10  # of urgent tasks

Event = tuple[float, Mapping[str, Any]]


class WorkerDied(Exception):
    """A worker died with a task, running or in its queue."""


@dataclass(frozen=True, slots=True)
class Ended:
    """End of a task: value, error, or neither if lost."""

    key: str
    value: object = None
    error: BaseException | None = None
    runs: int = 1
    """Number of its starts by dask."""


class ClusterLink:
    """Tasks on a cluster.

    Parameters
    ----------
    cluster : CheckedCluster
        The cluster.
    check : callable
        Called periodically; an exception it raises ends the batch.
    patience : Patience
        Told of the workers.
    """

    def __init__(self, cluster: CheckedCluster, check: Callable[[], object], patience: Patience) -> None:
        self._cluster, self._check, self._patience = cluster, check, patience
        self._futures: dict[str, Future[Any]] = {}
        self._reruns: Counter[str] = Counter()
        self._events: deque[Event] = deque()
        self._lost: list[str] = []
        self._next_look, self._away = 0.0, True
        self._fetched: deque[tuple[str, object, BaseException | None]] = deque()
        self._changed = threading.Event()
        self.threads = 1

    def __enter__(self) -> Self:
        self._look()
        return self

    def __exit__(self, *_: object) -> None:
        self._cancel(list(self._futures))
        listeners = _listeners(self._cluster.client.id)
        listeners.discard(self._note)
        if not listeners:
            with contextlib.suppress(Exception):  # the cluster may be gone
                self._cluster.client.unsubscribe_topic(_TOPIC)

    @property
    def ready(self) -> bool:
        """True if tasks can be submitted."""
        return bool(self._cluster.client.status == "running")

    def submit(self, key: str, function: Callable[..., object], *arguments: object, urgent: bool) -> None:
        """Submit a task.

        Raises
        ------
        ClusterLost
            The scheduler cannot be reached.
        """
        client = self._cluster.client
        with reaching():
            future = client.submit(
                function,
                *arguments,
                key=key,
                pure=False,
                priority=_PRIORITY if urgent else 0,
                resources=self._cluster.resources,
            )
        self._futures[key] = future
        loop: Any = client.loop
        loop.add_callback(self._fetch, client, key, future)

    async def _fetch(self, client: "Client", key: str, future: "Future[Any]") -> None:
        """Wait for a task, and fetch its value.

        `as_completed` of distributed would forget a task if the scheduler is lost meanwhile.
        """
        value, error = None, None
        try:
            value = await client.gather(future, asynchronous=True)
        except (Exception, CancelledError, asyncio.CancelledError) as caught:  # noqa: BLE001  # of the task or on the way
            error = caught if future.status == "error" else CancelledError()
        self._fetched.append((key, value, error))
        self._changed.set()

    def ended(self) -> Iterator[Ended]:
        """Wait a moment for tasks to end; iterate over them.

        Raises
        ------
        ClusterLost
            There has been no running worker for too long.
        """
        self._check()
        self._look()
        self._changed.wait(_POLL)
        self._changed.clear()
        while self._lost:
            yield self._end_of(self._lost.pop(), None, CancelledError())
        while self._events:
            yield from self._affected(self._events.popleft()[1])
        while self._fetched:
            key, value, error = self._fetched.popleft()
            self._check()
            if self._futures.pop(key, None) is not None:
                yield self._end_of(key, value, error)

    def _end_of(self, key: str, value: object, error: BaseException | None) -> Ended:
        from distributed import KilledWorker

        runs = 1 + self._reruns.pop(key, 0)
        if isinstance(error, CancelledError):
            self._next_look, self._away = 0.0, True  # the scheduler was lost, or somebody has restarted the cluster
            return Ended(key, runs=runs)
        if isinstance(error, KilledWorker):
            return Ended(key, error=WorkerDied(str(error)), runs=runs)
        return Ended(key, value, error, runs)

    def _affected(self, event: Mapping[str, Any]) -> Iterator[Ended]:
        """Iterate over the tasks of a dead worker; cancel them.

        dask would run them again at once, and let them kill further workers.
        """
        if event.get("action") != "remove-worker":
            return
        mine = self._futures.keys()
        running = mine & set(event.get("processing-tasks", ()))
        self._reruns.update(mine & set(event.get("lost-computed-tasks", ())))
        self._next_look = 0.0
        if event.get("expected"):
            self._reruns.update(running)
            return
        self._cancel(running)
        for key in running:
            error = WorkerDied(f"worker {event.get('worker')} died")
            yield Ended(key, error=error, runs=1 + self._reruns.pop(key, 0))

    def _note(self, event: Event) -> None:
        """Receive an event of the cluster, in another thread."""
        self._events.append(event)
        self._changed.set()

    def _look(self) -> None:
        """Query the cluster's workers once in a while.

        Raises
        ------
        ClusterLost
            There has been no running worker for too long.
        """
        if (now := time.monotonic()) < self._next_look:
            return
        counts = self._counts()
        self._patience.note(counts)
        self.threads = max(1, counts.threads) if counts else self.threads
        self._next_look = now + _GLANCE + (_PER_WORKER * counts.running if counts else 0)

    def _counts(self) -> WorkerCounts | None:
        """Count the workers; None if the scheduler does not answer."""
        if self._cluster.client.status == "closed":
            self._connect()
        self._away |= not self.ready
        if not self.ready:
            return None
        try:
            with reaching():
                if self._away:
                    self._subscribe()
                counts = self._cluster.counts()
            self._take_back(self._cluster.stuck() if counts.paused and counts.running else [])
        except (ClusterLost, ConfigurationError):  # or workers die while the check is sent to them
            return None
        self._away = False
        return counts

    def _take_back(self, keys: Iterable[str]) -> None:
        """Cancel tasks; `ended` will report them as lost."""
        mine = [key for key in keys if key in self._futures]
        self._cancel(mine)
        self._lost += mine

    def _cancel(self, keys: Iterable[str]) -> None:
        futures = [self._futures.pop(key) for key in keys]
        if futures:
            with contextlib.suppress(Exception):  # if the scheduler is lost, so are the tasks
                self._cluster.client.cancel(futures)

    def _connect(self) -> None:
        """Connect another client, because distributed has closed the last."""
        with contextlib.suppress(OSError):
            self._cluster.connect()
            self._lost += self._futures
            self._futures.clear()

    def _subscribe(self) -> None:
        """Receive the events of the cluster."""
        listeners = _listeners(self._cluster.client.id)
        listeners.add(self._note)
        self._cluster.client.subscribe_topic(_TOPIC, partial(_dispatch, listeners))


@process_state()
def _listeners(_client_id: str) -> set[Callable[[Event], None]]:
    """Return a client's listeners: a topic has a single handler."""
    return set()


def _dispatch(listeners: Iterable[Callable[[Event], None]], event: Event) -> None:
    for listener in tuple(listeners):
        listener(event)
