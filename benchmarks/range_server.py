"""An HTTP/1.1 server on loopback, as a base for simulated stores."""

import asyncio
import contextlib
import re
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import BinaryIO, Literal

_LONGEST_HEAD = 64 * 1024
_CHUNK = 1000  # bytes of each chunk of a chunked body


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """The head of a request; names of headers in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FilePart:
    """A part of an open file, as a body."""

    file: BinaryIO
    start: int
    length: int

    def __len__(self) -> int:
        return self.length


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A status, headers, and the body to send."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | FilePart = b""
    chunked: bool = False
    """True to send the body in chunks, without its length."""
    sent: int | None = None
    """Bytes of the body sent before closing; None: send all and keep the connection."""

    def head(self) -> bytes:
        """Return status line and headers."""
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        if self.chunked:
            lines.append("Transfer-Encoding: chunked")
        elif self.status != HTTPStatus.NOT_MODIFIED:
            lines.append(f"Content-Length: {len(self.body)}")
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()


class RangeServer(ABC):
    """Answer requests over persistent connections; subclasses make the responses."""

    @abstractmethod
    async def reply(self, connection: socket.socket, request: HttpRequest) -> Literal["keep", "close"]:
        """Answer a request; return whether to keep the connection."""

    async def accept(self, listener: socket.socket) -> None:
        """Serve all connections to a listening socket, until cancelled."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        async with asyncio.TaskGroup() as conversations:
            while True:
                connection, _ = await loop.sock_accept(listener)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                conversations.create_task(self._converse(connection))

    async def _converse(self, connection: socket.socket) -> None:
        loop, waiting = asyncio.get_running_loop(), b""
        with connection, contextlib.suppress(OSError):  # the client may hang up at any time
            while True:
                while b"\r\n\r\n" not in waiting:
                    data = await loop.sock_recv(connection, _LONGEST_HEAD)
                    waiting += data
                    if not data or len(waiting) > _LONGEST_HEAD:
                        return
                    if not waiting[:1].isalpha():  # as the first byte of TLS
                        await send_bytes(connection, HttpResponse(400), b"")
                        return
                head, _, waiting = waiting.partition(b"\r\n\r\n")
                if await self.reply(connection, parse_head(head)) == "close":
                    return


async def send_bytes(connection: socket.socket, response: HttpResponse, body: bytes) -> None:
    """Send a response with a body in memory, together with its head."""
    loop = asyncio.get_running_loop()
    parts = [response.head(), *(_chunks(body) if response.chunked else [body[: response.sent]])]
    await loop.sock_sendall(connection, b"".join(parts))


def _chunks(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), _CHUNK):
        chunk = body[start : start + _CHUNK]
        yield f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n"
    yield b"0\r\n\r\n"


def reset(connection: socket.socket) -> None:
    """Let the end of a connection be a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_WR)


def parse_head(head: bytes) -> HttpRequest:
    """Return method, target, and headers of a request."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    pairs = (line.partition(":") for line in lines)
    return HttpRequest(method, target, {name.lower(): value.strip() for name, _, value in pairs})


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """Return start and stop of a Range header; `bytes=-100` are the last bytes.

    Several ranges are answered as the whole file, which RFC 9110 (14.2) allows; None: the file has no such bytes.
    """
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    if found is None or not any(found.groups()):
        return 0, size
    first, last = found.groups()
    if not first:
        return (max(0, size - int(last)), size) if int(last) else None
    stop = min(int(last) + 1 if last else size, size)
    return (int(first), stop) if int(first) < stop else None
