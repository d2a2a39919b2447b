"""Run a batch in threads of this process."""

import contextlib
import queue
import time
from collections.abc import Callable, Generator
from threading import Thread

from jp2batch.batch.deduplicate import ReadQueue
from jp2batch.compute.cluster import dask_threads
from jp2batch.compute.result import Result
from jp2batch.compute.task import TaskSpec, run_task
from jp2batch.core.request import Request

_POLL = 0.1  # seconds between calls of `check`
_PAUSE = 0.02  # seconds between looks for reads that become known
_END = 5.0  # seconds to wait for reads that run when the batch ends early


def in_threads(reads: ReadQueue, order: TaskSpec, check: Callable[[], object]) -> Generator[Result, None, None]:
    """Run requests in threads of this process, with dask's thread count."""
    crew, running = _Crew(dask_threads(), order), 0
    try:
        while True:
            check()
            for read in reads.take(2 * crew.size - running):
                crew.start(read)
                running += 1
            if running:
                with contextlib.suppress(queue.Empty):
                    yield crew.next_result(_POLL)
                    running -= 1
            elif reads.exhausted:
                return
            else:
                time.sleep(_PAUSE)
    finally:
        crew.end()


class _Crew:
    """Threads to run requests.

    Python does not wait for them at its end: a read from a store that does not answer takes minutes.
    """

    def __init__(self, size: int, order: TaskSpec) -> None:
        self.size, self._order = size, order
        self._todo: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Result | BaseException] = queue.SimpleQueue()
        self._threads = [Thread(target=self._run, daemon=True, name=f"jp2batch-{number}") for number in range(size)]
        for thread in self._threads:
            thread.start()

    def start(self, read: Request) -> None:
        """Run a request as soon as a thread is free."""
        self._todo.put(read)

    def next_result(self, seconds: float) -> Result:
        """Wait for the next result.

        Raises
        ------
        queue.Empty
            None has come in time.
        """
        found = self._done.get(timeout=seconds)
        if isinstance(found, BaseException):
            raise found
        return found

    def end(self) -> None:
        """Run no further request; wait a little for running requests."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._todo.get_nowait()
        for _ in self._threads:
            self._todo.put(None)
        end = time.monotonic() + _END
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _run(self) -> None:
        while (read := self._todo.get()) is not None:
            try:
                self._done.put(run_task(read, self._order))
            except BaseException as error:  # noqa: BLE001  # raised in the other thread
                self._done.put(error)
