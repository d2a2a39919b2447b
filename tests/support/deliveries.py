"""Deliveries for tests of batches, in a module importable by workers."""

import hashlib
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np

from jp2batch.service.roots import open_below


class NoteEach:
    """A delivery that writes a file at each call."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, _pixels, request):
        Path(self.folder, f"{time.time_ns()}-{threading.get_ident()}").touch()
        return request.path


def surprise(_pixels, _request):
    raise ZeroDivisionError("by\nnothing")


def digest(pixels, _request):
    return hashlib.sha256(np.ascontiguousarray(pixels.values)).hexdigest()


def dangerous(pixels, request):
    """Deliver, but kill the process or hang for marked files."""
    if "poison" in request.path:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hangs" in request.path:
        time.sleep(600)
    return int(pixels.values.sum())


def slow(pixels, _request):
    time.sleep(0.05)
    return int(pixels.values.sum())


class ImportsSlowly:
    """A delivery whose imports take some seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._value = seconds, "not imported"

    def load(self) -> None:
        time.sleep(self._seconds)
        self._value = "imported"

    def __call__(self, _pixels, _request):
        return self._value


class DangerousSource:
    """A source that notes its first read, but kills, hangs or waits for marked files."""

    def __init__(self, source, path):
        self._source, self._path = source, path

    def __getattr__(self, name):
        return getattr(self._source, name)

    def read_many(self, ranges):
        pieces, path = self._source.read_many(ranges), self._path
        self._path = ""
        if path and "NOTES" in os.environ:
            with Path(os.environ["NOTES"]).open("a") as notes:
                notes.write(f"{path}\n")
        if "poison" in path:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "hangs" in path:
            time.sleep(600)
        if "slow" in path:
            time.sleep(0.5)
        return pieces


def dangerous_open(request, storage_options):
    """Open a file below a root; reads of marked files are dangerous."""
    return DangerousSource(open_below(request, storage_options), request.path)
