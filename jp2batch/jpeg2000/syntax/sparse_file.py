"""A sparse view of a file: what has been read of it so far; and the conversation that reads more.

Where the interesting bytes of a JPEG 2000 file lie is written in the file itself, so it is read in a conversation. One
side of it is a generator, `Steps`: it yields the byte ranges that it needs next, is resumed when `Pieces` holds them,
and returns its value in the end. It does no I/O and knows no clock; whoever runs it fetches the ranges.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from jp2batch.core.errors import CorruptImage

T = TypeVar("T")


class Range(NamedTuple):
    """A half-open range of bytes, `start <= position < stop`."""

    start: int
    stop: int
    head: int | None = None
    """How many of its first bytes decide what is asked for next; None = all. A rehearsal fetches only these."""


Steps = Generator[Sequence[Range], None, T]
"""A conversation that ends in a `T`."""


class Unknown(Exception):  # not an error: a rehearsal has come to bytes that it did not fetch
    """The bytes were counted, but not fetched."""


class SparseFile:
    """What is known of one file.

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
        """Keep `data`, which is known to lie at `start`, and overlaps nothing that is there."""
        self._insert(start, start + len(data), data)

    def fill(self, start: int, data: bytes) -> None:
        """Keep of `data`, which was fetched, what is not there yet."""
        self._fetched = True
        for gap in self.missing(start, start + len(data)):
            self._insert(gap.start, gap.stop, data[gap.start - start : gap.stop - start])

    def fill_unknown(self, start: int, stop: int) -> None:
        """Take a range for fetched without having its bytes: to rehearse a conversation."""
        self._fetched = True
        for gap in self.missing(start, stop):
            self._insert(gap.start, gap.stop, None)

    def may_cross(self, start: int, stop: int) -> bool:
        """Tell whether a range may be fetched without fetching any byte for the second time."""
        return not self._fetched or self.missing(start, stop) == [Range(start, stop)]

    def missing(self, start: int, stop: int) -> list[Range]:
        """Return the parts of a range that have not been read."""
        gaps, position = [], start
        index = max(0, bisect_right(self._starts, start) - 1)
        while position < stop and index < len(self._starts):
            if self._starts[index] > position:
                gaps.append(Range(position, min(stop, self._starts[index])))
            position = max(position, self._stops[index])
            index += 1
        if position < stop:
            gaps.append(Range(position, stop))
        return gaps

    def held(self, start: int, stop: int) -> list[tuple[int, bytes]]:
        """Return those bytes of a range that have been read, as (position, bytes)."""
        bounds = [start, *(edge for gap in self.missing(start, stop) for edge in (gap.start, gap.stop)), stop]
        spans = zip(bounds[::2], bounds[1::2], strict=True)
        return [(first, self.read(first, last)) for first, last in spans if first < last]

    def covers(self, start: int, stop: int) -> bool:
        """Tell whether all of a range has been read."""
        return not self.missing(start, stop)

    def drop(self, ranges: Sequence[Range]) -> None:
        """Forget the bytes of ranges, which are sorted and disjoint."""
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
        self._starts[first:past] = [start for start, _, _ in left]
        self._stops[first:past] = [stop for _, stop, _ in left]
        self._data[first:past] = [data for _, _, data in left]

    def peek(self, start: int, stop: int) -> bytes | None:
        """Return the bytes of a range that lies within one piece, as most do; None where another look is needed."""
        index = bisect_right(self._starts, start) - 1
        if index < 0 or not start < stop <= self._stops[index] or (data := self._data[index]) is None:
            return None
        first = self._starts[index]
        return data[start - first : stop - first]

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes of a range that has been read.

        Raises
        ------
        Unknown
            Some were only taken for read.
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

    def _insert(self, start: int, stop: int, data: bytes | None) -> None:
        if start == stop:
            return
        index = bisect_right(self._starts, start)
        self._starts.insert(index, start)
        self._stops.insert(index, stop)
        self._data.insert(index, data)


def _without(start: int, stop: int, ranges: Sequence[Range]) -> Iterator[tuple[int, int]]:
    """Iterate over what is left of a span without some ranges, which are sorted and disjoint."""
    index = bisect_right(ranges, start, key=lambda one: one.stop)
    while index < len(ranges) and ranges[index].start < stop:
        if start < ranges[index].start:
            yield start, ranges[index].start
        start, index = ranges[index].stop, index + 1
    if start < stop:
        yield start, stop


class Ahead(NamedTuple):
    """What to fetch together with bytes that must be fetched anyway."""

    header: int = 0
    """Bytes that probably belong to headers: they decide what is asked for next."""
    data: int = 0
    """Bytes behind those that probably are packets."""


def require(pieces: SparseFile, start: int, stop: int, ahead: Ahead = Ahead()) -> Steps[bytes]:  # noqa: B008  # it is frozen
    """Return the bytes of a range; where they must be fetched, what is `ahead` comes with them.

    Raises
    ------
    CorruptImage
        The range lies beyond the end of the file.
    """
    if (known := pieces.peek(start, stop)) is not None:
        return known
    if stop > pieces.size:
        raise CorruptImage(
            "", f"the file is cut short: {pieces.size} bytes, where at least {stop} were expected", "fetch it again"
        )
    if not pieces.covers(start, stop):
        decisive = stop + ahead.header
        gaps = pieces.missing(start, min(decisive + ahead.data, pieces.size))
        yield [gap._replace(head=max(0, min(gap.stop, decisive) - gap.start)) for gap in gaps]
    return pieces.read(start, stop)


def fetch(pieces: SparseFile, ranges: Sequence[Range]) -> Steps[None]:
    """Fetch what of `ranges` is missing; its content decides nothing."""
    missing = [gap._replace(head=0) for start, stop, _ in ranges for gap in pieces.missing(start, stop)]
    if missing:
        yield missing


def disjoint(ranges: Iterable[Range]) -> list[Range]:
    """Join ranges that overlap; of the joined one as much decides as of its parts."""
    result: list[Range] = []
    for one in sorted(ranges, key=lambda r: r.start):
        if not result or one.start >= result[-1].stop:
            result.append(one)
            continue
        last = result[-1]
        decisive = max(r.stop if r.head is None else r.start + r.head for r in (last, one))
        result[-1] = Range(last.start, max(last.stop, one.stop), decisive - last.start)
    return result


def merged(ranges: Iterable[Range]) -> list[Range]:
    """Join ranges that touch or overlap."""
    result: list[Range] = []
    for start, stop, _ in sorted(ranges):
        if result and start <= result[-1].stop:
            result[-1] = Range(result[-1].start, max(stop, result[-1].stop))
        else:
            result.append(Range(start, stop))
    return result


def gather(conversations: Iterable[Steps[T]]) -> Steps[list[T]]:
    """Hold many conversations side by side: each round asks at once for what all of them need next."""
    results: dict[int, T] = {}
    running = dict(enumerate(conversations))
    while True:
        wanted: list[Range] = []
        for index, steps in list(running.items()):
            try:
                wanted += next(steps)
            except StopIteration as end:
                results[index] = end.value
                del running[index]
        if not running:
            return [results[index] for index in sorted(results)]
        yield wanted
