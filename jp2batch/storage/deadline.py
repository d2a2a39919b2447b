"""Until when the reads of a thread may last, whatever stores and retries would take."""

import contextlib
import contextvars
import time
from collections.abc import Iterator

_end: contextvars.ContextVar[float | None] = contextvars.ContextVar("end", default=None)


@contextlib.contextmanager
def read_deadline(end: float) -> Iterator[None]:
    """Let reads from stores fail with `TimeoutError` at a moment of `time.monotonic`, for the time of a block."""
    token = _end.set(end)
    try:
        yield
    finally:
        _end.reset(token)


def seconds_left() -> float | None:
    """Return how long a read may last from now on; None: as long as it takes."""
    end = _end.get()
    return None if end is None else max(0.001, end - time.monotonic())
