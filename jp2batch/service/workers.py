"""Actors on the workers of a cluster, and their places."""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from jp2batch.compute.result import Result
from jp2batch.compute.task import PickledSpec
from jp2batch.service.metrics import Metrics
from jp2batch.service.worker_actor import Job, ReadActor

if TYPE_CHECKING:
    from distributed import Client

_log = logging.getLogger(__name__)

_LOOK = 1.0  # seconds between queries of the list of workers
_START = 60  # seconds to start an actor
_T = TypeVar("_T")


class Actor(Protocol):
    """The client's side of a `ReadActor`."""

    def read(self, job: Job, seconds: float) -> "asyncio.Future[Result]":
        """Run a job."""

    def give_up(self, job: str) -> "asyncio.Future[None]":
        """Ask a job to stop."""


@dataclass(eq=False, slots=True)
class Worker:
    """A dask worker and its actor."""

    address: str
    actor: Actor
    places: "set[asyncio.Task[None]]" = field(default_factory=set)
    """Tasks for its jobs, each running a single job."""
    lost: bool = False
    """True if it is lost."""


class Tasks:
    """Background tasks; their exceptions are retrieved."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[object]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, coroutine: Coroutine[object, object, _T]) -> "asyncio.Task[_T]":
        """Start a task, and keep a reference until it ends."""
        task = asyncio.ensure_future(coroutine)
        self._running.add(task)
        task.add_done_callback(self._forget)
        return task

    async def cancel(self) -> None:
        """Cancel all tasks, and wait for their ends."""
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _forget(self, task: "asyncio.Task[object]") -> None:
        self._running.discard(task)
        retrieve(task)


class Workers:
    """Actors on the workers of a cluster, and their places.

    Parameters
    ----------
    client : distributed.Client
        Asynchronous client with direct connections to workers.
    orders : mapping of str to PickledSpec
        Task settings of each root.
    own : bool
        True if the workers run only jobs of this service.
    metrics : Metrics
        Counts lost workers.
    tasks : Tasks
        Holds the tasks that start actors, and the places.
    serve : callable
        Returns the coroutine of a place: it runs jobs on a worker, and ends only if the worker is lost.
    """

    def __init__(
        self,
        client: "Client",
        orders: Mapping[str, PickledSpec],
        *,
        own: bool,
        metrics: Metrics,
        tasks: Tasks,
        serve: Callable[[Worker], Coroutine[object, object, None]],
    ) -> None:
        self._client, self._orders, self._own = client, dict(orders), own
        self._metrics, self._tasks, self._serve = metrics, tasks, serve
        self._workers: dict[str, Worker] = {}
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._look_now = asyncio.Event()

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def places(self) -> int:
        """Number of places of all workers."""
        return sum(len(worker.places) for worker in self._workers.values())

    async def keep(self) -> None:
        """Keep an actor on every worker, until cancelled."""
        while True:
            try:
                await self._look()
            except (OSError, TimeoutError) as error:
                _log.warning("the scheduler does not respond: %s", error)
            self._look_now.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await self._look_now.wait()

    def look_soon(self) -> None:
        """Query the list of workers now, without waiting."""
        self._look_now.set()

    def clear(self) -> None:
        """Forget all workers: no more jobs start."""
        for worker in self._workers.values():
            worker.lost = True
        self._workers.clear()

    async def _look(self) -> None:
        """Drop lost workers, and start actors on new ones."""
        found: dict[str, int] = await self._client.nthreads()
        for address in self._workers.keys() - found.keys():
            self.lose(self._workers[address])
        for address in self._starting.keys() - found.keys():  # the scheduler may list a worker that has just died
            self._starting[address].cancel()
        for address in found.keys() - self._workers.keys() - self._starting.keys():
            self._starting[address] = self._tasks.spawn(self._take_on(address, found[address]))

    async def _take_on(self, address: str, places: int) -> None:
        key = f"jp2batch-decoder-{uuid.uuid4().hex}"
        try:
            future = self._client.submit(
                ReadActor,
                self._orders,
                places,
                own=self._own,
                actor=True,
                key=key,
                pure=False,
                workers=[address],
                allow_other_workers=False,
            )
            async with asyncio.timeout(_START):  # wait_for can miss a cancellation
                actor = await future
        except Exception as error:  # noqa: BLE001  # the worker died meanwhile, or has another version of a package
            _log.warning("worker %s cannot be used: %s", address, reason_of(error))
            return
        finally:
            del self._starting[address]
        self._workers[address] = worker = Worker(address, actor)
        for _ in range(places):
            place = self._tasks.spawn(self._serve(worker))
            place.add_done_callback(lambda _: self.lose(worker))
            worker.places.add(place)
        _log.info("worker %s is ready", address)

    def lose(self, worker: Worker, *, restart: bool = False) -> None:
        """Drop a lost worker and its places; restart it if stuck."""
        if worker.lost:
            return
        worker.lost = True
        del self._workers[worker.address]
        self._metrics.lost.inc()
        for place in worker.places:
            place.cancel()
        if restart and self._own:
            self._tasks.spawn(self._restart(worker.address))
        self.look_soon()

    async def _restart(self, address: str) -> None:
        await self._client.restart_workers([address], timeout=_START, raise_for_error=False)


def retrieve(future: "asyncio.Future[_T]") -> None:
    """Retrieve an exception, because asyncio logs exceptions never retrieved."""
    if not future.cancelled():
        future.exception()


def reason_of(error: BaseException) -> str:
    """Return an error as a single line of the log."""
    return " ".join(f"{type(error).__name__}: {error}".split())
