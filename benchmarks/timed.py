"""One read in a process of its own: all is imported and has been used on a local file before the clock starts."""

import gc
import hashlib
import re
import resource
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fresh import in_fresh_process
from benchmarks.readers import READERS, Pixels, Window
from benchmarks.server import Counts, counts_at


@dataclass(frozen=True, slots=True)
class Read:
    """What is read, and how."""

    reader: str
    """Its name in `READERS`."""
    path: str
    """A path or a URL."""
    rlevel: int
    window: Window | None
    expected: str
    """The digest of the pixels that it must give."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The reader's."""
    before: tuple[int, Window | None] | None = None
    """Level and window that are read of the same file before the clock starts, if any."""
    server: str = ""
    """The address of the server that counts; none for local files."""
    configuration: Mapping[str, Any] = field(default_factory=dict)
    """Of dask, which has jp2batch's."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a read took."""

    seconds: float
    """Wall time."""
    counts: Counts
    """Of the server."""
    memory: int
    """Bytes at most, beyond those of the process with all imports."""


def timed(read: Read, warm_up: str) -> Taken:
    """Read in this process, once something else has been read."""
    import dask

    reader = READERS[read.reader](read.options)
    imported = _peak()
    with dask.config.set(read.configuration):
        if read.reader != "whole tiles":
            reader(f"file://{warm_up}" if read.reader == "whole file" else warm_up, 1, None)
        if read.before is not None:
            reader(read.path, *read.before)
        gc.collect()
        before = counts_at(read.server) if read.server else Counts()
        begin = time.perf_counter()
        pixels = reader(read.path, read.rlevel, read.window)
        seconds = time.perf_counter() - begin
    counts = counts_at(read.server).since(before) if read.server else Counts()
    memory = _peak() - imported
    if digest(pixels) != read.expected:
        raise AssertionError(f"{read.reader} gives other pixels of {read.path} than it should")
    return Taken(seconds, counts, memory)


def in_turns(reads: Sequence[Read], rounds: int, warm_up: str) -> list[Taken]:
    """Do reads one after the other, round after round, each in a fresh process; return their medians."""
    taken: list[list[Taken]] = [[] for _ in reads]
    for _ in range(rounds):
        for found, read in zip(taken, reads, strict=True):
            found.append(in_fresh_process(timed, read, warm_up))
    return [median(found) for found in taken]


def median(taken: Iterable[Taken]) -> Taken:
    """Return the one whose time is in the middle, with the most memory of all."""
    ordered = sorted(taken, key=lambda one: one.seconds)
    middle = ordered[len(ordered) // 2]
    return Taken(middle.seconds, middle.counts, max(one.memory for one in ordered))


def digest(pixels: Pixels) -> str:
    """Return what tells whether pixels are equal."""
    values = np.ascontiguousarray(pixels, "<u2")
    return f"{values.shape} {hashlib.sha256(values.data).hexdigest()}"


def _peak() -> int:
    """Return the most memory that this process has had; getrusage would count that of its parent before the exec."""
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"^VmHWM:\s*(\d+) kB$", status.read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
