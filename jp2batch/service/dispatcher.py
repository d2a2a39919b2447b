"""Assign jobs to slots of workers: a bounded queue, and retries.

The workers are dask's. Each has an actor (`worker_actor.ReadActor`) and a slot per thread; jobs wait here for a slot,
never on the workers.

A slot does not belong to a client, which can disconnect at any time, but to the task that calls the worker. It is
occupied exactly as long as the task runs: free slots and running tasks always add up to all slots. A client has only a
future for its result. When the future is done, for any reason, the job is no longer wanted.
"""

import asyncio
import contextlib
import functools
import logging
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from jp2batch.compute.result import Result
from jp2batch.compute.task import PickledSpec
from jp2batch.service.metrics import Metrics
from jp2batch.service.problems import Busy
from jp2batch.service.worker_actor import Hung, Job, ReadActor

if TYPE_CHECKING:
    from distributed import Client

_log = logging.getLogger(__name__)

_LOOK = 1.0  # seconds between queries of the list of workers
_START = 60  # seconds to start an actor
_TRIES = 4  # attempts of a job: a worker can also be killed from outside
_SUSPECTS = 1000  # suspect files remembered
_LONGEST_WAIT = 30.0  # seconds, the longest Retry-After
_GIVING_UP = 10.0  # seconds to notify a worker of a disconnected client


@dataclass(eq=False, slots=True)
class Turn:
    """A job, and the future of its result."""

    job: Job
    result: "asyncio.Future[Result]"
    """Done when the client has the result, or has disconnected."""
    losses: int = 0
    """Number of workers lost while running the job."""


@dataclass(eq=False, slots=True)
class Worker:
    """A dask worker and its actor."""

    address: str
    actor: Any
    places: int
    """Number of slots: jobs it runs at once."""
    lost: "asyncio.Future[None]"
    """Done when the worker is lost."""
    tasks: "set[asyncio.Task[Result]]" = field(default_factory=set)
    """Running tasks, each in a slot until it ends."""

    @property
    def free(self) -> int:
        """Number of free slots."""
        return 0 if self.lost.done() else self.places - len(self.tasks)


class WorkerLost(Exception):
    """A worker died while running a job."""


class Dispatcher:
    """Queue of jobs, and slots on the workers of a cluster.

    Parameters
    ----------
    client : distributed.Client
        Asynchronous client with direct connections to workers.
    orders : mapping of str to PickledSpec
        Task settings of each root.
    queue : int
        Largest number of waiting jobs; further jobs are refused.
    metrics : Metrics
        Counters to update.
    own_workers : bool
        True if the workers run only jobs of this service.
    """

    def __init__(
        self, client: "Client", orders: Mapping[str, PickledSpec], *, queue: int, metrics: Metrics, own_workers: bool
    ) -> None:
        self._own_workers = own_workers
        self._client, self._orders, self._queue, self._metrics = client, dict(orders), queue, metrics
        self._workers: dict[str, Worker] = {}
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._waiting: OrderedDict[Turn, None] = OrderedDict()
        self._suspects: OrderedDict[str, None] = OrderedDict()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._seconds = 0.5  # of a job, moving average
        self._look_now = asyncio.Event()
        metrics.watch(
            queue=lambda: self.waiting,
            running=lambda: self.running,
            free=lambda: self.free,
            workers=lambda: len(self._workers),
        )

    @property
    def ready(self) -> bool:
        """True if a worker is ready."""
        return bool(self._workers)

    @property
    def places(self) -> int:
        """Number of slots of all workers."""
        return sum(worker.places for worker in self._workers.values())

    @property
    def free(self) -> int:
        """Number of free slots of all workers."""
        return sum(worker.free for worker in self._workers.values())

    @property
    def waiting(self) -> int:
        """Number of waiting jobs."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Number of running jobs."""
        return sum(len(worker.tasks) for worker in self._workers.values())

    async def run(self, job: Job) -> Result:
        """Run a job; cancelling the coroutine gives it up.

        Raises
        ------
        Busy
            Too many jobs are waiting, or its workers were lost repeatedly.
        """
        if len(self._waiting) >= self._queue and not self._freest():
            wait = min(_LONGEST_WAIT, 1 + self._seconds * len(self._waiting) / max(1, self.places))
            raise Busy("", "the server is busy", "try again later", retry_after=wait)
        if job.request.url in self._suspects:
            job = replace(job, alone=True)
        turn = Turn(job, asyncio.get_running_loop().create_future())
        turn.result.add_done_callback(_retrieve)
        self._waiting[turn] = None
        self._hand_out()
        try:
            return await turn.result
        finally:
            turn.result.cancel()  # also if the wait was cancelled
            self._waiting.pop(turn, None)

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

    async def close(self) -> None:
        """End all jobs, and start no more."""
        self._workers.clear()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for turn in self._waiting:
            turn.result.cancel()

    def _freest(self) -> Worker | None:
        best = max(self._workers.values(), key=lambda worker: worker.free, default=None)
        return best if best is not None and best.free > 0 else None

    def _hand_out(self) -> None:
        """Start waiting jobs while slots are free."""
        while self._waiting and (worker := self._freest()):
            turn, _ = self._waiting.popitem(last=False)
            if not turn.result.done():
                self._start(turn, worker)

    def _start(self, turn: Turn, worker: Worker) -> None:
        """Start the task of a job in a slot.

        Only this method and `_ended` change which tasks have slots.
        """
        task: asyncio.Task[Result] = self._spawn(self._work(turn, worker))
        worker.tasks.add(task)
        task.add_done_callback(functools.partial(self._ended, turn, worker))

    def _ended(self, turn: Turn, worker: Worker, task: "asyncio.Task[Result]") -> None:
        """Free the slot of a task; set the result of its job."""
        worker.tasks.remove(task)
        if not turn.result.done():
            self._settle(turn, task)
        self._hand_out()

    def _settle(self, turn: Turn, task: "asyncio.Task[Result]") -> None:
        if task.cancelled():
            turn.result.cancel()
        elif (error := task.exception()) is None:
            turn.result.set_result(task.result())
        elif isinstance(error, WorkerLost):
            self._try_again(turn)
        else:
            turn.result.set_exception(error)

    def _try_again(self, turn: Turn) -> None:
        """Put a job whose worker was lost at the queue's head."""
        turn.losses += 1
        if turn.losses == _TRIES:
            turn.result.set_exception(Busy("", "its workers were lost repeatedly", retry_after=5))
            return
        turn.job = replace(turn.job, id=f"{turn.job.id}+", alone=True)
        self._waiting[turn] = None
        self._waiting.move_to_end(turn, last=False)

    async def _work(self, turn: Turn, worker: Worker) -> Result:
        """Run a job on a worker to its end, even without client."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        try:
            result = await self._call(turn, worker, max(0.0, turn.job.end - begin))
        except Exception as error:
            _log.warning("worker %s was lost: %s", worker.address, _reason(error))
            self._lose(worker)
            if not turn.result.done():
                self._suspect(turn.job)
            raise WorkerLost from error
        self._seconds += (loop.time() - begin - self._seconds) / 20
        if isinstance(result.error, Hung):
            self._suspect(turn.job)
        return result

    async def _call(self, turn: Turn, worker: Worker, seconds: float) -> Result:
        """Call a worker; if the client disconnects, ask the worker to stop."""
        call = asyncio.ensure_future(worker.actor.read(turn.job, seconds))
        try:
            await asyncio.wait({call, worker.lost, turn.result}, return_when=asyncio.FIRST_COMPLETED)
            if turn.result.done():
                self._spawn(self._give_up(worker, turn.job))
                await asyncio.wait({call, worker.lost}, return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                raise WorkerLost
            result: Result = call.result()
            return result
        finally:
            call.cancel()

    async def _give_up(self, worker: Worker, job: Job) -> None:
        with contextlib.suppress(Exception):  # the worker is lost, or the job done
            async with asyncio.timeout(_GIVING_UP):
                await worker.actor.give_up(job.id)

    def _suspect(self, job: Job) -> None:
        """Remember a file as suspect: a worker died or hung while reading.

        It is read in a subprocess from now on.
        """
        self._suspects[job.request.url] = None
        while len(self._suspects) > _SUSPECTS:
            self._suspects.popitem(last=False)

    async def _look(self) -> None:
        """Drop lost workers, and start actors on new ones."""
        found: dict[str, int] = await self._client.nthreads()
        for address in self._workers.keys() - found.keys():
            self._lose(self._workers[address])
        for address in self._starting.keys() - found.keys():  # the scheduler may list a worker that has just died
            self._starting[address].cancel()
        for address in found.keys() - self._workers.keys() - self._starting.keys():
            self._starting[address] = self._spawn(self._take_on(address, found[address]))

    async def _take_on(self, address: str, places: int) -> None:
        key = f"jp2batch-decoder-{uuid.uuid4().hex}"
        where: dict[str, Any] = {"workers": [address], "allow_other_workers": False}
        try:
            future = self._client.submit(
                ReadActor, self._orders, places, own=self._own_workers, actor=True, key=key, pure=False, **where
            )
            async with asyncio.timeout(_START):  # wait_for can miss a cancellation
                actor = await future
        except Exception as error:  # noqa: BLE001  # the worker died meanwhile, or has another version of a package
            _log.warning("worker %s cannot be used: %s", address, _reason(error))
            return
        finally:
            del self._starting[address]
        self._workers[address] = Worker(address, actor, places, asyncio.get_running_loop().create_future())
        _log.info("worker %s is ready", address)
        self._hand_out()

    def _lose(self, worker: Worker) -> None:
        if self._workers.get(worker.address) is worker:
            del self._workers[worker.address]
            self._metrics.worker_lost()
        if not worker.lost.done():
            worker.lost.set_result(None)
        self._look_now.set()

    def _spawn(self, coroutine: Any) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        _retrieve(task)


def _retrieve(future: "asyncio.Future[Any]") -> None:
    """Retrieve an exception, because asyncio logs exceptions never retrieved."""
    if not future.cancelled():
        future.exception()


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
