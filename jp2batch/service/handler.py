"""Base of all handlers: request id, limits, errors, log."""

import asyncio
import functools
import json
import logging
import re
import secrets
import time
from collections.abc import Awaitable
from typing import Any, ClassVar
from urllib.parse import unquote

from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream, StreamClosedError
from tornado.web import HTTPError, RequestHandler, stream_request_body

from jp2batch.core.errors import InvalidRequest, Jp2BatchError, UnexpectedError
from jp2batch.core.redaction import redact, redact_path
from jp2batch.service.log import FIELDS
from jp2batch.service.problems import (
    BodyTooLarge,
    BodyTooSlow,
    HeadersTooLarge,
    LengthRequired,
    MethodNotAllowed,
    NoSuchPage,
    ServiceError,
    UnsupportedEncoding,
    problem_of,
)
from jp2batch.service.server_state import Service

_log = logging.getLogger("jp2batch.service.requests")

_HEADERS = 16 * 1024  # bytes, limit of the headers of a request
_LINGER = 8 * 2**20  # bytes of a refused body to read: a client still sending does not read the response
_GONE = 499  # in the log, as in nginx: the client closed the connection before the response
_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_METHODS = ("GET", "HEAD", "POST")
_ASKED = "Accept, Authorization, Content-Type, If-None-Match, X-Request-ID"
_TOLD = ("ETag", "Server-Timing", "Jp2-Shape", "Jp2-Bytes-Read", "Jp2-File-Size", "X-Request-ID", "Retry-After")


@stream_request_body
class Handler(RequestHandler):
    """Base of all handlers."""

    route: ClassVar[str] = "other"
    """Name of the route in metrics."""
    protected: ClassVar[bool] = False
    """True if a token is required, provided the operator set tokens."""

    def initialize(self) -> None:
        """Begin a request."""
        self.began = time.perf_counter()
        self.notes: dict[str, float | str | None] = {}
        self.body = bytearray()
        self._body_size = 0
        self._refusal: ServiceError | None = None
        self.is_accounted = self._whole = False
        self._receiving: asyncio.TimerHandle | None = None

    @property
    def service(self) -> Service:
        """State shared with the other handlers."""
        found: Service = self.application.settings["service"]
        return found

    @property
    def id(self) -> str:
        """Id of this request: the client's if valid, else random."""
        if not hasattr(self, "_id"):
            given = self.request.headers.get("X-Request-ID", "")
            self._id = given if _ID.fullmatch(given) else secrets.token_hex(8)
        return self._id

    @property
    def _stream(self) -> Any:
        connection: Any = self.request.connection
        return connection.stream

    def set_default_headers(self) -> None:
        """Set the headers of every response."""
        self.set_header("Server", "jp2batch")
        self.clear_header("Content-Type")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Request-ID", self.id)
        self._allow_origin()

    def prepare(self) -> None:
        """Refuse requests by their headers, before the body is read."""
        if self.service.draining:
            self.set_header("Connection", "close")
        seconds = self.service.settings.limits.receiving
        self._receiving = asyncio.get_running_loop().call_later(seconds, self._late, seconds)
        if (size := _size_of(self.request)) > _HEADERS:
            raise HeadersTooLarge("", f"the headers have {size} bytes", f"send {_HEADERS} at most")
        self._refuse_early()

    def _refuse_early(self) -> None:
        """Refuse a request by its headers; a short body is read first."""
        if self.request.method not in ("GET", "POST") or not self._implements(self.request.method):
            return
        try:
            if self.protected:
                self.service.settings.tokens.check(self.request.headers.get("Authorization", ""))
            if self.request.method == "POST":
                self._check_framing()
        except ServiceError as error:
            if "Expect" in self.request.headers or self._length() > _LINGER:
                raise
            self._refusal = error

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Append a part of the body, up to the limit."""
        self._body_size += len(chunk)
        if self._body_size <= self.service.settings.limits.body:
            self.body += chunk
        elif self._body_size > _LINGER and not self._finished:
            self.fail(self._too_large())
        return None

    def options(self) -> None:
        """Answer a CORS preflight request."""
        self.set_header("Allow", self._allowed())
        if "Access-Control-Allow-Origin" in self._headers:
            self.set_header("Access-Control-Allow-Methods", self._allowed())
            self.set_header("Access-Control-Allow-Headers", _ASKED)
            self.set_header("Access-Control-Max-Age", "600")
        self.set_status(204)

    def respond(self, data: bytes, media_type: str) -> None:
        """Send a response, and drop the connection if it takes too long."""
        self.set_header("Content-Type", media_type)
        stream = self._stream
        self.notes["bytes_sent"] = 0 if self.request.method == "HEAD" else len(data)
        ends = self._headers.get("Connection") == "close"
        sent = self.finish(data)
        if ends:  # tornado ignores this header
            sent.add_done_callback(lambda _: stream.close())
        self.service.outbox.add(sent, len(data), functools.partial(self._drop, stream))

    def begin(self, media_type: str) -> None:
        """Begin a response of unknown length."""
        self.set_header("Content-Type", media_type)
        self.notes["bytes_sent"] = 0
        if self.request.version == "HTTP/1.0":  # only the end of the connection tells that of the response
            self.set_header("Connection", "close")

    async def send(self, data: bytes) -> None:
        """Send a part of a response; wait until the connection takes it."""
        self.write(data)
        sent = self.flush()
        self.service.outbox.add(sent, len(data), functools.partial(self._drop, self._stream))
        await sent
        self.notes["bytes_sent"] = int(self.notes["bytes_sent"] or 0) + len(data)

    def cut(self) -> None:
        """Close the connection before the end of a response."""
        self._account(self.get_status())
        self._stream.close()

    def compute_etag(self) -> None:
        """Return no ETag: responses are not cached, a digest would be wasted."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Turn an error into a problem response, for all handlers."""
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else HTTPError(status_code)
        if isinstance(error, HTTPError):
            error = _translated(error)
        if isinstance(error, MethodNotAllowed):
            self.set_header("Allow", self._allowed())
        if isinstance(error, ServiceError) and error.closes:
            self.set_header("Connection", "close")
        problem = problem_of(error)
        self.set_status(problem.status)
        for name, value in problem.headers.items():
            self.set_header(name, value)
        self.notes |= {"error": type(error).__name__, "detail": redact(str(error))}
        self.respond(json.dumps(problem.body(self.id), ensure_ascii=False).encode(), "application/problem+json")

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        """Log unexpected errors with a traceback; others are in the request log."""
        if not isinstance(value, Jp2BatchError | HTTPError | StreamClosedError):
            _log.error("unexpected", exc_info=(typ, value, tb), extra={FIELDS: {"id": self.id}})  # type: ignore[arg-type]

    def on_finish(self) -> None:
        """Count and log a finished request."""
        self._account(self.get_status())

    def on_connection_close(self) -> None:
        """Count and log a request with a disconnected client."""
        super().on_connection_close()
        self._account(_GONE)

    @classmethod
    def _implements(cls, method: str | None) -> bool:
        name = (method or "").lower()
        return method in _METHODS and getattr(cls, name) is not getattr(RequestHandler, name)

    def _allowed(self) -> str:
        return ", ".join([method for method in _METHODS if self._implements(method)] + ["OPTIONS"])

    def _allow_origin(self) -> None:
        origins, origin = self.service.settings.cors_origins, self.request.headers.get("Origin")
        if not origins:
            return
        self.set_header("Vary", "Origin")
        if origin and ("*" in origins or origin in origins):
            self.set_header("Access-Control-Allow-Origin", origin)
            self.set_header("Access-Control-Expose-Headers", ", ".join(_TOLD))

    def _check_framing(self) -> None:
        headers = self.request.headers
        if headers.get("Content-Encoding", "identity").lower() != "identity":
            raise UnsupportedEncoding("", "the body is compressed", "send it uncompressed")
        if "Content-Length" not in headers and "Transfer-Encoding" not in headers:
            raise LengthRequired("", "neither Content-Length nor a chunked body", "send either of them")
        if self._length() > self.service.settings.limits.body:
            raise self._too_large()

    def _length(self) -> int:
        text = self.request.headers.get("Content-Length", "")
        return int(text[:20]) if text.isdecimal() else 0

    def _too_large(self) -> BodyTooLarge:
        limit = self.service.settings.limits.body
        return BodyTooLarge("", f"the body is longer than {limit} bytes", "a path and an rlevel need less")

    def fail(self, error: Jp2BatchError) -> None:
        """Answer with an error, at any stage of the request."""
        self.send_error(500, exc_info=(type(error), error, None))

    def _late(self, seconds: float) -> None:
        self.fail(BodyTooSlow("", f"the body did not arrive within {seconds:g} s", "send it faster"))

    def _drop(self, stream: IOStream) -> None:
        """Close a connection if its client does not read the response."""
        self.service.metrics.dropped.inc()
        _log.warning("dropped", extra={FIELDS: {"id": self.id, "detail": "the client does not read the response"}})
        stream.close()

    def query(self) -> dict[str, list[bytes]]:
        """Return the parameters of the query, unless refused."""
        self.check_body()
        return dict(self.request.query_arguments)

    def check_body(self) -> bytes:
        """Return the body, unless refused; count the request as open."""
        self._heard()
        self._whole = True
        self.service.open_requests += 1
        if self._refusal is not None:
            raise self._refusal
        if self._body_size > self.service.settings.limits.body:
            raise self._too_large()
        return bytes(self.body)

    def _heard(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()

    def _account(self, status: int) -> None:
        if self.is_accounted:
            return
        self.is_accounted = True
        self._heard()
        seconds = time.perf_counter() - self.began
        self.service.open_requests -= self._whole
        self.service.metrics.answered(self.route, status, seconds, int(self.notes.get("bytes_sent") or 0))
        line = {
            "id": self.id,
            "remote": self.request.remote_ip,
            "method": self.request.method,
            "url": f"/{redact_path(unquote(self.request.path.removeprefix('/')))}",
            "status": status,
            "seconds": round(seconds, 6),
            **self.notes,
        }
        level = logging.ERROR if status == 500 else logging.INFO
        _log.log(level, "request", extra={FIELDS: line})


def _size_of(request: HTTPServerRequest) -> int:
    """Return the approximate size in bytes of request line and headers."""
    return len(request.uri or "") + sum(len(name) + len(value) + 4 for name, value in request.headers.get_all())


def _translated(error: HTTPError) -> Jp2BatchError:
    """Return an error of tornado as a Jp2BatchError."""
    if error.status_code == 405:
        return MethodNotAllowed("", "method not allowed", "see the Allow header")
    if error.status_code == 404:
        return NoSuchPage("", "nothing at this address", "POST /api/jp2, or see /openapi.json")
    if 400 <= error.status_code < 500:
        return InvalidRequest("", "the request is malformed", "see /openapi.json")
    return UnexpectedError("", error.log_message or "")
