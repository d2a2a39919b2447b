"""A transport of asyncio for requests to a web server, without encryption."""

import asyncio
import errno
import socket
from typing import Any, Protocol

_USUAL, _MUCH = 64 * 1024, 256 * 1024  # bytes to receive: a buffer of much, usually for little, takes long
_NOT_YET = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINPROGRESS, errno.ENOTCONN)

SocketAddress = tuple[int, Any]
"""The family of a socket, and its address."""


class Receiver(Protocol):
    """The part of `asyncio.Protocol` that is called."""

    def data_received(self, data: bytes) -> None:
        """Take bytes."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end of the connection."""


class SocketTransport:
    """A new connection to an address.

    asyncio's own transport costs three times as much processor time. Data may be written at once; an error of
    connecting ends the connection.
    """

    __slots__ = ("_loop", "_most", "_number", "_receiver", "_socket", "_unsent")

    def __init__(self, loop: asyncio.AbstractEventLoop, address: SocketAddress, receiver: Receiver) -> None:
        family, place = address
        self._loop, self._receiver = loop, receiver
        self._unsent, self._most = b"", _USUAL
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._number = self._socket.fileno()
        self._socket.setblocking(False)
        if (code := self._socket.connect_ex(place)) not in (0, *_NOT_YET):
            self._socket.close()
            raise ConnectionRefusedError(code, "the server cannot be reached")
        loop.add_reader(self._number, self._receive)

    def write(self, data: bytes) -> None:
        """Send bytes, as soon as possible."""
        self._unsent += data
        self._send()
        if self._unsent:
            self._loop.add_writer(self._number, self._send_rest)

    def pause_reading(self) -> None:
        """Receive nothing for now."""
        self._loop.remove_reader(self._number)

    def resume_reading(self) -> None:
        """Receive again."""
        self._loop.add_reader(self._number, self._receive)

    def abort(self) -> None:
        """Close the connection at once."""
        self._end(None)

    def _send(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except OSError as error:
            if error.errno not in _NOT_YET:
                self._end(error)
        else:
            self._unsent = self._unsent[sent:]

    def _send_rest(self) -> None:
        self._send()
        if not self._unsent:
            self._loop.remove_writer(self._number)

    def _receive(self) -> None:
        try:
            data = self._socket.recv(self._most)
        except OSError as error:
            if error.errno not in _NOT_YET:
                self._end(error)
        else:
            self._most = _MUCH if len(data) == self._most else _USUAL
            if data:
                self._receiver.data_received(data)
            else:
                self._end(None)

    def _end(self, error: OSError | None) -> None:
        if self._number >= 0:
            self._loop.remove_reader(self._number)
            self._loop.remove_writer(self._number)
            self._socket.close()
            self._number, self._unsent = -1, b""
            self._receiver.connection_lost(error)
