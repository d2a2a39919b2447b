"""Source: ranged, concurrent, counted reads of one object, wherever it lies."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import fsspec
import fsspec.core
from fsspec.implementations.local import LocalFileSystem

from jp2batch.core.config import store_costs
from jp2batch.core.costs import StoreCosts
from jp2batch.core.place import Place
from jp2batch.storage.base_source import BaseSource, Meter
from jp2batch.storage.drivers.fsspec_driver import Driver, store_class, with_defaults
from jp2batch.storage.drivers.obstore_driver import ObstoreObject, obstore_store
from jp2batch.storage.errors import not_opened
from jp2batch.storage.local_source import LocalSource
from jp2batch.storage.remote_source import RemoteSource
from jp2batch.storage.replies import Piece, Range, Version
from jp2batch.storage.store_identity import host_of, key_of

__all__ = ["MemorySource", "Piece", "Range", "Source", "Version", "known_protocols", "open_source"]


class Source(Protocol):
    """One version of one object in a store, read in ranges.

    Lazy: nothing is asked before the first read. Thread-safe: any number of threads may read at once. Not picklable:
    a worker opens its own. Who is done closes it. Every error is one of `jp2batch.core.errors` and names `path`. What
    fails in a way that passes is asked again, as `jp2batch.retries` says.
    """

    @property
    def path(self) -> str:
        """The path or URL, for messages: without credentials."""
        ...

    @property
    def profile(self) -> StoreCosts:
        """What reading from this store costs."""
        ...

    @property
    def key(self) -> str:
        """What names the object among those of all stores, for an index: without credentials, alike in all processes.

        It is the path, and where that does not tell the whole address of the store, `#` and a digest of it.
        """
        ...

    @property
    def size(self) -> int | None:
        """Bytes of the whole object; None until the first read has told it."""
        ...

    @property
    def etag(self) -> str | None:
        """What tells this version of the object from another, where the store gives such a thing."""
        ...

    @property
    def requests(self) -> int:
        """Requests made so far."""
        ...

    @property
    def bytes_read(self) -> int:
        """Body bytes received so far."""
        ...

    @property
    def retries(self) -> int:
        """Requests that were made again so far, because they had failed in a way that passes."""
        ...

    @property
    def seconds(self) -> float:
        """Wall time spent waiting for the store so far."""
        ...

    def read_many(self, ranges: Sequence[Range]) -> list[Piece]:
        """Read ranges, all at once, one request for each; return their bytes in the order asked.

        The first call takes exactly one range: it learns the size and the version, and whether the store gives ranges
        at all. Where it does not, that call returns the whole object, as `[(0, data)]`. What lies beyond the end of the
        object is left out.

        Raises
        ------
        ImageNotFound, PermissionDenied, StorageError
            The store does not give the object.
        StoreUnavailable
            The store failed, or sent other bytes than asked for, and went on to; the same call may succeed later.
        ObjectChanged
            The object was replaced since the first read, or is not of the version that was expected.
        ImageTooLarge
            The store gives only the whole object, and that is larger than `jp2batch.max-whole-file`.
        ValueError
            The caller's mistake: a range is empty or begins beyond the end, or the first call has several.
        """
        ...

    def expect(self, version: Version | None) -> None:
        """Take it for granted, before the first read, that the object has this version; None: forget that again.

        The first call of `read_many` may then take any number of ranges: their replies tell whether it proves true,
        and all are refused where it does not. A version that is expected has a tag.
        """
        ...

    def verify(self) -> None:
        """Make sure that all that was read is of one version; costs a request only where the replies do not tell.

        Raises
        ------
        ObjectChanged
            The object was replaced since the first read, or is not of the version that was expected.
        """
        ...

    def close(self) -> None:
        """Give back what it holds: the descriptor of a file, which an error that is kept would keep as well.

        It may be read again, which opens it again.
        """
        ...


class MemorySource(BaseSource):
    """A source over bytes given directly, that counts and refuses as the others do.

    Parameters
    ----------
    data : bytes
        The object.
    path : str
        Its name in messages.
    profile : StoreCosts, optional
        What reading is said to cost; that of memory by default.
    etag : str, optional
        What tells this version from others.
    """

    def __init__(
        self, data: bytes, *, path: str = "memory://", profile: StoreCosts | None = None, etag: str | None = None
    ) -> None:
        super().__init__(path, profile or store_costs("memory"))
        self._data = data
        self._own = Version(len(data), etag)
        self.asked: list[Range] = []

    def read_many(self, ranges: Sequence[Range]) -> list[Piece]:
        """Return slices of the data; see `Source`."""
        self._check_ranges(ranges)
        pieces = [(start, self._data[start:stop]) for start, stop in ranges]
        self.asked.extend(ranges)
        self._meter.requested(len(pieces))
        self._meter.received(sum(len(data) for _, data in pieces))
        self.verify()
        self._version = self._own
        return pieces

    def verify(self) -> None:
        """See whether the version is that which was expected: bytes do not change."""
        self._confirm(self._own)


def known_protocols() -> frozenset[str]:
    """Return the protocols that a path may have; whether their drivers are installed is not asked."""
    return frozenset(fsspec.available_protocols())


def open_source(path: str, *, storage_options: Mapping[str, Any] | None = None) -> Source:
    """Return a source over the object at `path`. Nothing is read yet, nor asked whether it is there.

    Parameters
    ----------
    path : str
        Path or URL, as fsspec takes it: a local path, `s3://bucket/key`, `https://…`, `gs://…`, `memory://…`.
    storage_options : Mapping, optional
        What fsspec's file system takes: credentials, endpoint, headers; or that of several, by their protocols:
        `{"s3": {…}, "https": {…}}`.

    Raises
    ------
    InvalidPath
        It is the URL of an object store, and holds credentials.
    StorageError
        The protocol is not known, its driver is not installed, or `storage_options` do not fit.
    """
    place = Place.of(path, storage_options)
    given, protocol = place.options, place.protocol
    host = host_of(place)
    profile = store_costs(protocol, host)
    if (fast := obstore_store(path, place, profile)) is not None:
        make: Callable[[Meter], Driver] = functools.partial(ObstoreObject, *fast)
        return RemoteSource(make, place, profile, key=key_of(place, path, path), store=host or protocol)
    options = given if "::" in path else with_defaults(given, protocol, profile)
    try:
        fs, url = fsspec.core.url_to_fs(path, **options)
    except Exception as error:  # noqa: BLE001  (each driver has its own)
        failure = not_opened(error, place)
    else:
        key = key_of(place, url, path)
        if isinstance(fs, LocalFileSystem):
            return LocalSource(url, place, profile, key)
        own = path if protocol in ("s3", "s3a") and "::" not in path else url  # which lacks slashes at its end
        make = functools.partial(store_class(fs), fs, own)
        loop = fs.loop if fs.async_impl else None
        return RemoteSource(make, place, profile, loop=loop, key=key, store=host or protocol)
    raise failure  # out here, without the driver's error as its context


_memory: type[Source] = MemorySource
_object: type[Source] = RemoteSource
_local: type[Source] = LocalSource
