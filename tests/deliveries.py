"""What the tests of batches let workers make of pixels: in a module of its own, that workers can import."""

import os
import signal
import threading
import time
from pathlib import Path


class NoteEach:
    """A delivery that leaves a file each time it is called."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, _pixels, request):
        Path(self.folder, f"{time.time_ns()}-{threading.get_ident()}").touch()
        return request.path


def surprise(_pixels, _request):
    raise ZeroDivisionError("by\nnothing")


def dangerous(pixels, request):
    """Deliver, but for files that are marked: one kills its process, one hangs."""
    if "poison" in request.path:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hangs" in request.path:
        time.sleep(600)
    return int(pixels.values.sum())


def slow(pixels, _request):
    time.sleep(0.05)
    return int(pixels.values.sum())
