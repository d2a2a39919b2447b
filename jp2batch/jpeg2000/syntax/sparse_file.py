"""Sparse view of a file, and generators of requests for its bytes.

The positions of the bytes needed from a JPEG 2000 file are written in the file itself, so it is read in rounds. A
generator, `Steps`, yields the byte ranges needed next, resumes when the `SparseFile` contains them, and finally returns
a value. It does no I/O and has no clock; its caller fetches the ranges.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple, TypeVar

from jp2batch.core.errors import CorruptImage
from jp2batch.core.ranges import ByteRange

T = TypeVar("T")


class Wanted(NamedTuple):
    """A range of bytes to fetch; its head decides the next requests."""

    range: ByteRange
    """The bytes to fetch."""
    decisive: int
    """End of the bytes needed for the next requests.

    A dry run fetches only up to this position.
    """

    @property
    def head(self) -> ByteRange:
        """Bytes needed for the next requests; may be empty."""
        return ByteRange(self.range.start, self.decisive)


Steps = Generator[Sequence[Wanted], None, T]
"""A generator of requests; its return value is a `T`."""


class Unknown(Exception):  # not an error: a dry run needs bytes that it did not fetch
    """The bytes were counted, but not fetched."""


class SparseFile:
    """Bytes already read from a file.

    Parameters
    ----------
    size : int
        Length of the file in bytes.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._starts: list[int] = []
        self._data: list[bytes | None] = []
        self._stops: list[int] = []
        self._fetched = False

    def add(self, start: int, data: bytes) -> None:
        """Add `data` read at `start`, disjoint from all earlier data."""
        self._insert([(start, start + len(data), data)])

    def fill(self, start: int, data: bytes) -> None:
        """Add fetched `data`, except bytes already present."""
        self.fill_all([(start, data)])

    def fill_all(self, fetched: Iterable[tuple[int, bytes]]) -> None:
        """Add disjoint fetched data, as (position, bytes), like `fill`."""
        self._fetched = True
        self._insert(
            [
                (gap.start, gap.stop, data[gap.start - start : gap.stop - start])
                for start, data in fetched
                for gap in self.missing(start, start + len(data))
            ]
        )

    def fill_unknown(self, start: int, stop: int) -> None:
        """Mark a range as fetched without bytes, for a dry run."""
        self._fetched = True
        self._insert([(gap.start, gap.stop, None) for gap in self.missing(start, stop)])

    def may_cross(self, start: int, stop: int) -> bool:
        """Return whether fetching a range would repeat no fetched byte."""
        return not self._fetched or self.missing(start, stop) == [ByteRange(start, stop)]

    def missing(self, start: int, stop: int) -> list[ByteRange]:
        """Return the unread parts of a range."""
        index = bisect_right(self._starts, start)
        covered = self._stops[index - 1] if index else 0
        if covered >= stop:
            return []
        if covered <= start and (index == len(self._starts) or self._starts[index] >= stop):
            return [ByteRange(start, stop)] if start < stop else []
        gaps, position = [], max(start, covered)
        while position < stop and index < len(self._starts):
            if self._starts[index] > position:
                gaps.append(ByteRange(position, min(stop, self._starts[index])))
            position = max(position, self._stops[index])
            index += 1
        if position < stop:
            gaps.append(ByteRange(position, stop))
        return gaps

    def read_parts(self, start: int, stop: int) -> list[tuple[int, bytes]]:
        """Return the read parts of a range, as (position, bytes)."""
        if (whole := self.peek(start, stop)) is not None:
            return [(start, whole)]
        bounds = [start, *(edge for gap in self.missing(start, stop) for edge in (gap.start, gap.stop)), stop]
        spans = zip(bounds[::2], bounds[1::2], strict=True)
        return [(first, self.read(first, last)) for first, last in spans if first < last]

    def snapshot(self) -> "SparseFile":
        """Return the bytes read by now; other threads may use them."""
        result = SparseFile(self.size)
        result._starts, result._data, result._stops = self._starts.copy(), self._data.copy(), self._stops.copy()
        return result

    def covers(self, start: int, stop: int) -> bool:
        """Return whether a whole range has been read."""
        return not self.missing(start, stop)

    def drop(self, ranges: Sequence[ByteRange]) -> None:
        """Drop the bytes of sorted, disjoint ranges."""
        if not ranges:
            return
        first = max(0, bisect_right(self._starts, ranges[0].start) - 1)
        past = bisect_left(self._starts, ranges[-1].stop)
        touched = zip(self._starts[first:past], self._stops[first:past], self._data[first:past], strict=True)
        left = [
            (start, stop, None if data is None else data[start - begin : stop - begin])
            for begin, end, data in touched
            for start, stop in _without(begin, end, ranges)
        ]
        self._replace(first, past, left)

    def peek(self, start: int, stop: int) -> bytes | None:
        """Return the bytes of a range within a single piece, else None.

        A fast path for the usual case.
        """
        index = bisect_right(self._starts, start) - 1
        if index < 0 or not start < stop <= self._stops[index] or (data := self._data[index]) is None:
            return None
        first = self._starts[index]
        return data[start - first : stop - first]

    def piece_at(self, position: int) -> tuple[bytes, int]:
        """Return the piece with a position, and the offset in it.

        Without such a piece, it is empty.
        """
        index = bisect_right(self._starts, position) - 1
        if index < 0 or position >= self._stops[index] or (data := self._data[index]) is None:
            return b"", 0
        return data, position - self._starts[index]

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes of a fully read range.

        Raises
        ------
        Unknown
            Some bytes are only marked as fetched.
        """
        parts = []
        index = max(0, bisect_right(self._starts, start) - 1)
        while start < stop:
            first, data = self._starts[index], self._data[index]
            if data is None:
                raise Unknown
            part = data[start - first : stop - first]
            parts.append(part)
            start += len(part)
            index += 1
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _insert(self, spans: list[tuple[int, int, bytes | None]]) -> None:
        """Insert disjoint (start, stop, data), disjoint from all others."""
        spans = [span for span in spans if span[0] < span[1]]
        if not spans:
            return
        first = bisect_left(self._starts, min(map(itemgetter(0), spans)))
        past = bisect_left(self._starts, max(map(itemgetter(0), spans)))
        touched = zip(self._starts[first:past], self._stops[first:past], self._data[first:past], strict=True)
        self._replace(first, past, sorted([*touched, *spans], key=itemgetter(0)))

    def _replace(self, first: int, past: int, spans: list[tuple[int, int, bytes | None]]) -> None:
        self._starts[first:past] = [start for start, _, _ in spans]
        self._stops[first:past] = [stop for _, stop, _ in spans]
        self._data[first:past] = [data for _, _, data in spans]


def in_memory(data: bytes) -> SparseFile:
    """Return a file all of which is read."""
    pieces = SparseFile(len(data))
    pieces.add(0, data)
    return pieces


def _without(start: int, stop: int, ranges: Sequence[ByteRange]) -> Iterator[ByteRange]:
    """Iterate over the rest of a span outside sorted, disjoint ranges."""
    index = bisect_right(ranges, start, key=lambda one: one.stop)
    while index < len(ranges) and ranges[index].start < stop:
        if start < ranges[index].start:
            yield ByteRange(start, ranges[index].start)
        start, index = ranges[index].stop, index + 1
    if start < stop:
        yield ByteRange(start, stop)


class Ahead(NamedTuple):
    """Read-ahead: bytes to fetch together with required bytes."""

    header: int = 0
    """Probable header bytes, which decide the next requests."""
    data: int = 0
    """Probable packet bytes behind the headers."""


def require(pieces: SparseFile, start: int, stop: int, ahead: Ahead = Ahead()) -> Steps[bytes]:  # noqa: B008  # it is frozen
    """Return the bytes of a range, fetching missing bytes with read-ahead.

    Raises
    ------
    CorruptImage
        The range lies beyond the end of the file.
    """
    if (known := pieces.peek(start, stop)) is not None:
        return known
    if missing := requirements(pieces, start, stop, ahead):
        yield missing
    return pieces.read(start, stop)


def requirements(pieces: SparseFile, start: int, stop: int, ahead: Ahead) -> list[Wanted]:
    """Return the missing bytes of a range, with read-ahead.

    Empty if none of the range is missing.
    """
    if stop > pieces.size:
        raise CorruptImage(
            "", f"the file is cut short: {pieces.size} bytes instead of at least {stop}", "fetch it again"
        )
    decisive = stop + ahead.header
    gaps = pieces.missing(start, min(decisive + ahead.data, pieces.size))
    if not gaps or gaps[0].start >= stop:
        return []
    return [Wanted(gap, max(gap.start, min(gap.stop, decisive))) for gap in gaps]


def fetch(pieces: SparseFile, ranges: Sequence[ByteRange]) -> Steps[None]:
    """Fetch the missing bytes of `ranges`; their content decides nothing."""
    missing = [Wanted(gap, gap.start) for start, stop in ranges for gap in pieces.missing(start, stop)]
    if missing:
        yield missing


def disjoint(ranges: Iterable[Wanted]) -> list[Wanted]:
    """Join overlapping ranges; their decisive bytes stay decisive."""
    result: list[Wanted] = []
    for span, decisive in sorted(ranges, key=lambda entry: entry.range.start):
        if not result or span.start >= result[-1].range.stop:
            result.append(Wanted(span, decisive))
            continue
        last = result[-1]
        joined = ByteRange(last.range.start, max(last.range.stop, span.stop))
        result[-1] = Wanted(joined, max(last.decisive, decisive))
    return result


def gather(conversations: Iterable[Steps[T]]) -> Steps[list[T]]:
    """Run many generators side by side, joining their requests in rounds."""
    results: dict[int, T] = {}
    running = dict(enumerate(conversations))
    while True:
        wanted: list[Wanted] = []
        for index, steps in list(running.items()):
            try:
                wanted += next(steps)
            except StopIteration as end:
                results[index] = end.value
                del running[index]
        if not running:
            return [results[index] for index in sorted(results)]
        yield wanted
