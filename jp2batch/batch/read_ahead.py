"""Read an iterator ahead, in a thread."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_GLANCE = 0.02  # seconds between looks at the number of values


class ReadAhead(Generic[T]):
    """Values of an iterator, read ahead in a thread.

    The reader of a slow pipe can go on with other work meanwhile.

    Parameters
    ----------
    values : iterator
        Used in the thread only.
    most : int
        Largest number of values to read ahead.
    """

    def __init__(self, values: Iterator[T], most: int) -> None:
        self.most = most
        self._source, self._values = values, deque[T]()
        self._changed, self._closed, self._done = threading.Condition(), False, False
        self._error: BaseException | None = None
        threading.Thread(target=self._read, name="jp2batch-read-ahead", daemon=True).start()

    @property
    def exhausted(self) -> bool:
        """True if all values have been taken."""
        return self._done and not self._values and self._error is None

    def take(self, count: int) -> list[T]:
        """Return the next available values, at most `count`.

        An error of the iterator is raised after its last value.
        """
        taken = [self._values.popleft() for _ in range(min(count, len(self._values)))]
        if not taken and self._done and not self._values and self._error is not None:
            raise self._error
        with self._changed:
            self._changed.notify_all()
        return taken

    def wait(self, seconds: float, least: int = 1) -> None:
        """Wait for a number of values or the last."""
        end = time.monotonic() + seconds
        while len(self._values) < least and not self._done and (left := end - time.monotonic()) > 0:
            with self._changed:
                self._changed.wait(min(left, _GLANCE))

    def close(self) -> None:
        """End the thread after its current value."""
        self._closed = True
        with self._changed:
            self._changed.notify_all()

    def _read(self) -> None:
        try:
            for value in self._source:
                self._values.append(value)
                if len(self._values) >= self.most:
                    with self._changed:
                        self._changed.wait_for(lambda: self._closed or len(self._values) < self.most)
                if self._closed:
                    return
        except BaseException as error:  # noqa: BLE001  # raised by `take`
            self._error = error
        finally:
            self._done = True
            with self._changed:
                self._changed.notify_all()
