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
from jp2batch.compute.task import PickledSpec, run_task
from jp2batch.core.errors import InvalidRequest, Jp2BatchError, TooManyPixels
from jp2batch.core.ranges import ByteRange
from jp2batch.core.request import Request
from jp2batch.image.open import OpenImage
from jp2batch.jpeg2000.geometry.grid import Selection, select
from jp2batch.service.problems import NotInTime
from jp2batch.service.representations import deliver
from jp2batch.service.roots import open_below
from jp2batch.storage.deadline import read_deadline
from jp2batch.storage.source import Piece, Source

T = TypeVar("T")

_GRACE = 5.0  # seconds after its deadline until a decode is given up
_HUNG = 86  # exit code of a worker that ends itself


class GivenUp(Jp2BatchError):
    """The client has disconnected."""


class Hung(NotInTime):
    """The decoder was still running long after the deadline."""


@dataclass(frozen=True, slots=True)
class Job:
    """A request to a worker."""

    id: str
    """Identifier of the job."""
    root: str
    """Name of its root."""
    request: Request
    """The request."""
    form: str
    """Media type of the response."""
    compress: bool
    """True to compress the response."""
    end: float
    """Deadline, by the clock of the server's event loop."""
    alone: bool = False
    """True to run in a subprocess: a worker died while running it."""


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
        self._running: set[str] = set()

    async def read(self, job: Job, seconds: float) -> Result:
        """Run a job with a deadline; errors are in the Result."""
        end = time.monotonic() + seconds
        deliver_it = functools.partial(deliver, form=job.form, compress=job.compress)
        order = replace(self._orders[job.root], deliver=deliver_it)
        self._running.add(job.id)
        try:
            if job.alone:
                return await self._in_thread(
                    run_task_in_subprocess, job.request, replace(order, deadline=seconds + _GRACE)
                )
            work = self._in_thread(run_task, job.request, replace(order, open=self._opener(job.id, end)))
            return await asyncio.wait_for(asyncio.shield(work), seconds + _GRACE)
        except TimeoutError:  # not a store, whose reads have a deadline: the decoder hangs
            return self._without(job)
        finally:
            self._running.discard(job.id)

    async def give_up(self, job_id: str) -> None:
        """Ask a job to stop."""
        self._running.discard(job_id)

    def _opener(self, job_id: str, end: float) -> Callable[[Request, Mapping[str, object]], Source]:
        def wanted() -> bool:
            return job_id in self._running

        return lambda request, options: cast(Source, CancellableSource(open_below(request, options), wanted, end))

    def _without(self, job: Job) -> Result:
        """Recover from a hanging thread: end the process, or replace the pool.

        A thread ends only with its process. If the process is ours, end it: its nanny starts another, and the server
        retries. Otherwise leave the thread behind and use a new pool.
        """
        if self._own:
            os._exit(_HUNG)
        self._pool.shutdown(wait=False)
        self._pool = self._new_pool()
        return Result(job.request, "failed", error=Hung(job.request.path, "the decoder hangs", "read another image"))

    def _new_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="jp2batch-service")

    def _in_thread(self, function: Callable[..., Result], *arguments: object) -> "asyncio.Future[Result]":
        run = contextvars.copy_context().run  # the context has the worker of this thread
        return asyncio.get_running_loop().run_in_executor(self._pool, run, function, *arguments)


class CancellableSource:
    """A source with a deadline, stopped when its job is given up.

    Parameters
    ----------
    source : Source
        The source to wrap.
    is_wanted : callable
        Returns whether the job is still wanted.
    end : float
        Deadline, by `time.monotonic`.
    """

    def __init__(self, source: Source, is_wanted: Callable[[], bool], end: float) -> None:
        self._source, self._wanted, self._end = source, is_wanted, end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def read_many(self, ranges: Sequence[ByteRange]) -> list[Piece]:
        """Read ranges; see `Source`."""
        return self._bounded(self._source.read_many, ranges)

    def verify(self) -> None:
        """Check the object version of all reads; see `Source`."""
        self._bounded(self._source.verify)

    def _bounded(self, step: Callable[..., T], *arguments: object) -> T:
        if not self._wanted():
            raise GivenUp(self._source.path, "the client has disconnected")
        with contextlib.suppress(TimeoutError), read_deadline(self._end):
            return step(*arguments)
        raise NotInTime(self._source.path, "the store did not respond in time", "try again later")


def select_within(request: Request, opened: OpenImage, *, most: int) -> Selection:
    """Return the samples of a request; refuse too many pixels.

    Raises
    ------
    TooManyPixels
        There are too many; the hint names the lowest rlevel that fits.
    """
    header = opened.image.header
    opened.check()
    bands = len(opened.channels)
    selection = select(header, request.rlevel, request.window)
    if _pixels(selection, bands) <= most:
        return opened.checked(selection)
    problem = f"{_shape(selection, bands)} pixels are more than the limit of {most}"
    with contextlib.suppress(InvalidRequest):  # no such level, or the window is empty at it
        for rlevel in range(selection.rlevel + 1, header.levels + 1):
            lower = select(header, rlevel, request.window)
            if _pixels(lower, bands) <= most:
                hint = f"rlevel {rlevel} gives {_shape(lower, bands)}"
                raise TooManyPixels(request.shown_path, problem, hint, rlevel)
    raise TooManyPixels(request.shown_path, problem, "give a smaller window")


def _pixels(selection: Selection, bands: int) -> int:
    return selection.area.height * selection.area.width * bands


def _shape(selection: Selection, bands: int) -> str:
    area = selection.area
    return f"{area.height} x {area.width}" + (f" x {bands}" if bands > 1 else "")
