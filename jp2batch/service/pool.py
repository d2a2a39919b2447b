"""The workers' places, and who gets one next: a bounded queue, and another try for what a worker took along.

The workers are dask's, whoever has started them. There is one actor on each (see `decoder.Decoder`); a request waits
here for one of their places, keeps it until the worker is done with it, and nothing waits on the workers themselves.
"""

import asyncio
import contextlib
import logging
import uuid
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from jp2batch.batch.report import Result
from jp2batch.batch.work import Sealed
from jp2batch.service.decoder import Decoder, Hung, Job
from jp2batch.service.metrics import Metrics
from jp2batch.service.problems import Busy

if TYPE_CHECKING:
    from distributed import Client

_log = logging.getLogger(__name__)

_LOOK = 1.0  # seconds between two looks at which workers there are
_START = 60  # seconds that an actor has to start
_TRIES = 4  # of one job: a worker may be killed from outside at any time
_SUSPECTS = 1000  # files remembered that were there when a worker died or hung
_LONGEST_WAIT = 30.0  # seconds that a client is asked to wait at most


@dataclass(eq=False, slots=True)
class Worker:
    """A worker of dask, and the actor on it."""

    address: str
    actor: Any
    places: int
    """Jobs that it does at once."""
    lost: "asyncio.Future[None]"
    """Done when it is no more."""
    jobs: set[str] = field(default_factory=set)
    """Ids of those that it does."""

    @property
    def free(self) -> int:
        """Places that nobody has."""
        return 0 if self.lost.done() else self.places - len(self.jobs)


class WorkerLost(Exception):
    """A worker died while it did a job."""


class Pool:
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
        self, client: "Client", orders: Mapping[str, Sealed], *, queue: int, metrics: Metrics, own_workers: bool
    ) -> None:
        self._own_workers = own_workers
        self._client, self._orders, self._queue, self._metrics = client, dict(orders), queue, metrics
        self._workers: dict[str, Worker] = {}
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._waiting: deque[tuple[str, asyncio.Future[Worker]]] = deque()
        self._suspects: OrderedDict[str, None] = OrderedDict()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._seconds = 0.5  # that a job takes, roughly
        self._look_now = asyncio.Event()
        metrics.watch(lambda: self.waiting, lambda: self.running, lambda: len(self._workers))

    @property
    def ready(self) -> bool:
        """Whether there is any worker."""
        return bool(self._workers)

    @property
    def waiting(self) -> int:
        """Jobs that wait for a place."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Jobs on workers."""
        return sum(len(worker.jobs) for worker in self._workers.values())

    async def run(self, job: Job) -> Result:
        """Do a job. Cancelling this gives it up.

        Raises
        ------
        Busy
            Too many wait already, or its workers were lost again and again.
        """
        if job.request.url in self._suspects:
            job = replace(job, alone=True)
        for attempt in range(_TRIES):
            worker = await self._place(job, first=attempt > 0)
            work = self._spawn(self._work(worker, job))
            try:
                return await asyncio.shield(work)
            except WorkerLost:
                self._suspect(job)
                job = replace(job, id=f"{job.id}+", alone=True)
            except asyncio.CancelledError:
                self._spawn(self._give_up(worker, job))
                raise
        raise Busy("", "the workers that did it were lost again and again", retry_after=5)

    async def keep(self) -> None:
        """Keep an actor on every worker that there is, until cancelled."""
        while True:
            try:
                await self._look()
            except (OSError, TimeoutError) as error:
                _log.warning("the scheduler does not answer: %s", error)
            self._look_now.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look_now.wait(), _LOOK)

    async def close(self) -> None:
        """Let nothing run on."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _place(self, job: Job, *, first: bool) -> Worker:
        """Wait for a place, behind all others, or before them."""
        if not self._waiting and (worker := self._freest()):
            worker.jobs.add(job.id)
            return worker
        if len(self._waiting) >= self._queue and not first:
            places = sum(worker.places for worker in self._workers.values()) or 1
            wait = min(_LONGEST_WAIT, 1 + self._seconds * len(self._waiting) / places)
            raise Busy("", "the server is busy", "try again later", retry_after=wait)
        turn: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if first else self._waiting.append)((job.id, turn))
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was given a place in that moment
                self._free(turn.result(), job.id)
            else:
                self._waiting.remove((job.id, turn))
            raise

    def _freest(self) -> Worker | None:
        best = max(self._workers.values(), key=lambda worker: worker.free, default=None)
        return best if best is not None and best.free > 0 else None

    def _free(self, worker: Worker, job_id: str) -> None:
        worker.jobs.discard(job_id)
        self._hand_out()

    def _hand_out(self) -> None:
        """Give free places to those who wait."""
        while self._waiting and (worker := self._freest()):
            job_id, turn = self._waiting.popleft()
            worker.jobs.add(job_id)
            turn.set_result(worker)

    async def _work(self, worker: Worker, job: Job) -> Result:
        """Do a job on a worker; its place is kept as long as the worker is at it, whoever still waits for it."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        call = asyncio.ensure_future(worker.actor.read(job, max(0.0, job.end - begin)))
        try:
            await asyncio.wait({call, worker.lost}, return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                raise WorkerLost
            self._seconds += (loop.time() - begin - self._seconds) / 20
            result: Result = call.result()
            if isinstance(result.error, Hung):
                self._suspect(job)
            return result
        except Exception as error:
            _log.warning("worker %s was lost: %s", worker.address, _reason(error))
            self._lose(worker)
            raise WorkerLost from error
        finally:
            call.cancel()
            self._free(worker, job.id)

    async def _give_up(self, worker: Worker, job: Job) -> None:
        with contextlib.suppress(Exception):  # it is gone, or done
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
        future = self._client.submit(
            Decoder, self._orders, places, own=self._own_workers, actor=True, key=key, pure=False, **where
        )
        try:
            actor = await asyncio.wait_for(future, _START)
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
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # nobody may have waited for it


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
