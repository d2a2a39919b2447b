"""Running estimates of the latency and bandwidth of stores.

A process has an estimator for each store.
"""

import threading
from collections import deque
from dataclasses import replace

from jp2batch.core.costs import StoreCosts
from jp2batch.core.runtime import process_state

_SMALL, _LARGE = 16 << 10, 1 << 20  # bytes: small replies measure the latency, large ones the bandwidth
_ENOUGH, _KEPT = 8, 64  # samples before an estimate is used; samples kept, few enough to follow changes
_LATENCIES, _BANDWIDTHS = (1e-4, 10.0), (1e5, 1e10)  # bounds against clock errors


class LatencyEstimator:
    """Latency and bandwidth from a store's latest replies; thread-safe."""

    def __init__(self) -> None:
        self._waits: deque[float] = deque(maxlen=_KEPT)
        self._speeds: deque[float] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()

    def note(self, size: int, seconds: float) -> None:
        """Note a reply: its size in bytes and its total seconds."""
        with self._lock:
            if size <= _SMALL:
                self._waits.append(seconds)
            elif size >= _LARGE:
                waited = min(self._waits, default=0.0)
                self._speeds.append(size / max(seconds - waited, seconds / 10, 1e-9))

    def applied(self, profile: StoreCosts) -> StoreCosts:
        """Return store costs with measured values instead of configured ones."""
        if not (profile.measured and profile.latency):
            return profile
        with self._lock:
            waits, speeds = sorted(self._waits), sorted(self._speeds)
        # A quartile, not the median: concurrent requests also wait for each other.
        latency = _within(waits[len(waits) // 4], _LATENCIES) if len(waits) >= _ENOUGH else profile.latency
        bandwidth = _within(speeds[len(speeds) // 2], _BANDWIDTHS) if len(speeds) >= _ENOUGH else profile.bandwidth
        return replace(profile, latency=latency, bandwidth=bandwidth)


@process_state()
def gauge(_store: str) -> LatencyEstimator:
    """Return the estimator of a store, by its name."""
    return LatencyEstimator()


def _within(value: float, bounds: tuple[float, float]) -> float:
    return max(bounds[0], min(bounds[1], value))
