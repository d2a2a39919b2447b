"""Drivers for other file systems of fsspec, and the choice of drivers."""

import asyncio
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import fsspec.asyn

from jp2batch.core.costs import StoreCosts
from jp2batch.core.location import Location
from jp2batch.core.options import without_signer
from jp2batch.core.ranges import ByteRange
from jp2batch.core.runtime import is_forked, process_state
from jp2batch.storage.drivers.driver import Driver
from jp2batch.storage.replies import Reply, Version
from jp2batch.storage.schemes import SCHEMES, scheme_info

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

    file_system = "fsspec.asyn.AsyncFileSystem"

    async def _read(self, span: ByteRange) -> Reply:
        return Reply(await self._fs._cat_file(self._path, start=span.start, end=span.stop))

    async def look(self, expected: Version | None) -> Version:  # noqa: ARG002  (it takes no conditions)
        self._fs.invalidate_cache(self._path)
        self._meter.requested()
        return _version_of(await self._fs._info(self._path))


class _SyncStore(_PlainStore):
    """An object of any other file system, read in threads."""

    file_system = "fsspec.spec.AbstractFileSystem"
    is_cancellable = False

    async def _read(self, span: ByteRange) -> Reply:
        return Reply(await asyncio.to_thread(self._fs.cat_file, self._path, start=span.start, end=span.stop))

    async def look(self, expected: Version | None) -> Version:  # noqa: ARG002  (it takes no conditions)
        self._fs.invalidate_cache(self._path)
        self._meter.requested()
        return _version_of(await asyncio.to_thread(self._fs.info, self._path))


class _MemoryStore(_SyncStore):
    """An object in memory; looking at it costs no request."""

    file_system = "fsspec.implementations.memory.MemoryFileSystem"

    async def look(self, expected: Version | None) -> Version:  # noqa: ARG002  (it takes no conditions)
        return _version_of(self._fs.info(self._path))


_DRIVERS: tuple[type[Driver], ...] = (_AsyncStore, _MemoryStore, _SyncStore)
_STORES = {driver.file_system: driver for driver in (*_DRIVERS, *(row.driver for row in SCHEMES if row.driver))}


@process_state()
def repair_after_fork() -> None:
    """Replace the lock of fsspec in a forked child.

    A thread of the parent may have held it. fsspec means to do so itself, but resets another name.
    Call this before any use of an asynchronous file system.
    """
    if is_forked() and fsspec.asyn.loop[0] is None:  # this child has not used it yet
        fsspec.asyn.reset_lock()


def store_class(fs: Any) -> type[Driver]:
    """Return the driver of a file system, by its nearest base class."""
    names = (f"{base.__module__}.{base.__qualname__}" for base in type(fs).__mro__)
    return next((_STORES[name] for name in names if name in _STORES), _SyncStore)


def driver_options(location: Location, profile: StoreCosts) -> dict[str, Any]:
    """Return storage options with the connection limits of the store costs.

    Options set by the caller take precedence.
    """
    options = without_signer(location.options)
    if location.is_chained:
        return options
    return scheme_info(location.scheme).driver_options(replace(location, options=options), profile.connections)


def _version_of(info: Mapping[str, Any]) -> Version:
    if info.get("type") == "directory":
        raise IsADirectoryError(info.get("name"))
    told = [f"{key}={info[key]}" for key in _CHANGING if info.get(key) is not None]
    return Version(info.get("size"), " ".join(told) or None)
