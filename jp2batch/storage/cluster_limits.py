"""Slots that all workers of a cluster share, by a semaphore of their scheduler.

Without a worker in this process there is nothing to share. It is found, not imported: who reads one image in a script
has no use for distributed.
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import sys
import threading
from typing import Any

logger = logging.getLogger(__name__)


class SharedLimiter:
    """A semaphore of distributed, for use on another event loop than that of its worker."""

    def __init__(self, semaphore: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._semaphore, self._loop = semaphore, loop

    async def acquire(self) -> bool:
        """Wait for a slot; see `slots.Lease`. Cancelling this keeps none: one that is given then is given back."""
        try:
            asking = self._there("acquire")
            try:
                return bool(await asyncio.shield(asyncio.wrap_future(asking)))
            except asyncio.CancelledError:
                asking.add_done_callback(self._return_unused)
                raise
        except (OSError, RuntimeError, ValueError) as error:  # the scheduler is gone, or going
            logger.warning("requests are not limited together with other workers: %s", error)
            return False

    async def release(self) -> None:
        """Give it back; one that is not is taken back by the scheduler."""
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            await asyncio.wrap_future(self._there("release"))

    def _there(self, name: str) -> "concurrent.futures.Future[Any]":
        async def call() -> Any:
            return await getattr(self._semaphore, name)()

        return asyncio.run_coroutine_threadsafe(call(), self._loop)

    def _return_unused(self, asking: "concurrent.futures.Future[Any]") -> None:
        """Give a slot back that came when nobody waited for it any more."""
        if not asking.cancelled() and asking.exception() is None and asking.result():
            with contextlib.suppress(RuntimeError):  # the worker is gone
                self._there("release")


_leases: dict[tuple[str, int, str], SharedLimiter] = {}
_lock = threading.Lock()


def cluster_lease(store: str, count: int) -> SharedLimiter | None:
    """Return the slots of a store that the workers of this process's cluster share; None: it is no worker."""
    distributed: Any = sys.modules.get("distributed")
    if not hasattr(distributed, "get_worker"):  # not imported, or another thread is about to: no worker runs here
        return None
    worker = _worker(distributed)
    if worker is None:
        return None
    key = (store, count, worker.address)
    with _lock:
        if key not in _leases:
            semaphore = distributed.Semaphore(
                max_leases=count, name=f"jp2batch-{store}-{count}", scheduler_rpc=worker.scheduler, loop=worker.loop
            )
            _leases[key] = SharedLimiter(semaphore, worker.loop.asyncio_loop)
        return _leases[key]


def _worker(distributed: Any) -> Any:
    """Return the worker that this thread works for; or one of this process, as threads of a task have none."""
    with contextlib.suppress(ValueError):
        return distributed.get_worker()
    workers = [worker for worker in list(distributed.Worker._instances) if worker.status == distributed.Status.running]
    return min(workers, key=lambda worker: str(worker.address), default=None)
