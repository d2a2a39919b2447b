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
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jp2batch.compute.result import Result
from jp2batch.compute.task import PickledSpec
from jp2batch.service.metrics import Metrics
from jp2batch.service.problems import Busy
from jp2batch.service.worker_actor import Hung, Job
from jp2batch.service.workers import Tasks, Worker, Workers, reason_of, retrieve

if TYPE_CHECKING:
    from distributed import Client

_log = logging.getLogger(__name__)

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
        self._queue = queue
        self._tasks = Tasks()
        self._workers = Workers(
            client, orders, own=own_workers, metrics=metrics, tasks=self._tasks, on_ready=self._hand_out
        )
        self._waiting: OrderedDict[Turn, None] = OrderedDict()
        self._suspects: OrderedDict[str, None] = OrderedDict()
        self._seconds = 0.5  # of a job, moving average
        metrics.watch(
            queue=lambda: self.waiting,
            running=lambda: self.running,
            free=lambda: self.free,
            workers=lambda: len(self._workers),
        )

    @property
    def ready(self) -> bool:
        """True if a worker is ready."""
        return len(self._workers) > 0

    @property
    def places(self) -> int:
        """Number of slots of all workers."""
        return self._workers.places

    @property
    def free(self) -> int:
        """Number of free slots of all workers."""
        return self._workers.free

    @property
    def waiting(self) -> int:
        """Number of waiting jobs."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Number of running jobs."""
        return self._workers.running

    async def run(self, job: Job) -> Result:
        """Run a job; cancelling the coroutine gives it up.

        Raises
        ------
        Busy
            Too many jobs are waiting, or its workers were lost repeatedly.
        """
        if len(self._waiting) >= self._queue and not self._workers.freest():
            wait = min(_LONGEST_WAIT, 1 + self._seconds * len(self._waiting) / max(1, self.places))
            raise Busy("", "the server is busy", "try again later", retry_after=wait)
        if job.request.url in self._suspects:
            job = replace(job, alone=True)
        turn = Turn(job, asyncio.get_running_loop().create_future())
        turn.result.add_done_callback(retrieve)
        self._waiting[turn] = None
        self._hand_out()
        try:
            return await turn.result
        finally:
            turn.result.cancel()  # also if the wait was cancelled
            self._waiting.pop(turn, None)

    async def keep(self) -> None:
        """Keep an actor on every worker, until cancelled."""
        await self._workers.keep()

    async def close(self) -> None:
        """End all jobs, and start no more."""
        self._workers.clear()
        await self._tasks.cancel()
        for turn in self._waiting:
            turn.result.cancel()

    def _hand_out(self) -> None:
        """Start waiting jobs while slots are free."""
        while self._waiting and (worker := self._workers.freest()):
            turn, _ = self._waiting.popitem(last=False)
            if not turn.result.done():
                self._start(turn, worker)

    def _start(self, turn: Turn, worker: Worker) -> None:
        """Start the task of a job in a slot.

        Only this method and `_ended` change which tasks have slots.
        """
        task: asyncio.Task[Result] = self._tasks.spawn(self._work(turn, worker))
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
            _log.warning("worker %s was lost: %s", worker.address, reason_of(error))
            self._workers.lose(worker)
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
            ends: set[asyncio.Future[Any]] = {call, worker.lost}
            await asyncio.wait({*ends, turn.result}, return_when=asyncio.FIRST_COMPLETED)
            if turn.result.done():
                self._tasks.spawn(self._give_up(worker, turn.job))
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                raise WorkerLost
            return call.result()
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
