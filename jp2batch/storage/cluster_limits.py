"""Request slots shared by all workers of a cluster.

The scheduler's semaphore holds the slots. A process without a worker shares none. The module looks for distributed in
`sys.modules` and never imports it: a script that reads one image does not need it.
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
    """A distributed semaphore, usable from outside its worker's event loop."""

    def __init__(self, semaphore: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._semaphore, self._loop = semaphore, loop

    async def acquire(self) -> bool:
        """Wait for a slot; see `limits.Lease`.

        If the caller is cancelled, a slot granted afterwards is released.
        """
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
        """Release a slot.

        If the release fails, the scheduler takes the slot back.
        """
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            await asyncio.wrap_future(self._there("release"))

    def _there(self, name: str) -> "concurrent.futures.Future[Any]":
        async def call() -> Any:
            return await getattr(self._semaphore, name)()

        return asyncio.run_coroutine_threadsafe(call(), self._loop)

    def _return_unused(self, asking: "concurrent.futures.Future[Any]") -> None:
        """Release a slot granted after its request was cancelled."""
        if not asking.cancelled() and asking.exception() is None and asking.result():
            with contextlib.suppress(RuntimeError):  # the worker is gone
                self._there("release")


_leases: dict[tuple[str, int, str], SharedLimiter] = {}
_lock = threading.Lock()


def cluster_lease(store: str, count: int) -> SharedLimiter | None:
    """Return the cluster-wide slots of a store; None outside a worker."""
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
    """Return this thread's worker, or else a running worker of this process.

    Threads started by a task have no worker of their own.
    """
    with contextlib.suppress(ValueError):
        return distributed.get_worker()
    workers = [worker for worker in list(distributed.Worker._instances) if worker.status == distributed.Status.running]
    return min(workers, key=lambda worker: str(worker.address), default=None)
