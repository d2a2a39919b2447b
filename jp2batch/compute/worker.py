"""The process that a request is done in: its name, the memory that it has to spare, and what ends it in time."""

import contextlib
import os
import platform
import threading
from collections.abc import Iterator

from jp2batch.core.runtime import process_state
from jp2batch.storage.cluster_limits import current_worker

LATE = 86
"""Exit code of a process that its watchdog has ended."""

_SHARE = 0.9  # of its limit, that a worker may take: at 95 % its nanny ends it
_LATER = 32 << 20  # bytes of what is imported by the first delivery


def worker_name() -> str:
    """Return the address of the dask worker that this runs in, or the machine and number of this process."""
    worker = current_worker()
    return f"{platform.node()}:{os.getpid()}" if worker is None else str(worker.address)


def memory_to_spare() -> int | None:
    """Return the bytes that one request may take here, or None: nobody has set a limit.

    It is the same for all requests: what the process takes by itself is the least that it was ever seen to take, since
    of what requests have taken, much is given back late.
    """
    worker = current_worker()
    limit = worker and worker.memory_manager.memory_limit
    if not limit:
        return None
    now = worker.monitor.get_process_memory()
    idle = _idle()
    idle[worker.address] = least = min(now, idle.get(worker.address, now))
    return max(0, int(limit * _SHARE - least - _LATER) // int(worker.state.nthreads))


@contextlib.contextmanager
def watchdog(seconds: float | None) -> Iterator[None]:
    """End this process where a `with` block takes longer: nothing else ends a decode that hangs."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, os._exit, (LATE,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def is_replaced() -> bool:
    """Tell whether this process is started again when it ends: a dask worker with a nanny, which the batch notices."""
    return getattr(current_worker(), "nanny", None) is not None


@process_state()
def _idle() -> dict[str, int]:
    """Return the least bytes that each worker was seen to take, by its address."""
    return {}
