"""Find and measure processes started by others; any can end at any moment."""

import contextlib
import subprocess
from collections.abc import Iterator
from typing import Any

import psutil


def children_of(pid: int) -> list[psutil.Process]:
    """Return the child processes of a process; empty if it has ended."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def workers_of(pid: int) -> list[psutil.Process]:
    """Return the worker processes of the cluster started by a process."""
    return list(_workers(children_of(pid)))


def _workers(processes: list[psutil.Process]) -> Iterator[psutil.Process]:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie is none, too
            if any("spawn_main" in part for part in process.cmdline()):
                yield process


def kill_family(process: "subprocess.Popen[Any]") -> None:
    """Kill a process and its descendants."""
    children = children_of(process.pid)
    process.kill()
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait()


def memory_of(pid: int) -> int:
    """Return the resident bytes of a process and its descendants."""
    return sum(map(_resident, [psutil.Process(pid), *children_of(pid)]))


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0
