"""Drivers over fsspec: ranged reads from HTTP, S3 and other file systems."""

import asyncio
import functools
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import fsspec.asyn

from jp2batch.core.costs import StoreCosts
from jp2batch.core.location import Location
from jp2batch.core.ranges import ByteRange
from jp2batch.core.runtime import is_forked, process_state
from jp2batch.storage.base_source import Meter
from jp2batch.storage.drivers.http_driver import (
    CHUNK,
    HttpReply,
    confirmed_version,
    http_client,
    no_chunks,
    range_header,
    range_to_look_at,
    reply_of,
    unsatisfied,
)
from jp2batch.storage.errors import response_of, status_of
from jp2batch.storage.replies import Reply, Version, content_range
from jp2batch.storage.schemes import scheme_info

# Keys of a file system's info whose values change with the content.
_CHANGING = (
    "ETag",
    "etag",
    "e_tag",
    "generation",
    "md5Hash",
    "content_md5",
    "checksum",
    "CRC",
    "ino",
    "mtime",
    "updated",
    "LastModified",
    "last_modified",
    "modified",
    "created",
)
_WITHOUT_A_BODY = (304, 416)  # botocore raises these statuses; both are valid answers


class Driver(ABC):
    """An object of a store.

    It caches nothing, runs on fsspec's event loop, and serves any number of `get` at once. It counts its requests and
    bytes on the meter. Errors of the driver pass through unchanged.
    """

    tells_version: ClassVar[bool]
    """Whether every reply tells the version; `look` is then redundant."""

    def __init__(self, fs: Any, path: str, meter: Meter) -> None:
        self._fs, self._path, self._meter = fs, path, meter

    @abstractmethod
    async def get(self, span: ByteRange, expected: Version | None) -> Reply:
        """Request a range once.

        While no version is `expected`, a reply with the whole body is accepted; afterwards it is refused.
        """

    @abstractmethod
    async def look(self, expected: Version | None) -> Version:
        """Request the size and the version alone, past all caches.

        Returns `expected` if the object still has it. Never uses HEAD: a link signed for GET may refuse it.
        """


class _HttpStore(Driver):
    """A file on a web server."""

    tells_version = True

    async def get(self, span: ByteRange, expected: Version | None) -> Reply:
        async with self._answer({"Range": range_header(span)}) as answer:
            return await reply_of(answer, span, expected, self._meter)

    async def look(self, expected: Version | None) -> Version:
        condition = {"If-None-Match": expected.etag or ""} if expected and expected.has_tag else {}
        async with self._answer({"Range": range_to_look_at(expected), **condition}) as answer:
            return await confirmed_version(answer, expected, self._meter)

    @asynccontextmanager
    async def _answer(self, headers: Mapping[str, str]) -> AsyncIterator[HttpReply]:
        session = await self._fs.set_session()
        options = {"allow_redirects": True, **self._fs.kwargs}
        # A compressed body has other offsets than the file.
        options["headers"] = {**(options.get("headers") or {}), "Accept-Encoding": "identity", **headers}
        sent: list[object] = []
        try:
            url = self._fs.encode_url(self._path)
            async with session.get(url, trace_request_ctx=sent, **options) as response:
                yield HttpReply(response.status, response.headers, response.content.iter_chunked(CHUNK))
        finally:
            self._meter.requested(max(1, len(sent)))


class _S3Store(Driver):
    """An object behind the S3 protocol.

    It calls the client below s3fs's own retries, which multiply with botocore's to 25 attempts per range.
    """

    tells_version = True

    async def get(self, span: ByteRange, expected: Version | None) -> Reply:
        condition = {"IfMatch": expected.etag} if expected and expected.has_tag else {}
        async with self._answer(Range=range_header(span), **condition) as answer:
            reply = await reply_of(answer, span, expected, self._meter)
        if self._path.endswith("/") and reply.version.size == 0:  # a folder's placeholder
            raise IsADirectoryError(self._path)
        return reply

    async def look(self, expected: Version | None) -> Version:
        condition = {"IfNoneMatch": expected.etag} if expected and expected.has_tag else {}
        async with self._answer(Range=range_to_look_at(expected), **condition) as answer:
            return await confirmed_version(answer, expected, self._meter)

    @asynccontextmanager
    async def _answer(self, **parameters: object) -> AsyncIterator[HttpReply]:
        try:
            got = await self._get_object(**parameters)
        except Exception as error:
            if status_of(error) not in _WITHOUT_A_BODY:
                raise
            got = response_of(error)
        metadata, body = got["ResponseMetadata"], got.get("Body")
        try:
            chunks = no_chunks() if body is None else body.iter_chunks(CHUNK)
            yield HttpReply(metadata["HTTPStatusCode"], metadata["HTTPHeaders"], chunks)
        finally:
            if body is not None:
                body.close()

    async def _get_object(self, **parameters: object) -> Mapping[str, Any]:
        bucket, key, version = self._fs.split_path(self._path)
        if not key:
            raise IsADirectoryError(bucket)
        slashes = self._path[len(self._path.rstrip("/")) :]  # older s3fs strips them
        key = key if key.endswith(slashes) else key + slashes
        await self._fs.set_session()
        method = (await self._fs.get_s3(bucket)).get_object
        parameters |= {"Bucket": bucket, "Key": key} | ({"VersionId": version} if version else {})
        self._meter.requested()
        answer: Mapping[str, Any] = {}
        try:
            answer = await method(**self._fs._get_s3_method_kwargs(method, self._fs.req_kw, **parameters))
        except Exception as error:
            answer = response_of(error)
            raise
        finally:
            self._meter.requested(answer.get("ResponseMetadata", {}).get("RetryAttempts", 0))
        return answer


class _AzureStore(Driver):
    """An object of Azure Blob Storage.

    Calls azure-storage-blob directly: adlfs's own method tells no version, and repeats requests itself.
    """

    tells_version = True

    async def get(self, span: ByteRange, expected: Version | None) -> Reply:
        headers: dict[str, str] = {}

        def note(response: Any) -> None:
            headers.update((name.lower(), value) for name, value in response.http_response.headers.items())

        self._meter.requested()
        options = {"retry_total": 0, "raw_response_hook": note, **_azure_condition(expected, "IfNotModified")}
        try:
            stream = await self._blob().download_blob(span.start, span.stop - span.start, **options)
            data: bytes = await stream.readall()
        except Exception as error:
            if status_of(error) != 416:
                raise
            return unsatisfied(span, headers)
        self._meter.received(len(data))
        given, size = content_range(headers.get("content-range"))
        return Reply(data, Version(size, headers.get("etag")), given)

    async def look(self, expected: Version | None) -> Version:
        self._meter.requested()
        options = {"retry_total": 0, **_azure_condition(expected, "IfModified")}
        try:
            found = await self._blob().get_blob_properties(**options)
        except Exception as error:
            if status_of(error) == 304 and expected is not None:
                return expected
            raise
        return Version(found.size, found.etag)

    def _blob(self) -> Any:
        container, key, _ = self._fs.split_path(self._path)
        if not key:
            raise IsADirectoryError(container)
        return self._fs.service_client.get_blob_client(container, key)


def _azure_condition(expected: Version | None, name: str) -> dict[str, Any]:
    from azure.core import MatchConditions

    return {"etag": expected.etag, "match_condition": MatchConditions[name]} if expected and expected.has_tag else {}


class _PlainStore(Driver):
    """An object of a file system whose replies are bytes alone."""

    tells_version = False

    async def get(self, span: ByteRange, expected: Version | None) -> Reply:  # noqa: ARG002  (it never sends a whole body)
        self._meter.requested()
        reply = await self._read(span)
        self._meter.received(len(reply.data))
        return reply

    @abstractmethod
    async def _read(self, span: ByteRange) -> Reply: ...


class _AsyncStore(_PlainStore):
    """An object of any other asynchronous file system."""

    async def _read(self, span: ByteRange) -> Reply:
        return Reply(await self._fs._cat_file(self._path, start=span.start, end=span.stop))

    async def look(self, known: Version | None) -> Version:  # noqa: ARG002  (it takes no conditions)
        self._fs.invalidate_cache(self._path)
        self._meter.requested()
        return _version_of(await self._fs._info(self._path))


class _SyncStore(_PlainStore):
    """An object of any other file system, read in threads."""

    async def _read(self, span: ByteRange) -> Reply:
        return Reply(await asyncio.to_thread(self._fs.cat_file, self._path, start=span.start, end=span.stop))

    async def look(self, expected: Version | None) -> Version:  # noqa: ARG002  (it takes no conditions)
        self._fs.invalidate_cache(self._path)
        self._meter.requested()
        return _version_of(await asyncio.to_thread(self._fs.info, self._path))


class _MemoryStore(_SyncStore):
    """An object in memory; looking at it costs no request."""

    async def look(self, expected: Version | None) -> Version:  # noqa: ARG002  (it takes no conditions)
        return _version_of(self._fs.info(self._path))


# The nearest base class of a file system decides. Names instead of classes avoid importing drivers.
_STORES: dict[str, type[Driver]] = {
    "adlfs.spec.AzureBlobFileSystem": _AzureStore,
    "fsspec.asyn.AsyncFileSystem": _AsyncStore,
    "fsspec.implementations.http.HTTPFileSystem": _HttpStore,
    "fsspec.implementations.memory.MemoryFileSystem": _MemoryStore,
    "fsspec.spec.AbstractFileSystem": _SyncStore,
    "s3fs.core.S3FileSystem": _S3Store,
}


@process_state()
def repair_after_fork() -> None:
    """Replace the lock of fsspec in a forked child.

    A thread of the parent may have held it. fsspec means to do so itself, but resets another name.
    Call this before any use of an asynchronous file system.
    """
    if is_forked() and fsspec.asyn.loop[0] is None:  # this child has not used it yet
        fsspec.asyn.reset_lock()


def store_class(fs: Any) -> type[Driver]:
    """Return the driver class for a file system."""
    names = (f"{base.__module__}.{base.__qualname__}" for base in type(fs).__mro__)
    return next((_STORES[name] for name in names if name in _STORES), _SyncStore)


def driver_options(location: Location, profile: StoreCosts) -> dict[str, Any]:
    """Return storage options with the connection limits of the store costs.

    Options set by the caller take precedence.
    """
    if location.is_chained:
        return dict(location.options)
    if location.is_web:
        return {"get_client": functools.partial(http_client, profile.connections), **location.options}
    return scheme_info(location.scheme).driver_options(location, profile.connections)


def _version_of(info: Mapping[str, Any]) -> Version:
    if info.get("type") == "directory":
        raise IsADirectoryError(info.get("name"))
    told = [f"{key}={info[key]}" for key in _CHANGING if info.get(key) is not None]
    return Version(info.get("size"), " ".join(told) or None)
