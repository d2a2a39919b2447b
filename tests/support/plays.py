"""A server that plays the same reply in the protocols of all stores: web, S3, Google, Azure."""

import asyncio
import hashlib
import json
import re
import socket
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Literal
from urllib.parse import unquote

from benchmarks import range_server as web
from benchmarks.range_server import HttpRequest, HttpResponse
from support.servers import in_a_thread

CHANGED = "Wed, 05 Oct 2022 11:54:11 GMT"
"""Last-Modified of all objects."""


@dataclass(frozen=True)
class Play:
    """A reply: that of RFC 9110 to the request, but for what is given here."""

    status: int | None = None
    code: Mapping[str, str] | str = ""
    """Error code in the body: of all protocols, or by protocol."""
    headers: Mapping[str, str | None] = field(default_factory=dict)
    """Headers in place of the usual; None leaves one out. {host}, {path} and {span} are those of the request."""
    body: Callable[[bytes], bytes] | None = None
    """The body, made of the usual one."""
    tag: str | None = None
    """Version of the object: its ETag, or its generation at Google; "" leaves it out."""
    conditional: bool = True
    """Whether conditions of requests hold."""
    size: int | None = None
    """Bytes that the object is said to have."""
    chunked: bool = False
    sent: int | None = None
    """Bytes of the body sent before the connection is closed."""


@dataclass(frozen=True)
class _Asked:
    protocol: Literal["http", "s3", "gs", "az"]
    name: str
    is_data: bool
    request: HttpRequest

    @property
    def span(self) -> str:
        headers = self.request.headers
        return headers.get("x-ms-range") or headers.get("range", "")

    def place(self, size: int) -> str:
        """Return the first and the last byte of the range."""
        start, stop = web.parse_range(self.span, size) or (0, 0)
        return f"{start}-{stop - 1}"


def _filled(text: str, words: Mapping[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(word, value)
    return text


class PlayServer(web.RangeServer):
    """Serves `objects` by "bucket/key", and plays `plays` in turn, again and again.

    The paths of the protocols are those of real stores: `/web/bucket/key`, `/bucket/key` for S3, Google's JSON API, and
    `/devstoreaccount1/bucket/key` for Azure.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.plays: list[Play] = [Play()]
        self.asked: list[str] = []
        """Names of the objects of all requests for data, and their ranges."""
        self.names: list[str] = []
        self.raw: bytes | None = None
        """Bytes to send in place of any reply."""
        self.headers: list[Mapping[str, str]] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    async def reply(self, connection: socket.socket, request: HttpRequest) -> Literal["keep", "close"]:
        if self.raw is not None:
            await asyncio.get_running_loop().sock_sendall(connection, self.raw)
            return "close"
        asked = _parsed(request)
        play = self.plays[len(self.asked) % len(self.plays)]
        self.headers.append(request.headers)
        self.names.append(asked.name)
        if asked.is_data:
            self.asked.append(asked.span)
        response = self._response(asked, play) if asked.is_data else self._bucket(asked.name)
        body = bytes(response.body)  # type: ignore[arg-type]
        await web.send_bytes(connection, response, body if request.method != "HEAD" else b"")
        return "keep" if response.sent is None else "close"

    def _bucket(self, name: str) -> HttpResponse:
        """Answer a question about a bucket of Google."""
        status = 200 if any(key.startswith(name) for key in self.objects) else 404
        return _Response(status, {}, json.dumps({"kind": "storage#bucket"}).encode())

    def _response(self, asked: _Asked, play: Play) -> HttpResponse:
        data = self.objects.get(asked.name)
        if data is None and play.status is None:
            play = Play(404, {"s3": "NoSuchKey", "gs": "notFound", "az": "BlobNotFound"})
        data = data or b""
        tag = _tag(asked, data, play)
        headers: dict[str, str | None] = {"Last-Modified": CHANGED, **({_TAGS[asked.protocol]: tag} if tag else {})}
        status, usual, own = self._usual(asked, data, tag if play.conditional else None)
        if play.size is not None and "Content-Range" in own:
            own["Content-Range"] = f"bytes {asked.place(len(data))}/{play.size}"
        status = play.status or status
        body = usual if play.body is None else play.body(usual)
        if status >= 300 and play.body is None:
            own, body = {}, b""
        code = play.code if isinstance(play.code, str) else play.code.get(asked.protocol, "")
        if code:
            body, more = _error(asked.protocol, status, code)
            own |= more
        if status == 204:
            body = b""
        headers |= own | dict(play.headers)
        if asked.protocol == "az":
            headers = {"x-ms-blob-type": "BlockBlob", **headers}
        words = {"{host}": self.address, "{path}": asked.request.target, "{span}": asked.place(len(data))}
        sent = {name: _filled(value, words) for name, value in headers.items() if value is not None}
        return _Response(status, sent, body, play.chunked, play.sent)

    def _usual(self, asked: _Asked, data: bytes, tag: str | None) -> tuple[int, bytes, dict[str, str | None]]:
        headers, target = asked.request.headers, asked.request.target
        if tag is not None:
            wanted, other = (re.search(f"ifGeneration{name}=(\\d+)", target) for name in ("Match", "NotMatch"))
            if (wanted[1] if wanted else headers.get("if-match", tag)) != tag:
                return 412, b"", {}
            if (other[1] if other else headers.get("if-none-match")) == tag:
                return 304, b"", {}
        if not asked.span:
            return 200, data, {}
        span = web.parse_range(asked.span, len(data))
        if span is None:
            return 416, b"", {"Content-Range": f"bytes */{len(data)}"}
        return 206, data[slice(*span)], {"Content-Range": f"bytes {span[0]}-{span[1] - 1}/{len(data)}"}

    async def run(self, started: threading.Event) -> None:
        """Serve until stopped."""
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        started.set()
        with self._listener, suppress(asyncio.CancelledError):
            await self.accept(self._listener)

    def stop(self) -> None:
        """Stop serving, and close the connections."""
        assert self._task is not None
        self._loop.call_soon_threadsafe(self._task.cancel)


class _Response(HttpResponse):
    """A response whose headers may tell another length, or none."""

    def head(self) -> bytes:
        try:
            phrase = HTTPStatus(self.status).phrase
        except ValueError:
            phrase = "Odd"
        lines = [f"HTTP/1.1 {self.status} {phrase}"]
        if self.chunked:
            lines.append("Transfer-Encoding: chunked")
        elif self.status not in (204, 304) and "Content-Length" not in self.headers:
            lines.append(f"Content-Length: {len(self.body)}")
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()


_TAGS = {"http": "ETag", "s3": "ETag", "az": "ETag", "gs": "X-Goog-Generation"}
_GOOGLE = re.compile(r"(/download)?/storage/v1/b/([^/]+)(?:/o/([^/]*))?")


def _parsed(request: HttpRequest) -> _Asked:
    path = request.target.partition("?")[0]
    if found := _GOOGLE.fullmatch(path):
        is_data = "alt=media" in request.target
        return _Asked("gs", f"{found[2]}/{unquote(found[3] or '')}", is_data, request)
    for start, protocol in (("/web/", "http"), ("/devstoreaccount1/", "az")):
        if path.startswith(start):
            return _Asked(protocol, unquote(path.removeprefix(start)), True, request)  # type: ignore[arg-type]
    return _Asked("s3", unquote(path[1:]), True, request)


def _tag(asked: _Asked, data: bytes, play: Play) -> str:
    if play.tag == "":
        return ""
    text = play.tag or hashlib.md5(data).hexdigest()
    if asked.protocol == "gs":
        return str(zlib.crc32(text.encode()))
    return text if text.startswith(("W/", '"')) else f'"{text}"'


def _error(protocol: str, status: int, code: str) -> tuple[bytes, dict[str, str | None]]:
    """Return the body and the headers of an error, as stores of a protocol write it."""
    if protocol == "gs":
        error = {"code": status, "message": "a message", "errors": [{"domain": "global", "reason": code}]}
        return json.dumps({"error": error}, indent=1).encode(), {"Content-Type": "application/json"}
    xml = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>a message</Message></Error>'
    own = {"x-ms-error-code": code} if protocol == "az" else {}
    return xml.encode(), {"Content-Type": "application/xml", **own}


@contextmanager
def play_server() -> Iterator[PlayServer]:
    """Run the server in a `with` block."""
    server = PlayServer()
    with in_a_thread(server):
        yield server
