"""Locks on local files against other runs of this machine."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from jp2batch.core.errors import StorageError

try:
    import fcntl
except ImportError:  # on Windows, where the lease alone prevents a second run
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def locked(paths: Iterable[Path], *, make: bool, refusal: Callable[[Path], StorageError]) -> Iterator[None]:
    """Lock files against other runs for a `with` block.

    Locks a hidden file beside each with `flock`; the lock ends with the process. With `make`, missing folders are made,
    and removed again if they stay empty.

    Raises
    ------
    StorageError
        Another run holds a lock; `refusal` makes the error.
    """
    with contextlib.ExitStack() as stack:
        for path in sorted(set(paths)):
            if make:
                stack.enter_context(_made(path.parent))
            stack.enter_context(_locked(path, refusal))
        yield


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if new:
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()


@contextlib.contextmanager
def _locked(path: Path, refusal: Callable[[Path], StorageError]) -> Iterator[None]:
    if fcntl is None:
        yield
        return
    lock = path.with_name(f".{path.name.removeprefix('.')}.lock")
    handle = _held(lock)
    if handle is None:
        raise refusal(path)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def _held(lock: Path) -> int | None:
    """Return the handle of a locked file; None if locked elsewhere."""
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError:  # a file system without locks
            return handle
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(handle).st_ino == lock.stat().st_ino:
                return handle
        os.close(handle)  # the lock file of a run that has just ended, and removed it
