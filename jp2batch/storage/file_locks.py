"""Locks on local files against other processes of this machine."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Lock a file for a `with` block; wait for other processes.

    Locks a hidden file beside it with `flock`; the lock ends with the process. Without `flock`, as on Windows and on
    some network disks, and in a folder that cannot be written, nothing is locked.
    """
    lock = path.with_name(f".{path.name}.lock")
    handle = _held(lock)
    try:
        yield
    finally:
        if handle is not None:
            lock.unlink(missing_ok=True)
            os.close(handle)


def _held(lock: Path) -> int | None:
    """Return the handle of a locked file, or None if impossible."""
    if fcntl is None:
        return None
    while True:
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return None
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(handle).st_ino == lock.stat().st_ino:
                return handle
        os.close(handle)  # another process has removed the lock file
