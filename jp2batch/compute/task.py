"""What a worker does for one request: module-level functions on plain data, that never raise for the request's sake."""

import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import cloudpickle

from jp2batch.compute.result import Result
from jp2batch.compute.worker import is_replaced, memory_to_spare, watchdog, worker_name
from jp2batch.core import config
from jp2batch.core.errors import ImageTooLarge, Jp2BatchError, UnexpectedError
from jp2batch.core.location import Location
from jp2batch.core.options import SecretDict
from jp2batch.core.request import Request
from jp2batch.core.runtime import process_state
from jp2batch.image.info import format_bytes
from jp2batch.image.open import OpenImage, memory_needed
from jp2batch.image.read import Pixels, counted, read_from
from jp2batch.image.response import response
from jp2batch.jpeg2000.geometry.grid import Selection
from jp2batch.storage.source import Source, open_source

Delivery = Callable[[Pixels, Request], Any]
"""What makes of pixels the value of a result; it may write them, and return an `Output`.

Its attribute `bytes_per_sample`, if it has one, tells what memory it takes besides that of the pixels.
"""

_BYTES_IN_LISTS = 40  # of a sample: a number of Python's, and its place in a list


@dataclass(frozen=True, slots=True)
class WrittenOutput:
    """Where a delivery has written pixels."""

    path: str


def open_request(request: Request, storage_options: Mapping[str, Any]) -> Source:
    """Open the file of a request."""
    return open_source(request.url, storage_options=storage_options)


def open_from(request: Request, storage_options: Mapping[str, Any], *, folder: str) -> Source:
    """Open the file of a request; a relative path is one from `folder`, in whatever other folder a worker runs."""
    return open_source(Location.of(request.url).absolute(folder).text, storage_options=storage_options)


def select_request(request: Request, opened: OpenImage) -> Selection:
    """Choose the samples that a request asks for."""
    return opened.selected(request.rlevel, request.window)


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """How requests are to be done; the same for all of a batch."""

    deliver: Delivery
    """What becomes of the pixels."""
    storage_options: SecretDict
    """fsspec's options for the store."""
    settings: Mapping[str, Any] | None
    """The configuration `jp2batch` of the client, which holds on the workers as well; None: they share it."""
    deadline: float | None
    """Seconds after which a decode is given up, where there is a process to end."""
    open: Callable[[Request, SecretDict], Source] = open_request
    """What opens the file of a request."""
    select: Callable[[Request, OpenImage], Selection] = select_request
    """What chooses the samples of it that are read, or refuses to."""
    memory: int | None = None
    """Bytes that a request may take; None: what its worker has to spare."""


@dataclass(frozen=True, slots=True)
class PickledSpec:
    """A pickled order. A worker that cannot load an argument of a task dies of it, in vain; this it opens itself."""

    data: bytes = field(repr=False)

    @classmethod
    def of(cls, order: TaskSpec) -> "PickledSpec":
        """Seal an order."""
        return cls(cloudpickle.dumps(order))

    def opened(self) -> TaskSpec:
        """Return the order."""
        return _opened(self.data)


def as_response(pixels: Pixels, _request: Request) -> Any:
    """Deliver the dict of the web service."""
    return response(pixels)


def run_task(request: Request, order: TaskSpec | PickledSpec) -> Result:
    """Do what is asked, and tell what happened."""
    worker, begin, source = worker_name(), time.perf_counter(), None
    try:
        order = unsealed(order, request)
        config.apply_settings(order.settings)
        with watchdog(order.deadline if is_replaced() else None):
            source = order.open(request, order.storage_options)
            pixels = _read(source, request, order)
            value = order.deliver(pixels, request)
    except Exception as error:  # noqa: BLE001  # one item's surprise must not end the batch
        told = _kept(error if isinstance(error, Jp2BatchError) else _unexpected(error, request))
        stats, size = (None, 0) if source is None else (counted(source, begin), source.size or 0)
        return Result(request, "failed", error=told, stats=stats, size=size, worker=worker)
    output = value.path if isinstance(value, WrittenOutput) else None
    shape = pixels.values.shape
    return Result(
        request,
        "ok",
        value=None if output else value,
        stats=pixels.stats,
        shape=shape[1:] if shape[0] == 1 else shape,
        dtype=str(pixels.values.dtype),
        size=pixels.opened.pieces.size,
        worker=worker,
        output=output,
    )


def unsealed(order: TaskSpec | PickledSpec, request: Request) -> TaskSpec:
    """Return an order that may be sealed.

    Raises
    ------
    UnexpectedError
        It cannot be loaded here.
    """
    if isinstance(order, TaskSpec):
        return order
    try:
        return order.opened()
    except Exception as error:  # noqa: BLE001  # whatever a missing or another version of a package leads to
        problem = f"its worker cannot load what is to be done: {type(error).__name__}: {error}"
        raise UnexpectedError(
            request.shown_path, problem[:500], "install there what the output function needs"
        ) from None


@process_state(limit=8)
def _opened(data: bytes) -> TaskSpec:
    order: TaskSpec = pickle.loads(data)  # noqa: S301  # from our own client
    return order


def _read(source: Source, request: Request, order: TaskSpec) -> Pixels:
    memory = memory_to_spare() if order.memory is None else order.memory

    def choose(opened: OpenImage) -> Selection:
        selection = order.select(request, opened)
        needed = memory_needed(opened, selection) + _to_deliver(order.deliver, opened, selection)
        if memory is not None and needed > memory:
            problem = f"it takes {format_bytes(needed)} of memory, and its worker has {format_bytes(memory)} to spare"
            raise ImageTooLarge(
                request.shown_path, problem, "ask for less, or give workers more memory or fewer threads"
            )
        return selection

    return read_from(source, choose, threads=1)  # dask has the others


def _to_deliver(deliver: Delivery, opened: OpenImage, selection: Selection) -> int:
    """Return the bytes that a delivery takes besides those of the pixels."""
    samples = selection.area.height * selection.area.width * len(opened.channels)
    usual = _BYTES_IN_LISTS if deliver is as_response else 0
    return samples * int(getattr(deliver, "bytes_per_sample", usual))


def _unexpected(error: Exception, request: Request) -> UnexpectedError:
    detail = str(error).partition("\n")[0]
    return UnexpectedError(request.shown_path, f"{type(error).__name__}: {detail}"[:500], "please report it")


def _kept(error: Jp2BatchError) -> Jp2BatchError:
    """Return an error without what keeps alive all that was at hand where it was raised: pixels, files."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error
