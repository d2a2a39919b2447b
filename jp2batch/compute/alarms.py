"""Call functions when a time has passed, all in a single thread."""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator

from jp2batch.core.runtime import process_state


class Alarms:
    """Functions to call at a time, unless their alarm is removed before."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[object, tuple[float, Callable[[], object]]] = {}
        self._awaited = math.inf
        threading.Thread(target=self._run, daemon=True, name="jp2batch-alarms").start()

    @contextlib.contextmanager
    def after(self, seconds: float, function: Callable[[], object]) -> Iterator[None]:
        """Call a function if a `with` block takes longer than `seconds`."""
        alarm, due = object(), time.monotonic() + seconds
        with self._changed:
            self._due[alarm] = due, function
            if due < self._awaited:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._due.pop(alarm, None)

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                ripe = [alarm for alarm, (due, _) in self._due.items() if due <= now]
                functions = [self._due.pop(alarm)[1] for alarm in ripe]
                self._awaited = min((due for due, _ in self._due.values()), default=math.inf)
                if not ripe:
                    self._changed.wait(None if self._awaited == math.inf else self._awaited - now)
            for function in functions:
                function()


@process_state()
def alarms() -> Alarms:
    """Return the alarms of this process."""
    return Alarms()
