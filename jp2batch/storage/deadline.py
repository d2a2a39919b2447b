"""A deadline for all reads of the current context."""

import contextlib
import contextvars
import time
from collections.abc import Iterator

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
