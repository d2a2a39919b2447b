"""The HTTP server, with a limit of connections."""

import ssl
from collections.abc import Awaitable
from typing import Any
from urllib.parse import urlsplit

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream, SSLIOStream
from tornado.web import Application

from jp2batch.service.server_state import Service

_HEADERS = 64 * 1024  # bytes; handlers refuse less, with a response
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


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


class Routes(Application):
    """Routes of requests.

    Their targets may be in absolute form (RFC 9112, 3.2.2).
    """

    def find_handler(self, request: HTTPServerRequest, **options: Any) -> Any:
        """Return the handler of a request, by its path."""
        if request.path.startswith(("http://", "https://")):
            request.path = urlsplit(request.path).path or "/"
        return super().find_handler(request, **options)


class Server(HTTPServer):
    """Server with a limit of connections."""

    service: Service

    def handle_stream(  # type: ignore[override]  # as in TCPServer
        self, stream: IOStream, address: tuple[object, ...]
    ) -> Awaitable[None] | None:
        """Accept a connection, or refuse it."""
        if len(self._connections) < self.service.settings.limits.connections:
            super().handle_stream(stream, address)
            return None
        self.service.metrics.answered("connection", 503, 0.0, 0)
        if not isinstance(stream, SSLIOStream):  # whose handshake can take any time
            stream.write(_BUSY)
        stream.close()
        return None
