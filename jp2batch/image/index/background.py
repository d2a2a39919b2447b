"""Writes in the background, awaited when the process ends."""

import contextlib
import multiprocessing.util
import threading
from collections import deque
from collections.abc import Callable

from jp2batch.core.runtime import process_state


class BackgroundWriter:
    """Runs writes in their order in a thread; thread-safe.

    The thread ends when all are done. When the process ends, pending writes are awaited for a while.
    """

    _MOST = 64  # pending writes; a further write waits for its place
    _PATIENCE = 2.0  # seconds at the end of the process

    def __init__(self) -> None:
        self._pending: deque[tuple[str, Callable[[], None]]] = deque()  # the first is under way
        self._changed = threading.Condition()
        # Unlike `atexit`, it also serves children of `multiprocessing`, and no child inherits it.
        multiprocessing.util.Finalize(None, self.flush, (self._PATIENCE,), exitpriority=0)

    def submit(self, key: str, write: Callable[[], None]) -> None:
        """Run the write of a key later, after earlier writes."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._pending) < self._MOST)
            self._pending.append((key, write))
            if len(self._pending) > 1:  # the thread is running
                return
            with contextlib.suppress(RuntimeError):  # the interpreter is ending
                threading.Thread(target=self._run, name="jp2batch-index", daemon=True).start()
                return
        self._run()

    def flush(self, seconds: float | None = None) -> bool:
        """Wait for all writes; False if they take longer than some seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._pending, seconds)

    def wait_for(self, key: str) -> None:
        """Wait until the writes of a key are done."""
        with self._changed:
            self._changed.wait_for(lambda: all(pending != key for pending, _ in self._pending))

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._pending:
                    return
                _, write = self._pending[0]
            try:
                with contextlib.suppress(Exception):  # the index is a hint
                    write()
            finally:
                with self._changed:
                    self._pending.popleft()
                    self._changed.notify_all()


@process_state()
def background_writer() -> BackgroundWriter:
    """Return the writer of this process."""
    return BackgroundWriter()
