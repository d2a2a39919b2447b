"""Directory of an archive, zip or tar: the positions of its members."""

import io
import tarfile
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field

from jp2batch.core.errors import StorageError
from jp2batch.core.ranges import ByteRange
from jp2batch.core.runtime import process_state
from jp2batch.storage.base_source import Source
from jp2batch.storage.replies import Version

ARCHIVES = ("zip", "tar")
"""Schemes of archives that are read in ranges."""

_FIRST = 1024  # bytes of the first request, which tells the size
_AHEAD = {"zip": 2**16, "tar": 4096}  # a request for the header of each member of a tar
_TAIL = 2**17  # the directory of a zip is at its end: 20 to 60 kB for a product


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive."""

    header: int
    """Position of its header."""
    data: int | None
    """Position of its data; None if only its header tells."""
    size: int
    """Bytes of the file."""
    stored: int
    """Bytes in the archive."""
    method: int = zipfile.ZIP_STORED
    """Method of compression, as in a zip."""
    crc: int = 0
    """CRC-32 of the file."""
    encrypted: bool = False
    """True if a password is needed."""


@dataclass(frozen=True, slots=True)
class ArchiveDirectory:
    """Members of a version of an archive."""

    version: Version
    """Version of the archive."""
    members: Mapping[str, Member]
    """Files by their paths in the archive."""


@dataclass(slots=True)
class Shelf:
    """The latest directory of an archive, for all its readers."""

    directory: ArchiveDirectory | None = None
    """None before the first read."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while the directory is read."""


@process_state(limit=64)
def _shelf(_key: str) -> Shelf:
    return Shelf()


def directory_of(archive: Source, scheme: str) -> ArchiveDirectory:
    """Return the directory of an archive, from its source or from memory.

    The source then expects the version of the directory.

    Raises
    ------
    StorageError
        This is no archive, or it cannot be read.
    """
    shelf = _shelf(archive.key)
    with shelf.lock:
        held = shelf.directory
        if held is None or held.version.etag is None:
            shelf.directory = held = _read_directory(archive, scheme)
        else:
            archive.expect(held.version)
        return held


def forget_directory(archive: Source) -> None:
    """Drop the directory of a replaced archive."""
    _shelf(archive.key).directory = None
    archive.expect(None)


def _read_directory(archive: Source, scheme: str) -> ArchiveDirectory:
    file = _RangedFile(archive, _AHEAD[scheme])
    try:
        members = _members_of_zip(file) if scheme == "zip" else _members_of_tar(file)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, ValueError, NotImplementedError):
        problem = f"not a {scheme} archive, or damaged"
        raise StorageError(archive.path, problem, "check the path; unpack compressed tar files") from None
    return ArchiveDirectory(Version(archive.size, archive.etag), members)


def _members_of_zip(file: "_RangedFile") -> dict[str, Member]:
    file.fetch(max(0, file.size - _TAIL), file.size)
    with zipfile.ZipFile(file) as archive:
        if any(info.volume for info in archive.infolist()):
            raise zipfile.BadZipFile("the last part of several")
        return {
            _plain(info.filename): Member(
                header=info.header_offset,
                data=None,
                size=info.file_size,
                stored=info.compress_size,
                method=info.compress_type,
                crc=info.CRC,
                encrypted=bool(info.flag_bits & 1),
            )
            for info in archive.infolist()
            if not info.is_dir()
        }


def _members_of_tar(file: "_RangedFile") -> dict[str, Member]:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        return {
            _plain(info.name): Member(info.offset, info.offset_data, info.size, info.size)
            for info in archive
            if info.isreg() and not info.issparse()
        }


def _plain(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./").strip("/")


class _RangedFile(io.RawIOBase):
    """A readable file over a source, read in few ranges."""

    def __init__(self, source: Source, ahead: int) -> None:
        self._source, self._ahead = source, ahead
        self._position = 0
        self._pieces = source.read_many([ByteRange(0, _FIRST)])
        self.size = source.size or 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Change the position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError("negative position")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer, unless the file ends before."""
        start = self._position
        stop = min(self.size, start + len(buffer))
        if start >= stop:
            return 0
        data = self._read(start, stop)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def fetch(self, start: int, stop: int) -> None:
        """Fetch a range, unless it is in memory."""
        if start < stop and not self._has(start, stop):
            self._pieces += self._source.read_many([ByteRange(start, stop)])

    def _has(self, start: int, stop: int) -> bool:
        return any(first <= start and stop <= first + len(data) for first, data in self._pieces)

    def _read(self, start: int, stop: int) -> bytes:
        self.fetch(start, stop if self._has(start, stop) else min(self.size, max(stop, start + self._ahead)))
        first, data = next(
            piece for piece in reversed(self._pieces) if piece[0] <= start and stop <= piece[0] + len(piece[1])
        )
        return data[start - first : stop - first]
