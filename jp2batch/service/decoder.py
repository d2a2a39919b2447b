"""What the service's workers do: reads, each of which may be given up while it runs."""

import asyncio
import contextlib
import contextvars
import functools
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, cast

from jp2batch.batch.report import Result
from jp2batch.batch.work import Sealed, perform, perform_alone
from jp2batch.errors import InvalidRequest, Jp2BatchError, TooManyPixels
from jp2batch.jpeg2000.codestream import check_supported
from jp2batch.jpeg2000.grid import Selection, select
from jp2batch.opening import Opened
from jp2batch.request import Request
from jp2batch.service.forms import deliver
from jp2batch.service.roots import open_below
from jp2batch.storage.source import Piece, Range, Source

_HUNG = 86  # exit code of a worker that ends itself


class GivenUp(Jp2BatchError):
    """Nobody waits for the answer any more."""


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
    alone: bool = False
    """Whether it is done in a process of its own: a worker died of it, or of what ran beside it."""


class Decoder:
    """An actor of dask: it reads on one worker, as many at once as that has threads.

    Calls of actors go straight to their worker. As a task, a request would pass through the scheduler, which sends its
    messages every few milliseconds: it took 10.6 ms instead of 0.7, and four times the work.

    Parameters
    ----------
    orders : mapping of str to Sealed
        How requests below each root are to be done.
    threads : int
        Reads at once.
    quiet : bool
        Whether dask may say nothing in this process: of a worker that is lost, the server has a line.
    """

    def __init__(self, orders: Mapping[str, Sealed], threads: int, *, quiet: bool) -> None:
        if quiet:
            logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self._orders = {name: sealed.opened() for name, sealed in orders.items()}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="jp2batch-service")
        self._running: set[str] = set()

    async def read(self, job: Job) -> Result:
        """Do a job; never raise for its sake."""
        order = replace(
            self._orders[job.root],
            deliver=functools.partial(deliver, form=job.form, compress=job.compress),
            open=open_below if job.alone else self._opener(job.id),
        )
        self._running.add(job.id)
        try:
            if job.alone:
                return await self._in_thread(perform_alone, job.request, order)
            with _ending_what_hangs(order.deadline):
                return await self._in_thread(perform, job.request, replace(order, deadline=None))
        finally:
            self._running.discard(job.id)

    async def give_up(self, job_id: str) -> None:
        """Let a job end where it can."""
        self._running.discard(job_id)

    def _opener(self, job_id: str) -> Callable[[Request, Mapping[str, Any]], Source]:
        def wanted() -> bool:
            return job_id in self._running

        return lambda request, options: cast(Source, Watched(open_below(request, options), wanted))

    async def _in_thread(self, function: Callable[..., Result], *arguments: object) -> Result:
        run = contextvars.copy_context().run  # there the worker is found that this runs on
        return await asyncio.get_running_loop().run_in_executor(self._pool, run, function, *arguments)


@contextlib.contextmanager
def _ending_what_hangs(deadline: float | None) -> Iterator[None]:
    """End this process after a time: nothing else ends a decode. Its nanny replaces it; the server notices."""
    if deadline is None:
        yield
        return
    ending = asyncio.get_running_loop().call_later(deadline, os._exit, _HUNG)
    try:
        yield
    finally:
        ending.cancel()


class Watched:
    """A source that reads no more when nobody waits for it; else as the one it stands for."""

    def __init__(self, source: Source, wanted: Callable[[], bool]) -> None:
        self._source, self._wanted = source, wanted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def read_many(self, ranges: Sequence[Range]) -> list[Piece]:
        """Read ranges; see `Source`."""
        if not self._wanted():
            raise GivenUp(self._source.path, "nobody waits for it any more")
        return self._source.read_many(ranges)


def select_within(request: Request, opened: Opened, *, most: int) -> Selection:
    """Choose the samples that a request asks for, unless these are too many pixels.

    Raises
    ------
    TooManyPixels
        They are; it says which rlevel would fit.
    """
    header = opened.image.header
    check_supported(header)
    bands = len(opened.channels)
    selection = select(header, request.rlevel, request.window)
    if _pixels(selection, bands) <= most:
        return opened.checked(selection)
    problem = f"{_shape(selection, bands)} pixels are more than the {most} that an answer may have"
    with contextlib.suppress(InvalidRequest):  # there is no such level, or nothing of the window is left at it
        for rlevel in range(selection.rlevel + 1, header.levels + 1):
            lower = select(header, rlevel, request.window)
            if _pixels(lower, bands) <= most:
                cure = f"rlevel {rlevel} gives {_shape(lower, bands)}"
                raise TooManyPixels(request.path, problem, cure, rlevel)
    raise TooManyPixels(request.path, problem, "give a smaller window")


def _pixels(selection: Selection, bands: int) -> int:
    return selection.area.height * selection.area.width * bands


def _shape(selection: Selection, bands: int) -> str:
    area = selection.area
    return f"{area.height} x {area.width}" + (f" x {bands}" if bands > 1 else "")
