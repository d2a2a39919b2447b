"""How many requests to have on a cluster at a time: enough that no thread waits, few enough to hold their results."""


class InFlightWindow:
    """Follows how fast requests land.

    What has landed on the cluster stays there until it is fetched: long requests have large results, and few are begun
    ahead of time. Of short ones, a few would leave the threads waiting for the next message.
    """

    LEAST, MOST = 4, 32
    """Requests for each thread."""
    _AHEAD = 0.1  # seconds of work to have on the cluster; a worker that dies makes suspects of its share
    _EVERY = 0.1  # seconds over which landings are counted, so that one more or less does not matter

    def __init__(self, now: float) -> None:
        self._since, self._count, self._rate = now, 0, 0.0

    def landed(self, count: int, now: float) -> None:
        """Tell that `count` more have landed."""
        self._count += count
        passed = now - self._since
        if passed >= self._EVERY:
            self._rate = self._count / passed
            self._since, self._count = now, 0

    def window(self, threads: int) -> int:
        """Return how many to have on a cluster of so many threads."""
        return int(min(max(self._rate * self._AHEAD, self.LEAST * threads), self.MOST * threads))
