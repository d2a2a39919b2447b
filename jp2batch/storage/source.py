"""Source: ranged, concurrent, counted reads of an object."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import fsspec
import fsspec.core
from fsspec.implementations.local import LocalFileSystem

from jp2batch.core.config import driver
from jp2batch.core.costs import StoreCosts
from jp2batch.core.location import Location
from jp2batch.core.ranges import ByteRange
from jp2batch.core.store_settings import store_costs
from jp2batch.storage.archive_directory import ARCHIVES
from jp2batch.storage.archive_source import MemberSource
from jp2batch.storage.base_source import BaseSource, Meter, Source
from jp2batch.storage.drivers.driver import Driver
from jp2batch.storage.drivers.fsspec_driver import driver_options, repair_after_fork, store_class
from jp2batch.storage.drivers.obstore_driver import ObstoreObject, obstore_store
from jp2batch.storage.drivers.plain_http import PlainHttpObject, is_plain, reads_plainly
from jp2batch.storage.drivers.signed_driver import SignedObject
from jp2batch.storage.errors import not_opened
from jp2batch.storage.file_systems import file_system
from jp2batch.storage.local_source import LocalSource
from jp2batch.storage.remote_source import RemoteSource
from jp2batch.storage.replies import Piece, Version
from jp2batch.storage.schemes import S3, scheme_info
from jp2batch.storage.signing import sign, signer_of, with_signed_store
from jp2batch.storage.store_identity import key_of, store_host, uses_tls
from jp2batch.storage.store_options import locate

__all__ = ["MemorySource", "Piece", "Source", "Version", "known_protocols", "open_source"]


class MemorySource(BaseSource):
    """A source over bytes in memory; counts and checks like other sources.

    Parameters
    ----------
    data : bytes
        The object.
    path : str
        Its name in messages.
    profile : StoreCosts, optional
        Costs of reading; the costs of memory by default.
    etag : str, optional
        Version tag.
    """

    def __init__(
        self, data: bytes, *, path: str = "memory://", profile: StoreCosts | None = None, etag: str | None = None
    ) -> None:
        super().__init__(path, profile or store_costs("memory"))
        self._data = data
        self._own = Version(len(data), etag)
        self.ranges: list[ByteRange] = []

    def read_many(self, ranges: Sequence[ByteRange]) -> list[Piece]:
        """Return slices of the data; see `Source`."""
        self._check_ranges(ranges)
        pieces = [(start, self._data[start:stop]) for start, stop in ranges]
        self.ranges.extend(ranges)
        self.meter.requested(len(pieces))
        self.meter.received(sum(len(data) for _, data in pieces))
        self.verify()
        self._version = self._own
        return pieces

    def verify(self) -> None:
        """Compare the version with the expected version; bytes do not change."""
        self._confirm(self._own)


def known_protocols() -> frozenset[str]:
    """Return the protocols allowed in paths, installed or not."""
    return frozenset(fsspec.available_protocols())


def open_source(path: str | Location, *, storage_options: Mapping[str, object] | None = None) -> Source:
    """Return a source over the object at `path`; requests nothing yet.

    Parameters
    ----------
    path : str or Location
        Path or URL, as fsspec takes it: a local path, `s3://bucket/key`, `https://…`, `gs://…`, `memory://…`.
    storage_options : Mapping, optional
        Options of fsspec's file system: credentials, endpoint, headers; or options of several stores, by protocol:
        `{"s3": {…}, "https": {…}}`.

    Raises
    ------
    InvalidPath
        The path is the URL of an object store, and contains credentials.
    StorageError
        The protocol is not known, its driver is not installed, or `storage_options` do not fit.
    """
    repair_after_fork()
    location = locate(path, storage_options)
    if location.scheme in ARCHIVES and location.chain:
        return MemberSource(open_archive(location), location, key_of(location))
    host = store_host(location)
    profile, store = store_costs(location.scheme, host), host or location.scheme
    profile = profile if uses_tls(location) else replace(profile, handshake=0.0)
    try:
        if (fast := obstore_store(location, profile)) is not None:
            other = functools.partial(_driver_of_fsspec, location, profile) if driver() == "auto" else None
            make: Callable[[Meter], Driver] = functools.partial(ObstoreObject, *fast, other)
            return RemoteSource(make, location, profile, key=key_of(location), store=store)
        signer = signer_of(location)
        if reads_plainly(location) and (signer or is_plain(location.text)):
            link = functools.partial(_driver_of_link, location, profile)
            signed = functools.partial(_signed, link, functools.partial(sign, signer, location)) if signer else None
            make = signed or functools.partial(link, location.text)
            return RemoteSource(make, location, profile, key=key_of(location), store=store)
        opened = with_signed_store(location) if signer and location.is_chained else location
        fs, name = file_system(opened, driver_options(location, profile))
    except Exception as error:  # noqa: BLE001  (each driver has its own)
        failure = not_opened(error, location)
    else:
        if isinstance(fs, LocalFileSystem):
            return LocalSource(name, location, profile, key_of(location, name))
        make = _maker(fs, name, location)
        if signer and not location.is_chained:
            make = functools.partial(
                _signed, functools.partial(store_class(fs), fs), functools.partial(sign, signer, location)
            )
        loop = fs.loop if fs.async_impl else None
        return RemoteSource(make, location, profile, loop=loop, key=key_of(location), store=store)
    raise failure  # outside `except`, without the driver's error as its context


def _signed(make: Callable[[str, Meter], Driver], sign: Callable[[], str], meter: Meter) -> Driver:
    return SignedObject(lambda link: make(link, meter), sign)


def _maker(fs: Any, name: str, location: Location) -> Callable[[Meter], Driver]:
    keeps_slashes = scheme_info(location.scheme) is S3 and not location.is_chained  # fsspec strips final ones
    path = location.text if keeps_slashes else name
    return functools.partial(store_class(fs), fs, path, literal=location.literal)


def _driver_of_fsspec(location: Location, profile: StoreCosts, meter: Meter) -> Driver:
    fs, name = file_system(location, driver_options(location, profile))
    return _maker(fs, name, location)(meter)


def _driver_of_link(location: Location, profile: StoreCosts, link: str, meter: Meter) -> Driver:
    other = functools.partial(_driver_of_fsspec, replace(location, text=link), profile)
    return PlainHttpObject(link, other, meter) if is_plain(link) else other(meter)


def open_archive(location: Location) -> Source:
    """Return a source over the archive around a location."""
    return open_source(location.chain, storage_options=location.options)


_memory: type[Source] = MemorySource
_object: type[Source] = RemoteSource
_local: type[Source] = LocalSource
_member: type[Source] = MemberSource
