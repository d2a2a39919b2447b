"""Request slots shared by all workers of a cluster.

The scheduler's semaphore holds the slots. A process without a worker shares none. The module looks for distributed in
`sys.modules` and never imports it: a script that reads one image does not need it.
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import sys
import weakref
from collections.abc import Callable
from typing import Any

from jp2batch.core.runtime import process_state

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

    def _there(self, name: str) -> "concurrent.futures.Future[object]":
        async def call() -> object:
            return await getattr(self._semaphore, name)()

        return asyncio.run_coroutine_threadsafe(call(), self._loop)

    def _return_unused(self, asking: "concurrent.futures.Future[object]") -> None:
        """Release a slot granted after its request was cancelled."""
        if not asking.cancelled() and asking.exception() is None and asking.result():
            with contextlib.suppress(RuntimeError):  # the worker is gone
                self._there("release")


def cluster_lease(store: str, count: int) -> SharedLimiter | None:
    """Return the cluster-wide slots of a store; None outside a worker."""
    worker = current_worker() or _any_worker()
    return None if worker is None else _lease(store, count, weakref.ref(worker))


@process_state()
def _lease(store: str, count: int, reference: Callable[[], Any]) -> SharedLimiter:
    distributed, worker = _distributed(), reference()
    semaphore = distributed.Semaphore(
        max_leases=count, name=f"jp2batch-{store}-{count}", scheduler_rpc=worker.scheduler, loop=worker.loop
    )
    return SharedLimiter(semaphore, worker.loop.asyncio_loop)


def current_worker() -> Any:
    """Return the dask worker of this thread's task, or None."""
    distributed, worker = _distributed(), None
    with contextlib.suppress(ValueError):  # not inside a task
        worker = distributed and distributed.get_worker()
    return worker if worker is not None and _is_here(worker) else None


def _any_worker() -> Any:
    """Return a running worker of this process, or None.

    Threads started by a task have no worker of their own.
    """
    if (distributed := _distributed()) is None:
        return None
    workers = [worker for worker in list(distributed.Worker._instances) if worker.status == distributed.Status.running]
    return min(filter(_is_here, workers), key=lambda worker: str(worker.address), default=None)


def _distributed() -> Any:
    """Return the module `distributed`, or None.

    Until its import is complete, this process has no worker.
    """
    distributed = sys.modules.get("distributed")
    return distributed if hasattr(distributed, "get_worker") else None


def _is_here(worker: Any) -> bool:
    """Return whether a live worker runs in this process.

    A fork copies the worker without its event loop.
    """
    return bool(worker.monitor.proc.pid == os.getpid())
