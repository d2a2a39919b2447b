"""Calls of obstore in progress, awaited when Python ends."""

import atexit
import time
from collections.abc import Awaitable
from typing import Any

from jp2batch.core.runtime import process_state


class PendingCalls:
    """Calls of obstore in progress, awaited when Python ends.

    A thread of obstore that returns from a call into Python at that moment would abort the process.
    """

    _PATIENCE = 1.0  # seconds to wait for answers
    _TAIL = 0.01  # seconds for a thread to leave Python after its answer

    def __init__(self) -> None:
        self._count = 0
        atexit.register(self._settle)

    async def run(self, call: Awaitable[Any]) -> Any:
        """Await a call."""
        self._count += 1
        try:
            return await call
        finally:
            self._count -= 1

    def _settle(self) -> None:
        end = time.monotonic() + self._PATIENCE
        while self._count and time.monotonic() < end:
            time.sleep(self._TAIL)
        time.sleep(self._TAIL)


@process_state()
def pending_calls() -> PendingCalls:
    """Return the calls in progress of this process."""
    return PendingCalls()
