"""Start a cluster as by hand: processes of a scheduler, nannies and workers."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.processes import kill_family


@dataclass
class Cluster:
    """The processes of a cluster."""

    folder: Path
    scheduler: "subprocess.Popen[bytes]"
    workers: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Address of the scheduler."""
        told = self.folder / "scheduler.json"
        deadline = time.monotonic() + 60
        while not told.exists() or not told.read_bytes().endswith(b"}"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return json.loads(told.read_bytes())["address"]

    def add_worker(self, *arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
        """Start a worker."""
        process = _start(self.folder, "worker", self.address, "--nthreads", "1", *arguments, **options)
        self.workers.append(process)
        return process

    def restart_scheduler(self, wait: Callable[[], object] = lambda: None) -> None:
        """Kill the scheduler, whose workers end; wait, and start another at its address."""
        port = self.address.rpartition(":")[2]
        kill_family(self.scheduler)
        wait()
        (self.folder / "scheduler.json").unlink()
        self.scheduler = _start_scheduler(self.folder, port)

    def log(self) -> str:
        """Return the log of its processes."""
        return "".join(path.read_text() for path in self.folder.glob("*.log"))


@contextmanager
def cluster_by_hand(folder: Path, workers: int = 2, *, protocol: str = "tcp", **options: Any) -> Iterator[Cluster]:
    """Run a cluster in a `with` block; `options` are those of its workers."""
    folder.mkdir()
    cluster = Cluster(folder, _start_scheduler(folder, protocol=protocol))
    try:
        for _ in range(workers):
            cluster.add_worker(**options)
        yield cluster
    finally:
        for process in (*cluster.workers, cluster.scheduler):
            kill_family(process)


def _start_scheduler(folder: Path, port: str = "0", protocol: str = "tcp") -> "subprocess.Popen[bytes]":
    told = ["--protocol", protocol, "--port", port, "--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
    return _start(folder, "scheduler", "--scheduler-file", str(folder / "scheduler.json"), *told)


def _start(folder: Path, kind: str, *arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *arguments]
    with (folder / f"{kind}-{time.time_ns()}.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, **{"cwd": folder, "env": os.environ, **options})
