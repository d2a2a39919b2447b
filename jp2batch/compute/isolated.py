"""Run tasks in subprocesses, if a worker died while running them."""

import contextlib
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, cast

import cloudpickle

from jp2batch.compute.result import Result
from jp2batch.compute.task import PickledSpec, TaskSpec, run_task, unsealed
from jp2batch.compute.worker import LATE, memory_to_spare, watchdog, worker_name
from jp2batch.core.errors import DecoderCrashed, DecodeTimedOut, Jp2BatchError, UnexpectedError
from jp2batch.core.giving_up import current_check
from jp2batch.core.request import Request

_TRIES = 2  # attempts before a task is blamed for the death of its process
_GRACE = 10.0  # seconds beyond the deadline, for a process to start and end
_LOOK = 0.2  # seconds between checks whether anybody waits
_PYTHON_FAILED = 1  # exit code of Python after an exception


def run_task_in_subprocess(request: Request, order: TaskSpec | PickledSpec) -> Result:
    """Run a task in a subprocess, with the limits of this worker."""
    failure: Jp2BatchError
    worker, attempt = worker_name(), 2  # a worker died in the first attempt
    try:
        opened = unsealed(order, request)
        if opened.memory is None:
            opened = replace(opened, memory=memory_to_spare())
        for attempt in range(2, 2 + _TRIES):
            try:
                return replace(_in_a_child(request, opened), attempts=attempt, worker=worker)
            except DecoderCrashed as error:
                failure = error.with_traceback(None)
    except Jp2BatchError as error:
        failure = error.with_traceback(None)
    return Result(request, "failed", error=failure, attempts=attempt, worker=worker)


def _in_a_child(request: Request, order: TaskSpec) -> Result:
    """Run a task in a child process; raise if it returns nothing."""
    patience = None if order.deadline is None else order.deadline + _GRACE
    with _child() as child, _told(child, cloudpickle.dumps((request, order))):
        output, errors = _communicate(child, patience, _late(request, order))
    code = child.returncode
    if code == 0:
        result: Result = pickle.loads(output)  # noqa: S301  # our own child
        return result
    if code == LATE:
        raise _late(request, order)
    if code == _PYTHON_FAILED:
        last = errors.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise UnexpectedError(request.shown_path, f"its process did not start: {last}"[:500], "please report it")
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    raise DecoderCrashed(
        request.shown_path, f"decoding it ends the process ({how})", "the file is damaged: fetch it again"
    )


def _communicate(child: "subprocess.Popen[bytes]", patience: float | None, late: DecodeTimedOut) -> tuple[bytes, bytes]:
    """Return the output of a child, unless it is late or unwanted."""
    check, begin = current_check(), time.monotonic()
    while patience is None or time.monotonic() - begin < patience:
        check()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.communicate(timeout=_LOOK)
    raise late


@contextlib.contextmanager
def _child() -> Iterator["subprocess.Popen[bytes]"]:
    """Start a child process for a `with` block."""
    child = subprocess.Popen(
        [sys.executable, "-c", "from jp2batch.compute.isolated import main; main()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    with child:
        try:
            yield child
        finally:
            child.kill()


@contextlib.contextmanager
def _told(child: "subprocess.Popen[bytes]", message: bytes) -> Iterator[None]:
    """Send a message to a child; keep its input open meanwhile.

    The end of its input tells the child that this process has ended.
    """
    pipe, child.stdin = child.stdin, None  # or `communicate` would close it
    with contextlib.suppress(BrokenPipeError), contextlib.closing(cast("IO[bytes]", pipe)) as stream:
        with contextlib.suppress(BrokenPipeError):  # the child's exit code explains more
            stream.write(message)
            stream.flush()
        yield


def _late(request: Request, order: TaskSpec) -> DecodeTimedOut:
    return DecodeTimedOut(request.shown_path, f"not done after {order.deadline:.0f} s", "raise jp2batch.deadline")


def main() -> None:
    """Run the pickled task on stdin; write its pickled result to stdout."""
    request, order = pickle.load(sys.stdin.buffer)  # noqa: S301  # from our own parent
    threading.Thread(target=_end_with_parent, daemon=True).start()
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of libraries must not mix with the result
    with watchdog(order.deadline):
        result = run_task(request, order)
    with output:
        cloudpickle.dump(result, output)


def _end_with_parent() -> None:
    """End this process once its parent has ended: a decode may hang."""
    os.read(0, 1)  # not `sys.stdin`, whose lock Python needs at its end
    os._exit(LATE)
