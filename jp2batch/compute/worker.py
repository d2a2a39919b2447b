"""The worker process: its name, its memory, and its watchdog."""

import contextlib
import os
import platform
from functools import partial

from jp2batch.compute.alarms import alarms
from jp2batch.core.runtime import process_state
from jp2batch.storage.cluster_limits import current_worker

LATE = 86
"""Exit code of a process ended by its watchdog."""

_SHARE = 0.9  # share of its limit that a worker may use: at 95 % its nanny ends it
_LATER = 32 << 20  # bytes of the modules that the first delivery imports


def worker_name() -> str:
    """Return the dask worker's address, or host and id of this process."""
    worker = current_worker()
    return f"{platform.node()}:{os.getpid()}" if worker is None else str(worker.address)


def memory_to_spare() -> int | None:
    """Return the memory for a request in bytes; None without a limit.

    It is the same for all requests. The memory of the idle process is estimated as the least ever seen, because memory
    of finished requests is often released late.
    """
    worker = current_worker()
    limit = worker and worker.memory_manager.memory_limit
    if not limit:
        return None
    now = worker.monitor.get_process_memory()
    idle = _idle()
    idle[worker.address] = least = min(now, idle.get(worker.address, now))
    return max(0, int(limit * _SHARE - least - _LATER) // int(worker.state.nthreads))


def watchdog(seconds: float | None) -> contextlib.AbstractContextManager[None]:
    """End this process if a `with` block takes longer than `seconds`.

    Nothing else ends a decode that hangs.
    """
    if seconds is None:
        return contextlib.nullcontext()
    return alarms().after(seconds, partial(os._exit, LATE))


def is_replaced() -> bool:
    """Return whether this process is restarted after its end.

    True for a dask worker with a nanny; the batch notices the restart.
    """
    return getattr(current_worker(), "nanny", None) is not None


def is_irreplaceable() -> bool:
    """Return whether a crash here would cost the cluster a worker.

    True for a dask worker without a nanny, if it does not run in the process of its scheduler.
    """
    worker = current_worker()
    return worker is not None and worker.nanny is None and not str(worker.address).startswith("inproc")


@process_state()
def _idle() -> dict[str, int]:
    """Return the least memory seen of each worker in bytes."""
    return {}
