"""Source over a local file, without an event loop.

An event loop would take longer than the reads.
"""

import os
import stat
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jp2batch.core.config import retry_policy
from jp2batch.core.costs import StoreCosts
from jp2batch.core.errors import ImageNotFound, Jp2BatchError
from jp2batch.core.location import Location
from jp2batch.core.ranges import ByteRange
from jp2batch.storage.base_source import BaseSource
from jp2batch.storage.errors import translate_error
from jp2batch.storage.replies import Piece, Reply, Version, replaced, validate_reply
from jp2batch.storage.retry import retried_now


class LocalSource(BaseSource):
    """A source over the file at `path`; `location` describes it in messages."""

    def __init__(self, path: str, location: Location, profile: StoreCosts, key: str = "") -> None:
        super().__init__(location.redacted, profile, key)
        self._file = Path(path)
        self.location = location
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._users = 0
        self._done = False
        self._retries = retry_policy()  # once: it parses the configuration

    def read_many(self, ranges: Sequence[ByteRange]) -> list[Piece]:
        """Read ranges; see `source.Source`."""
        self._check_ranges(ranges)

        def attempt() -> list[Piece]:
            with self.meter.waiting():
                return self._read(ranges)

        try:
            return retried_now(attempt, self._retries, self.meter.retried)  # a network disk may fail for a moment
        except Jp2BatchError as error:
            error.__context__ = None  # as in `RemoteSource`
            raise

    def verify(self) -> None:
        """Check the version again; looking at a file is not counted."""
        if self._version is not None:
            try:
                with self._errors():
                    self._learn(_version_of(self._file.stat()))
            except Jp2BatchError as error:
                error.__context__ = None
                raise

    def close(self) -> None:
        """Release the file descriptor after the last active read; see `source.Source`."""
        with self._lock:
            self._done = True
            self._close_if_unused()

    def _read(self, ranges: Sequence[ByteRange]) -> list[Piece]:
        with self._errors(), self._opened() as descriptor:
            self._learn(version := _version_of(os.fstat(descriptor)))
            self.meter.requested(len(ranges))
            pieces = [(start, self._read_at(descriptor, start, stop)) for start, stop in ranges]
            self.meter.received(sum(len(data) for _, data in pieces))
        for span, (_, data) in zip(ranges, pieces, strict=True):
            if len(data) != min(span.stop, version.size or 0) - span.start:
                with self._errors(span):
                    validate_reply(Reply(data), span, version)
        return pieces

    def _read_at(self, descriptor: int, start: int, stop: int) -> bytes:
        if not hasattr(os, "pread"):
            with self._lock:
                os.lseek(descriptor, start, os.SEEK_SET)
                return os.read(descriptor, stop - start)
        data = os.pread(descriptor, stop - start, start)
        while 0 < len(data) < stop - start:  # a call returns 2 GiB at most
            more = os.pread(descriptor, stop - start - len(data), start + len(data))
            if not more:
                break
            data += more
        return data

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """Open the file, or reuse its open descriptor.

        All reads until `close` see the same file, even if its path is replaced.
        """
        with self._lock:
            if self._descriptor is None:
                self._descriptor, self._done = self._open(), False
                self._finalizer = weakref.finalize(self, os.close, self._descriptor)
            self._users += 1
            descriptor = self._descriptor
        try:
            yield descriptor
        finally:
            with self._lock:
                self._users -= 1
                self._close_if_unused()

    def _open(self) -> int:
        mode = self._file.stat().st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError
        if not stat.S_ISREG(mode):  # to open a device may have effects
            raise ImageNotFound("", "this is a pipe or a device", "give the path of a file")
        return os.open(self._file, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))

    def _close_if_unused(self) -> None:
        if self._done and not self._users and self._descriptor is not None:
            self._descriptor = None
            self._finalizer()

    def _learn(self, version: Version) -> None:
        if self._version is None:
            self._version = version
        elif self._version.differs(version):
            raise replaced()

    @contextmanager
    def _errors(self, span: ByteRange | None = None) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001  # file systems in user space raise any exception
            fault = translate_error(error, self.location, f"reading {span}" if span else "")
            raise fault from None


def _version_of(stat: os.stat_result) -> Version:
    return Version(stat.st_size, f"{stat.st_ino}-{stat.st_mtime_ns}-{stat.st_size}")
