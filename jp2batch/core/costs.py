"""What reading from a store costs: the one estimate that plans, ways of reading and requests are chosen by."""

import math
from collections.abc import Callable
from dataclasses import dataclass

_EACH = 0.0002  # seconds of computing that a request takes, whatever it waits for
PRICE = 2e-9
"""Seconds that a byte is worth beside those that it takes: a megabyte is not read to win a millisecond."""
_SMALLEST_PART = 1 << 20  # bytes that are worth a request of their own
LARGEST_PART = 32 << 20
"""Bytes that are asked for at once: more would be lost with a connection."""
_LOOKS = 128  # at costs, to find about the least


@dataclass(frozen=True, slots=True)
class StoreCosts:
    """What reading from a store costs."""

    latency: float
    """Seconds from a request to its first byte; 0 means that requests are free."""
    bandwidth: float
    """Bytes per second of one connection."""
    connections: int
    """Requests that may be under way at once."""
    line: float = math.inf
    """Bytes per second of all connections together."""
    requests_per_minute: float | None = None
    """Requests that the store allows; None = any number."""
    name: str = ""
    """What plans call it."""
    measured: bool = False
    """Whether what requests have taken may overrule latency and bandwidth."""

    def __str__(self) -> str:
        if not self.latency:
            return f"{self.name}: requests are free"
        speed = f"{self.connections} x {self.bandwidth / 1e6:.3g} MB/s"
        quota = f", {self.requests_per_minute:.0f} requests/min" if self.requests_per_minute else ""
        return f"{self.name}: {self.latency * 1000:.3g} ms, {speed}{quota}"

    def seconds(self, requests: int, size: int, rounds: int) -> float:
        """Estimate the seconds that `requests` of `size` bytes in all take, in `rounds` that wait for each other."""
        used = min(self.connections, max(1, requests // max(1, rounds)))
        waits = max(rounds, math.ceil(requests / self.connections))
        waiting = waits * self.latency + size / min(self.bandwidth * used, self.line)
        allowed = requests * 60 / self.requests_per_minute if self.requests_per_minute else 0.0
        return max(waiting, allowed) + (requests * _EACH if self.latency else 0.0)

    def parts(self, ranges: int, size: int) -> int:
        """Return how many requests to make of so many ranges of `size` bytes in all: long ones are cut, if it pays."""
        most = min(self.connections, 2 * math.ceil(min(self.line / self.bandwidth, self.connections)))
        least = max(ranges, math.ceil(size / LARGEST_PART))
        more = max(least, min(most, int(size // self.smallest_part)))
        return more if self.seconds(more, size, 1) < self.seconds(least, size, 1) else least

    def part_length(self, ranges: int, size: int) -> int:
        """Return the bytes that a part of a long range should have."""
        return min(LARGEST_PART, max(self.smallest_part, math.ceil(size / self.parts(ranges, size))))

    @property
    def smallest_part(self) -> int:
        """Bytes that take as long as waiting for them."""
        return max(_SMALLEST_PART, int(self.latency * self.bandwidth))

    def cost(self, ranges: int, size: int) -> float:
        """Return what to choose by, in seconds: what ranges take that are asked for at once, and the bytes' price."""
        return self.seconds(self.parts(ranges, size), size, 1) + size * PRICE

    def spread_cost(self, ranges: int, size: int, span: int) -> float:
        """Return the same for ranges spread evenly over `span` bytes, if as many gaps are read through as pay."""
        if ranges < 2 or not self.latency:
            return self.cost(ranges, size)
        gap = max(0, span - size) / (ranges - 1)

        def cost(joined: int) -> float:
            return self.cost(ranges - joined, int(size + joined * gap))

        return cost(cheapest(cost, ranges - 1))


def cheapest(cost: Callable[[int], float], last: int) -> int:
    """Return which number from 0 to `last` costs least; among very many, one that costs about as little."""
    step = max(1, last // _LOOKS)
    best = min([*range(0, last, step), last], key=cost)
    around = range(max(0, best - step), min(last, best + step) + 1)
    return min(around, key=cost) if step > 1 else best
