"""Deliveries for tests of batches, in a module importable by workers."""

import hashlib
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np

from jp2batch.service.worker_actor import select_within


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


def dangerous_select(request, opened, *, most):
    """Select and note the selection, but kill, hang or wait for marked files."""
    if "NOTES" in os.environ:
        with Path(os.environ["NOTES"]).open("a") as notes:
            notes.write(f"{request.path}\n")
    if "poison" in request.path:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hangs" in request.path:
        time.sleep(600)
    if "slow" in request.path:
        time.sleep(0.5)
    return select_within(request, opened, most=most)
