"""Web servers read without aiohttp, for plain URLs without options.

aiohttp takes a tenth of a second to import, and several times the processor time per request. It reads all other URLs:
of users, of proxies, with headers or options of their own.
"""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar
from urllib.parse import quote, urldefrag, urljoin

from jp2batch.core.config import driver
from jp2batch.core.errors import StorageError
from jp2batch.core.location import Location
from jp2batch.core.options import without_signer
from jp2batch.core.ranges import ByteRange
from jp2batch.core.runtime import process_state
from jp2batch.storage.base_source import Meter
from jp2batch.storage.drivers.driver import Driver
from jp2batch.storage.drivers.http_connection import Body, Count, HttpConnection
from jp2batch.storage.drivers.http_driver import (
    HttpReply,
    confirmed_version,
    range_header,
    range_to_look_at,
    reply_of,
)
from jp2batch.storage.drivers.http_message import ReplyHead, WebServer, WebTarget
from jp2batch.storage.drivers.socket_transport import SocketAddress
from jp2batch.storage.replies import Reply, Version

T = TypeVar("T")

_HOST = r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d{1,5})?"
_CHARACTER = r"[A-Za-z0-9._~!$&'()*+,;=:@/-]"  # RFC 3986
_PLAIN = re.compile(rf"https?://{_HOST}/{_CHARACTER}*(?:\?(?:{_CHARACTER}|\?|%[0-9A-Fa-f]{{2}})*)?")
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 10
_RESOLVED = 15.0  # seconds for the address of a name
_LOOK = 1.0  # seconds between looks at connections
_SAFE = "!#$%&'()*+,/:;=?@[]~"  # characters of a URL, encoded or not


class TooManyRedirectsError(Exception):
    """A server redirects again and again."""


class _CookiesNeeded(Exception):  # internal: aiohttp has them
    """A server sets a cookie and redirects."""


class PlainHttpObject(Driver):
    """A file on a web server, at a plain URL.

    If the server redirects with a cookie, another driver reads the file.
    """

    tells_version = True

    def __init__(self, url: str, other: Callable[[Meter], Driver], meter: Meter) -> None:
        self._target, self._meter = WebTarget.of(url), meter
        self._make_other = other
        self._other: Driver | None = None

    async def get(self, span: ByteRange, expected: Version | None) -> Reply:
        """Request a range once; see `driver.Driver`."""

        def reply(answer: HttpReply) -> Awaitable[Reply]:
            return reply_of(answer, span, expected, self._meter)

        if self._other is None:
            with contextlib.suppress(_CookiesNeeded):
                return await self._ask({"Range": range_header(span)}, reply)
        return await self._replacement().get(span, expected)

    async def look(self, expected: Version | None) -> Version:
        """Request the size and the version alone; see `driver.Driver`."""
        condition = {"If-None-Match": expected.etag or ""} if expected and expected.has_tag else {}

        def version(answer: HttpReply) -> Awaitable[Version]:
            return confirmed_version(answer, expected, self._meter)

        if self._other is None:
            with contextlib.suppress(_CookiesNeeded):
                return await self._ask({"Range": range_to_look_at(expected), **condition}, version)
        return await self._replacement().look(expected)

    def _replacement(self) -> Driver:
        if self._other is None:
            self._other = self._make_other(self._meter)
        return self._other

    async def _ask(self, headers: Mapping[str, str], take: Callable[[HttpReply], Awaitable[T]]) -> T:
        """Request the URL or its redirects; return the value of the reply."""
        target, pool = self._target, _connections(asyncio.get_running_loop())
        for _ in range(_MOST_REDIRECTS):
            connection, head = await pool.ask(target.server, target.request(headers), self._meter.requested)
            try:
                url = _redirect(target.url, head)
                if url is None:
                    return await take(HttpReply(head.status, head.headers, Body(connection, head)))
            finally:
                pool.give_back(target.server, connection)
            target = WebTarget.of(url)
        raise TooManyRedirectsError


def is_plain(url: str) -> bool:
    """Return whether a URL has no user, encoding or segments of dots."""
    if not _PLAIN.fullmatch(url) or "/." in url.partition("?")[0]:
        return False
    with contextlib.suppress(ValueError):  # of a port
        return bool(WebServer.of(url).port)
    return False


def reads_plainly(location: Location) -> bool:
    """Return whether this driver reads a location on a web server."""
    own = {name for name, value in without_signer(location.options).items() if value is not None}
    return driver() != "fsspec" and location.is_web and not (location.is_chained or location.literal or own)


class _Connections:
    """Connections of an event loop."""

    def __init__(self) -> None:
        self._idle: dict[WebServer, list[HttpConnection]] = {}
        self._open: set[HttpConnection] = set()
        self._addresses: dict[WebServer, tuple[SocketAddress, float]] = {}

    async def ask(self, server: WebServer, request: bytes, count: Count) -> tuple[HttpConnection, ReplyHead]:
        """Send a request; return the connection, and the head of the reply.

        A request that had no reply on a connection kept open, or at an address reached lately, is sent once more.
        """
        kept = self._kept(server) or self._reopened(server)
        count()
        if kept is not None:
            try:
                return kept, await _asked(kept, request)
            except ConnectionError:
                if kept.has_answered:
                    raise
            count()
        connection = self._watched(await HttpConnection.open(server))
        if (address := connection.address) is not None:
            self._addresses[server] = address, asyncio.get_running_loop().time() + _RESOLVED
        return connection, await _asked(connection, request)

    def _reopened(self, server: WebServer) -> HttpConnection | None:
        """Return a new connection, at the address of the server's latest."""
        address, until = self._addresses.get(server, (None, 0.0))
        if address is None or asyncio.get_running_loop().time() > until:
            return None
        with contextlib.suppress(OSError):
            return self._watched(HttpConnection.open_at(address))
        return None

    def _watched(self, connection: HttpConnection) -> HttpConnection:
        """Return a connection, which is watched."""
        if not self._open:
            asyncio.get_running_loop().call_later(_LOOK, self._look)
        self._open.add(connection)
        return connection

    def give_back(self, server: WebServer, connection: HttpConnection) -> None:
        """Keep a connection after a complete reply, else close it."""
        if connection.is_idle:
            self._idle.setdefault(server, []).append(connection)
        else:
            connection.close()

    def _kept(self, server: WebServer) -> HttpConnection | None:
        idle = self._idle.get(server, [])
        while idle:
            if (connection := idle.pop()).is_idle:
                return connection
        return None

    def _look(self) -> None:
        for connection in tuple(self._open):
            connection.check()
            if connection.is_over:
                self._open.discard(connection)
        if self._open:
            asyncio.get_running_loop().call_later(_LOOK, self._look)


async def _asked(connection: HttpConnection, request: bytes) -> ReplyHead:
    try:
        return await connection.ask(request)
    except BaseException:
        connection.close()
        raise


@process_state(limit=8)
def _connections(_loop: asyncio.AbstractEventLoop) -> _Connections:
    return _Connections()


def _redirect(url: str, head: ReplyHead) -> str | None:
    """Return the target of a redirect; None for another reply."""
    place = head.headers.get("location")
    if head.status not in _REDIRECTS or not place:
        return None
    target = urldefrag(urljoin(url, quote(place, safe=_SAFE, errors="surrogateescape"))).url
    if "set-cookie" in head.headers:
        raise _CookiesNeeded
    if not target.startswith(("http://", "https://")):
        raise StorageError("", "the server redirects to no web server", "check the URL")
    return target
