"""What a worker does for one request: module-level functions on plain data, that never raise for the request's sake."""

import contextlib
import functools
import os
import pickle
import platform
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import cloudpickle

from jp2batch import config
from jp2batch.batch.report import Result
from jp2batch.errors import DecoderCrashed, DecodeTimedOut, ImageTooLarge, Jp2BatchError, UnexpectedError
from jp2batch.jpeg2000.grid import Selection
from jp2batch.opening import Opened, memory_needed
from jp2batch.reader import Pixels, read_from
from jp2batch.request import Request
from jp2batch.response import response
from jp2batch.storage.source import Source, open_source

Delivery = Callable[[Pixels, Request], Any]
"""What makes of pixels the value of a result; it may write them, and return an `Output`."""

_TRIES_ALONE = 2  # what kills its own process twice is blamed
_PYTHON_FAILED = 1  # exit code of Python after an exception
_CRASHED = 86  # exit code of a worker that a watchdog ends


@dataclass(frozen=True, slots=True)
class Output:
    """Where a delivery has written pixels."""

    path: str


class Hidden(dict[str, Any]):
    """A dict whose values are not for showing: a scheduler logs the arguments of tasks that fail."""

    def __repr__(self) -> str:
        return "{…}"


def open_request(request: Request, storage_options: Mapping[str, Any]) -> Source:
    """Open the file of a request."""
    return open_source(request.url, storage_options=storage_options)


def select_request(request: Request, opened: Opened) -> Selection:
    """Choose the samples that a request asks for."""
    return opened.selected(request.rlevel, request.window)


@dataclass(frozen=True, slots=True)
class Order:
    """How requests are to be done; the same for all of a batch."""

    deliver: Delivery
    """What becomes of the pixels."""
    storage_options: Hidden
    """fsspec's options for the store."""
    settings: Mapping[str, Any] | None
    """The configuration `jp2batch` of the client, which holds on the workers as well; None: they share it."""
    deadline: float | None
    """Seconds after which a decode is given up, where there is a process to end."""
    open: Callable[[Request, Hidden], Source] = open_request
    """What opens the file of a request."""
    select: Callable[[Request, Opened], Selection] = select_request
    """What chooses the samples of it that are read, or refuses to."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A pickled order. A worker that cannot load an argument of a task dies of it, in vain; this it opens itself."""

    data: bytes = field(repr=False)

    @classmethod
    def of(cls, order: Order) -> "Sealed":
        """Seal an order."""
        return cls(cloudpickle.dumps(order))

    def opened(self) -> Order:
        """Return the order."""
        return _opened(self.data)


def as_dataarray(pixels: Pixels, _request: Request) -> Any:
    """Deliver an `xarray.DataArray`."""
    from jp2batch.dataarray import to_dataarray  # takes longer than all else that a process of one request imports

    return to_dataarray(pixels)


def as_response(pixels: Pixels, _request: Request) -> Any:
    """Deliver the dict of the web service."""
    return response(pixels)


def perform(request: Request, order: Order | Sealed) -> Result:
    """Do what is asked, and tell what happened."""
    worker, memory = _worker()
    try:
        order = _unsealed(order, request)
        config.adopt(order.settings)
        with _watchdog(order.deadline):
            pixels = _read(request, order, memory)
            value = order.deliver(pixels, request)
    except Jp2BatchError as error:
        return Result(request, "failed", error=error, worker=worker)
    except Exception as error:  # noqa: BLE001  # one item's surprise must not end the batch
        return Result(request, "failed", error=_unexpected(error, request), worker=worker)
    output = value.path if isinstance(value, Output) else None
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


def perform_alone(request: Request, order: Order | Sealed) -> Result:
    """Do what is asked in a process of its own: for requests that were there when a worker died."""
    worker, _ = _worker()
    order = _unsealed(order, request)
    for attempt in range(2, 2 + _TRIES_ALONE):  # the first was the one that a worker died of
        try:
            result = _in_a_child(request, order)
        except Jp2BatchError as error:
            result = Result(request, "failed", error=error)
        result = replace(result, attempts=attempt, worker=worker)
        if not isinstance(result.error, DecoderCrashed):
            break
    return result


def _in_a_child(request: Request, order: Order) -> Result:
    """Do what is asked in a child process; say how that ended, where it did not bring a result."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", "from jp2batch.batch.work import main; main()"],
            input=cloudpickle.dumps((request, replace(order, deadline=None))),  # this side watches
            capture_output=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            timeout=order.deadline,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise DecodeTimedOut(request.path, f"not done after {late.timeout:.0f} s", "raise jp2batch.deadline") from None
    code = done.returncode
    if code == 0:
        result: Result = pickle.loads(done.stdout)  # noqa: S301  # our own child
        return result
    if code == _PYTHON_FAILED:
        last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise UnexpectedError(request.path, f"its process did not start: {last}"[:500], "please report it")
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    raise DecoderCrashed(request.path, f"decoding it ends the process ({how})", "the file is damaged: fetch it again")


def _unsealed(order: Order | Sealed, request: Request) -> Order:
    if isinstance(order, Order):
        return order
    try:
        return order.opened()
    except Exception as error:  # noqa: BLE001  # whatever a missing or another version of a package leads to
        problem = f"its worker cannot load what is to be done: {type(error).__name__}: {error}"
        raise UnexpectedError(request.path, problem[:500], "install there what the output function needs") from None


@functools.lru_cache(maxsize=8)
def _opened(data: bytes) -> Order:
    order: Order = pickle.loads(data)  # noqa: S301  # from our own client
    return order


def _read(request: Request, order: Order, memory: int | None) -> Pixels:
    source = order.open(request, order.storage_options)

    def choose(opened: Opened) -> Selection:
        selection = order.select(request, opened)
        needed = memory_needed(opened, selection)
        if memory is not None and needed > memory:
            raise ImageTooLarge(
                request.path,
                f"it needs {needed:.3g} bytes of memory, and the worker has {memory:.3g}",
                "ask for less, or give more",
            )
        return selection

    return read_from(source, choose, threads=1)  # dask has the others


def _unexpected(error: Exception, request: Request) -> UnexpectedError:
    detail = str(error).partition("\n")[0]
    return UnexpectedError(request.path, f"{type(error).__name__}: {detail}"[:500], "please report it")


def _dask_worker() -> Any:
    """Return the dask worker that this runs in, or None."""
    distributed = sys.modules.get("distributed")  # where it is not imported, there is none
    with contextlib.suppress(ValueError):  # not inside a task
        return distributed and distributed.get_worker()
    return None


def _worker() -> tuple[str, int | None]:
    """Return the name of the worker that this runs in, and the bytes of memory of each of its threads."""
    worker = _dask_worker()
    if worker is None:
        return f"{platform.node()}:{os.getpid()}", None
    limit = worker.memory_manager.memory_limit
    return worker.address, limit // worker.state.nthreads if limit else None


@contextlib.contextmanager
def _watchdog(deadline: float | None) -> Iterator[None]:
    """End this process where a decode hangs: nothing else ends one. Its nanny replaces it; the batch notices."""
    if deadline is None or getattr(_dask_worker(), "nanny", None) is None:
        yield
        return
    timer = threading.Timer(deadline, os._exit, (_CRASHED,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def main() -> None:
    """Do one request that comes on stdin, and write its result to stdout, both pickled."""
    request, order = pickle.load(sys.stdin.buffer)  # noqa: S301  # from our own parent
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not mix with the result
    result = perform(request, order)
    with output:
        cloudpickle.dump(result, output)
