"""HTTP/1.1 connections for GET requests."""

import asyncio
import re
import ssl
from collections.abc import Callable
from typing import Any

from jp2batch.core.runtime import process_state
from jp2batch.storage.drivers.http_driver import CHUNK
from jp2batch.storage.drivers.http_message import NO_BODY, ReplyHead, WebServer
from jp2batch.storage.drivers.socket_transport import SocketAddress, SocketTransport

_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")
_LONGEST_HEAD = 64 * 1024  # bytes
_FULL = 1024 * 1024  # bytes received ahead, beyond which the sender has to wait
_CONNECTING = 30.0  # seconds for a connection
_NEXT_ADDRESS = 0.25  # seconds until the next address of a name is tried as well (RFC 8305)
_SILENCE = 60.0  # seconds without data; a large body may take any time as long as data arrive
_KEPT_OPEN = 15.0  # seconds for an idle connection

Count = Callable[[], None]
"""Called before each request."""


class HttpConnection(asyncio.Protocol):
    """A connection to a web server: a request at a time.

    Errors are `ConnectionError`, if the reply breaks off or is not HTTP, and `TimeoutError`, if the server is silent.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | SocketTransport | None = None
        self._data = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._needed = 0  # bytes for which `_waiter` waits
        self._is_paused = self._is_silent = self._is_done = False
        self._heard = loop.time()
        self.is_over = False
        """Whether the connection has ended."""
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

    @classmethod
    def open_at(cls, address: SocketAddress) -> "HttpConnection":
        """Connect to a server at an address, without encryption."""
        connection = cls(loop := asyncio.get_running_loop())
        connection._transport = SocketTransport(loop, address, connection)
        return connection

    @property
    def address(self) -> SocketAddress | None:
        """Address of a server, for a connection without encryption."""
        transport = self._transport
        if not isinstance(transport, asyncio.Transport) or transport.get_extra_info("ssl_object"):
            return None
        sock, place = (transport.get_extra_info(name) for name in ("socket", "peername"))
        return (sock.family, place) if sock and place else None

    @property
    def is_idle(self) -> bool:
        """True if the connection can take a request."""
        return self._is_done and not (self.is_over or self._data)

    async def ask(self, request: bytes) -> ReplyHead:
        """Send a request; return the head of its reply."""
        self.has_answered = self._is_done = False
        self._heard = self._loop.time()
        if self.is_over or self._transport is None:
            raise ConnectionResetError("the connection is closed")
        self._transport.write(request)
        while True:
            head = ReplyHead.parse(await self.until(b"\r\n\r\n"))
            if head.status == 101 or head.status >= 200:
                return head

    def close(self) -> None:
        """Close the connection at once, even in the middle of a reply."""
        self.is_over = True
        if self._transport is not None:
            self._transport.abort()

    def check(self) -> None:
        """Close an idle connection; give up a silent server.

        Called now and then: a timer for each request would cost more.
        """
        silence = self._loop.time() - self._heard
        if self._is_done and silence > _KEPT_OPEN:
            self.close()
        elif not (self._is_done or self._is_paused) and silence > _SILENCE:
            self._is_silent = True
            self._wake()

    def finish(self, head: ReplyHead) -> None:
        """End a reply whose body is taken."""
        self._is_done = not head.is_last
        if head.is_last:
            self.close()

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
        self.is_over = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _receive(self, size: int) -> None:
        """Wait until some bytes are there, or the connection ends."""
        while len(self._data) < size and not self.is_over:
            self._needed, self._waiter = size, self._loop.create_future()
            if self._is_paused and self._transport is not None:
                self._is_paused = False
                self._transport.resume_reading()
            await self._waiter
            if self._is_silent:
                raise TimeoutError("the server is silent")

    async def until(self, mark: bytes) -> bytes:
        """Return the bytes before a mark, which is taken as well."""
        start = 0
        while (found := self._data.find(mark, start, _LONGEST_HEAD)) < 0:
            start = max(0, len(self._data) - len(mark))
            if self.is_over or len(self._data) > _LONGEST_HEAD:
                raise ConnectionResetError("the reply breaks off")
            await self._receive(len(self._data) + 1)
        before = bytes(self._data[:found])
        del self._data[: found + len(mark)]
        return before

    async def take(self, size: int, *, is_open_ended: bool = False) -> bytes:
        """Return the next bytes of a body.

        Fewer at its end, if only the end of the connection ends it.
        """
        await self._receive(size)
        if len(self._data) < size and not is_open_ended:
            raise ConnectionResetError("the body breaks off")
        part = bytes(self._data) if len(self._data) <= size else bytes(self._data[:size])
        del self._data[:size]
        return part


class Body:
    """The body of a reply, iterated in parts.

    A generator would have to be closed, and cost more.
    """

    def __init__(self, connection: HttpConnection, head: ReplyHead) -> None:
        self._connection, self._head = connection, head
        self._is_chunked = "chunked" in head.headers.get("transfer-encoding", "").lower()
        self._is_in_chunk = False
        length = head.headers.get("content-length")
        is_absent = self._is_chunked or head.status in NO_BODY
        self._left: int | None = 0 if is_absent else None if length is None else int(length)

    def __aiter__(self) -> "Body":
        return self

    async def __anext__(self) -> bytes:
        if self._left == 0 and self._is_chunked:
            self._left = await self._next_chunk()
        if self._left != 0:
            size = CHUNK if self._left is None else min(self._left, CHUNK)
            part = await self._connection.take(size, is_open_ended=self._left is None)
            self._left = None if self._left is None else self._left - len(part)
            if part:
                return part
        self._connection.finish(self._head)
        raise StopAsyncIteration

    async def _next_chunk(self) -> int:
        """Return the next chunk's size, 0 at the end (RFC 9112)."""
        if self._is_in_chunk and await self._connection.take(2) != b"\r\n":
            raise ConnectionResetError("a chunk is longer than its size")
        self._is_in_chunk = True
        text = (await self._connection.until(b"\r\n")).partition(b";")[0].strip()
        if not _SIZE.fullmatch(text):
            raise ConnectionResetError("a chunk has no size")
        size = int(text, 16)
        while not size and await self._connection.until(b"\r\n"):
            pass  # trailers
        return size


@process_state()
def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
