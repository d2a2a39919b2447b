"""Plain URLs are read without aiohttp; connections are kept, and nothing is taken for a reply that is none."""

import asyncio
import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import dask
import fsspec.asyn
import pytest

from jp2batch.core import errors
from jp2batch.core.location import Location
from jp2batch.core.ranges import ByteRange
from jp2batch.storage.base_source import Meter
from jp2batch.storage.drivers import http_connection
from jp2batch.storage.drivers.http_driver import HttpObject
from jp2batch.storage.drivers.http_message import WebTarget
from jp2batch.storage.drivers.plain_http import PlainHttpObject, is_plain, reads_plainly
from jp2batch.storage.source import Source, open_source

DATA = bytes(range(256)) * 40
FIRST = ByteRange(0, 100)
PART = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-99/10240\r\n"
USUAL = PART + b'ETag: "a"\r\nContent-Length: 100\r\n\r\n' + DATA[:100]


class Scripted:
    """A server that sends bytes as they stand, a reply for each request; None hangs up, ... stays silent."""

    def __init__(self, *replies: object) -> None:
        self.replies = list(replies)
        self.requests: list[bytes] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._opened: list[socket.socket] = []
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/x.jp2"

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._opened.append(connection)
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while True:
                head = b""
                while b"\r\n\r\n" not in head:
                    data = connection.recv(65536)
                    if not data:
                        return
                    head += data
                self.requests.append(head)
                reply = self.replies.pop(0)
                if reply is None:
                    return
                if isinstance(reply, bytes):
                    connection.sendall(reply.replace(b"{host}", self.host.encode()))
                    if b"content-length" not in reply.lower() and b"chunked" not in reply:
                        return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._opened:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    """Return what starts a server with its replies."""
    with contextlib.ExitStack() as stack:

        def start(*replies: object) -> Scripted:
            server = Scripted(*replies)
            stack.callback(server.close)
            threading.Thread(target=server.serve, daemon=True).start()
            return server

        with dask.config.set({"jp2batch.retries.attempts": 1}):
            yield start


def first(source: Source) -> bytes:
    ((_, data),) = source.read_many([FIRST])
    return data


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("https://host.example/a/b_c-d.jp2", True),
        ("http://127.0.0.1:43210/x.jp2", True),
        ("https://h/a.jp2?X-Amz-Signature=ab%2Fcd&se=2026-01-01T00:00:00Z", True),
        ("https://h/a%20b.jp2", False),
        ("https://h/a b.jp2", False),
        ("https://h/ä.jp2", False),
        ("https://h/a/../b.jp2", False),
        ("https://h/a/./b.jp2", False),
        ("https://h/a.jp2#part", False),
        ("https://user:word@h/a.jp2", False),
        ("https://H/a.jp2", False),
        ("https://[::1]/a.jp2", False),
        ("https://h:99999/a.jp2", False),
        ("https://h", False),
        ("https://h/a.jp2?b c", False),
        ("https://h/a.jp2\r\nX: y", False),
        ("ftp://h/a.jp2", False),
    ],
)
def test_plain_urls(url: str, plain: bool) -> None:
    assert is_plain(url) is plain


def test_options_are_for_aiohttp() -> None:
    url = "https://h/a.jp2"
    assert reads_plainly(Location(url))
    assert reads_plainly(Location(url, {"sign": print, "headers": None}))
    assert not reads_plainly(Location(url, {"headers": {"A": "b"}}))
    assert not reads_plainly(Location(f"zip://a.jp2::{url}"))
    assert not reads_plainly(Location("s3://b/a.jp2"))
    with dask.config.set({"jp2batch.driver": "fsspec"}):
        assert not reads_plainly(Location(url))
        assert isinstance(open_source(url)._store, HttpObject)  # type: ignore[attr-defined]
    assert isinstance(open_source(url)._store, PlainHttpObject)  # type: ignore[attr-defined]
    assert isinstance(open_source("https://h/a%20b.jp2")._store, HttpObject)  # type: ignore[attr-defined]


def test_a_read_imports_no_aiohttp(scripted: Callable[..., Scripted]) -> None:
    server = scripted(USUAL)
    code = (
        "import sys; from jp2batch.storage.source import open_source\n"
        "print(open_source(sys.argv[1]).read_many([(0, 100)])[0][0], 'aiohttp' in sys.modules)"
    ).replace("(0, 100)", "__import__('jp2batch.core.ranges', fromlist=['']).ByteRange(0, 100)")
    done = subprocess.run([sys.executable, "-c", code, server.url], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 False"


def test_the_request(scripted: Callable[..., Scripted]) -> None:
    server = scripted(USUAL)
    open_source(f"{server.url}?a=%2F&b=").read_many([FIRST])
    (request,) = server.requests
    lines = request.decode().split("\r\n")
    assert lines[0] == "GET /x.jp2?a=%2F&b= HTTP/1.1"
    assert re.fullmatch(r"User-Agent: jp2batch/[\d.]+", lines[4])
    assert {*lines[1:4], *lines[5:]} == {
        f"Host: {server.host}",
        "Accept: */*",
        "Accept-Encoding: identity",
        "Range: bytes=0-99",
        "",
    }


def test_a_connection_is_used_again(scripted: Callable[..., Scripted]) -> None:
    server = scripted(*3 * [USUAL])
    source = open_source(server.url)
    assert [first(source) for _ in range(3)] == 3 * [DATA[:100]]
    assert (server.connections, source.meter.requests) == (1, 3)


def test_sources_share_connections(scripted: Callable[..., Scripted]) -> None:
    server = scripted(*3 * [USUAL])
    assert [first(open_source(server.url)) for _ in range(3)] == 3 * [DATA[:100]]
    assert server.connections == 1


@pytest.mark.parametrize(
    "reply",
    [
        PART + b"Connection: close\r\nContent-Length: 100\r\n\r\n" + DATA[:100],
        PART.replace(b"1.1", b"1.0") + b"Content-Length: 100\r\n\r\n" + DATA[:100],
        PART + b"\r\n" + DATA[:100],
        USUAL + b"HTTP/1.1 200 OK\r\n",
    ],
    ids=["close", "HTTP/1.0", "no length", "more than was asked for"],
)
def test_a_connection_is_not_used_again(scripted: Callable[..., Scripted], reply: bytes) -> None:
    server = scripted(reply, USUAL)
    assert first(open_source(server.url)) == first(open_source(server.url)) == DATA[:100]
    assert server.connections == 2


def test_what_a_closed_connection_swallows_is_sent_once_more(scripted: Callable[..., Scripted]) -> None:
    server = scripted(USUAL, None, USUAL)
    source = open_source(server.url)
    assert first(source) == first(source) == DATA[:100]
    assert (server.connections, source.meter.requests) == (2, 3)


@pytest.mark.parametrize("replies", [(None,), (USUAL, PART), (USUAL, None, None)])
def test_it_is_not_sent_again_and_again(scripted: Callable[..., Scripted], replies: tuple[object, ...]) -> None:
    server = scripted(*replies)
    source = open_source(server.url)
    with pytest.raises(errors.StoreUnavailable, match="the connection broke"):
        _ = [first(source) for _ in range(2)]
    assert source.meter.requests == len(server.requests) == len(replies)


def test_interim_replies_are_passed_over(scripted: Callable[..., Scripted]) -> None:
    server = scripted(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + USUAL)
    assert first(open_source(server.url)) == DATA[:100]


def test_chunks_with_extensions_and_trailers(scripted: Callable[..., Scripted]) -> None:
    body = b"28;a=b\r\n" + DATA[:40] + b"\r\n3C\r\n" + DATA[40:100] + b"\r\n0\r\nA: b\r\n\r\n"
    server = scripted(PART + b"Transfer-Encoding: chunked\r\n\r\n" + body, USUAL)
    source = open_source(server.url)
    assert first(source) == first(source) == DATA[:100]
    assert server.connections == 1


@pytest.mark.parametrize(
    "reply",
    [
        PART + b"Transfer-Encoding: chunked\r\n\r\nxx\r\n",
        PART + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n",
        PART + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n",
        PART + b"Content-Length: 100\r\nContent-Length: 99\r\n\r\n" + DATA[:100],
        PART + b"Content-Length: +100\r\n\r\n" + DATA[:100],
        PART + b"Content-Length : 100\r\n\r\n" + DATA[:100],
        PART + b" folded\r\nContent-Length: 100\r\n\r\n" + DATA[:100],
        b"HTTP/2 206\r\nContent-Length: 100\r\n\r\n" + DATA[:100],
        b"HTTP/1.1 206\r\nX: " + b"x" * 100_000 + b"\r\nContent-Length: 1\r\n\r\n",
    ],
)
def test_a_malformed_reply_is_a_broken_connection(scripted: Callable[..., Scripted], reply: bytes) -> None:
    server = scripted(reply)
    with pytest.raises(errors.StoreUnavailable, match="the connection broke"):
        first(open_source(server.url))


def test_a_silent_server_is_given_up(scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "_SILENCE", 0.2)
    server = scripted(...)
    with pytest.raises(errors.StoreUnavailable, match="did not answer"):
        first(open_source(server.url))


def test_a_redirect_with_a_cookie_is_for_aiohttp(scripted: Callable[..., Scripted]) -> None:
    redirect = b"HTTP/1.1 302 Found\r\nLocation: /y.jp2\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    server = scripted(redirect, redirect, USUAL)
    source = open_source(server.url)
    assert first(source) == DATA[:100]
    assert source.meter.requests == 3
    assert b"aiohttp" in server.requests[-1]


@pytest.mark.parametrize(
    ("target", "asked"),
    [
        ("/y.jp2", "/y.jp2"),
        ("y.jp2?a=b#c", "/y.jp2?a=b"),
        ("http://me:word@{host}/ä b%20c.jp2", "/%C3%A4%20b%20c.jp2"),
    ],
)
def test_redirects(scripted: Callable[..., Scripted], target: str, asked: str) -> None:
    redirect = f"HTTP/1.1 307 Moved\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
    server = scripted(redirect, USUAL)
    source = open_source(server.url)
    assert first(source) == DATA[:100]
    assert server.requests[-1].startswith(f"GET {asked} HTTP/1.1\r\nHost: {server.host}\r\n".encode())
    assert source.meter.requests == 2


def test_a_redirect_to_another_protocol_is_refused(scripted: Callable[..., Scripted]) -> None:
    server = scripted(b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(errors.StorageError, match="redirects to no web server"):
        first(open_source(server.url))


def test_a_header_has_no_line_break() -> None:
    with pytest.raises(ValueError, match="line break"):
        WebTarget.of("http://h/a").request({"If-None-Match": '"a"\r\nX: y'})


def test_a_large_body_waits_for_its_reader(scripted: Callable[..., Scripted]) -> None:
    size = 20 << 20
    head = f"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-{size - 1}/{size}\r\nContent-Length: {size}\r\n\r\n"
    data = os.urandom(1 << 20) * 20
    server = scripted(head.encode() + data)
    ((_, found),) = open_source(server.url).read_many([ByteRange(0, size)])
    assert found == data


def test_a_cancelled_request_closes_its_connection(scripted: Callable[..., Scripted]) -> None:
    server = scripted(..., USUAL)

    async def give_up() -> None:
        store = PlainHttpObject(server.url, lambda _: pytest.fail("another driver"), Meter())
        task = asyncio.ensure_future(store.get(FIRST, None))
        while not server.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    fsspec.asyn.sync(fsspec.asyn.get_loop(), give_up)
    assert first(open_source(server.url)) == DATA[:100]
    assert server.connections == 2


def test_a_host_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with dask.config.set({"jp2batch.retries.attempts": 1}):
        for host in ("no-such-host.invalid", "a..b", f"{'a' * 70}.example"):
            with pytest.raises(errors.StoreUnavailable, match="the store cannot be reached"):
                first(open_source(f"http://{host}/a.jp2"))
