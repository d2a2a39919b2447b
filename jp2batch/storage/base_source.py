"""What all sources have in common: a name, a profile, the version once it is known, and honest counts."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from jp2batch.core.costs import StoreCosts
from jp2batch.storage.replies import Range, Version, describe_range, replaced


@dataclass(slots=True)
class Meter:
    """Counts what a source costs; many threads may write to it."""

    requests: int = 0
    """Requests made."""
    bytes_read: int = 0
    """Body bytes received."""
    retries: int = 0
    """Requests that were made again because they had failed."""
    seconds: float = 0.0
    """Wall time spent waiting."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def requested(self, count: int = 1) -> None:
        """Count requests."""
        with self._lock:
            self.requests += count

    def retried(self) -> None:
        """Count a request that is made again."""
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
    """The attributes of `source.Source`, which documents them."""

    def __init__(self, path: str, profile: StoreCosts, key: str = "") -> None:
        self.path = path
        self.profile = profile
        self.key = key or path
        self._meter = Meter()
        self._version: Version | None = None
        self._confirmed = True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}: {self.requests} requests, {self.bytes_read} bytes>"

    @property
    def size(self) -> int | None:
        """Bytes of the whole object, once known."""
        return self._version.size if self._version else None

    @property
    def etag(self) -> str | None:
        """The version tag, where there is one."""
        return self._version.etag if self._version else None

    @property
    def requests(self) -> int:
        """Requests made so far."""
        return self._meter.requests

    @property
    def bytes_read(self) -> int:
        """Body bytes received so far."""
        return self._meter.bytes_read

    @property
    def retries(self) -> int:
        """Requests that were made again so far."""
        return self._meter.retries

    @property
    def seconds(self) -> float:
        """Wall time spent waiting so far."""
        return self._meter.seconds

    def expect(self, version: Version | None) -> None:
        """Take a version for granted until the first reply; see `source.Source`."""
        self._version = version
        self._confirmed = version is None

    def close(self) -> None:
        """Give back what the source holds; see `source.Source`."""

    def _confirm(self, version: Version) -> None:
        """Learn which version the store has: that which was expected, or the object has been replaced."""
        if self._confirmed or version.etag is None:
            return
        if self._version is not None and self._version.differs(version):
            raise replaced().at(self.path)
        self._confirmed = True

    def _check_ranges(self, ranges: Sequence[Range]) -> None:
        if self.size is None and len(ranges) > 1:
            raise ValueError(f"{self.path}: one range is tried before {len(ranges)} are asked for")
        for start, stop in ranges:
            if not 0 <= start < stop or (self.size is not None and start >= max(1, self.size)):
                raise ValueError(f"{self.path}: no {describe_range((start, stop))} in a file of {self.size} bytes")
