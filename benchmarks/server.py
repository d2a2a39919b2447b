"""A web server with the latency and bandwidth of a distant store.

It runs on loopback in its own process. Each request waits for the latency, each connection has its bandwidth; a store's
quota can be enforced. Requests and bytes are counted. Files are held open and sent by the kernel, so that the server is
never the bottleneck.
"""

import argparse
import asyncio
import contextlib
import json
import math
import random
import socket
import subprocess
import sys
import urllib.request
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from email.utils import formatdate
from pathlib import Path
from typing import BinaryIO, Literal

from benchmarks import ROOT
from benchmarks.range_server import FilePart, HttpRequest, HttpResponse, RangeServer, parse_range, send_bytes

_CHUNK = 64 * 1024  # sent at once, then paced
_COUNTS = "/-/counts"


@dataclass(frozen=True, slots=True)
class Link:
    """Latency, bandwidth and quotas of a store."""

    latency: float = 0.0
    """Seconds from a request to the first byte of its response."""
    bandwidth: float = math.inf
    """Bytes per second of a connection."""
    at_once: int = sys.maxsize
    """Limit of concurrent requests; others are refused with status 429."""
    per_minute: int = sys.maxsize
    """Limit of requests in any 60 seconds; others are refused with status 429."""
    stalled: float = 0.0
    """Share of replies that are late, at random but alike in each run."""
    stall: float = 0.0
    """Seconds by which they are late."""

    def __str__(self) -> str:
        texts = [f"{self.latency * 1000:g} ms a request", f"{self.bandwidth / 1e6:g} MB/s a connection"]
        texts += [f"{self.at_once} connections"] if self.at_once < sys.maxsize else []
        texts += [f"{self.per_minute} requests a minute"] if self.per_minute < sys.maxsize else []
        texts += [f"{self.stalled:.0%} of replies {self.stall:g} s late"] if self.stalled else []
        return ", ".join(texts)


@dataclass(slots=True)
class Counts:
    """Counts of a server."""

    requests: int = 0
    """Number of requests, including refused ones."""
    refused: int = 0
    """Number of requests refused by a quota."""
    bytes: int = 0
    """Bytes of bodies sent."""
    most_at_once: int = 0
    """Largest number of concurrent requests."""

    def since(self, before: "Counts") -> "Counts":
        """Return the difference to earlier counts."""
        return Counts(
            self.requests - before.requests, self.refused - before.refused, self.bytes - before.bytes, self.most_at_once
        )


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    address: str
    """Address, without a slash at the end."""
    pid: int
    """Its process."""

    def url(self, path: Path) -> str:
        """Return the address of a file of its folder."""
        return f"{self.address}/{path.name}"

    def counts(self) -> Counts:
        """Return the counts so far."""
        return counts_at(self.address)


def counts_at(address: str) -> Counts:
    """Return the counts of the server at an address; this request is not counted."""
    with urllib.request.urlopen(address + _COUNTS, timeout=10) as answer:
        return Counts(**json.load(answer))


@contextlib.contextmanager
def serving(folder: Path, link: Link) -> Iterator[Server]:
    """Serve the files of a folder in a `with` block."""
    options = [f"--{name.replace('_', '-')}={value}" for name, value in asdict(link).items()]
    command = [sys.executable, "-m", "benchmarks.server", str(folder.resolve()), *options]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        try:
            yield Server(f"http://127.0.0.1:{port}", process.pid)
        finally:
            process.stdin.close()  # which it takes for the order to end
            process.wait(timeout=10)


class Quota:
    """Quota of a store: concurrent requests, and requests per minute."""

    MINUTE = 60.0

    def __init__(self, at_once: int, per_minute: int) -> None:
        self._at_once, self._per_minute = at_once, per_minute
        self._answered: deque[float] = deque()

    def wait(self, now: float, under_way: int) -> int:
        """Return 0 if a request is allowed at a time, else seconds to wait."""
        if under_way >= self._at_once:
            return 1
        while self._answered and self._answered[0] <= now - self.MINUTE:
            self._answered.popleft()
        if len(self._answered) >= self._per_minute:
            return math.ceil(self._answered[0] + self.MINUTE - now) or 1
        if self._per_minute < sys.maxsize:
            self._answered.append(now)
        return 0


class Store(RangeServer):
    """The files of a folder, over a link."""

    def __init__(self, folder: Path, link: Link) -> None:
        self._folder, self._link = folder, link
        self._quota = Quota(link.at_once, link.per_minute)
        self._luck = random.Random(0)  # noqa: S311  # no secret
        self._files: dict[str, tuple[BinaryIO, int, dict[str, str]]] = {}
        self._counts = Counts()
        self._under_way = 0

    async def reply(self, connection: socket.socket, request: HttpRequest) -> Literal["keep", "close"]:
        """Answer a request; keep the connection."""
        if request.target == _COUNTS:
            body = json.dumps(asdict(self._counts)).encode()
            await send_bytes(connection, HttpResponse(200, body=body), body)
        else:
            await self._answer(connection, request)
        return "keep"

    async def _answer(self, connection: socket.socket, request: HttpRequest) -> None:
        loop = asyncio.get_running_loop()
        arrived = loop.time()
        self._counts.requests += 1
        wait = self._quota.wait(arrived, self._under_way)
        if wait:
            self._counts.refused += 1
            await _until(arrived + self._link.latency)
            await send_bytes(connection, HttpResponse(429, {"Retry-After": str(wait)}), b"")
            return
        self._under_way += 1
        self._counts.most_at_once = max(self._counts.most_at_once, self._under_way)
        try:
            response = self._found(request.target, request.headers.get("range", ""))
            stall = self._link.stall if self._luck.random() < self._link.stalled else 0.0
            await _until(arrived + self._link.latency + stall)
            await loop.sock_sendall(connection, response.head())
            if isinstance(response.body, FilePart) and request.method == "GET":
                await self._send(connection, response.body, loop.time())
        finally:
            self._under_way -= 1

    async def _send(self, connection: socket.socket, part: FilePart, begin: float) -> None:
        loop, chunk = asyncio.get_running_loop(), _CHUNK if self._link.bandwidth < math.inf else part.length
        for sent in range(0, part.length, max(1, chunk)):
            size = min(chunk, part.length - sent)
            await _until(begin + (sent + size) / self._link.bandwidth)
            try:
                await loop.sock_sendfile(connection, part.file, part.start + sent, size, fallback=False)
            except asyncio.SendfileNotAvailableError as error:  # of a connection that the client has reset
                raise ConnectionResetError from error
            self._counts.bytes += size

    def _found(self, target: str, span: str) -> HttpResponse:
        name = target.partition("?")[0].lstrip("/")
        if name not in self._files:
            path = self._folder / name
            if "/" in name or not path.is_file():
                return HttpResponse(404)
            stat = path.stat()
            headers = {
                "ETag": f'"{stat.st_size:x}-{stat.st_mtime_ns:x}"',
                "Last-Modified": formatdate(stat.st_mtime, usegmt=True),
                "Accept-Ranges": "bytes",
                "Content-Type": "image/jp2",
            }
            self._files[name] = path.open("rb"), stat.st_size, headers
        file, size, headers = self._files[name]
        if not span:
            return HttpResponse(200, headers, FilePart(file, 0, size))
        match parse_range(span, size):
            case None:
                return HttpResponse(416, {"Content-Range": f"bytes */{size}"})
            case start, stop:
                headers = headers | {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}
                return HttpResponse(206, headers, FilePart(file, start, stop - start))


async def _until(moment: float) -> None:
    delay = moment - asyncio.get_running_loop().time()
    if delay > 0:
        await asyncio.sleep(delay)


async def serve(folder: Path, link: Link) -> None:
    """Serve until stdin ends; print the port first."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        accepting = asyncio.create_task(Store(folder, link).accept(listener))
        print(listener.getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)
        accepting.cancel()


def main() -> None:
    """Serve a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--latency", type=float, default=Link().latency)
    parser.add_argument("--bandwidth", type=float, default=Link().bandwidth)
    parser.add_argument("--at-once", type=int, default=Link().at_once)
    parser.add_argument("--per-minute", type=int, default=Link().per_minute)
    parser.add_argument("--stalled", type=float, default=Link().stalled)
    parser.add_argument("--stall", type=float, default=Link().stall)
    options = vars(parser.parse_args())
    folder = options.pop("folder")
    asyncio.run(serve(folder, Link(**options)))


if __name__ == "__main__":
    main()
