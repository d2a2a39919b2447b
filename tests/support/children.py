"""Run functions in child processes with a deadline and a memory limit.

Hostile bytes may end a child, never the tests.
"""

import multiprocessing
import resource
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

import psutil

DEADLINE = 10.0
"""Seconds of processor time until the next result of a child."""
_PATIENCE = 6  # times that, in wall time: the machine may be busy
MEMORY = 2 << 30
"""Bytes of address space of a child."""
_START = 120.0  # seconds for a child to import what it needs, on a busy machine


class ChildLost(Exception):
    """A child gave no result; `how` is "hang" or "crash"."""

    def __init__(self, how: str, detail: str) -> None:
        super().__init__(how, detail)
        self.how, self.detail = how, detail


class ChildError(Exception):
    """The function raised in the child; the text is its traceback."""


class Child:
    """A process that serves calls, replaced when lost."""

    def __init__(self, *, deadline: float = DEADLINE, memory: int = MEMORY) -> None:
        self._deadline, self._memory = deadline, memory
        self._process: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return the value of a function of an importable module."""
        (value,) = self.stream(_single, function, *args)
        return value

    def stream(self, function: Callable[..., Iterator[Any]], *args: Any) -> Iterator[Any]:
        """Iterate over the values of a generator function, with a deadline for each.

        Raises
        ------
        ChildLost
            The child has died, or did not answer in time.
        ChildError
            The function has raised.
        """
        if self._process is None:
            self._start()
        done = False
        try:
            self._ours.send((function, args))
            while True:
                kind, value = self._receive(self._deadline)
                if kind != "value":
                    done = True
                    break
                yield value
        finally:
            if not done:  # nobody wants the other values
                self.close()
        if kind == "error":
            raise ChildError(value)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._ours.close()
            self._process = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._memory), daemon=True)
        self._process.start()
        theirs.close()
        self._receive(_START)

    def _receive(self, seconds: float) -> tuple[str, Any]:
        begin, used = time.monotonic(), self._computed()
        try:
            while time.monotonic() - begin < _PATIENCE * seconds and self._computed() - used < seconds:
                if self._ours.poll(0.5):
                    return self._ours.recv()  # type: ignore[no-any-return]
        except (EOFError, ConnectionError):
            self._process.join()
            raise ChildLost("crash", f"exit code {self._process.exitcode}") from None
        raise ChildLost("hang", f"no result within {seconds:g} s")

    def _computed(self) -> float:
        """Return the processor time of the child in seconds."""
        try:
            times = psutil.Process(self._process.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)


def _single(function: Callable[..., Any], *args: Any) -> Iterator[Any]:
    yield function(*args)


def _serve(connection: Connection, memory: int) -> None:
    from jp2batch.image import openjpeg

    openjpeg.library()
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection.send(("value", "ready"))
    while True:
        try:
            function, args = connection.recv()
        except EOFError:
            return
        try:
            for value in function(*args):
                connection.send(("value", value))
        except Exception:  # noqa: BLE001  # the parent reports it
            connection.send(("error", traceback.format_exc()))
        else:
            connection.send(("done", None))
