"""Limit connections; answer requests refused before a handler exists."""

import asyncio
import contextlib
import http
import json
import logging
import secrets
import socket
import ssl
from collections.abc import Awaitable
from typing import Any, cast

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError, UnsatisfiableReadError
from tornado.web import Application

from jp2batch.service.handler import Handler, Service
from jp2batch.service.log import FIELDS
from jp2batch.service.problems import HeadersTooLarge, Malformed, ServiceError, TooManyConnections, problem_of

_log = logging.getLogger("jp2batch.service.requests")

_FAREWELL = 1.0  # seconds to read on after a refusal: closing at once would reset the connection, and lose the response
_FAREWELLS = 200  # refusals at once; further connections are closed without a response
_HEADERS = 64 * 1024  # bytes; handlers refuse less, with a response
_BARE = b"HTTP/1.1 400 Bad Request\r\n\r\n"  # response of tornado to a request it cannot parse


def server_of(service: Service, application: Application, context: ssl.SSLContext | None) -> "Server":
    """Return a server, not yet listening."""
    limits = service.settings.limits
    server = Server(
        application,
        xheaders=service.settings.behind_proxy,
        protocol="https" if context else None,
        ssl_options=context,
        idle_connection_timeout=limits.idle,
        max_header_size=_HEADERS,
        max_body_size=2**62,  # handlers limit size and time, with a response
        chunk_size=64 * 1024,
    )
    server.service = service
    return server


class Server(HTTPServer):
    """Server with a limit of connections, and a response to refused ones."""

    service: Service

    def handle_stream(  # type: ignore[override]  # as in TCPServer
        self, stream: IOStream, address: tuple[object, ...]
    ) -> Awaitable[None] | None:
        """Accept a connection, or refuse it with a response."""
        if len(self._connections) < self.service.settings.limits.connections:
            super().handle_stream(cast(IOStream, ExplainingStream(stream, self.service, _remote(address))), address)
            return None
        error = TooManyConnections("", "too many connections", "try again later", retry_after=5)
        return _refused(stream, self.service, _remote(address), error)


class ExplainingStream:
    """Stream with problem responses where tornado sends only a status.

    Parameters
    ----------
    stream : IOStream
        The stream to wrap.
    service : Service
        Counts and logs refusals.
    remote : str
        Address of the client.
    """

    def __init__(self, stream: IOStream, service: Service, remote: str) -> None:
        self._stream, self._service, self._remote = stream, service, remote
        self.handler: Handler | None = None
        """Handler of the current request; None before its headers are parsed."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> bytes:
        """Read headers; see `IOStream`."""
        try:
            return await self._stream.read_until_regex(regex, max_bytes)
        except StreamClosedError as closed:
            if isinstance(closed.real_error, UnsatisfiableReadError):
                self._note_length(max_bytes)
            raise

    def write(self, data: bytes) -> Awaitable[None]:
        """Write; see `IOStream`."""
        if data != _BARE:
            return self._stream.write(data)
        error = Malformed("", "the request is not valid HTTP", "see RFC 9112")
        if self.handler is None:
            return _refused(self._stream, self._service, self._remote, error)
        self.handler.fail(error)
        return asyncio.sleep(0)

    def _note_length(self, most: int | None) -> None:
        error = HeadersTooLarge("", f"the headers have more than {most} bytes", "the connection is closed")
        _note(self._service, error, 431, id=secrets.token_hex(8), remote=self._remote)


async def _refused(stream: IOStream, service: Service, remote: str, error: ServiceError) -> None:
    """Send a problem response, and close the connection."""
    request_id, problem = secrets.token_hex(8), problem_of(error)
    body = json.dumps(problem.body(request_id)).encode()
    headers = {
        "Server": "jp2batch",
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "X-Request-ID": request_id,
        "Connection": "close",
        **problem.headers,
    }
    lines = [f"HTTP/1.1 {problem.status} {http.HTTPStatus(problem.status).phrase}", *map(": ".join, headers.items())]
    _note(service, error, problem.status, id=request_id, remote=remote, bytes_sent=len(body))
    if service.farewells >= _FAREWELLS:
        stream.close()
        return
    service.farewells += 1
    try:
        await _say_and_close(stream, "\r\n".join([*lines, "", ""]).encode() + body)
    finally:
        service.farewells -= 1
        stream.close()


async def _say_and_close(stream: IOStream, data: bytes) -> None:
    """Write data, read on for a moment, and close."""
    late = asyncio.get_running_loop().call_later(_FAREWELL, stream.close)
    with contextlib.suppress(StreamClosedError, OSError):
        await stream.write(data)
        if not isinstance(stream, SSLIOStream):
            stream.socket.shutdown(socket.SHUT_WR)
        while True:
            await stream.read_bytes(64 * 1024, partial=True)
    late.cancel()


def _note(service: Service, error: ServiceError, status: int, **line: str | int) -> None:
    service.metrics.answered("connection", status, 0.0, int(line.get("bytes_sent", 0)))
    line |= {"status": status, "error": type(error).__name__, "detail": str(error)}
    _log.info("refused", extra={FIELDS: line})


def _remote(address: object) -> str:
    return str(address[0]) if isinstance(address, tuple) and address else ""
