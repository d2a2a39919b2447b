"""Read and decode in a subprocess, because hostile bytes can crash OpenJPEG."""

import contextlib
import multiprocessing
import resource
import sys
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import dask
import numpy as np
import psutil

from jp2batch.core.costs import StoreCosts
from jp2batch.core.errors import Jp2BatchError
from jp2batch.core.window import Window
from jp2batch.image import openjpeg
from jp2batch.image.read import read_from
from jp2batch.storage.source import MemorySource

FREE = StoreCosts(latency=0, bandwidth=1e9, connections=8)
REMOTE = StoreCosts(latency=0.1, bandwidth=1e6, connections=8)
"""Costs of requests: packets are read ahead, and near ranges merged."""


@dataclass(frozen=True)
class Task:
    """A read of possibly hostile bytes."""

    data: bytes
    rlevel: int = 0
    window: Window | None = None
    store: StoreCosts = FREE
    whole: bool = False
    compare: bool = False
    """True to decode the whole codestream with OpenJPEG as well."""
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """Outcome of a task."""

    error: Jp2BatchError | None = None
    bug: str = ""
    """Another exception, or the death of the process."""
    stats: Any = None
    values: np.ndarray | None = None
    expected: np.ndarray | Jp2BatchError | None = None
    """OpenJPEG's decode of the whole codestream in the shape of `values`, or its error."""
    seconds: float = 0
    memory: int = 0
    """Peak growth of the process in bytes."""
    requests: int = 0


class Away:
    """Run tasks in a subprocess, replaced when it dies.

    `seconds` limits the CPU time of a task, which other work on the machine hardly changes; a task that only waits has
    ten times as long.
    """

    def __init__(self, seconds: float = 20) -> None:
        self._seconds = seconds
        self._process: Any = None

    def run(self, task: Task) -> Outcome:
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._ours, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
            self._ours.recv()
        self._ours.send(task)
        try:
            if self._answers():
                return self._ours.recv()
            self.close()
            return Outcome(bug=f"it took more than {self._seconds} s")
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            self._process = None
            return Outcome(bug=f"the process died with {code}")

    def _answers(self) -> bool:
        """Wait for an answer; return whether it came within the limit."""
        process = psutil.Process(self._process.pid)
        before, end = sum(process.cpu_times()[:2]), time.monotonic() + 10 * self._seconds
        while not self._ours.poll(0.5):
            with contextlib.suppress(psutil.NoSuchProcess):  # its end is read from the pipe
                if sum(process.cpu_times()[:2]) - before > self._seconds or time.monotonic() > end:
                    return False
        return True

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._ours.close()
            self._process = None


def _serve(connection: Connection) -> None:
    openjpeg.library()
    connection.send("ready")
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        connection.send(_outcome(task))


def _outcome(task: Task) -> Outcome:
    before, begin = _peak(), time.process_time()
    source = MemorySource(task.data, path="memory://hostile.jp2", profile=task.store)
    limit = "1 GiB" if task.whole else 0
    settings = {"jp2batch.max-whole-file": limit, "jp2batch.first-read": 300, "jp2batch.threads": 1, **task.settings}
    found: dict[str, Any] = {}
    try:
        with dask.config.set(settings):
            pixels = read_from(source, lambda opened: opened.selected(task.rlevel, task.window))
        found = {"values": pixels.values, "stats": pixels.stats}
    except Jp2BatchError as error:
        found = {"error": error}
    except Exception as error:  # noqa: BLE001  # any other is what the tests look for
        found = {"bug": f"{type(error).__name__}: {error}"}
    found |= {"seconds": time.process_time() - begin, "memory": _peak() - before, "requests": source.meter.requests}
    if task.compare and "values" in found:
        found["expected"] = _whole(task, found["values"])
    return Outcome(**found)


def _whole(task: Task, values: np.ndarray) -> np.ndarray | Jp2BatchError:
    expected = np.zeros_like(values)
    try:
        openjpeg.decode(task.data[task.data.index(b"\xff\x4f\xff\x51") :], expected, reduce=task.rlevel)
    except Jp2BatchError as error:
        return error
    return expected


def _peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
