"""HTTP/1.1 connections for GET requests."""

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from jp2batch.core.runtime import process_state
from jp2batch.core.version import __version__
from jp2batch.storage.drivers.http_driver import CHUNK

_STATUS = re.compile(r"HTTP/1\.([01]) ([1-9]\d\d)(?: .*)?")
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")
_LONGEST_HEAD = 64 * 1024  # bytes
_FULL = 1024 * 1024  # bytes received ahead, beyond which the sender has to wait
_CONNECTING = 30.0  # seconds for a connection
_NEXT_ADDRESS = 0.25  # seconds until the next address of a name is tried as well (RFC 8305)
_SILENCE = 60.0  # seconds without data; a large body may take any time as long as data arrive
_NO_BODY = (204, 304)

Count = Callable[[], None]
"""Called before each request."""


@dataclass(frozen=True, slots=True)
class WebServer:
    """The address of a web server."""

    host: str
    port: int
    is_encrypted: bool

    @classmethod
    def of(cls, url: str) -> "WebServer":
        """Return the server of a URL."""
        parts = urlsplit(url)
        is_encrypted = parts.scheme == "https"
        return cls(parts.hostname or "", parts.port or (443 if is_encrypted else 80), is_encrypted)


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """Status and headers of a reply."""

    status: int
    headers: Mapping[str, str]
    """Values by names in lower case."""
    is_last: bool
    """True if the server closes the connection after this reply."""


def request_head(url: str, headers: Mapping[str, str]) -> bytes:
    """Return the bytes of a GET request.

    Raises
    ------
    ValueError
        A header has a line break.
    """
    parts = urlsplit(url)
    target = f"{parts.path or '/'}?{parts.query}" if "?" in url else parts.path or "/"
    lines = [f"GET {target} HTTP/1.1", f"Host: {parts.netloc.rpartition('@')[2]}", "Accept: */*"]
    lines += [
        "Accept-Encoding: identity",
        f"User-Agent: jp2batch/{__version__}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header has a line break")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


class HttpConnection(asyncio.Protocol):
    """A connection to a web server: a request at a time.

    Errors are `ConnectionError`, if the reply breaks off or is not HTTP, and `TimeoutError`, if the server is silent.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._data = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._needed = 0  # bytes for which `_waiter` waits
        self._is_paused = self._is_over = self._is_silent = self._is_done = False
        self._heard = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.has_answered = False
        """Whether any byte of the current reply has come."""

    @classmethod
    async def open(cls, server: WebServer) -> "HttpConnection":
        """Connect to a server."""
        loop = asyncio.get_running_loop()
        tls = _tls_context() if server.is_encrypted else None
        is_single = server.host == "localhost" or server.host[-1:].isdecimal()  # no name of several addresses
        try:
            async with asyncio.timeout(_CONNECTING):
                _, connection = await loop.create_connection(
                    lambda: cls(loop),
                    server.host,
                    server.port,
                    ssl=tls,
                    happy_eyeballs_delay=None if is_single else _NEXT_ADDRESS,
                )
        except (ssl.SSLError, ConnectionError):
            raise
        except (OSError, UnicodeError) as error:
            raise ConnectionRefusedError(f"{server.host}: {getattr(error, 'strerror', '') or error}") from None
        return connection

    @property
    def is_idle(self) -> bool:
        """True if the connection can take a request."""
        return self._is_done and not (self._is_over or self._data)

    async def ask(self, request: bytes) -> ReplyHead:
        """Send a request; return the head of its reply."""
        self.has_answered = self._is_done = False
        self._set_timer(_SILENCE)
        self._heard = self._loop.time()
        if self._is_over or self._transport is None:
            raise ConnectionResetError("the connection is closed")
        self._transport.write(request)
        while True:
            head = _parsed(await self._until(b"\r\n\r\n"))
            if head.status == 101 or head.status >= 200:
                return head

    async def body(self, head: ReplyHead) -> AsyncGenerator[bytes, None]:
        """Iterate over the body of a reply."""
        length = head.headers.get("content-length")
        if "chunked" in head.headers.get("transfer-encoding", "").lower():
            async for part in self._chunks():
                yield part
        elif head.status not in _NO_BODY:
            left = None if length is None else int(length)
            while left is None or left:
                most = CHUNK if left is None else min(left, CHUNK)
                if not (part := await self._take(most, is_open_ended=left is None)):
                    break
                left = None if left is None else left - len(part)
                yield part
        self._finish(head)

    def close(self) -> None:
        """Close the connection at once, even in the middle of a reply."""
        self._is_over = True
        self._cancel_timer()
        if self._transport is not None:
            self._transport.abort()

    def close_later(self, seconds: float) -> None:
        """Close the connection unless it is used within some seconds."""
        self._cancel_timer()
        self._timer = self._loop.call_later(seconds, self.close)

    def connection_made(self, transport: Any) -> None:
        """Keep the transport; called by asyncio."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take bytes; called by asyncio."""
        self._data += data
        self._heard, self.has_answered = self._loop.time(), True
        if len(self._data) >= self._needed:
            self._wake()
        if len(self._data) > _FULL and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (all mean the same)
        """Note the end of the connection; called by asyncio."""
        self._is_over = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _receive(self, size: int) -> None:
        """Wait until some bytes are there, or the connection ends."""
        while len(self._data) < size and not self._is_over:
            self._needed, self._waiter = size, self._loop.create_future()
            if self._is_paused and self._transport is not None:
                self._is_paused = False
                self._transport.resume_reading()
            await self._waiter
            if self._is_silent:
                raise TimeoutError("the server is silent")

    async def _until(self, mark: bytes) -> bytes:
        """Return the bytes before a mark, which is taken as well."""
        start = 0
        while (found := self._data.find(mark, start, _LONGEST_HEAD)) < 0:
            start = max(0, len(self._data) - len(mark))
            if self._is_over or len(self._data) > _LONGEST_HEAD:
                raise ConnectionResetError("the reply breaks off")
            await self._receive(len(self._data) + 1)
        before = bytes(self._data[:found])
        del self._data[: found + len(mark)]
        return before

    async def _take(self, size: int, *, is_open_ended: bool = False) -> bytes:
        """Return the next bytes of a body.

        Fewer at its end, if only the end of the connection ends it.
        """
        await self._receive(size)
        if len(self._data) < size and not is_open_ended:
            raise ConnectionResetError("the body breaks off")
        part = bytes(self._data) if len(self._data) <= size else bytes(self._data[:size])
        del self._data[:size]
        return part

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        """Iterate over the chunks of a body (RFC 9112, 7.1)."""
        while True:
            line = await self._until(b"\r\n")
            text = line.partition(b";")[0].strip()
            if not _SIZE.fullmatch(text):
                raise ConnectionResetError("a chunk has no size")
            left = int(text, 16)
            if not left:
                break
            while left:
                part = await self._take(min(left, CHUNK))
                left -= len(part)
                yield part
            if await self._take(2) != b"\r\n":
                raise ConnectionResetError("a chunk is longer than its size")
        while await self._until(b"\r\n"):
            pass  # trailers

    def _finish(self, head: ReplyHead) -> None:
        self._cancel_timer()
        self._is_done = not head.is_last
        if head.is_last:
            self.close()

    def _set_timer(self, seconds: float) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_later(seconds, self._check_silence)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check_silence(self) -> None:
        rest = self._heard + _SILENCE - self._loop.time()
        if self._is_paused or rest > 0:
            self._set_timer(max(rest, 1.0))
        else:
            self._is_silent = True
            self._wake()


def _parsed(head: bytes) -> ReplyHead:
    """Return status and headers of a reply."""
    first, *lines = head.decode("utf-8", "surrogateescape").split("\r\n")
    found = _STATUS.fullmatch(first)
    if found is None:
        raise ConnectionResetError("the reply is not HTTP/1.1")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        is_length = name == "content-length"
        if not colon or name != name.strip() or not name or (is_length and headers.get(name, value) != value):
            raise ConnectionResetError("a header is malformed")
        if is_length and not (value.isascii() and value.isdecimal()):
            raise ConnectionResetError("Content-Length is not a number")
        headers[name] = value
    framed = "content-length" in headers or "transfer-encoding" in headers or int(found[2]) in _NO_BODY
    closes = "close" in headers.get("connection", "").lower() or found[1] == "0" or not framed
    return ReplyHead(int(found[2]), headers, closes)


@process_state()
def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
