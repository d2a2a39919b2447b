"""Choose the number of requests in flight on a cluster.

Enough to keep all threads busy, few enough to hold their results.
"""


class InFlightWindow:
    """Number of requests in flight, from the rate at which they finish.

    A finished result stays on the cluster until it is fetched. Long requests have large results: few are launched
    ahead. Short requests need more, or threads would wait for the next message.
    """

    LEAST, MOST = 4, 32
    """Limits in requests per thread."""
    _AHEAD = 0.1  # seconds of work in flight; if a worker dies, all its requests are run again alone
    _EVERY = 0.1  # seconds over which finished requests are counted

    def __init__(self, now: float) -> None:
        self._since, self._count, self._rate = now, 0, 0.0

    def note_completed(self, count: int, now: float) -> None:
        """Count finished requests."""
        self._count += count
        passed = now - self._since
        if passed >= self._EVERY:
            self._rate = self._count / passed
            self._since, self._count = now, 0

    def window(self, threads: int) -> int:
        """Return the number of requests in flight for a number of threads."""
        return int(min(max(self._rate * self._AHEAD, self.LEAST * threads), self.MOST * threads))
