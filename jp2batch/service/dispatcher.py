"""The workers' places, and which job gets one next: a bounded queue, and another try if a worker dies.

The workers are dask's, whoever has started them. There is one actor on each (see `decoder.Decoder`); a request waits
here for one of their places, and nothing waits on the workers themselves.

A place is never handed to a client, who may leave at any moment. It belongs to the task that calls the worker: it is
taken exactly as long as that task runs, so that free places and running tasks always add up to all places. A client has
nothing but a future for its result. Once that is done, for whatever reason, nobody waits for the job any more.
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

_LOOK = 1.0  # seconds between two looks at which workers there are
_START = 60  # seconds that an actor has to start
_TRIES = 4  # of one job: a worker may be killed from outside at any time
_SUSPECTS = 1000  # files remembered that were there when a worker died or hung
_LONGEST_WAIT = 30.0  # seconds that a client is asked to wait at most
_GIVING_UP = 10.0  # seconds to tell a worker that a client has left


@dataclass(eq=False, slots=True)
class Turn:
    """A job, and the result that its client waits for."""

    job: Job
    result: "asyncio.Future[Result]"
    """Done once the client has it, or has left."""
    losses: int = 0
    """Workers that died while they did the job."""


@dataclass(eq=False, slots=True)
class Worker:
    """A worker of dask, and the actor on it."""

    address: str
    actor: Any
    places: int
    """Jobs that it does at once."""
    lost: "asyncio.Future[None]"
    """Done when it is no more."""
    tasks: "set[asyncio.Task[Result]]" = field(default_factory=set)
    """Those that have its places, one each, until they end."""

    @property
    def free(self) -> int:
        """Places that no task has."""
        return 0 if self.lost.done() else self.places - len(self.tasks)


class WorkerLost(Exception):
    """A worker died while it did a job."""


class Dispatcher:
    """Places for jobs on the workers of a cluster.

    Parameters
    ----------
    client : distributed.Client
        Asynchronous, and with direct connections to workers.
    orders : mapping of str to Sealed
        How requests below each root are to be done.
    queue : int
        Jobs that may wait; more are refused.
    metrics : Metrics
        Is told of all.
    own_workers : bool
        Whether they serve nobody else.
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
        self._seconds = 0.5  # that a job takes, roughly
        self._look_now = asyncio.Event()
        metrics.watch(
            queue=lambda: self.waiting,
            running=lambda: self.running,
            free=lambda: self.free,
            workers=lambda: len(self._workers),
        )

    @property
    def ready(self) -> bool:
        """Whether there is any worker."""
        return bool(self._workers)

    @property
    def places(self) -> int:
        """Jobs that the workers do at once."""
        return sum(worker.places for worker in self._workers.values())

    @property
    def free(self) -> int:
        """Places that no job has."""
        return sum(worker.free for worker in self._workers.values())

    @property
    def waiting(self) -> int:
        """Jobs that wait for a place."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Jobs on workers."""
        return sum(len(worker.tasks) for worker in self._workers.values())

    async def run(self, job: Job) -> Result:
        """Do a job. Cancelling this gives it up.

        Raises
        ------
        Busy
            Too many wait already, or its workers were lost again and again.
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
            turn.result.cancel()  # whatever has ended the wait
            self._waiting.pop(turn, None)

    async def keep(self) -> None:
        """Keep an actor on every worker that there is, until cancelled."""
        while True:
            try:
                await self._look()
            except (OSError, TimeoutError) as error:
                _log.warning("the scheduler does not answer: %s", error)
            self._look_now.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await self._look_now.wait()

    async def close(self) -> None:
        """End all jobs, and start no others."""
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
        """Start jobs that wait, as long as there are free places."""
        while self._waiting and (worker := self._freest()):
            turn, _ = self._waiting.popitem(last=False)
            if not turn.result.done():
                self._start(turn, worker)

    def _start(self, turn: Turn, worker: Worker) -> None:
        """Give a place to the task that does a job. This and `_ended` are all that changes who has places."""
        task: asyncio.Task[Result] = self._spawn(self._work(turn, worker))
        worker.tasks.add(task)
        task.add_done_callback(functools.partial(self._ended, turn, worker))

    def _ended(self, turn: Turn, worker: Worker, task: "asyncio.Task[Result]") -> None:
        """Take back the place of a task, and give its result to the client, if it is still there."""
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
        """Let a job whose worker was lost wait before all others."""
        turn.losses += 1
        if turn.losses == _TRIES:
            turn.result.set_exception(Busy("", "the workers that did it were lost again and again", retry_after=5))
            return
        turn.job = replace(turn.job, id=f"{turn.job.id}+", alone=True)
        self._waiting[turn] = None
        self._waiting.move_to_end(turn, last=False)

    async def _work(self, turn: Turn, worker: Worker) -> Result:
        """Do a job on a worker, until the worker is done with it, whether or not the client has left."""
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
        """Call a worker. If the client leaves meanwhile, say so to the worker, which then ends soon."""
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
        with contextlib.suppress(Exception):  # it is gone, or done
            async with asyncio.timeout(_GIVING_UP):
                await worker.actor.give_up(job.id)

    def _suspect(self, job: Job) -> None:
        """Remember a file that was there when a worker died or hung: it is read in a process of its own from now on."""
        self._suspects[job.request.url] = None
        while len(self._suspects) > _SUSPECTS:
            self._suspects.popitem(last=False)

    async def _look(self) -> None:
        """Drop the workers that are gone, and take on those that are new."""
        found: dict[str, int] = await self._client.nthreads()
        for address in self._workers.keys() - found.keys():
            self._lose(self._workers[address])
        for address in self._starting.keys() - found.keys():  # the scheduler may have told of one that had just died
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
            async with asyncio.timeout(_START):  # wait_for may miss that it is cancelled
                actor = await future
        except Exception as error:  # noqa: BLE001  # it died meanwhile, or has another version of a package
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
    """Look at an exception that perhaps nobody waited for: asyncio would log it."""
    if not future.cancelled():
        future.exception()


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
