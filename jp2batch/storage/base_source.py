"""Base class of all sources: path, store costs, object version, counts."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from jp2batch.core.costs import StoreCosts
from jp2batch.core.ranges import ByteRange
from jp2batch.storage.replies import Version, replaced


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


class BaseSource:
    """Attributes shared by all sources; documented in `source.Source`."""

    def __init__(self, path: str, profile: StoreCosts, key: str = "") -> None:
        self.path = path
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
            raise replaced().at(self.path)
        self._confirmed = True

    def _check_ranges(self, ranges: Sequence[ByteRange]) -> None:
        if self.size is None and len(ranges) > 1:
            raise ValueError(f"{self.path}: one range is tried before {len(ranges)} are asked for")
        for span in ranges:
            if not 0 <= span.start < span.stop or (self.size is not None and span.start >= max(1, self.size)):
                raise ValueError(f"{self.path}: no {span} in a file of {self.size} bytes")
