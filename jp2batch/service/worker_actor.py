"""Reads on workers of the service, which can be given up."""

import asyncio
import contextlib
import contextvars
import functools
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from jp2batch.compute.isolated import run_task_in_subprocess
from jp2batch.compute.result import Result
from jp2batch.compute.task import PickledSpec, TaskSpec, run_task
from jp2batch.core.errors import DecoderCrashed
from jp2batch.core.giving_up import GivenUp, checking, current_check
from jp2batch.core.ranges import ByteRange
from jp2batch.core.request import Request
from jp2batch.service.problems import NotInTime
from jp2batch.service.reading import Reading
from jp2batch.storage.deadline import read_deadline
from jp2batch.storage.source import Piece, Source

T = TypeVar("T")

_GRACE = 5.0  # seconds from the end of a job until its thread is left behind
_FAREWELL = 0.5  # seconds to send a last result
_HUNG = 86  # exit code of a worker that ends itself


class Hung(NotInTime):
    """The decoder was still running long after it was to stop."""

    def __init__(self, path: str, problem: str, hint: str = "", etag: str | None = None) -> None:
        super().__init__(path, problem, hint)
        self.args = (path, problem, hint, etag)
        self.etag = etag


class DecoderHangs(DecoderCrashed):
    """The decoder hangs on this image."""


@dataclass(frozen=True, slots=True)
class Job:
    """A request to a worker."""

    id: str
    """Identifier of the job."""
    root: str
    """Name of its root."""
    request: Request
    """The request."""
    reading: Reading
    """Part of the image, and its representation."""
    end: float
    """Deadline, by the clock of the server's event loop."""
    alone: bool = False
    """True to run in a subprocess: a worker died while running it."""
    hung: tuple[str | None] | None = None
    """Version tag of a file on which the decoder hangs."""


class ReadActor:
    """Run reads on a worker, as many as it has threads.

    This is a dask actor: calls go directly to its worker. A task would pass through the scheduler, which sends messages
    every few milliseconds: slower by an order of magnitude, and more work.

    Parameters
    ----------
    orders : mapping of str to PickledSpec
        Task settings of each root.
    threads : int
        Number of concurrent reads.
    own : bool
        True if this process runs only jobs of this service: it can then end itself, and logs of dask are turned off,
        because the server logs lost workers.
    """

    def __init__(self, orders: Mapping[str, PickledSpec], threads: int, *, own: bool) -> None:
        if own:
            logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self._orders = {name: sealed.opened() for name, sealed in orders.items()}
        self._threads, self._own = threads, own
        self._pool = self._new_pool()
        self._running: dict[str, asyncio.Future[None]] = {}

    async def read(self, job: Job, seconds: float) -> Result:
        """Run a job with a deadline; errors are in the Result."""
        loop = asyncio.get_running_loop()
        stop = self._running[job.id] = loop.create_future()
        watched = _Watched(job, stop, time.monotonic() + seconds)
        order = replace(self._orders[job.root], deliver=job.reading.deliver, select=job.reading.select)
        work = loop.run_in_executor(self._pool, contextvars.copy_context().run, watched.run, order)
        try:
            await asyncio.wait({work, stop}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            await self.give_up(job.id)
            return await asyncio.wait_for(asyncio.shield(work), _GRACE)
        except TimeoutError:  # not a store, whose reads have a deadline: the decoder hangs
            self._replace_pool()
            error = Hung(job.request.path, "the decoder hangs", "read another image", watched.etag)
            return Result(job.request, "failed", error=error)
        finally:
            del self._running[job.id]

    async def give_up(self, job_id: str) -> None:
        """Ask a job to stop."""
        stop = self._running.get(job_id)
        if stop is not None and not stop.done():
            stop.set_result(None)

    def _replace_pool(self) -> None:
        """Leave a hanging thread behind: it ends only with its process.

        If the process is ours, end it soon: its nanny starts another.
        """
        if self._own:
            asyncio.get_running_loop().call_later(_FAREWELL, os._exit, _HUNG)
        self._pool.shutdown(wait=False)
        self._pool = self._new_pool()

    def _new_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="jp2batch-service")


class _Watched:
    """A job in a thread of a worker, while it is wanted."""

    def __init__(self, job: Job, stop: "asyncio.Future[None]", end: float) -> None:
        self._job, self._stop, self._end = job, stop, end
        self._source: Source | None = None

    @property
    def etag(self) -> str | None:
        """Tag of the version of its file, if known."""
        return None if self._source is None else self._source.etag

    def run(self, order: TaskSpec) -> Result:
        """Run the job."""
        with checking(self._check):
            if self._job.alone:
                seconds = max(0.0, self._end - time.monotonic()) + _GRACE
                return run_task_in_subprocess(self._job.request, replace(order, deadline=seconds))
            return run_task(self._job.request, replace(order, open=functools.partial(self._open, order.open)))

    def _check(self) -> None:
        if self._stop.done():
            raise GivenUp(self._job.request.path, "the client has disconnected")
        if self._job.hung is not None and self._source is not None and self._source.size is not None:
            self._check_version(*self._job.hung)

    def _check_version(self, etag: str | None) -> None:
        if self.etag == etag:
            problem, hint = "the decoder hangs on this image", "try again in some minutes, or fetch the file again"
            raise DecoderHangs(self._job.request.path, problem, hint)

    def _open(self, open_source: Callable[..., Source], request: Request, options: Mapping[str, object]) -> Source:
        self._source = open_source(request, options)
        return cast(Source, DeadlineSource(self._source, self._end))


class DeadlineSource:
    """A source with a deadline for its reads.

    Parameters
    ----------
    source : Source
        The source to wrap.
    end : float
        Deadline, by `time.monotonic`.
    """

    def __init__(self, source: Source, end: float) -> None:
        self._source, self._end = source, end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def read_many(self, ranges: Sequence[ByteRange]) -> list[Piece]:
        """Read ranges; see `Source`."""
        return self._bounded(self._source.read_many, ranges)

    def verify(self) -> None:
        """Check the object version of all reads; see `Source`."""
        self._bounded(self._source.verify)

    def _bounded(self, step: Callable[..., T], *arguments: object) -> T:
        check = current_check()
        check()
        with contextlib.suppress(TimeoutError), read_deadline(self._end):
            found = step(*arguments)
            check()
            return found
        raise NotInTime(self._source.path, "the store did not respond in time", "try again later")
