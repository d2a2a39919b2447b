"""Source over a file in an archive, zip or tar."""

import struct
import threading
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from jp2batch.core.config import max_whole_file
from jp2batch.core.errors import ImageNotFound, ImageTooLarge, Jp2BatchError, ObjectChanged, StorageError
from jp2batch.core.location import Location
from jp2batch.core.ranges import ByteRange
from jp2batch.storage.archive_directory import Member, directory_of, forget_directory
from jp2batch.storage.base_source import BaseSource, Source
from jp2batch.storage.replies import Piece, Version

T = TypeVar("T")

_HEADER = 30  # bytes of a local header without name and extra field (APPNOTE.TXT, 4.3.7)
_SLACK = 512  # for name and extra field
_STEP = 2**16  # compressed bytes of a request, at least


class MemberSource(BaseSource):
    """A source over a file in an archive.

    Only the archive's directory and the requested bytes are fetched; of a compressed file, all bytes up to these.

    Parameters
    ----------
    archive : Source
        The archive; nothing has been read of it.
    location : Location
        The file in the archive.
    key : str
        Name of the file in an index.
    """

    def __init__(self, archive: Source, location: Location, key: str) -> None:
        super().__init__(location.redacted, archive.profile, key)
        self.location = location
        self.meter = archive.meter
        self._archive = archive
        self._scheme, self._name = location.scheme, location.path.strip("/")
        self._member: Member | None = None
        self._start: int | None = None
        self._inflated: _Inflated | None = None
        self._expects = False
        self._lock = threading.RLock()

    def read_many(self, ranges: Sequence[ByteRange]) -> list[Piece]:
        """Read ranges; see `source.Source`."""
        self._check_ranges(ranges)
        is_first = self._start is None and not self._expects
        try:
            return self._named(partial(self._read, ranges))
        except ObjectChanged:
            forget_directory(self._archive)
            if not is_first:
                raise
        self.expect(None)  # the directory in memory was of an earlier version
        return self._named(partial(self._read, ranges))

    def expect(self, version: Version | None) -> None:
        """Set the expected version; see `source.Source`."""
        super().expect(version)
        self._expects = version is not None
        self._member = self._start = self._inflated = None
        self._archive.expect(None)

    def verify(self) -> None:
        """Verify the version of all bytes read; see `source.Source`."""
        self._named(self._find)
        self._named(self._archive.verify)

    def close(self) -> None:
        """Release open resources; see `source.Source`."""
        self._archive.close()

    def _read(self, ranges: Sequence[ByteRange]) -> list[Piece]:
        member = self._find()
        spans = [ByteRange(span.start, min(span.stop, member.size)) for span in ranges]
        if member.size == 0:
            return [(span.start, b"") for span in spans]
        if member.method == zipfile.ZIP_STORED:
            return self._stored(member, spans)
        with self._lock:
            self._inflated = self._inflated or _Inflated(member, partial(self._stored, member))
            return [(span.start, self._inflated.read(span)) for span in spans]

    def _find(self) -> Member:
        """Return the file's entry in the directory of the archive."""
        with self._lock:
            if self._member is None:
                directory = directory_of(self._archive, self._scheme)
                member = directory.members.get(self._name)
                if member is None:
                    raise ImageNotFound(self.path, "the archive has no such file", "check the path in the archive")
                _check_readable(member, self.path)
                tag = directory.version.etag
                own = Version(member.size, None if tag is None else f"{tag} {member.crc:08x}")
                self._confirm(own)
                self._version, self._member, self._start = own, member, member.data
            return self._member

    def _stored(self, member: Member, spans: Sequence[ByteRange]) -> list[Piece]:
        """Read ranges of the data as they are in the archive."""
        if self._start is None and len(spans) == 1 and spans[0].start == 0:
            return [(0, self._locate(member, spans[0].stop)[1])]
        start = self._locate(member, 0)[0] if self._start is None else self._start
        moved = [ByteRange(start + span.start, start + span.stop) for span in spans]
        return [(position - start, data) for position, data in self._archive.read_many(moved)]

    def _locate(self, member: Member, count: int) -> tuple[int, bytes]:
        """Return the position of the data, and their first bytes."""
        stop = min(self._archive.size or 0, member.header + _HEADER + _SLACK + count)
        if not 0 <= member.header <= stop - _HEADER:
            raise _damaged(self.path)
        ((position, data),) = self._archive.read_many([ByteRange(member.header, stop)])
        data = data[member.header - position :]
        if not data.startswith(b"PK\3\4"):
            raise _damaged(self.path)
        before = _HEADER + sum(struct.unpack("<HH", data[26:_HEADER]))
        self._start = start = member.header + before
        body = data[before : before + count]
        if len(body) < count:  # name and extra field are long
            ((_, more),) = self._archive.read_many([ByteRange(start + len(body), start + count)])
            body += more
        return start, body

    def _named(self, act: Callable[[], T]) -> T:
        """Call a function; name the file, not the archive, in its error."""
        try:
            return act()
        except Jp2BatchError as error:
            failure = error.at(self.path)
        raise failure  # outside `except`, without the other error as its context


class _Inflated:
    """Decompressed bytes of a file, as far as needed."""

    def __init__(self, member: Member, fetch: Callable[[list[ByteRange]], list[Piece]]) -> None:
        self._member, self._fetch = member, fetch
        self._decoder = zlib.decompressobj(-zlib.MAX_WBITS)
        self._data = bytearray()
        self._position = 0

    def read(self, span: ByteRange) -> bytes:
        """Return decompressed bytes."""
        limit = max_whole_file()
        if span.stop > limit:
            problem = f"it is compressed in its archive, and more than {limit} bytes of it are needed"
            raise ImageTooLarge("", problem, "unpack the archive, or raise jp2batch.max-whole-file")
        while len(self._data) < span.stop:
            self._inflate(span.stop)
        return bytes(self._data[span.start : span.stop])

    def _inflate(self, stop: int) -> None:
        """Decompress more bytes, up to a position."""
        compressed = self._decoder.unconsumed_tail
        if not compressed:
            step = max(_STEP, stop - len(self._data))
            span = ByteRange(self._position, min(self._position + step, self._member.stored))
            if self._decoder.eof or not span.size:
                raise _damaged("")
            ((_, compressed),) = self._fetch([span])
            self._position = span.stop
        try:
            self._data += self._decoder.decompress(compressed, self._member.size - len(self._data) + 1)
        except zlib.error:
            raise _damaged("") from None
        if len(self._data) >= self._member.size and zlib.crc32(self._data) != self._member.crc:
            raise _damaged("")


def _check_readable(member: Member, path: str) -> None:
    if member.encrypted:
        raise StorageError(path, "is encrypted in its archive", "unpack the archive")
    if member.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise StorageError(path, f"is compressed by method {member.method} in its archive", "unpack the archive")


def _damaged(path: str) -> StorageError:
    return StorageError(path, "is damaged in its archive", "fetch the archive again")
