"""Web servers read without aiohttp, for plain URLs without options.

aiohttp takes a tenth of a second to import, and several times the processor time per request. It reads all other URLs:
of users, of proxies, with headers or options of their own.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from urllib.parse import quote, urldefrag, urljoin
from weakref import WeakKeyDictionary

from jp2batch.core.config import driver
from jp2batch.core.errors import StorageError
from jp2batch.core.location import Location
from jp2batch.core.options import without_signer
from jp2batch.core.ranges import ByteRange
from jp2batch.core.runtime import process_state
from jp2batch.storage.base_source import Meter
from jp2batch.storage.drivers.driver import Driver
from jp2batch.storage.drivers.http_connection import Count, HttpConnection, ReplyHead, WebServer, request_head
from jp2batch.storage.drivers.http_driver import (
    HttpReply,
    confirmed_version,
    range_header,
    range_to_look_at,
    reply_of,
)
from jp2batch.storage.replies import Reply, Version

_HOST = r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d{1,5})?"
_CHARACTER = r"[A-Za-z0-9._~!$&'()*+,;=:@/-]"  # RFC 3986
_PLAIN = re.compile(rf"https?://{_HOST}/{_CHARACTER}*(?:\?(?:{_CHARACTER}|\?|%[0-9A-Fa-f]{{2}})*)?")
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 10
_KEPT_OPEN = 15.0  # seconds for an idle connection
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
        self._url, self._meter = url, meter
        self._make_other = other
        self._other: Driver | None = None

    async def get(self, span: ByteRange, expected: Version | None) -> Reply:
        """Request a range once; see `driver.Driver`."""
        if self._other is None:
            with contextlib.suppress(_CookiesNeeded):
                async with self._answer({"Range": range_header(span)}) as answer:
                    return await reply_of(answer, span, expected, self._meter)
        return await self._replacement().get(span, expected)

    async def look(self, expected: Version | None) -> Version:
        """Request the size and the version alone; see `driver.Driver`."""
        condition = {"If-None-Match": expected.etag or ""} if expected and expected.has_tag else {}
        if self._other is None:
            with contextlib.suppress(_CookiesNeeded):
                async with self._answer({"Range": range_to_look_at(expected), **condition}) as answer:
                    return await confirmed_version(answer, expected, self._meter)
        return await self._replacement().look(expected)

    def _replacement(self) -> Driver:
        if self._other is None:
            self._other = self._make_other(self._meter)
        return self._other

    @asynccontextmanager
    async def _answer(self, headers: Mapping[str, str]) -> AsyncIterator[HttpReply]:
        """Request the URL or its redirects; yield the reply, its body unread."""
        url, pool = self._url, _connections()
        for _ in range(_MOST_REDIRECTS):
            connection, head = await pool.ask(url, headers, self._meter.requested)
            try:
                target = _redirect(url, head)
                if target is None:
                    async with aclosing(connection.body(head)) as body:
                        yield HttpReply(head.status, head.headers, body)
                    return
            finally:
                pool.give_back(url, connection)
            url = target
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
    """Idle connections of event loops, by server."""

    def __init__(self) -> None:
        self._idle: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[WebServer, list[HttpConnection]]]
        self._idle = WeakKeyDictionary()

    async def ask(self, url: str, headers: Mapping[str, str], count: Count) -> tuple[HttpConnection, ReplyHead]:
        """Request a URL; return the connection, and the head of the reply.

        A request on a connection that the server had closed meanwhile is sent once more.
        """
        server, request = WebServer.of(url), request_head(url, headers)
        kept = self._kept(server)
        count()
        if kept is not None:
            try:
                return kept, await _asked(kept, request)
            except ConnectionError:
                if kept.has_answered:
                    raise
            count()
        connection = await HttpConnection.open(server)
        return connection, await _asked(connection, request)

    def give_back(self, url: str, connection: HttpConnection) -> None:
        """Keep a connection after a complete reply, else close it."""
        if not connection.is_idle:
            connection.close()
            return
        connection.close_later(_KEPT_OPEN)
        self._of_loop().setdefault(WebServer.of(url), []).append(connection)

    def _kept(self, server: WebServer) -> HttpConnection | None:
        idle = self._of_loop().get(server, [])
        while idle:
            if (connection := idle.pop()).is_idle:
                return connection
        return None

    def _of_loop(self) -> dict[WebServer, list[HttpConnection]]:
        return self._idle.setdefault(asyncio.get_running_loop(), {})


async def _asked(connection: HttpConnection, request: bytes) -> ReplyHead:
    try:
        return await connection.ask(request)
    except BaseException:
        connection.close()
        raise


@process_state()
def _connections() -> _Connections:
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
