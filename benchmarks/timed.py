"""Time a read in a new process, after imports and a read of a local file."""

import contextlib
import gc
import hashlib
import re
import resource
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fresh import in_fresh_process
from benchmarks.readers import READERS, Pixels
from benchmarks.server import Counts, counts_at
from jp2batch.core.window import Window
from jp2batch.image.openjpeg_decoder import OpenJpegDecoder


@dataclass(frozen=True, slots=True)
class Read:
    """A read to measure."""

    reader: str
    """Name of the reader in `READERS`."""
    path: str
    """Path or URL of the image."""
    rlevel: int
    window: Window | None
    expected: str
    """Digest of the expected pixels."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the reader."""
    before: tuple[int, Window | None] | None = None
    """Level and window to read before the clock starts, if any."""
    path_before: str = ""
    """Path or URL of another image to read before; empty: the same."""
    server: str = ""
    """Address of the counting server; None for local files."""
    configuration: Mapping[str, Any] = field(default_factory=dict)
    """Configuration of dask."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Statistics of a read."""

    seconds: float
    """Wall time in seconds."""
    counts: Counts
    """Counts of the server."""
    memory: int
    """Peak memory in bytes, beyond the process with all imports."""
    cpu: float = 0.0
    """Processor time of the reading process in seconds."""
    decoding: float = 0.0
    """Share of `cpu` in jp2batch's decoder."""


def timed(read: Read, warm_up: str) -> Taken:
    """Time a read in this process, after a first read."""
    import dask

    reader = READERS[read.reader](read.options)
    imported = peak_memory()
    with dask.config.set(read.configuration):
        if read.reader != "whole tiles":
            reader(f"file://{warm_up}" if read.reader == "whole file" else warm_up, 1, None)
        if read.before is not None:
            reader(read.path_before or read.path, *read.before)
        gc.collect()
        before = counts_at(read.server) if read.server else Counts()
        begin, computed = time.perf_counter(), time.process_time()
        with decoding_time() as decoding:
            pixels = reader(read.path, read.rlevel, read.window)
        seconds, cpu = time.perf_counter() - begin, time.process_time() - computed
    counts = counts_at(read.server).since(before) if read.server else Counts()
    memory = peak_memory() - imported
    if digest(pixels) != read.expected:
        raise AssertionError(f"{read.reader} gives other pixels of {read.path} than it should")
    return Taken(seconds, counts, memory, cpu, sum(decoding))


@contextlib.contextmanager
def decoding_time() -> Iterator[list[float]]:
    """Collect the processor times of decodes by jp2batch in a `with` block.

    While any decode uses threads of its own, the time of the whole process counts.
    """
    taken: list[float] = []
    decode: Any = OpenJpegDecoder.decode
    lock, under_way, since = threading.Lock(), 0, 0.0

    def timed_decode(*args: Any, threads: int, **options: Any) -> Any:
        nonlocal under_way, since
        begin = time.thread_time()
        if threads > 1:
            with lock:
                under_way, since = under_way + 1, since if under_way else time.process_time()
        try:
            return decode(*args, threads=threads, **options)
        finally:
            if threads == 1:
                taken.append(time.thread_time() - begin)
            else:
                with lock:
                    under_way -= 1
                    taken.extend([] if under_way else [time.process_time() - since])

    own: Any = OpenJpegDecoder
    own.decode = timed_decode
    try:
        yield taken
    finally:
        own.decode = decode


def in_turns(reads: Sequence[Read], rounds: int, warm_up: str) -> list[Taken]:
    """Measure reads in rounds, each in a new process; return their medians."""
    taken: list[list[Taken]] = [[] for _ in reads]
    for _ in range(rounds):
        for found, read in zip(taken, reads, strict=True):
            found.append(in_fresh_process(timed, read, warm_up))
    return [median(found) for found in taken]


def median(taken: Iterable[Taken]) -> Taken:
    """Return the read of median time, with the largest memory of all, and the median processor times."""
    ordered = sorted(taken, key=lambda one: one.seconds)
    middle = ordered[len(ordered) // 2]
    cpu, decoding = (_middle(getattr(one, name) for one in ordered) for name in ("cpu", "decoding"))
    return Taken(middle.seconds, middle.counts, max(one.memory for one in ordered), cpu, decoding)


def _middle(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def median_of_places(taken: Sequence[Taken]) -> Taken:
    """Return the medians of reads of several places."""
    if len(taken) == 1:
        return taken[0]
    requests, sizes = (int(_middle(getattr(one.counts, name) for one in taken)) for name in ("requests", "bytes"))
    return replace(median(taken), counts=Counts(requests, bytes=sizes))


def digest(pixels: Pixels) -> str:
    """Return a digest of pixels."""
    values = np.ascontiguousarray(pixels, "<u2")
    return f"{values.shape} {hashlib.sha256(values.data).hexdigest()}"


def peak_memory() -> int:
    """Return the peak memory of this process.

    getrusage would count the memory of the parent before exec.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"^VmHWM:\s*(\d+) kB$", status.read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
