"""Cost model of reads, used to choose requests and ways of reading."""

import math
from collections.abc import Callable
from dataclasses import dataclass

_EACH = 0.0002  # seconds of computing per request
PRICE = 2e-9
"""Price of a byte in seconds, beyond the time of its transfer.

It keeps a plan from reading a megabyte to win a millisecond.
"""
_SMALLEST_PART = 1 << 20  # bytes worth a separate request
LARGEST_PART = 32 << 20
"""Largest request in bytes; a broken connection loses no more."""
_LOOKS = 128  # evaluations of a cost function to approximate its minimum


@dataclass(frozen=True, slots=True)
class StoreCosts:
    """Costs of reading from a store."""

    latency: float
    """Seconds from a request to its first byte; 0 = free requests."""
    bandwidth: float
    """Bytes per second of a single connection."""
    connections: int
    """Limit of concurrent requests."""
    line: float = math.inf
    """Bytes per second of all connections together."""
    requests_per_minute: float | None = None
    """Quota of requests per minute; None = unlimited."""
    name: str = ""
    """Name of the profile in plans."""
    measured: bool = False
    """Whether measured latency and bandwidth replace the configured values."""
    handshake: float = 0.0
    """Seconds of computing per new TLS connection, of client and server.

    It limits the connections of a round, and does not change the requests: once opened, connections serve later rounds.
    """

    def __str__(self) -> str:
        if not self.latency:
            return f"{self.name}: requests are free"
        speed = f"{self.connections} x {self.bandwidth / 1e6:.3g} MB/s"
        quota = f", {self.requests_per_minute:.0f} requests/min" if self.requests_per_minute else ""
        return f"{self.name}: {self.latency * 1000:.3g} ms, {speed}{quota}"

    def seconds(self, requests: int, size: int, rounds: int) -> float:
        """Estimate the seconds of `requests` for `size` bytes in `rounds`.

        Rounds run in sequence; requests of a round are concurrent.
        """
        used = min(self.connections, max(1, requests // max(1, rounds)))
        waits = max(rounds, math.ceil(requests / self.connections))
        waiting = waits * self.latency + size / min(self.bandwidth * used, self.line)
        allowed = requests * 60 / self.requests_per_minute if self.requests_per_minute else 0.0
        return max(waiting, allowed) + (requests * _EACH if self.latency else 0.0)

    def price(self, requests: int, size: int, rounds: int = 1) -> float:
        """Return the price of reads, to choose the cheapest.

        Without a quota, their seconds and the bytes' price. Under a quota, a read is one of a batch that uses up the
        quota and the line, whatever the order: so each request has its share of the quota's time, each byte its share
        of the line's, and the waits of a read are filled by others.
        """
        if not self.requests_per_minute:
            return self.seconds(requests, size, rounds) + size * PRICE
        waiting = rounds * self.latency / self.connections
        return waiting + requests * 60 / self.requests_per_minute + size * (1 / self._whole_line + PRICE)

    @property
    def request_worth(self) -> int:
        """Bytes transferred in a request's share of the quota.

        0 without a quota.
        """
        return int(self._whole_line * 60 / self.requests_per_minute) if self.requests_per_minute else 0

    @property
    def _whole_line(self) -> float:
        return min(self.line, self.bandwidth * self.connections)

    def connections_for(self, requests: int, already_open: int = 0) -> int:
        """Return the number of connections for a round of requests.

        All that are allowed; fewer if waiting for an open connection costs less than the handshakes of new ones.
        """
        most = min(self.connections, requests)
        if not (self.handshake and self.latency) or most <= already_open:
            return most
        best = max(1.0, math.sqrt(requests * self.latency / self.handshake))  # the minimum of waits and handshakes
        even = math.ceil(requests / max(1, round(requests / best)))  # no wait is for a few requests
        return min(most, max(even, already_open))

    def parts(self, ranges: int, size: int) -> int:
        """Return the number of requests for `ranges` of `size` bytes.

        Long ranges are cut into parts if it is cheaper.
        """
        least, worth = max(ranges, math.ceil(size / LARGEST_PART)), int(size // self.smallest_part)
        if worth <= least:
            return least
        most = min(self.connections, 2 * math.ceil(min(self.line / self.bandwidth, self.connections)))
        more = min(most, worth)
        return more if more > least and self.price(more, size) < self.price(least, size) else least

    def part_length(self, ranges: int, size: int) -> int:
        """Return the length of a part of a long range, in bytes."""
        return min(LARGEST_PART, max(self.smallest_part, math.ceil(size / self.parts(ranges, size))))

    @property
    def smallest_part(self) -> int:
        """Bytes worth a request of their own."""
        return max(_SMALLEST_PART, int(self.latency * self.bandwidth), self.request_worth)

    def cost(self, ranges: int, size: int) -> float:
        """Return the price of concurrent reads; long ranges are cut."""
        return self.price(self.parts(ranges, size), size)

    def spread_cost(self, ranges: int, size: int, span: int) -> float:
        """Return the cost of ranges spread evenly over `span` bytes.

        As many gaps between the ranges are read as pays.
        """
        if ranges < 2 or not self.latency:
            return self.cost(ranges, size)
        gap = max(0, span - size) / (ranges - 1)

        def cost(joined: int) -> float:
            return self.cost(ranges - joined, int(size + joined * gap))

        return cost(cheapest(cost, ranges - 1))


def cheapest(cost: Callable[[int], float], last: int) -> int:
    """Return the cheapest number from 0 to `last`.

    The result is approximate if `last` is large.
    """
    step = max(1, last // _LOOKS)
    best = min([*range(0, last, step), last], key=cost)
    around = range(max(0, best - step), min(last, best + step) + 1)
    return min(around, key=cost) if step > 1 else best
