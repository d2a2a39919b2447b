"""Wait for a cluster without workers or scheduler, for a limited time."""

import time
from collections.abc import Callable

from jp2batch.compute.checked_cluster import WorkerCounts
from jp2batch.core.errors import ClusterLost

_GAP = 15.0  # seconds between notes after which nobody has looked meanwhile


class Patience:
    """Limit of the time without a running worker.

    Parameters
    ----------
    seconds : float
        The limit.
    tell : callable
        Called with a text, when it changes: what the run waits for, or empty.
    """

    def __init__(self, seconds: float, tell: Callable[[str], object]) -> None:
        self._seconds, self._tell = seconds, tell
        self._most, self._text = 0, ""
        self._last = self._noted = time.monotonic()

    def note(self, workers: WorkerCounts | None) -> None:
        """Note the workers seen now; None if the scheduler does not answer.

        Raises
        ------
        ClusterLost
            No worker has been running for too long.
        """
        now, text, running = time.monotonic(), "waiting for the scheduler", 0
        if workers is not None:
            running, self._most = workers.running, max(self._most, workers.running)
            text = self._described(workers)
        if running:
            self._last = now
        elif now - self._noted > _GAP:  # the run waited for the store, or its process was frozen
            self._last += now - self._noted
        self._noted = now
        if text != self._text:
            self._text = text
            self._tell(text)
        if now - self._last > self._seconds:
            raise self._lost(workers)

    def _described(self, workers: WorkerCounts) -> str:
        others = _others(workers)
        if not workers.running:
            return f"waiting for workers: 0 of {self._most}{others}"
        return f"{workers.running} of {self._most} workers{others}" if others or workers.running < self._most else ""

    def _lost(self, workers: WorkerCounts | None) -> ClusterLost:
        passed = f"for {self._seconds:g} s"
        if workers is None:
            problem = f"the scheduler does not answer {passed}"
            return ClusterLost("", problem, "start it again, or raise wait_workers=")
        problem = f"the cluster has had no running worker {passed}{_others(workers)}"
        return ClusterLost("", problem, "start workers, or raise wait_workers=")


def _others(workers: WorkerCounts) -> str:
    counts = {"paused": workers.paused, "refused": workers.refused}
    return "".join(f", {count} {state}" for state, count in counts.items() if count)
