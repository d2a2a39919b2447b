"""A web server on loopback, in a process of its own, that answers as a distant store does: late, and not too fast.

Each request waits for the latency, each connection has its bandwidth; a store's quota can be enforced. Requests and
bytes are counted. It holds files open and lets the kernel send them, so that it is never what is waited for.
"""

import argparse
import asyncio
import contextlib
import json
import math
import re
import socket
import subprocess
import sys
import urllib.request
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import BinaryIO

from benchmarks import ROOT

_CHUNK = 64 * 1024  # sent at once, then paced
_LONGEST_HEAD = 64 * 1024
_COUNTS = "/-/counts"
_REASONS = {200: "OK", 206: "Partial Content", 404: "Not Found", 416: "Range Not Satisfiable", 429: "Too Many Requests"}


@dataclass(frozen=True, slots=True)
class Link:
    """How far away the store is, and what it allows."""

    latency: float = 0.0
    """Seconds from a request to the first byte of its answer."""
    bandwidth: float = math.inf
    """Bytes per second of one connection."""
    at_once: int = sys.maxsize
    """Requests that may be under way at a time; more are refused with status 429."""
    per_minute: int = sys.maxsize
    """Requests within any 60 seconds; more are refused with status 429."""

    def __str__(self) -> str:
        texts = [f"{self.latency * 1000:g} ms a request", f"{self.bandwidth / 1e6:g} MB/s a connection"]
        texts += [f"{self.at_once} connections"] if self.at_once < sys.maxsize else []
        texts += [f"{self.per_minute} requests a minute"] if self.per_minute < sys.maxsize else []
        return ", ".join(texts)


@dataclass(slots=True)
class Counts:
    """What a server has done."""

    requests: int = 0
    """Requests, those that were refused as well."""
    refused: int = 0
    """Requests that were over a quota."""
    bytes: int = 0
    """Bytes of bodies sent."""
    most_at_once: int = 0
    """Requests that were under way at a time."""

    def since(self, before: "Counts") -> "Counts":
        """Return what has been done since `before`."""
        return Counts(
            self.requests - before.requests, self.refused - before.refused, self.bytes - before.bytes, self.most_at_once
        )


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    address: str
    """Its address, without a slash at the end."""
    pid: int
    """Its process."""

    def url(self, path: Path) -> str:
        """Return the address of a file of its folder."""
        return f"{self.address}/{path.name}"

    def counts(self) -> Counts:
        """Return what it has done so far."""
        return counts_at(self.address)


def counts_at(address: str) -> Counts:
    """Ask the server at an address what it has done so far; this is not counted."""
    with urllib.request.urlopen(address + _COUNTS, timeout=10) as answer:
        return Counts(**json.load(answer))


@contextlib.contextmanager
def serving(folder: Path, link: Link) -> Iterator[Server]:
    """Serve the files of a folder, for the time of a `with` block."""
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
    """How many requests a store allows: at a time, and within a minute."""

    MINUTE = 60.0

    def __init__(self, at_once: int, per_minute: int) -> None:
        self._at_once, self._per_minute = at_once, per_minute
        self._answered: deque[float] = deque()

    def wait(self, now: float, under_way: int) -> int:
        """Return 0 where one more request is allowed at a time, in seconds; or after how many it may be made again."""
        if under_way >= self._at_once:
            return 1
        while self._answered and self._answered[0] <= now - self.MINUTE:
            self._answered.popleft()
        if len(self._answered) >= self._per_minute:
            return math.ceil(self._answered[0] + self.MINUTE - now) or 1
        if self._per_minute < sys.maxsize:
            self._answered.append(now)
        return 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, headers, and the part of a file that is the body."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    file: BinaryIO | None = None
    start: int = 0
    length: int = 0

    def head(self) -> bytes:
        """Return status line and headers."""
        lines = [f"HTTP/1.1 {self.status} {_REASONS[self.status]}", f"Content-Length: {self.length}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()


class Store:
    """The files of a folder, over a link."""

    def __init__(self, folder: Path, link: Link) -> None:
        self._folder, self._link = folder, link
        self._quota = Quota(link.at_once, link.per_minute)
        self._files: dict[str, tuple[BinaryIO, int, dict[str, str]]] = {}
        self._counts = Counts()
        self._under_way = 0

    async def converse(self, connection: socket.socket) -> None:
        """Answer the requests that come over a connection, until it ends."""
        loop, waiting = asyncio.get_running_loop(), b""
        with connection, contextlib.suppress(OSError):  # the client hung up, which is its right
            while True:
                while b"\r\n\r\n" not in waiting:
                    data = await loop.sock_recv(connection, _LONGEST_HEAD)
                    if not data or len(waiting) > _LONGEST_HEAD:
                        return
                    waiting += data
                head, _, waiting = waiting.partition(b"\r\n\r\n")
                method, target, headers = parse_head(head)
                if target == _COUNTS:
                    body = json.dumps(asdict(self._counts)).encode()
                    await loop.sock_sendall(connection, Answer(200, length=len(body)).head() + body)
                else:
                    await self._answer(connection, method, target, headers)

    async def _answer(self, connection: socket.socket, method: str, target: str, headers: dict[str, str]) -> None:
        loop = asyncio.get_running_loop()
        arrived = loop.time()
        self._counts.requests += 1
        wait = self._quota.wait(arrived, self._under_way)
        if wait:
            self._counts.refused += 1
            await _until(arrived + self._link.latency)
            await loop.sock_sendall(connection, Answer(429, {"Retry-After": str(wait)}).head())
            return
        self._under_way += 1
        self._counts.most_at_once = max(self._counts.most_at_once, self._under_way)
        try:
            answer = self._found(target, headers.get("range", ""))
            await _until(arrived + self._link.latency)
            await loop.sock_sendall(connection, answer.head())
            if answer.file is not None and method == "GET":
                await self._send(connection, answer, loop.time())
        finally:
            self._under_way -= 1

    async def _send(self, connection: socket.socket, answer: Answer, begin: float) -> None:
        loop, chunk = asyncio.get_running_loop(), _CHUNK if self._link.bandwidth < math.inf else answer.length
        for sent in range(0, answer.length, max(1, chunk)):
            size = min(chunk, answer.length - sent)
            await _until(begin + (sent + size) / self._link.bandwidth)
            assert answer.file is not None
            await loop.sock_sendfile(connection, answer.file, answer.start + sent, size, fallback=False)
            self._counts.bytes += size

    def _found(self, target: str, asked: str) -> Answer:
        name = target.partition("?")[0].lstrip("/")
        if name not in self._files:
            path = self._folder / name
            if "/" in name or not path.is_file():
                return Answer(404)
            stat = path.stat()
            headers = {
                "ETag": f'"{stat.st_size:x}-{stat.st_mtime_ns:x}"',
                "Last-Modified": formatdate(stat.st_mtime, usegmt=True),
                "Accept-Ranges": "bytes",
                "Content-Type": "image/jp2",
            }
            self._files[name] = path.open("rb"), stat.st_size, headers
        file, size, headers = self._files[name]
        if not asked:
            return Answer(200, headers, file, 0, size)
        span = parse_range(asked, size)
        if span is None:
            return Answer(416, {"Content-Range": f"bytes */{size}"})
        start, stop = span
        return Answer(206, headers | {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}, file, start, stop - start)


async def _until(moment: float) -> None:
    delay = moment - asyncio.get_running_loop().time()
    if delay > 0:
        await asyncio.sleep(delay)


def parse_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    """Return method, target, and headers by their names in lower case."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    pairs = (line.partition(":") for line in lines)
    return method, target, {name.lower(): value.strip() for name, _, value in pairs}


def parse_range(asked: str, size: int) -> tuple[int, int] | None:
    """Return start and stop of a Range header's range in a file; the last bytes are asked for as `bytes=-100`.

    Several ranges are answered as the whole file, which RFC 9110 (14.2) allows; None: there is nothing there.
    """
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked)
    if found is None or not any(found.groups()):
        return 0, size
    first, last = found.groups()
    if not first:
        return (max(0, size - int(last)), size) if int(last) else None
    stop = min(int(last) + 1 if last else size, size)
    return (int(first), stop) if int(first) < stop else None


async def serve(folder: Path, link: Link) -> None:
    """Serve until stdin ends; print the port first."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listener.setblocking(False)
        accepting = asyncio.create_task(_accept(listener, Store(folder, link)))
        print(listener.getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)
        accepting.cancel()


async def _accept(listener: socket.socket, store: Store) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as conversations:
        while True:
            connection, _ = await loop.sock_accept(listener)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            conversations.create_task(store.converse(connection))


def main() -> None:
    """Serve a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--latency", type=float, default=Link().latency)
    parser.add_argument("--bandwidth", type=float, default=Link().bandwidth)
    parser.add_argument("--at-once", type=int, default=Link().at_once)
    parser.add_argument("--per-minute", type=int, default=Link().per_minute)
    options = vars(parser.parse_args())
    folder = options.pop("folder")
    asyncio.run(serve(folder, Link(**options)))


if __name__ == "__main__":
    main()
