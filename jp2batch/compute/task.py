"""Run a task: read the pixels of a request, and deliver them.

Module-level functions on plain data. A failing request yields a result with its error; nothing is raised.
"""

import contextlib
import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import cloudpickle

from jp2batch.compute.result import Result, Status
from jp2batch.compute.worker import is_replaced, memory_to_spare, watchdog, worker_name
from jp2batch.core import config
from jp2batch.core.display import format_bytes
from jp2batch.core.errors import ImageTooLarge, Jp2BatchError, OutsideImage, UnexpectedError
from jp2batch.core.giving_up import current_check
from jp2batch.core.options import SecretDict
from jp2batch.core.request import Request
from jp2batch.core.runtime import process_state
from jp2batch.image.decoder import default_decoder
from jp2batch.image.open import OpenImage, memory_needed
from jp2batch.image.read import Pixels, counted, masked, read_from, select_request
from jp2batch.image.response import response
from jp2batch.jpeg2000.geometry.grid import Selection
from jp2batch.storage.source import Source, open_source

Delivery = Callable[[Pixels, Request], object]
"""Function from pixels to the value of a result.

It may write the pixels, and return a `WrittenOutput`. An attribute `bytes_per_sample`, if present, is its memory in
addition to the pixels; a method `select` selects the samples to read; a method `store` writes the values of results
together, and returns these results without values; a method `load` imports what takes long.
"""

_BYTES_IN_LISTS = 40  # of a sample: a Python number, and its slot in a list


@dataclass(frozen=True, slots=True)
class WrittenOutput:
    """Output to which a delivery has written pixels."""

    path: str
    """Path or URL."""
    size: int | None = None
    """Its bytes; None if unknown."""
    checksum: str | None = None
    """Checksum of its bytes: "md5:" and hex digits; None if unknown."""


def open_request(request: Request, storage_options: Mapping[str, object]) -> Source:
    """Open the file of a request."""
    return open_source(request.location, storage_options=storage_options)


def open_from(request: Request, storage_options: Mapping[str, object], *, folder: str) -> Source:
    """Open the file of a request; relative paths start at `folder`.

    The working folder of the worker does not matter.
    """
    return open_source(request.location.absolute(folder), storage_options=storage_options)


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """Settings shared by all tasks of a batch."""

    deliver: Delivery
    """Function from pixels to the value of a result."""
    storage_options: SecretDict
    """fsspec's options for the store."""
    settings: Mapping[str, object] | None
    """Configuration `jp2batch` of the client, to apply on workers.

    None: the workers share it with the client.
    """
    deadline: float | None
    """Seconds until a decode is aborted, if its process is replaced."""
    open: Callable[[Request, SecretDict], Source] = open_request
    """Function to open the file of a request."""
    select: Callable[[Request, OpenImage], Selection] = select_request
    """Function to select samples; it may refuse the image."""
    memory: int | None = None
    """Memory limit of a request in bytes; None: the worker decides."""

    def load(self) -> None:
        """Import the modules of decoder and delivery.

        On a busy machine, these imports may take half a minute.
        """
        with contextlib.suppress(Exception):  # the task meets the error again
            for part in (default_decoder(), self.deliver):
                getattr(part, "load", int)()


@dataclass(frozen=True, slots=True)
class PickledSpec:
    """A pickled `TaskSpec`, for the task to unpickle.

    If dask cannot unpickle an argument of a task, its worker dies without a useful error.
    """

    data: bytes = field(repr=False)
    stores: bool = False
    """True if the delivery has a method `store`."""

    @classmethod
    def of(cls, order: TaskSpec) -> "PickledSpec":
        """Pickle a `TaskSpec`."""
        return cls(cloudpickle.dumps(order), hasattr(order.deliver, "store"))

    def opened(self) -> TaskSpec:
        """Return the unpickled `TaskSpec`."""
        return _opened(self.data)


def as_response(pixels: Pixels, _request: Request) -> object:
    """Deliver the dict of the web service."""
    return response(pixels)


def run_task(request: Request, order: TaskSpec | PickledSpec) -> Result:
    """Run the task of a request; return its result, failed or not."""
    worker, begin, source = worker_name(), time.perf_counter(), None
    try:
        order = unsealed(order, request)
        config.apply_settings(order.settings)
        source = order.open(request, order.storage_options)  # imports its driver; requests nothing yet
        deadline = order.deadline if is_replaced() else None
        if deadline is not None:
            order.load()
        with watchdog(deadline):
            pixels = _read(source, request, order)
            current_check()()
            value = order.deliver(pixels, request)
    except Exception as error:  # noqa: BLE001  # an unexpected error of an item must not end the batch
        told = _kept(error if isinstance(error, Jp2BatchError) else _unexpected(error, request))
        stats, size = (None, 0) if source is None else (counted(source, begin), source.size or 0)
        status: Status = "outside" if isinstance(told, OutsideImage) else "failed"
        return Result(request, status, error=told, stats=stats, size=size, worker=worker)
    written = value if isinstance(value, WrittenOutput) else None
    shape = pixels.values.shape
    return Result(
        request,
        "ok",
        value=None if written else value,
        stats=pixels.stats,
        shape=shape[1:] if shape[0] == 1 else shape,
        dtype=str(pixels.values.dtype),
        size=pixels.opened.pieces.size,
        worker=worker,
        output=written.path if written else None,
        output_size=written.size if written else None,
        output_checksum=written.checksum if written else None,
    )


def unsealed(order: TaskSpec | PickledSpec, request: Request) -> TaskSpec:
    """Return a `TaskSpec`, unpickled if necessary.

    Raises
    ------
    UnexpectedError
        It cannot be unpickled here.
    """
    if isinstance(order, TaskSpec):
        return order
    try:
        return order.opened()
    except Exception as error:  # noqa: BLE001  # any error, as of a missing package or another version
        problem = f"its worker cannot unpickle the task: {type(error).__name__}: {error}"
        raise UnexpectedError(
            request.shown_path, problem[:500], "install there what the output function needs"
        ) from None


@process_state(limit=8)
def _opened(data: bytes) -> TaskSpec:
    order: TaskSpec = pickle.loads(data)  # noqa: S301  # from our own client
    return order


def stored(results: list[Result], order: TaskSpec | PickledSpec) -> list[Result]:
    """Return results after their delivery has stored their values, if it does.

    An error of it makes all results with values failed results.
    """
    if all(result.value is None for result in results):
        return results
    try:
        order = unsealed(order, results[0].request)
        store = getattr(order.deliver, "store", None)
        if store is None:
            return results
        config.apply_settings(order.settings)
        found: list[Result] = store(results)
    except Exception as error:  # noqa: BLE001  # as in `run_task`
        told = _kept(error if isinstance(error, Jp2BatchError) else _unexpected(error, results[0].request))
        return [
            result if result.value is None else replace(result, status="failed", value=None, error=told)
            for result in results
        ]
    return found


def _read(source: Source, request: Request, order: TaskSpec) -> Pixels:
    memory = memory_to_spare() if order.memory is None else order.memory

    def choose(opened: OpenImage) -> Selection:
        selection = order.select(request, opened)
        needed = memory_needed(opened, selection) + _to_deliver(order.deliver, opened, selection)
        if memory is not None and needed > memory:
            problem = f"it takes {format_bytes(needed)} of memory, and its worker has {format_bytes(memory)} to spare"
            raise ImageTooLarge(
                request.shown_path, problem, "read a smaller window, or give workers more memory or fewer threads"
            )
        return selection

    pixels = masked(read_from(source, choose, threads=1), request)  # dask uses the other threads
    return replace(pixels, columns=request.columns) if request.columns else pixels


def _to_deliver(deliver: Delivery, opened: OpenImage, selection: Selection) -> int:
    """Return the memory of a delivery besides the pixels, in bytes."""
    samples = selection.samples * len(opened.channels)
    usual = _BYTES_IN_LISTS if deliver is as_response else 0
    return samples * int(getattr(deliver, "bytes_per_sample", usual))


def _unexpected(error: Exception, request: Request) -> UnexpectedError:
    detail = str(error).partition("\n")[0]
    return UnexpectedError(request.shown_path, f"{type(error).__name__}: {detail}"[:500], "please report it")


def _kept(error: Jp2BatchError) -> Jp2BatchError:
    """Return an error without traceback and causes.

    They would keep pixels and open files alive.
    """
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error
