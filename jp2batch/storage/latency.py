"""What stores have taken for replies: running estimates of latency and bandwidth, one for each store of a process."""

import threading
from collections import defaultdict, deque
from dataclasses import replace

from jp2batch.core.costs import StoreCosts

_SMALL, _LARGE = 16 << 10, 1 << 20  # bytes: a small reply takes the latency alone, a large one hardly that
_ENOUGH, _KEPT = 8, 64  # samples before they are believed; and those that are kept, so that it follows changes
_LATENCIES, _BANDWIDTHS = (1e-4, 10.0), (1e5, 1e10)  # whatever a clock says


class LatencyEstimator:
    """What the last replies of a store took; thread-safe."""

    def __init__(self) -> None:
        self._waits: deque[float] = deque(maxlen=_KEPT)
        self._speeds: deque[float] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()

    def note(self, size: int, seconds: float) -> None:
        """Note a reply of so many bytes, and the seconds from its request to its end."""
        with self._lock:
            if size <= _SMALL:
                self._waits.append(seconds)
            elif size >= _LARGE:
                waited = min(self._waits, default=0.0)
                self._speeds.append(size / max(seconds - waited, seconds / 10, 1e-9))

    def applied(self, profile: StoreCosts) -> StoreCosts:
        """Return a profile with what was measured in place of what was guessed."""
        if not (profile.measured and profile.latency):
            return profile
        with self._lock:
            waits, speeds = sorted(self._waits), sorted(self._speeds)
        # Not the median of the waits: many requests at once wait for each other as well.
        latency = _within(waits[len(waits) // 4], _LATENCIES) if len(waits) >= _ENOUGH else profile.latency
        bandwidth = _within(speeds[len(speeds) // 2], _BANDWIDTHS) if len(speeds) >= _ENOUGH else profile.bandwidth
        return replace(profile, latency=latency, bandwidth=bandwidth)


_gauges: defaultdict[str, LatencyEstimator] = defaultdict(LatencyEstimator)


def gauge(store: str) -> LatencyEstimator:
    """Return the gauge of a store, by whatever names it."""
    return _gauges[store]


def _within(value: float, bounds: tuple[float, float]) -> float:
    return max(bounds[0], min(bounds[1], value))
