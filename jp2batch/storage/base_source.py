"""Source, and the base class of all sources."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from jp2batch.core.costs import StoreCosts
from jp2batch.core.location import Location
from jp2batch.core.ranges import ByteRange
from jp2batch.storage.replies import Piece, Version, replaced


@dataclass(slots=True)
class Meter:
    """Counters of requests, bytes, retries and waiting time; thread-safe."""

    requests: int = 0
    """Requests made."""
    bytes_read: int = 0
    """Body bytes received."""
    retries: int = 0
    """Requests repeated after a failure."""
    seconds: float = 0.0
    """Wall time spent waiting."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def requested(self, count: int = 1) -> None:
        """Count requests."""
        with self._lock:
            self.requests += count

    def retried(self) -> None:
        """Count a repeated request."""
        with self._lock:
            self.retries += 1

    def received(self, size: int) -> None:
        """Count bytes."""
        with self._lock:
            self.bytes_read += size

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time of a `with` block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds += time.perf_counter() - start


class Source(Protocol):
    """A version of an object in a store, read in ranges.

    Lazy: no request is made before the first read. Thread-safe: any number of threads may read at once. Not picklable:
    each worker opens its own. The user of a source closes it. Every error is from `jp2batch.core.errors` and names
    `path`. Requests are repeated after transient failures, as configured in `jp2batch.retries`.
    """

    @property
    def path(self) -> str:
        """The path or URL, for messages: without credentials."""
        ...

    @property
    def location(self) -> Location:
        """Location of the object with its options, never for messages."""
        ...

    @property
    def profile(self) -> StoreCosts:
        """Costs of reading from the store."""
        ...

    @property
    def key(self) -> str:
        """Name of the object among the objects of all stores.

        For an index: alike in all processes, and without credentials. It is the path, followed by `#` and a digest of
        the store's address if the path does not contain the whole address.
        """
        ...

    @property
    def size(self) -> int | None:
        """Bytes of the whole object; None before the first read."""
        ...

    @property
    def etag(self) -> str | None:
        """Tag of the object's version; None if the store sends none."""
        ...

    @property
    def meter(self) -> Meter:
        """Counters of requests, bytes, retries and waiting time."""
        ...

    def read_many(self, ranges: Sequence[ByteRange]) -> list[Piece]:
        """Read ranges concurrently; return their bytes in the same order.

        Each range is a request. The first call takes exactly one range: it learns the size, the version and whether the
        store supports ranges. If the store does not, the call returns the whole object, as `[(0, data)]`. Bytes beyond
        the end of the object are left out.

        Raises
        ------
        ImageNotFound, PermissionDenied, StorageError
            The store does not deliver the object.
        StoreUnavailable
            The store failed, or sent wrong bytes, in all attempts; the same call may succeed later.
        ObjectChanged
            The object was replaced since the first read, or is not of the version that was expected.
        ImageTooLarge
            The store sends only the whole object, and its size exceeds `jp2batch.max-whole-file`.
        ValueError
            The caller's mistake: a range is empty or begins beyond the end, or the first call has several ranges.
        """
        ...

    def expect(self, version: Version | None) -> None:
        """Set the expected version (None clears it), before the first read.

        The first call of `read_many` may then take any number of ranges; if their replies show another version, it
        fails. An expected version has a tag.
        """
        ...

    def verify(self) -> None:
        """Verify the version of all bytes read.

        Costs a request only if the replies carry no version.

        Raises
        ------
        ObjectChanged
            The object was replaced since the first read, or is not of the version that was expected.
        """
        ...

    def close(self) -> None:
        """Release the file descriptor; further reads reopen the file.

        Otherwise a stored exception would keep the file open.
        """
        ...


class BaseSource:
    """Attributes shared by all sources; documented in `Source`."""

    def __init__(self, path: str, profile: StoreCosts, key: str = "") -> None:
        self.path = path
        self.location = Location.of(path)
        self.profile = profile
        self.key = key or path
        self.meter = Meter()
        self._version: Version | None = None
        self._confirmed = True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}: {self.meter.requests} requests, {self.meter.bytes_read} bytes>"

    @property
    def size(self) -> int | None:
        """Bytes of the whole object, once known."""
        return self._version.size if self._version else None

    @property
    def etag(self) -> str | None:
        """The version tag, if the store sends it."""
        return self._version.etag if self._version else None

    def expect(self, version: Version | None) -> None:
        """Set the expected version; see `source.Source`."""
        self._version = version
        self._confirmed = version is None

    def close(self) -> None:
        """Release open resources; see `source.Source`."""

    def _confirm(self, version: Version) -> None:
        """Compare the store's version with the expected version, unless already confirmed.

        Raises
        ------
        ObjectChanged
            The versions differ.
        """
        if self._confirmed or version.etag is None:
            return
        if self._version is not None and self._version.differs(version):
            raise replaced(self._version, version).at(self.path)
        self._confirmed = True

    def _check_ranges(self, ranges: Sequence[ByteRange]) -> None:
        if self.size is None and len(ranges) > 1:
            raise ValueError(f"{self.path}: one range is tried before {len(ranges)} are asked for")
        for span in ranges:
            if not 0 <= span.start < span.stop or (self.size is not None and span.start >= max(1, self.size)):
                raise ValueError(f"{self.path}: no {span} in a file of {self.size} bytes")
