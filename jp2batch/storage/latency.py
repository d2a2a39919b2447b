"""Running estimates of the latency, bandwidth and lateness of stores.

A process has an estimator for each store.
"""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from jp2batch.core.costs import StoreCosts
from jp2batch.core.runtime import process_state

_SMALL, _LARGE = 16 << 10, 1 << 20  # bytes: small replies measure the latency, large ones the bandwidth
_ENOUGH, _KEPT = 8, 64  # samples before an estimate is used; samples kept, few enough to follow changes
_FAR = 4  # of few large replies, the bandwidth is at most this multiple of the fastest: others may share the line
_MEDIUM = 256 << 10  # bytes: replies up to this size, and larger ones, are late in ways of their own
_SOON, _LATE = 0.05, 1.5  # a reply is late after these seconds, and this multiple of the time of nearly all
_GROUP, _GROUPS_KEPT = 16, 40  # replies of a group; groups kept: several bursts of requests, of which few are slow
_LATENCIES, _BANDWIDTHS = (1e-4, 10.0), (1e5, 1e10)  # bounds against clock errors


class _ScaledTimes:
    """Times of the latest replies, scaled to a single size.

    The median of the slowest of each group is the time of 95 % of replies. Unlike their quantile, it is not changed by
    a pause of this process, which makes all replies of a burst slow.
    """

    def __init__(self) -> None:
        self._group: list[float] = []
        self._slowest: deque[float] = deque(maxlen=_GROUPS_KEPT)
        self.usual: float | None = None
        """Time of nearly all replies; None while there are too few."""

    def note(self, time: float) -> None:
        self._group.append(time)
        if len(self._group) == _GROUP:
            self._slowest.append(max(self._group))
            self.usual = median(self._slowest)
            self._group.clear()


class LatencyEstimator:
    """Latency and bandwidth from a store's latest replies; thread-safe."""

    def __init__(self) -> None:
        self._waits: deque[float] = deque(maxlen=_KEPT)
        self._speeds: deque[float] = deque(maxlen=_KEPT)
        self._times = {is_large: _ScaledTimes() for is_large in (False, True)}
        self._lock = threading.Lock()

    def note(self, size: int, seconds: float) -> None:
        """Note a reply: its size in bytes and its total seconds."""
        with self._lock:
            self._times[size > _MEDIUM].note(seconds / _scale(size))
            if size <= _SMALL:
                self._waits.append(seconds)
            elif size >= _LARGE:
                waited = min(self._waits, default=0.0)
                self._speeds.append(size / max(seconds - waited, seconds / 10, 1e-9))

    def patience(self, size: int) -> float | None:
        """Return the seconds after which a reply of a size is late.

        It is later than nearly all were lately. None without enough of them.
        """
        with self._lock:
            usual = self._times[size > _MEDIUM].usual
        return None if usual is None else max(_SOON, _LATE * usual * _scale(size))

    def applied(self, profile: StoreCosts) -> StoreCosts:
        """Return store costs with measured values instead of configured ones."""
        if not (profile.measured and profile.latency):
            return profile
        with self._lock:
            waits, speeds = sorted(self._waits), sorted(self._speeds)
        # A quartile, not the median: concurrent requests also wait for each other.
        latency = _within(waits[len(waits) // 4], _LATENCIES) if len(waits) >= _ENOUGH else profile.latency
        return replace(profile, latency=latency, bandwidth=_bandwidth(speeds, profile.bandwidth))


@process_state()
def gauge(_store: str) -> LatencyEstimator:
    """Return the estimator of a store, by its name."""
    return LatencyEstimator()


def _bandwidth(speeds: Sequence[float], usual: float) -> float:
    """Return the bandwidth by ascending speeds of replies."""
    if len(speeds) >= _ENOUGH:
        return _within(speeds[len(speeds) // 2], _BANDWIDTHS)
    return min(usual, _FAR * _within(speeds[-1], _BANDWIDTHS)) if speeds else usual


def _scale(size: int) -> float:
    """Return the time of a reply, in times of an empty reply."""
    return 1 + size / _LARGE


def _within(value: float, bounds: tuple[float, float]) -> float:
    return max(bounds[0], min(bounds[1], value))
