"""Streams of bytes from files, pipes and objects, decompressed."""

import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from jp2batch.core.errors import ImageNotFound, StorageError
from jp2batch.core.location import Location
from jp2batch.core.options import without_signer
from jp2batch.core.ranges import ByteRange
from jp2batch.storage.errors import translate_error
from jp2batch.storage.file_systems import file_system
from jp2batch.storage.source import Source, open_source
from jp2batch.storage.store_options import locate

_GZIP = b"\x1f\x8b"
_CHUNK = 8 * 2**20
_TOGETHER = 4  # concurrent ranges of an object


class ChunkReader(io.RawIOBase):
    """A readable file over chunks of bytes.

    Each read returns bytes of a single chunk.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer with the next bytes available."""
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = memoryview(chunk)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def read_chunks(
    url: str, *, storage_options: Mapping[str, object] | None = None, limit: int | None = None
) -> Iterator[bytes]:
    """Iterate over the bytes of a file as they arrive.

    Parameters
    ----------
    url : str
        Path or URL. A local path may be a pipe. Gzip data are decompressed, with any suffix.
    storage_options : mapping, optional
        fsspec's options for the store.
    limit : int, optional
        Largest size in bytes, compressed or not.

    Raises
    ------
    StorageError
        The file cannot be read, is larger than `limit`, or is damaged.
    """
    location = locate(url, storage_options)
    chunks = _chunks_of(url, location, storage_options, limit)
    return _unzipped(chunks, location.redacted, limit)


def stream_chunks(stream: BinaryIO, name: str, *, limit: int | None = None) -> Iterator[bytes]:
    """Iterate over the bytes of an open file, as `read_chunks` does.

    Messages name the file `name`.
    """
    return _unzipped(_chunks_in(stream, name, limit), name, limit)


def with_head(chunks: Iterator[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    """Return the first bytes, and all chunks.

    The first bytes are at least `size`, or all.
    """
    head = b""
    while len(head) < size and (chunk := next(chunks, None)) is not None:
        head += chunk
    return head, chain([head], chunks) if head else chunks


def _chunks_of(
    url: str, location: Location, storage_options: Mapping[str, object] | None, limit: int | None
) -> Iterator[bytes]:
    try:
        if location.is_local:
            with Path(file_system(location, without_signer(location.options))[1]).open("rb") as file:
                yield from _chunks_in(file, location.redacted, limit)
        else:
            yield from _object_chunks(open_source(url, storage_options=storage_options), limit)
    except Exception as error:  # noqa: BLE001  # each driver has its own
        fault = translate_error(error, location)
    else:
        return
    if isinstance(fault, ImageNotFound):  # the file need not be an image
        fault = StorageError(location, f"cannot be read: {fault.problem}", "check the path")
    raise fault  # outside `except`, without the driver's error as its context


def _object_chunks(source: Source, limit: int | None) -> Iterator[bytes]:
    ((_, data),) = source.read_many([ByteRange(0, _CHUNK if limit is None else min(_CHUNK, limit + 1))])
    size = source.size or 0
    if limit is not None and size > limit:
        raise _too_large(source.path, limit)
    yield data
    starts = range(len(data), size, _CHUNK)
    for first in range(0, len(starts), _TOGETHER):
        ranges = [ByteRange(start, min(size, start + _CHUNK)) for start in starts[first : first + _TOGETHER]]
        yield from (piece for _, piece in source.read_many(ranges))
    source.verify()


def _unzipped(chunks: Iterator[bytes], name: str, limit: int | None) -> Iterator[bytes]:
    head, chunks = with_head(chunks, len(_GZIP))
    if not head.startswith(_GZIP):
        yield from chunks
        return
    try:
        with gzip.GzipFile(fileobj=ChunkReader(chunks)) as stream:
            yield from _chunks_in(stream, name, limit)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise StorageError(name, "its gzip data is damaged or cut short", "compress it again") from None


def _chunks_in(stream: BinaryIO | gzip.GzipFile, name: str, limit: int | None) -> Iterator[bytes]:
    """Read a stream in chunks, and stop once it exceeds `limit`."""
    read = getattr(stream, "read1", stream.read)  # a pipe's available bytes: a longer wait blocks signals
    size = 0
    while chunk := read(_CHUNK):
        size += len(chunk)
        if limit is not None and size > limit:
            raise _too_large(name, limit)
        yield chunk


def _too_large(name: str, limit: int) -> StorageError:
    return StorageError(name, f"is larger than {limit} bytes", "check the path, or split the file")
