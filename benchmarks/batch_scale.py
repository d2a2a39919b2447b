"""Growth of a batch with its rows: processors, memory, first result, resume.

Each row asks for another window of a tiny image, at its lowest resolution: a read takes as good as nothing. Scheduler,
two workers and client are processes of their own; the client is the command line. The largest run is only resumed: its
results and records are made here.

`python -m benchmarks.batch_scale ROWS…` measures other numbers of rows.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks import ROOT
from benchmarks.setting import Setting
from benchmarks.table import Table, seconds
from jp2batch.batch.manifest.read import iter_manifest
from jp2batch.batch.records.entry import line_of
from jp2batch.compute.result import Result
from jp2batch.image.read import Stats
from jp2batch.sample.product import make_image

_ROWS = (1_000, 10_000, 100_000)
_MADE = 1_000_000  # rows of a run that is only resumed
_SIZE = 64  # pixels a side: 1.1 million windows with its middle
_LEFT = 100  # rows of a resumed run
_WORKERS = 2
_POLL = 0.01  # seconds between looks at the output


@dataclass(frozen=True, slots=True)
class Run:
    """Figures of a process that ran a batch."""

    processors: float
    """Processor seconds of the client."""
    scheduler: float
    """Processor seconds of the scheduler meanwhile."""
    peak: int
    """Peak memory of the client in bytes."""
    first: float
    """Seconds from the start of the process to the first line of the output."""
    took: float
    """Seconds of the process."""


def measure(setting: Setting) -> Table:
    """Measure batches of several sizes."""
    return scale([20, 40], [60]) if setting.quick else scale(_ROWS, [_MADE])


def scale(sizes: Sequence[int], made: Sequence[int] = ()) -> Table:
    """Measure batches of some numbers of rows, and their resumes.

    Of the numbers in `made`, only resumes are measured.
    """
    from distributed import Client, SubprocessCluster

    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="jp2batch-scale-") as folder,
        SubprocessCluster(n_workers=_WORKERS, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        pid: Any = client.run_on_scheduler(os.getpid)
        command = [sys.executable, "-m", "jp2batch", "run", "--quiet", "--scheduler", str(client.scheduler.address)]
        image = Path(folder, "tiny.jp2")
        make_image(image, np.zeros((_SIZE, _SIZE), np.uint16), 60)
        for size in (10, *sizes, *made):  # the first warms up
            output = Path(folder, f"{size}.ndjson")
            whole, longer = (manifest(Path(folder, f"m{count}.ndjson"), image, count) for count in (size, size + _LEFT))
            fresh = None if size in made else run([*command, str(whole), "-o", str(output)], output, pid)
            if fresh is None:
                finish(whole, output)
            again = run([*command, str(longer), "-o", str(output), "--resume"], output, pid)
            with output.open("rb") as lines:
                assert sum(1 for _ in lines) == size + _LEFT, "a row has no line, or several"
            for path in Path(folder).glob(f"{size}.ndjson*"):
                path.unlink()
            rows.append(_cells(size, fresh, again))
    head = [
        *("rows", "client, ms a row", "scheduler, ms a row", "client's peak, MiB", "first result", "the run"),
        *("resume, s of client's CPU", "its peak, MiB", "its first result"),
    ]
    note = f"A resumed run finds all rows but {_LEFT} done. ms and CPU: processor time."
    return Table(head, rows[1:], [note])


def finish(path: Path, output: Path) -> None:
    """Write results and records of all rows of a manifest, as a run would."""
    with output.open("wb") as results, output.with_name(f"{output.name}.records.ndjson").open("wb") as records:
        for request in iter_manifest(path):
            line = b'{"id":"%s","img_data":[[0,0,0],[0,0,0],[0,0,0]],"shape":[3,3]}\n' % request.id.encode()
            checksum = f"md5:{hashlib.md5(line, usedforsecurity=False).hexdigest()}"
            stats = Stats(bytes_read=1460, requests=1, retries=0, time_download=0.001234, time_processing=0.002345)
            results.write(line)
            result = Result(request, "ok", stats=stats, shape=(3, 3), dtype="uint16", worker="tcp://127.0.0.1:40123")
            records.write(line_of(replace(result, output_size=len(line), output_checksum=checksum)))


def _cells(size: int, fresh: Run | None, again: Run) -> Sequence[str]:
    resume = (f"{again.processors:.2f}", f"{again.peak >> 20}", seconds(again.first))
    if fresh is None:
        return [f"{size}", *("–" * 5), *resume]
    each = (f"{1000 * taken / size:.3f}" for taken in (fresh.processors, fresh.scheduler))
    waits = (seconds(fresh.first), seconds(fresh.took))
    return [f"{size}", *each, f"{fresh.peak >> 20}", *waits, *resume]


def manifest(path: Path, image: Path, count: int) -> Path:
    """Write a manifest of different windows of an image."""
    with path.open("w") as file:
        file.writelines(
            f'{{"Path":"{image}","window":"{window}","scene":"S2A_{number:07}","cloud":0.5}}\n'
            for number, window in enumerate(islice(windows(), count))
        )
    return path


def windows() -> Iterator[str]:
    """Iterate over windows, all different, with a pixel at the lowest resolution."""
    half = _SIZE // 2
    bounds = [f"{start}:{stop}" for start in range(half + 1) for stop in range(half + 1, _SIZE + 1)]
    return (f"{rows},{columns}" for rows, columns in product(bounds, bounds))


def run(command: Sequence[str], output: Path, scheduler: int) -> Run:
    """Run a command to its end; return its figures."""
    of_scheduler = _clock(scheduler)
    before = output.stat().st_size if output.exists() else 0
    begin, first = time.perf_counter(), 0.0
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        now = time.perf_counter() - begin
        if not first and output.exists() and output.stat().st_size > before:
            first = now
        if pid:
            break
        time.sleep(_POLL)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    own = usage.ru_utime + usage.ru_stime
    return Run(own, of_scheduler(), usage.ru_maxrss << 10, first, now)


def _clock(pid: int) -> Callable[[], float]:
    """Return a function that returns the processor seconds of a process from now."""
    process = psutil.Process(pid)

    def taken() -> float:
        return float(sum(process.cpu_times()[:2]))

    begin = taken()
    return lambda: taken() - begin


if __name__ == "__main__":
    print(scale([int(argument) for argument in sys.argv[1:]]))
