"""What the service's workers do: reads, each of which may be given up while it runs."""

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
from jp2batch.core.request import Request
from jp2batch.image.open import OpenImage
from jp2batch.jpeg2000.geometry.grid import Selection, select
from jp2batch.service.problems import NotInTime
from jp2batch.service.representations import deliver
from jp2batch.service.roots import open_below
from jp2batch.storage.deadline import read_deadline
from jp2batch.storage.source import Piece, Range, Source

T = TypeVar("T")

_GRACE = 5.0  # seconds beyond its time after which a decode is given up
_HUNG = 86  # exit code of a worker that ends itself


class GivenUp(Jp2BatchError):
    """Nobody waits for the answer any more."""


class Hung(NotInTime):
    """It was still being decoded long after its time."""


@dataclass(frozen=True, slots=True)
class Job:
    """A request on its way to a worker."""

    id: str
    """Which one it is."""
    root: str
    """The name of its root."""
    request: Request
    """What is asked."""
    form: str
    """The media type of the answer."""
    compress: bool
    """Whether it is compressed."""
    end: float
    """When nobody waits for it any more, by the clock of the server's event loop."""
    alone: bool = False
    """Whether it is done in a process of its own: a worker died of it, or of what ran beside it."""


class ReadActor:
    """An actor of dask: it reads on one worker, as many at once as that has threads.

    Calls of actors go straight to their worker. As a task, a request would pass through the scheduler, which sends its
    messages every few milliseconds: it took 10.6 ms instead of 0.7, and four times the work.

    Parameters
    ----------
    orders : mapping of str to Sealed
        How requests below each root are to be done.
    threads : int
        Reads at once.
    own : bool
        Whether this process serves nobody else: then it may be ended, and dask says nothing here, since of a worker
        that is lost the server has a line.
    """

    def __init__(self, orders: Mapping[str, PickledSpec], threads: int, *, own: bool) -> None:
        if own:
            logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self._orders = {name: sealed.opened() for name, sealed in orders.items()}
        self._threads, self._own = threads, own
        self._pool = self._new_pool()
        self._running: set[str] = set()

    async def read(self, job: Job, seconds: float) -> Result:
        """Do a job that somebody waits for so many seconds; never raise for its sake."""
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
        except TimeoutError:  # stores are not waited for so long: it is the decoder
            return self._without(job)
        finally:
            self._running.discard(job.id)

    async def give_up(self, job_id: str) -> None:
        """Let a job end where it can."""
        self._running.discard(job_id)

    def _opener(self, job_id: str, end: float) -> Callable[[Request, Mapping[str, Any]], Source]:
        def wanted() -> bool:
            return job_id in self._running

        return lambda request, options: cast(Source, Watched(open_below(request, options), wanted, end))

    def _without(self, job: Job) -> Result:
        """Go on without a thread that hangs: nothing else than its process ends it, which may not be ours to end.

        Where it is, its nanny replaces it, and the server notices.
        """
        if self._own:
            os._exit(_HUNG)
        self._pool.shutdown(wait=False)
        self._pool = self._new_pool()
        return Result(job.request, "failed", error=Hung(job.request.path, "the decoder hangs", "read another image"))

    def _new_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="jp2batch-service")

    def _in_thread(self, function: Callable[..., Result], *arguments: object) -> "asyncio.Future[Result]":
        run = contextvars.copy_context().run  # there the worker is found that this runs on
        return asyncio.get_running_loop().run_in_executor(self._pool, run, function, *arguments)


class Watched:
    """A source that reads no more when nobody waits for it, and not beyond a moment; else as the one it stands for.

    Parameters
    ----------
    source : Source
        That one.
    wanted : callable
        Tells whether anybody waits.
    end : float
        The moment, of `time.monotonic`.
    """

    def __init__(self, source: Source, wanted: Callable[[], bool], end: float) -> None:
        self._source, self._wanted, self._end = source, wanted, end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def read_many(self, ranges: Sequence[Range]) -> list[Piece]:
        """Read ranges; see `Source`."""
        return self._bounded(self._source.read_many, ranges)

    def verify(self) -> None:
        """Make sure that all was of one version; see `Source`."""
        self._bounded(self._source.verify)

    def _bounded(self, step: Callable[..., T], *arguments: object) -> T:
        if not self._wanted():
            raise GivenUp(self._source.path, "nobody waits for it any more")
        with contextlib.suppress(TimeoutError), read_deadline(self._end):
            return step(*arguments)
        raise NotInTime(self._source.path, "the store did not give it in time", "try again later")


def select_within(request: Request, opened: OpenImage, *, most: int) -> Selection:
    """Choose the samples that a request asks for, unless these are too many pixels.

    Raises
    ------
    TooManyPixels
        They are; it says which rlevel would fit.
    """
    header = opened.image.header
    opened.check()
    bands = len(opened.channels)
    selection = select(header, request.rlevel, request.window)
    if _pixels(selection, bands) <= most:
        return opened.checked(selection)
    problem = f"{_shape(selection, bands)} pixels are more than the {most} that an answer may have"
    with contextlib.suppress(InvalidRequest):  # there is no such level, or nothing of the window is left at it
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
