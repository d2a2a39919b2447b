"""Read and decode in a subprocess, because hostile bytes can crash OpenJPEG."""

import resource
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import dask
import numpy as np

from jp2batch.core.costs import StoreCosts
from jp2batch.core.errors import Jp2BatchError
from jp2batch.core.window import Window
from jp2batch.image import openjpeg
from jp2batch.image.read import read_from
from jp2batch.storage.source import MemorySource
from support.children import Child, ChildLost

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
    """Run tasks in a subprocess, replaced when it dies; `seconds` limits a task's processor time."""

    def __init__(self, seconds: float = 20) -> None:
        self._child = Child(deadline=seconds, memory=resource.RLIM_INFINITY)

    def run(self, task: Task) -> Outcome:
        try:
            return self._child.call(_outcome, task)
        except ChildLost as lost:
            return Outcome(bug=f"the process was lost: {lost.how}, {lost.detail}")

    def close(self) -> None:
        self._child.close()


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
