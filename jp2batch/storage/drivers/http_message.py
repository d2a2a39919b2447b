"""HTTP/1.1 messages: bytes of requests, heads of replies. No I/O."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from jp2batch.core.version import __version__

_STATUS = re.compile(r"HTTP/1\.([01]) ([1-9]\d\d)(?: .*)?")
_LENGTH = "content-length"
NO_BODY = (204, 304)
"""Status of replies without a body."""


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
class WebTarget:
    """A URL to request, often with other headers."""

    url: str
    server: WebServer
    head: str
    """The request without these headers."""

    @classmethod
    def of(cls, url: str) -> "WebTarget":
        """Return the target of a URL."""
        parts = urlsplit(url)
        path = f"{parts.path or '/'}?{parts.query}" if "?" in url else parts.path or "/"
        lines = [f"GET {path} HTTP/1.1", f"Host: {parts.netloc.rpartition('@')[2]}", "Accept: */*"]
        lines += ["Accept-Encoding: identity", f"User-Agent: jp2batch/{__version__}"]
        return cls(url, WebServer.of(url), _joined(lines))

    def request(self, headers: Mapping[str, str]) -> bytes:
        """Return the bytes of a GET request.

        Raises
        ------
        ValueError
            A header has a line break.
        """
        own = _joined([f"{name}: {value}" for name, value in headers.items()])
        return f"{self.head}{own}\r\n".encode("utf-8", "surrogateescape")


def _joined(lines: list[str]) -> str:
    text = "".join([f"{line}\r\n" for line in lines])
    if not text.count("\r") == text.count("\n") == len(lines):
        raise ValueError("a header has a line break")
    return text


class ReplyHead(NamedTuple):
    """Status and headers of a reply."""

    status: int
    headers: Mapping[str, str]
    """Values by names in lower case."""
    is_last: bool
    """True if the server closes the connection after this reply."""

    @classmethod
    def parse(cls, head: bytes) -> "ReplyHead":
        """Return status and headers of a reply.

        Raises
        ------
        ConnectionResetError
            It is not HTTP/1.1, or malformed.
        """
        first, *lines = head.decode("utf-8", "surrogateescape").split("\r\n")
        found = _STATUS.fullmatch(first)
        if found is None:
            raise ConnectionResetError("the reply is not HTTP/1.1")
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise ConnectionResetError("a header is malformed")
            name, value = name.lower(), value.strip(" \t")
            if name == _LENGTH and not (value.isascii() and value.isdecimal() and headers.get(name, value) == value):
                raise ConnectionResetError("Content-Length is malformed")
            headers[name] = value
        framed = _LENGTH in headers or "transfer-encoding" in headers or int(found[2]) in NO_BODY
        closes = "close" in headers.get("connection", "").lower() or found[1] == "0" or not framed
        return cls(int(found[2]), headers, closes)
