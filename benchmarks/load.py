"""A load tool: clients that send a request after another, over persistent connections."""

import asyncio
import contextlib
import math
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_WAIT = re.compile(rb"\r\nretry-after: *(\d+)", re.IGNORECASE)


@dataclass
class Load:
    """Responses to the requests of all clients."""

    seconds: float = 0.0
    """Seconds from the first request to the last."""
    latencies: list[float] = field(default_factory=list)
    """Latencies of responses 200 and 404 in seconds."""
    statuses: Counter[int] = field(default_factory=Counter)
    """Number of responses by status; 0: no response."""
    without_wait: int = 0
    """Number of responses 503 without Retry-After."""
    answer: bytes = b""
    """Body of a response 200."""

    def add(self, other: "Load") -> None:
        """Add responses."""
        self.seconds += other.seconds
        self.latencies += other.latencies
        self.statuses += other.statuses
        self.without_wait += other.without_wait
        self.answer = other.answer or self.answer

    @property
    def rate(self) -> float:
        """Responses per second, without refused requests."""
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        """Return a quantile of the latency in seconds."""
        ordered = sorted(self.latencies) or [math.inf]
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


async def load(
    port: int, body: bytes | Iterator[bytes], *, clients: int, seconds: float, warm_up: float = 0.0, token: str = ""
) -> Load:
    """POST a body, or one after another, to `/api/jp2` from several clients for some time.

    Parameters
    ----------
    port : int
        Port of a server on loopback.
    body : bytes or iterator of bytes
        Body of all requests, or of each.
    clients : int
        Number of concurrent clients. A refused client retries a moment later.
    seconds, warm_up : float
        Seconds of measuring, and of requests before it.
    token : str
        Bearer token of the clients, if any.
    """
    found = Load()
    start = time.perf_counter() + warm_up
    stop = start + seconds
    messages = (_message(one, token) for one in (repeat(body) if isinstance(body, bytes) else body))
    await asyncio.gather(*(_client(port, messages, start, stop, found) for _ in range(clients)))
    found.seconds = time.perf_counter() - start
    return found


def _message(body: bytes, token: str) -> bytes:
    head = f"POST /api/jp2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    head += f"\r\nAuthorization: Bearer {token}" if token else ""
    return f"{head}\r\n\r\n".encode() + body


async def _client(port: int, messages: Iterator[bytes], start: float, stop: float, found: Load) -> None:
    connection: Sequence[asyncio.StreamReader | asyncio.StreamWriter] | None = None
    while (began := time.perf_counter()) < stop:
        try:
            if connection is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
                connection = reader, writer
            writer.write(next(messages))
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            data = await reader.readexactly(int(length[1])) if length else await reader.read()
            status = int(head[9:12])
        except (OSError, asyncio.IncompleteReadError):
            head, data, status = b"\r\nconnection: close", b"", 0
        if began >= start:
            _note(found, status, time.perf_counter() - began, head, data)
        if _CLOSE.search(head) or not _LENGTH.search(head):
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            connection = None
        if status == 503:
            await asyncio.sleep(0.2)
    if connection is not None:
        writer.close()


def _note(found: Load, status: int, seconds: float, head: bytes, data: bytes) -> None:
    found.statuses[status] += 1
    if status in (200, 404):
        found.latencies.append(seconds)
    if status == 200:
        found.answer = data
    if status == 503 and not _WAIT.search(head):
        found.without_wait += 1
