"""How each kind of file system gives one range of one object: a class for each, all with the same promises."""

import asyncio
import functools
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from jp2batch.core.costs import StoreCosts
from jp2batch.storage.base_source import Meter
from jp2batch.storage.drivers.http_driver import (
    CHUNK,
    HttpReply,
    http_client,
    no_chunks,
    range_header,
    range_to_look_at,
    reply_of,
    version_told,
)
from jp2batch.storage.errors import response_of, status_of
from jp2batch.storage.replies import Range, Reply, Version

# What a file system's info may hold that changes with the content.
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
_WITHOUT_A_BODY = (304, 416)  # statuses that botocore raises, and that tell what was asked


class Driver(ABC):
    """One object of a store.

    It keeps nothing of what it has read, runs on fsspec's event loop, and serves any number of `get` at once. It counts
    its requests and bytes on the meter; its errors are those of the driver.
    """

    tells_version: ClassVar[bool]
    """Whether every reply tells the version of the object, so that `look` would tell no more."""

    def __init__(self, fs: Any, path: str, meter: Meter) -> None:
        self._fs, self._path, self._meter = fs, path, meter

    @abstractmethod
    async def get(self, span: Range, known: Version | None) -> Reply:
        """Ask once for a range; a whole body in its place is taken while no version is `known`, and refused after."""

    @abstractmethod
    async def look(self, known: Version | None) -> Version:
        """Ask for the size and the version alone, past all caches; return `known` if the object still has it.

        Never by HEAD: a link that is signed for GET may refuse it.
        """


class _HttpStore(Driver):
    """A file on a web server."""

    tells_version = True

    async def get(self, span: Range, known: Version | None) -> Reply:
        async with self._answer({"Range": range_header(span)}) as answer:
            return await reply_of(answer, span, known, self._meter)

    async def look(self, known: Version | None) -> Version:
        condition = {"If-None-Match": known.etag or ""} if known and known.has_tag else {}
        async with self._answer({"Range": range_to_look_at(known), **condition}) as answer:
            return await version_told(answer, known, self._meter)

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

    It calls the client beneath s3fs's own retries, which multiply with botocore's to 25 tries of one range.
    """

    tells_version = True

    async def get(self, span: Range, known: Version | None) -> Reply:
        condition = {"IfMatch": known.etag} if known and known.has_tag else {}
        async with self._answer(Range=range_header(span), **condition) as answer:
            reply = await reply_of(answer, span, known, self._meter)
        if self._path.endswith("/") and reply.version.size == 0:  # what stands for a folder
            raise IsADirectoryError(self._path)
        return reply

    async def look(self, known: Version | None) -> Version:
        condition = {"IfNoneMatch": known.etag} if known and known.has_tag else {}
        async with self._answer(Range=range_to_look_at(known), **condition) as answer:
            return await version_told(answer, known, self._meter)

    @asynccontextmanager
    async def _answer(self, **parameters: Any) -> AsyncIterator[HttpReply]:
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

    async def _get_object(self, **parameters: Any) -> Mapping[str, Any]:
        bucket, key, version = self._fs.split_path(self._path)
        if not key:
            raise IsADirectoryError(bucket)
        slashes = self._path[len(self._path.rstrip("/")) :]  # which older s3fs takes off
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


class _PlainStore(Driver):
    """An object of a file system that gives bare bytes and no more."""

    tells_version = False

    async def get(self, span: Range, known: Version | None) -> Reply:  # noqa: ARG002  (it never sends a whole body)
        self._meter.requested()
        reply = await self._read(span)
        self._meter.received(len(reply.data))
        return reply

    @abstractmethod
    async def _read(self, span: Range) -> Reply: ...


class _AsyncStore(_PlainStore):
    """An object of any other asynchronous file system."""

    async def _read(self, span: Range) -> Reply:
        return Reply(await self._fs._cat_file(self._path, start=span[0], end=span[1]))

    async def look(self, known: Version | None) -> Version:  # noqa: ARG002  (it takes no conditions)
        self._fs.invalidate_cache(self._path)
        self._meter.requested()
        return _version_of(await self._fs._info(self._path))


class _SyncStore(_PlainStore):
    """An object of any other file system, read in threads."""

    async def _read(self, span: Range) -> Reply:
        return Reply(await asyncio.to_thread(self._fs.cat_file, self._path, start=span[0], end=span[1]))

    async def look(self, known: Version | None) -> Version:  # noqa: ARG002  (it takes no conditions)
        self._fs.invalidate_cache(self._path)
        self._meter.requested()
        return _version_of(await asyncio.to_thread(self._fs.info, self._path))


class _MemoryStore(_SyncStore):
    """An object in memory. Looking at it is free, and is not counted."""

    async def look(self, known: Version | None) -> Version:  # noqa: ARG002  (it takes no conditions)
        return _version_of(self._fs.info(self._path))


# The nearest base class of a file system decides. By name, so that no driver is imported for it.
_STORES: dict[str, type[Driver]] = {
    "fsspec.asyn.AsyncFileSystem": _AsyncStore,
    "fsspec.implementations.http.HTTPFileSystem": _HttpStore,
    "fsspec.implementations.memory.MemoryFileSystem": _MemoryStore,
    "fsspec.spec.AbstractFileSystem": _SyncStore,
    "s3fs.core.S3FileSystem": _S3Store,
}


def store_class(fs: Any) -> type[Driver]:
    """Return the class that reads from a file system."""
    names = (f"{base.__module__}.{base.__qualname__}" for base in type(fs).__mro__)
    return next((_STORES[name] for name in names if name in _STORES), _SyncStore)


def with_defaults(options: Mapping[str, Any], protocol: str, profile: StoreCosts) -> dict[str, Any]:
    """Return storage options that let a driver hold as many connections as the profile allows; given ones win."""
    if protocol in ("http", "https"):
        return {"get_client": functools.partial(http_client, profile.connections), **options}
    if protocol in ("s3", "s3a"):
        config = {
            "max_pool_connections": profile.connections,
            "retries": {"total_max_attempts": 1},
        }  # `retry` has its own
        return {**options, "config_kwargs": {**config, **(options.get("config_kwargs") or {})}}
    return dict(options)


def _version_of(info: Mapping[str, Any]) -> Version:
    if info.get("type") == "directory":
        raise IsADirectoryError(info.get("name"))
    told = [f"{key}={info[key]}" for key in _CHANGING if info.get(key) is not None]
    return Version(info.get("size"), " ".join(told) or None)
