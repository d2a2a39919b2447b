"""Ranges of bytes in a file."""

from collections.abc import Iterable
from typing import NamedTuple


class ByteRange(NamedTuple):
    """A half-open range of bytes, `start <= position < stop`."""

    start: int
    """Position of the first byte."""
    stop: int
    """Position behind the last byte."""

    def __str__(self) -> str:
        return f"bytes {self.start}:{self.stop} ({self.size})"

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.stop - self.start


def merged(ranges: Iterable[ByteRange]) -> list[ByteRange]:
    """Join ranges with common bytes or a common boundary; return them sorted."""
    result: list[ByteRange] = []
    for span in sorted(ranges):
        if result and span.start <= result[-1].stop:
            result[-1] = ByteRange(result[-1].start, max(span.stop, result[-1].stop))
        else:
            result.append(span)
    return result
