"""Ranged reads of Parquet files: the footer, then columns of row groups.

The memory of a hostile file is limited: by the size of its footer, of a row group's columns, and of their pages before
they are decompressed.
"""

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

from jp2batch.core.ranges import ByteRange
from jp2batch.image.fetch import fetch
from jp2batch.image.index.parquet_footer import ColumnChunk, parse_footer
from jp2batch.image.index.parquet_pages import check_pages
from jp2batch.jpeg2000.syntax.sparse_file import SparseFile
from jp2batch.storage.source import Source

_FIRST = 32 << 10  # bytes of the first request: a small file as a whole
_TAIL = 32 << 10  # bytes of the second: the footer of 100 row groups
_LARGEST_FOOTER = 1 << 20  # bytes, of some 300,000 images; parsed, it may take 200 MB
_LARGEST_GROUP = 128 << 20  # bytes of the columns of a row group, after decompression
_MOST_VALUES = 1 << 24  # values of a column of a row group
_MOST_ITEMS = 1 << 17  # elements of a list in the footer
_MAGIC = b"PAR1"
_END = 8  # bytes: the length of the footer, and the magic number


class DamagedTable(ValueError):
    """A file of another format, damaged, or too large for memory."""


class ParquetReader:
    """A Parquet file of a source, whose footer is read.

    Parameters
    ----------
    source : Source
        The file; nothing has been read of it.

    Attributes
    ----------
    footer : Footer
        Columns and row groups of the file.

    Raises
    ------
    DamagedTable
        It is not a Parquet file.
    Jp2BatchError
        The store does not deliver the file.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        with contextlib.closing(source):
            ((start, data),) = source.read_many([ByteRange(0, _FIRST)])
            self._pieces = SparseFile(source.size or 0)
            self._pieces.fill(start, data)
            footer = self._footer()
        with _damages():
            self.footer = parse_footer(footer[len(_MAGIC) : -_END])
            self._metadata: Any = _opened(io.BytesIO(footer)).metadata

    def __len__(self) -> int:
        return sum(group.rows for group in self.footer.groups)

    def read(self, group: int, columns: Sequence[str]) -> Any:
        """Return columns of a row group as a `pyarrow.Table` without chunks.

        Texts and bytes are encoded as dictionaries: repeated values take no memory.

        Raises
        ------
        DamagedTable
            The row group is damaged, or too large.
        Jp2BatchError
            The store does not deliver it.
        """
        chunks = self.footer.groups[group].of(columns)
        self._check(group, chunks)
        pieces = self._fetched([chunk.range for chunk in chunks])
        memory, texts = _LARGEST_GROUP, []
        for chunk in chunks:
            with _damages():
                use = check_pages(pieces.read(*chunk.range), memory=memory, values=_MOST_VALUES)
            memory -= use.memory
            texts += [chunk.path] if use.keeps_dictionary and chunk.is_text else []
        with _damages():
            file = _opened(_SparseIO(pieces), metadata=self._metadata, texts=texts)
            return file.read_row_group(group, columns=list(columns), use_threads=False).unify_dictionaries()

    def _check(self, group: int, chunks: Sequence[ColumnChunk]) -> None:
        """Check positions and sizes of columns."""
        if self.footer.groups[group].rows > _MOST_VALUES:
            raise DamagedTable("a row group has too many rows")
        for chunk in chunks:
            if not len(_MAGIC) <= chunk.range.start < chunk.range.stop <= self._pieces.size:
                raise DamagedTable("a column lies outside of the file")
            if chunk.range.size > _LARGEST_GROUP or chunk.values > _MOST_VALUES:
                raise DamagedTable("a row group is too large")

    def _footer(self) -> bytes:
        """Return the footer, as the end of a Parquet file without rows."""
        size = self._pieces.size
        if size < len(_MAGIC) + _END:
            raise DamagedTable("it is too short")
        self._require(max(0, size - _TAIL), size)
        end = self._pieces.read(size - _END, size)
        length = int.from_bytes(end[:4], "little")
        if end[4:] != _MAGIC or not 0 < length <= size - _END - len(_MAGIC):
            raise DamagedTable("it has no footer")
        if length > _LARGEST_FOOTER:
            raise DamagedTable(f"its footer is larger than {_LARGEST_FOOTER >> 20} MiB")
        self._require(size - _END - length, size)
        return _MAGIC + self._pieces.read(size - _END - length, size)

    def _require(self, start: int, stop: int) -> None:
        if missing := self._pieces.missing(start, stop):
            fetch(self._source, self._pieces, missing)

    def _fetched(self, ranges: Sequence[ByteRange]) -> SparseFile:
        """Return the bytes of ranges; they are not kept."""
        pieces = SparseFile(self._pieces.size)
        for span in ranges:
            for start, data in self._pieces.read_parts(*span):
                pieces.fill(start, data)
        if missing := [gap for span in ranges for gap in pieces.missing(*span)]:
            with contextlib.closing(self._source):
                fetch(self._source, pieces, missing)
        return pieces


class _SparseIO(io.RawIOBase):
    """The bytes fetched of a file, as a file object for pyarrow."""

    def __init__(self, pieces: SparseFile) -> None:
        self._pieces, self._position = pieces, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._pieces.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        stop = self._pieces.size if size < 0 else min(self._position + size, self._pieces.size)
        if stop <= self._position:
            return b""
        if not self._pieces.covers(self._position, stop):
            raise OSError("a column is longer than its footer says")
        data = self._pieces.read(self._position, stop)
        self._position = stop
        return data


def _opened(file: Any, metadata: Any = None, texts: Sequence[str] = ()) -> Any:
    """Return a `pyarrow.parquet.ParquetFile`."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(
        file,
        metadata=metadata,
        read_dictionary=list(texts),
        thrift_string_size_limit=_LARGEST_FOOTER,
        thrift_container_size_limit=_MOST_ITEMS,
        page_checksum_verification=True,
        pre_buffer=False,  # it would read the gaps between columns
    )


@contextlib.contextmanager
def _damages() -> Iterator[None]:
    """Translate errors of pyarrow."""
    import pyarrow as pa

    try:
        yield
    except DamagedTable:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError, IndexError) as error:
        raise DamagedTable(str(error).partition("\n")[0]) from None
