"""HTTP requests and replies, as web servers and S3 speak them.

Bodies are read only as far as needed.
"""

import asyncio
import contextlib
import functools
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import unquote

from jp2batch.core.config import max_whole_file
from jp2batch.core.errors import ImageTooLarge, PermissionDenied, RangesIgnored, StoreUnavailable
from jp2batch.core.location import Location
from jp2batch.core.ranges import ByteRange
from jp2batch.storage.base_source import Meter
from jp2batch.storage.drivers.driver import Driver
from jp2batch.storage.http_status import HttpStatusError, code_in
from jp2batch.storage.replies import Reply, Version, content_range
from jp2batch.storage.signatures import says_expired

CHUNK = 256 * 1024
"""Bytes of a body per chunk."""

FIRST_BYTE = ByteRange(0, 1)
"""The range to look at an object with."""

_CHARACTER = r"[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2}"  # RFC 3986
_ENCODED = re.compile(rf"https?://[a-z0-9.-]+(?::\d+)?/(?:{_CHARACTER})*\?(?:{_CHARACTER}|\?)*")
"""A URL with a query, encoded already."""
_LONGEST_REFUSAL = 4096  # bytes of its body
_PATIENCE = 5.0  # seconds for it


def http_options(location: Location, connections: int) -> dict[str, object]:
    """Return the options for fsspec's HTTP file system."""
    return {"get_client": functools.partial(http_client, connections), **location.options}


async def http_client(connections: int, *, within: str | None = None, **options: Any) -> Any:
    """Return an aiohttp session with a limited number of connections.

    It serves as `get_client` of fsspec's HTTP file system.

    Parameters
    ----------
    connections : int
        Connections at once.
    within : str, optional
        URL of a folder; redirects out of it are refused.
    **options
        Options of the session.
    """
    import aiohttp

    if "connector" not in options:
        options["connector"] = aiohttp.TCPConnector(limit=connections)
    # Redirects count as requests, and so do aiohttp's own repetitions on a broken connection.
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_note_sent)
    if within is not None:
        trace.on_request_redirect.append(functools.partial(_check_redirect, within))
    options["trace_configs"] = [*(options.get("trace_configs") or []), trace]
    # A large body may take any time as long as data arrive; only silence times out.
    options.setdefault("timeout", aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60))
    return aiohttp.ClientSession(**options)


async def _note_sent(_session: object, context: Any, sent: object) -> None:
    if context.trace_request_ctx is not None:
        context.trace_request_ctx.append(sent)


async def _check_redirect(within: str, _session: object, _context: object, redirect: Any) -> None:
    """Refuse a redirect to another server or out of a folder."""
    from yarl import URL

    root, headers = URL(within), redirect.response.headers
    try:
        target = redirect.url.join(URL(headers.get("Location") or headers.get("URI") or ""))
        inside = target.origin() == root.origin() and _is_below(unquote(target.path), root.path)
    except ValueError:
        inside = False
    if not inside:
        raise PermissionDenied("", "the server redirects out of the root", "use the redirect's target as the root")


def _is_below(path: str, root: str) -> bool:
    return path.startswith(f"{root.rstrip('/')}/") and ".." not in path.split("/")


def range_header(span: ByteRange) -> str:
    """Return the value of a Range header."""
    return f"bytes={span.start}-{span.stop - 1}"


def range_to_look_at(expected: Version | None) -> str:
    """Return the Range header for a single byte.

    The last byte if no version is `expected`, since its position tells the size; else the first.
    """
    return "bytes=-1" if expected is None else range_header(FIRST_BYTE)


class HttpReply(NamedTuple):
    """A status, headers, and an unread body."""

    status: int
    """The HTTP status."""
    headers: Mapping[str, str]
    """The headers, by names in lower case."""
    chunks: AsyncIterator[bytes]
    """The body."""

    @property
    def version(self) -> Version:
        """Version of the object, from Content-Length and ETag."""
        length = self.headers.get("content-length", "")
        return self.version_of(int(length) if length.isdecimal() else None)

    def version_of(self, size: int | None) -> Version:
        """Return the version of an object of a size.

        Its tag is the ETag, or else the time of the last change.
        """
        modified = self.headers.get("last-modified")
        return Version(size, self.headers.get("etag") or modified, modified)


class HttpObject(Driver):
    """A file on a web server."""

    file_system = "fsspec.implementations.http.HTTPFileSystem"
    tells_version = True

    async def get(self, span: ByteRange, expected: Version | None) -> Reply:
        """Request a range once; see `driver.Driver`."""
        async with self._answer({"Range": range_header(span)}) as answer:
            return await reply_of(answer, span, expected, self._meter)

    async def look(self, expected: Version | None) -> Version:
        """Request the size and the version alone; see `driver.Driver`."""
        condition = {"If-None-Match": expected.etag or ""} if expected and expected.has_tag else {}
        async with self._answer({"Range": range_to_look_at(expected), **condition}) as answer:
            return await confirmed_version(answer, expected, self._meter)

    @asynccontextmanager
    async def _answer(self, headers: Mapping[str, str]) -> AsyncIterator[HttpReply]:
        session = await self._fs.set_session()
        options = {"allow_redirects": True, **self._fs.kwargs}
        # A compressed body has other offsets than the file; of a file that is compressed, ranges are of its own bytes.
        options["headers"] = {**(options.get("headers") or {}), "Accept-Encoding": "identity", **headers}
        options["auto_decompress"] = False
        sent: list[object] = []
        try:
            async with session.get(self._url(), trace_request_ctx=sent, **options) as response:
                yield HttpReply(response.status, response.headers, response.content.iter_chunked(CHUNK))
        finally:
            self._meter.requested(max(1, len(sent)))

    def _url(self) -> Any:
        """Return the URL to request.

        An encoded query is sent as it is: encoded otherwise, some servers take its signature for another.
        """
        from yarl import URL

        if _ENCODED.fullmatch(self._path) and "/." not in self._path.partition("?")[0]:
            return URL(self._path, encoded=True)
        return self._fs.encode_url(self._path)


async def reply_of(answer: HttpReply, span: ByteRange, expected: Version | None, meter: Meter) -> Reply:
    """Return the reply to a request for `span`.

    A whole body is accepted only while no version is `expected`.
    """
    if answer.status == 416:
        return unsatisfied(span, answer.headers)
    if answer.status == 206:
        return await _part(answer, span, meter)
    if answer.status != 200:
        raise await _refusal(answer)
    if expected is not None:
        raise RangesIgnored("", "the server stopped honouring Range", "try again")
    return await _whole(answer, meter)


async def confirmed_version(answer: HttpReply, expected: Version | None, meter: Meter) -> Version:
    """Return the version from the answer to a single-byte request.

    Returns `expected` if the object has not changed.
    """
    if answer.status == 304 and expected is not None:
        return expected
    if answer.status == 200:  # the server ignores ranges; the body is not taken
        return answer.version
    reply = await reply_of(answer, FIRST_BYTE, expected, meter)
    if reply.version.size is None and expected is None and reply.span is not None and len(reply.data) == 1:
        return answer.version_of(reply.span.stop)
    return reply.version


async def no_chunks() -> AsyncIterator[bytes]:
    """Iterate over an absent body."""
    nothing: tuple[bytes, ...] = ()
    for chunk in nothing:
        yield chunk


def unsatisfied(span: ByteRange, headers: Mapping[str, str]) -> Reply:
    """Return the reply for status 416: no bytes in the range."""
    # A range from the first byte on is unsatisfiable only for an empty object.
    _, size = content_range(headers.get("content-range"))
    return Reply(b"", Version(0 if size is None and span.start == 0 else size, None))


async def _refusal(answer: HttpReply) -> HttpStatusError:
    """Return the error for a status.

    The body of a refusal may name its cause, as may a header of Azure.
    """
    body = b""
    if answer.status >= 300:
        with contextlib.suppress(Exception):  # the status is enough
            async with asyncio.timeout(_PATIENCE):
                body = (await _body(answer.chunks, _LONGEST_REFUSAL, Meter()))[:_LONGEST_REFUSAL]
    code = answer.headers.get("x-ms-error-code") or code_in(body)
    return HttpStatusError(answer.status, answer.headers.get("retry-after"), says_expired(body), code)


async def _part(answer: HttpReply, span: ByteRange, meter: Meter) -> Reply:
    told, size = content_range(answer.headers.get("content-range"))
    if told is None:
        raise StoreUnavailable("", "a partial reply has no Content-Range", "try again")
    data = await _body(answer.chunks, span.size, meter)
    return Reply(data, answer.version_of(size), told)


async def _whole(answer: HttpReply, meter: Meter) -> Reply:
    limit = max_whole_file()
    promised = answer.version.size or 0
    data = await _body(answer.chunks, limit, meter) if promised <= limit else b""
    if max(promised, len(data)) > limit:
        problem = f"the server sends only whole files, and this one is larger than {limit} bytes"
        raise ImageTooLarge("", problem, "raise jp2batch.max-whole-file, or take it from a server that honours Range")
    return Reply(data, answer.version_of(len(data)), whole=True)


async def _body(chunks: AsyncIterator[bytes], limit: int, meter: Meter) -> bytes:
    """Return the body, or its beginning if longer than `limit`."""
    parts, size = [], 0
    async for chunk in chunks:
        meter.received(len(chunk))
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            break
    return b"".join(parts)
