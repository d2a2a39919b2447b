"""Time limits of reads and writes."""

import contextlib
import contextvars
import time
from collections.abc import Iterator
from typing import Any

from fsspec.asyn import AsyncFileSystem

_SILENCE = 15.0  # seconds that a store may take to answer a write
_SLOWEST = 100e3  # bytes per second of a slow line

_end: contextvars.ContextVar[float | None] = contextvars.ContextVar("end", default=None)


@contextlib.contextmanager
def read_deadline(end: float) -> Iterator[None]:
    """Limit reads from stores within a `with` block.

    Parameters
    ----------
    end : float
        Time of `time.monotonic` after which reads raise `TimeoutError`, retries included.
    """
    token = _end.set(end)
    try:
        yield
    finally:
        _end.reset(token)


def seconds_left() -> float | None:
    """Return the seconds until the deadline; None without a deadline."""
    end = _end.get()
    return None if end is None else max(0.001, end - time.monotonic())


def write_limit(fs: Any, size: int = 0) -> dict[str, float]:
    """Return fsspec's option for the time limit of a write.

    Drivers have no such limit: aiohttp waits for "100 Continue", and until the body is sent, for as long as it takes.
    """
    return {"timeout": _SILENCE + size / _SLOWEST} if isinstance(fs, AsyncFileSystem) else {}
