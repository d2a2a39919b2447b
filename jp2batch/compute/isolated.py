"""Run tasks in child processes, which may crash or hang.

A child runs one task after another, as long as tasks come, and ends with its parent.
"""

import contextlib
import math
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import IO, cast

from jp2batch.compute.result import Result
from jp2batch.compute.task import PickledSpec, TaskSpec, run_task, unsealed
from jp2batch.compute.worker import LATE, memory_to_spare, watchdog, worker_name
from jp2batch.core import config
from jp2batch.core.errors import DecoderCrashed, DecodeTimedOut, Jp2BatchError, UnexpectedError
from jp2batch.core.giving_up import current_check
from jp2batch.core.request import Request
from jp2batch.core.runtime import process_state

_TRIES = 2  # attempts before a task is blamed for the death of its process
_START = 120.0  # seconds for a process to start, and to import what a task needs
_GRACE = 10.0  # seconds beyond the deadline, for a process to end
_LOOK = 0.2  # seconds between checks whether anybody waits
_IDLE = 30.0  # seconds after which a child without a task ends
_IDLE_CODE = 87  # exit code of a child that was idle
_PYTHON_FAILED = 1  # exit code of Python after an exception, or if it does not start
_BEGUN = b""  # the answer of a child that begins a task
_LOG_END = 4096  # bytes


def run_task_in_subprocess(request: Request, order: TaskSpec | PickledSpec) -> Result:
    """Run a task in a child process, within this worker's limits."""
    return Result.unpack(request, run_task_in_child(request, order))


def run_task_in_child(request: Request, order: TaskSpec | PickledSpec) -> bytes:
    """Run a task as `run_task_in_subprocess` does; return the packed result."""
    failure: Jp2BatchError
    attempt = 1
    try:
        deadline = unsealed(order, request).deadline
        sealed = order if isinstance(order, PickledSpec) else PickledSpec.of(order)
        task = _Task(request, sealed, deadline, memory_to_spare(), worker_name(), attempt)
        for attempt in range(1, 1 + _TRIES):
            try:
                return _run(replace(task, attempt=attempt))
            except DecoderCrashed as error:
                failure = error.with_traceback(None)
    except Jp2BatchError as error:
        failure = error.with_traceback(None)
    return Result(request, "failed", error=failure, attempts=attempt, worker=worker_name()).pack()


@dataclass(frozen=True, slots=True)
class _Task:
    """A task for a child process."""

    request: Request
    order: PickledSpec
    deadline: float | None
    memory: int | None
    worker: str
    attempt: int

    def run(self, begin: Callable[[], object]) -> bytes:
        """Run the task in this process; return the packed result.

        `begin` is called when all modules are imported.
        """
        order: TaskSpec | PickledSpec = self.order
        with contextlib.suppress(Exception):  # `run_task` finds it again
            opened = unsealed(order, self.request)
            order = replace(opened, memory=self.memory) if opened.memory is None else opened
            config.apply_settings(order.settings)
            order.load()
            order.open(self.request, order.storage_options)  # imports its driver
        begin()
        with watchdog(self.deadline):
            result = run_task(self.request, order)
        return replace(result, attempts=self.attempt, worker=self.worker).pack()


def _run(task: _Task) -> bytes:
    """Run a task in a child process; raise if it ends."""
    message, patience = pickle.dumps(task), math.inf if task.deadline is None else task.deadline + _GRACE
    while True:
        with _child() as child:
            if (answer := child.run(message, patience)) is not None:
                return answer
            if child.code != _IDLE_CODE:
                raise _blamed(task, child)


def _blamed(task: _Task, child: "_Child") -> Jp2BatchError:
    """Return the error of a task whose child process has ended."""
    path, code = task.request.shown_path, child.code or 0
    if code == LATE:
        return DecodeTimedOut(path, f"not done after {task.deadline:.0f} s", "raise jp2batch.deadline")
    if code == _PYTHON_FAILED:
        problem = f"its process did not start: {child.last_words()}"
        return UnexpectedError(path, problem[:500], "please report it")
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return DecoderCrashed(path, f"decoding it ends the process ({how})", "the file is damaged: fetch it again")


class _Child:
    """A child process; `code` is its exit code, `close` ends it."""

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from jp2batch.compute.isolated import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self._input, output = cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)
        self._answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(output, self._answers), daemon=True, name="jp2batch-child").start()
        self.code: int | None = None
        self.close = weakref.finalize(self, _close, self._process, self._log)

    def run(self, task: bytes, patience: float) -> bytes | None:
        """Run a pickled task; None if the process ends instead."""
        check, end, late = current_check(), time.monotonic() + _START, _PYTHON_FAILED
        with contextlib.suppress(BrokenPipeError):  # the exit code explains more
            pickle.dump(task, self._input)
            self._input.flush()
        while time.monotonic() < end:
            check()
            with contextlib.suppress(queue.Empty):
                answer = self._answers.get(timeout=_LOOK)
                if answer == _BEGUN:
                    end, late = time.monotonic() + patience, LATE
                    continue
                self.code = self._process.wait() if answer is None else None
                return answer
        self.code = late
        return None

    def last_words(self) -> str:
        """Return the last line printed by the process."""
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - _LOG_END))
        return self._log.read().decode("utf-8", "replace").strip().rpartition("\n")[2]


def _read(source: IO[bytes], answers: "queue.SimpleQueue[bytes | None]") -> None:
    """Read pickled answers of a child; its end is None."""
    with contextlib.suppress(EOFError, pickle.UnpicklingError, OSError, ValueError):
        while True:
            answers.put(pickle.load(source))  # noqa: S301  # our own child
    answers.put(None)


def _close(process: "subprocess.Popen[bytes]", log: IO[bytes]) -> None:
    process.kill()
    with log, contextlib.suppress(BrokenPipeError), process:
        pass


@contextlib.contextmanager
def _child() -> Iterator[_Child]:
    """Take an idle child process, or start another, for a `with` block."""
    idle = _idle_children()
    try:
        child = idle.pop()
    except IndexError:
        child = _Child()
    try:
        yield child
    except BaseException:
        child.close()
        raise
    if child.code is None:
        idle.append(child)
    else:
        child.close()


@process_state()
def _idle_children() -> list[_Child]:
    return []


def main() -> None:
    """Run pickled tasks from stdin; write their pickled results to stdout."""
    tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(tasks,), daemon=True).start()
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of libraries must not mix with results

    def answer(data: bytes) -> None:
        pickle.dump(data, output)
        output.flush()

    with contextlib.suppress(queue.Empty):
        while True:
            task: _Task = pickle.loads(tasks.get(timeout=_IDLE))  # noqa: S301  # from our own parent
            answer(task.run(partial(answer, _BEGUN)))
    os._exit(_IDLE_CODE)  # the other thread is reading


def _receive(tasks: "queue.SimpleQueue[bytes]") -> None:
    """Receive tasks; end this process with its parent: a decode may hang."""
    source = os.fdopen(os.dup(0), "rb")
    with contextlib.suppress(EOFError):
        while True:
            tasks.put(pickle.load(source))  # noqa: S301  # from our own parent
    os._exit(LATE)
