"""Run jobs in places on workers: a bounded, fair queue, and retries.

The workers are dask's. Each has an actor (`worker_actor.ReadActor`) and a place per thread. A place is an asyncio task,
which takes a job from the queue, calls the worker, and takes the next: it either waits for the queue, i.e. is free, or
runs a job. A client has no place, only a future for its result. When the future is done, for any reason, nobody waits
for the job: the place asks its worker to stop.
"""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from jp2batch.compute.result import Result
from jp2batch.compute.task import PickledSpec
from jp2batch.service.fair_queue import OWN, FairQueue, Turn
from jp2batch.service.metrics import Metrics
from jp2batch.service.problems import Busy, NotInTime
from jp2batch.service.suspects import Suspects
from jp2batch.service.worker_actor import Hung, Job
from jp2batch.service.workers import Tasks, Worker, Workers, reason_of, retrieve

if TYPE_CHECKING:
    from distributed import Client

_log = logging.getLogger(__name__)

_TRIES = 4  # attempts of a job: a worker can also be killed from outside
_LONGEST_WAIT = 30.0  # seconds, the longest Retry-After
_SLOW = 2.0  # seconds after which a job is slow
_STUCK = 10.0  # seconds after the end of a job until its worker is restarted; its actor ends the job earlier


class WorkerLost(Exception):
    """A worker does not answer."""


class Dispatcher:
    """Queue of jobs, and places on the workers of a cluster.

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
        self._most, self._own = queue, own_workers
        self._queue = FairQueue(lambda: self.places)
        self._tasks = Tasks()
        self._workers = Workers(
            client, orders, own=own_workers, metrics=metrics, tasks=self._tasks, serve=self._serve_place
        )
        self._running: dict[Turn, tuple[Worker, float]] = {}
        self._suspects = Suspects()
        self._seconds = 0.5  # of a job, moving average
        self.last_read = -math.inf
        """Time of the last successful read, by the event loop."""
        metrics.gauge("queue_length", "Requests waiting for a worker.", lambda: self.waiting)
        metrics.gauge("requests_in_flight", "Requests on workers.", lambda: self.running)
        metrics.gauge("free_places", "Free places of workers.", lambda: self.free)
        metrics.gauge("workers", "Workers ready for requests.", lambda: len(self._workers))

    @property
    def places(self) -> int:
        """Number of places of all workers."""
        return self._workers.places

    @property
    def free(self) -> int:
        """Number of free places of all workers."""
        return self.places - self.running

    @property
    def waiting(self) -> int:
        """Number of waiting jobs."""
        return self._queue.qsize()

    @property
    def running(self) -> int:
        """Number of running jobs."""
        return sum(not worker.lost for worker, _ in self._running.values())

    async def run(self, job: Job, client: str = OWN) -> Result:
        """Run a job of a client; cancelling the coroutine gives it up.

        Raises
        ------
        Busy
            Too many jobs are waiting, or its workers were lost repeatedly.
        NotInTime
            Its deadline has come while it ran.
        """
        loop = asyncio.get_running_loop()
        self._make_room(client)
        turn = Turn(self._suspects.marked(job, loop.time()), client, loop.create_future())
        turn.result.add_done_callback(retrieve)
        self._queue.put_nowait(turn)
        relief = loop.call_later(_SLOW, self._relieve, turn)
        expiry = loop.call_at(job.end, self._expire, turn, loop.time())
        try:
            return await turn.result
        finally:
            relief.cancel()
            expiry.cancel()
            turn.result.cancel()  # also if the wait was cancelled
            self._queue.remove(turn)

    async def keep(self) -> None:
        """Keep an actor on every worker, until cancelled."""
        await self._workers.keep()

    async def close(self) -> None:
        """End all jobs, and start no more."""
        self._workers.clear()
        await self._tasks.cancel()
        for turn in self._queue:
            turn.result.cancel()

    def _make_room(self, client: str) -> None:
        """Refuse a job of the client with most jobs, if necessary."""
        if self.waiting < self._most + self.free:
            return
        rival = self._queue.rival(client)
        if rival is None:
            raise self._busy()
        self._queue.remove(rival)
        rival.result.set_exception(self._busy())

    def _expire(self, turn: Turn, arrival: float) -> None:
        """End a job at its deadline, as late or refused."""
        if turn.result.done():
            return
        now = asyncio.get_running_loop().time()
        _, begin = self._running.get(turn, (None, now))
        if turn.losses or begin - arrival >= now - begin:
            turn.result.set_exception(self._busy())
        else:
            problem, hint = f"not done within {now - arrival:.3g} s", "try again later, or request fewer pixels"
            turn.result.set_exception(NotInTime(turn.job.request.shown_path, problem, hint))

    def _busy(self) -> Busy:
        wait = min(_LONGEST_WAIT, 1 + self._seconds * self.waiting / max(1, self.places))
        return Busy("", "the server is busy", "try again later", retry_after=wait)

    def _relieve(self, turn: Turn) -> None:
        """End a slow job of a client with all places."""
        if not self._running or self.free or turn in self._running:
            return
        youngest, (_, begin) = list(self._running.items())[-1]
        alone = self._queue.running[youngest.client] == self.places > 1
        slow = asyncio.get_running_loop().time() - begin >= _SLOW
        if alone and slow and youngest.client != turn.client and not youngest.result.done():
            wait = min(_LONGEST_WAIT, 1 + self._seconds)
            youngest.result.set_exception(Busy("", "slow requests of this client take all places", retry_after=wait))

    async def _serve_place(self, worker: Worker) -> None:
        """Run jobs in a place of a worker, until it is lost."""
        while not worker.lost:
            await self._run_turn(await self._queue.get(), worker)

    async def _run_turn(self, turn: Turn, worker: Worker) -> None:
        """Run a job; afterwards, its place holds no result."""
        if turn.result.done():
            return
        begin = asyncio.get_running_loop().time()
        self._running[turn] = worker, begin
        self._queue.running[turn.client] += 1
        try:
            result = await self._read(turn, worker)
        except asyncio.CancelledError:  # the worker was lost
            self._try_again(turn)
            raise
        except Exception as error:  # noqa: BLE001  # the worker died, or its reply cannot be read
            _log.warning("worker %s was lost: %s", worker.address, reason_of(error))
            self._workers.lose(worker, restart=_may_be_alive(error))
            self._try_again(turn)
            return
        finally:
            del self._running[turn]
            self._queue.running -= Counter((turn.client,))
        self._settle(turn, worker, result, begin)

    async def _read(self, turn: Turn, worker: Worker) -> Result:
        """Call a worker; if the client disconnects, ask the worker to stop."""
        loop = asyncio.get_running_loop()
        seconds = max(0.0, turn.job.end - loop.time())
        call = asyncio.ensure_future(worker.actor.read(turn.job, seconds))
        call.add_done_callback(retrieve)
        try:
            async with asyncio.timeout(seconds + _STUCK) as limit:
                await asyncio.wait({call, turn.result}, return_when=asyncio.FIRST_COMPLETED)
                if not call.done():
                    limit.reschedule(loop.time() + _STUCK)
                    await worker.actor.give_up(turn.job.id)
                    await asyncio.wait({call})
            if call.cancelled():
                raise WorkerLost
            return call.result()
        finally:
            call.cancel()

    def _settle(self, turn: Turn, worker: Worker, result: Result, begin: float) -> None:
        """Give a client its result, and learn from it."""
        now = asyncio.get_running_loop().time()
        self._seconds += (now - begin - self._seconds) / 20
        if isinstance(result.error, Hung):
            self._suspects.hung(turn.job, result.error, now)
            if self._own:
                self._workers.lose(worker)  # it ends itself, because a thread cannot be ended
        elif result.error is None:
            self.last_read = now
            self._suspects.clear(turn.job)
        if not turn.result.done():
            turn.result.set_result(result)

    def _try_again(self, turn: Turn) -> None:
        """Return a job whose worker was lost to the queue, if wanted."""
        self._suspects.died(turn.job)
        if turn.result.done():
            return
        turn.losses += 1
        if turn.losses == _TRIES:
            turn.result.set_exception(Busy("", "its workers were lost repeatedly", retry_after=5))
            return
        turn.job = replace(turn.job, id=f"{turn.job.id}+", alone=True)
        self._queue.put_nowait(turn)


def _may_be_alive(error: Exception) -> bool:
    """Return whether a lost worker may still be running."""
    return isinstance(error, TimeoutError) or not isinstance(error, OSError | WorkerLost)
