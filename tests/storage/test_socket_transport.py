"""Connections without encryption, at an address reached before: nothing is lost, and an error ends them."""

import asyncio
import contextlib
import math
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from jp2batch.storage.drivers import plain_http
from jp2batch.storage.drivers.http_message import WebServer
from jp2batch.storage.drivers.plain_http import _Connections
from jp2batch.storage.drivers.socket_transport import SocketAddress, SocketTransport

REPLY = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 0\r\n\r\n"


class Heard:
    """Bytes that a connection has received, and its end."""

    def __init__(self) -> None:
        self.data, self.is_over, self.error = b"", asyncio.Event(), None

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc  # type: ignore[assignment]
        self.is_over.set()


@contextlib.contextmanager
def no_server() -> Iterator[SocketAddress]:
    """Yield an address that refuses connections."""
    with socket.socket() as bound:  # not listening, and nobody else can
        bound.bind(("127.0.0.1", 0))
        yield socket.AF_INET, bound.getsockname()


@contextlib.asynccontextmanager
async def echo() -> AsyncIterator[SocketAddress]:
    """Yield the address of a server that sends back what it receives, until the client's 'e'."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (data := await reader.read(65536)) and not data.endswith(b"e"):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield socket.AF_INET, server.sockets[0].getsockname()


def test_much_data_is_sent_and_received_whole() -> None:
    data = os.urandom(10 << 20).replace(b"e", b"f")

    async def run() -> bytes:
        async with echo() as address:
            heard = Heard()
            transport = SocketTransport(asyncio.get_running_loop(), address, heard)
            transport.write(data[:100])
            transport.write(data[100:])
            while len(heard.data) < len(data):
                transport.pause_reading()
                await asyncio.sleep(0.001)
                transport.resume_reading()
                await asyncio.sleep(0.01)
            transport.write(b"e")
            await heard.is_over.wait()
            assert heard.error is None
            transport.abort()
            return heard.data

    assert asyncio.run(run()) == data


def test_an_address_that_refuses_ends_the_connection() -> None:
    async def run() -> object:
        with no_server() as address:
            heard = Heard()
            SocketTransport(asyncio.get_running_loop(), address, heard).write(b"a")
            await asyncio.wait_for(heard.is_over.wait(), 5)
            return heard.error

    with contextlib.suppress(ConnectionRefusedError):  # some systems refuse at once
        assert isinstance(asyncio.run(run()), ConnectionError)


@pytest.fixture
def server() -> Iterator[int]:
    """Yield the port of a server that answers each request."""

    def answer(connection: socket.socket) -> None:
        with connection:
            while connection.recv(65536):
                connection.sendall(REPLY)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_a_server_that_has_moved_is_looked_up_again(server: int) -> None:
    counted = []

    async def run() -> None:
        pool, where = _Connections(), WebServer("localhost", server, False)
        with no_server() as address:
            pool._addresses[where] = address, math.inf
            connection, head = await pool.ask(where, b"GET / HTTP/1.1\r\n\r\n", lambda: counted.append(1))
        assert head.status == 206
        assert pool._addresses[where][0] == (socket.AF_INET, ("127.0.0.1", server))
        connection.close()
        again, head = await pool.ask(where, b"GET / HTTP/1.1\r\n\r\n", lambda: counted.append(1))
        assert head.status == 206
        assert isinstance(again._transport, SocketTransport)
        again.close()

    asyncio.run(run())
    assert len(counted) == 3


def test_an_address_is_looked_up_again_after_a_while(server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_http, "_RESOLVED", 0.0)

    async def run() -> None:
        pool, where = _Connections(), WebServer("127.0.0.1", server, False)
        for _ in range(2):
            connection, _ = await pool.ask(where, b"GET / HTTP/1.1\r\n\r\n", lambda: None)
            assert isinstance(connection._transport, asyncio.Transport)
            connection.close()
            await asyncio.sleep(0.01)

    asyncio.run(run())


def test_idle_connections_are_closed(server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_http, "_LOOK", 0.01)
    monkeypatch.setattr("jp2batch.storage.drivers.http_connection._KEPT_OPEN", 0.02)

    async def run() -> None:
        pool, where = _Connections(), WebServer("127.0.0.1", server, False)
        connection, head = await pool.ask(where, b"GET / HTTP/1.1\r\n\r\n", lambda: None)
        connection.finish(head)
        pool.give_back(where, connection)
        assert connection.is_idle
        async with asyncio.timeout(5):
            while pool._open:
                await asyncio.sleep(0.01)
        assert connection.is_over

    asyncio.run(run())
