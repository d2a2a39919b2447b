"""Memory needed by compressed pages of a Parquet column.

A page states its size after decompression in its header, `PageHeader` of Parquet's thrift definition. A decoder
allocates this size at once, so a file of a few kilobytes could take gigabytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from jp2batch.image.index.thrift_compact import ThriftReader

_MOST_PAGES = 10_000  # of a column in a row group
_MOST_VALUES = 1000  # of a header
_DELTA_BYTE_ARRAY = 7  # encoding: each value repeats the beginning of the one before
_DELTAS = (6, _DELTA_BYTE_ARRAY)  # encodings of texts that pyarrow does not keep as a dictionary
_DICTIONARIES = (2, 8)  # encodings by numbers of a dictionary's values
_DICTIONARY_PAGE = 2
_KIND, _UNCOMPRESSED, _COMPRESSED = 1, 2, 3  # fields of a header
_INNER = {5: 2, 7: None, 8: 4}
"""Fields of kinds of pages, and of the encodings in them."""


@dataclass(frozen=True, slots=True)
class _Page:
    """Header of a page."""

    size: int
    """Bytes after decompression."""
    count: int
    """Number of values."""
    encoding: int | None
    """Encoding of its values; None for a dictionary."""


@dataclass(frozen=True, slots=True)
class PageUse:
    """Memory and kind of the pages of a column."""

    memory: int
    """Largest size of their values in bytes."""
    keeps_dictionary: bool
    """Whether to read texts as a dictionary: repeated values are not counted."""


def check_pages(chunk: bytes, *, memory: int, values: int) -> PageUse:
    """Return the memory of the pages of a column chunk, within limits.

    Parameters
    ----------
    chunk : bytes
        Pages of a column in a row group.
    memory : int
        Largest size of all pages after decompression, in bytes.
    values : int
        Largest number of values of all pages.

    Raises
    ------
    ValueError
        A limit is exceeded, or the headers are malformed.
    """
    pages = list(_pages(chunk))
    deltas = any(page.encoding in _DELTAS for page in pages)
    needed = sum(page.size * max(1, page.count) if page.encoding == _DELTA_BYTE_ARRAY else page.size for page in pages)
    if deltas:
        dictionary = sum(page.size for page in pages if page.encoding is None)
        needed += dictionary * sum(page.count for page in pages if page.encoding in _DICTIONARIES)
    if needed > memory or sum(page.count for page in pages) > values:
        raise ValueError("its pages are too large")
    return PageUse(needed, not deltas)


def _pages(chunk: bytes) -> Iterator[_Page]:
    position = 0
    for _ in range(_MOST_PAGES):
        if position == len(chunk):
            return
        reader = ThriftReader(chunk, position, _MOST_VALUES)
        fields = reader.read_struct()
        sizes = [fields.get(_UNCOMPRESSED), fields.get(_COMPRESSED)]
        place = next((one for one in _INNER if isinstance(fields.get(one), dict)), None)
        inner = {} if place is None else fields[place]
        encoded = None if place is None else _INNER[place]
        encoding = None if fields.get(_KIND) == _DICTIONARY_PAGE or encoded is None else inner.get(encoded)
        numbers = [*sizes, inner.get(1, 0)]
        if not all(isinstance(number, int) and number >= 0 for number in numbers):
            raise ValueError("a page header is malformed")
        size, stored, count = numbers
        position = reader.position + stored
        if position > len(chunk):
            raise ValueError("a page is cut short")
        yield _Page(size, count, encoding)
    raise ValueError("it has too many pages")
