"""Drive planners: fetch the ranges they request from a source."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from jp2batch.core.ranges import ByteRange
from jp2batch.jpeg2000.locate.tile_parts import StaleIndex
from jp2batch.jpeg2000.plan.coalesce import coalesced
from jp2batch.jpeg2000.syntax.sparse_file import SparseFile, Steps, Wanted
from jp2batch.storage.source import Source

T = TypeVar("T")


def run_steps(steps: Steps[T], fetch: Callable[[Sequence[Wanted]], None]) -> T:
    """Drive a planner to completion, fetching each set of ranges it requests."""
    while True:
        try:
            wanted = next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        fetch(wanted)


def fetcher(source: Source, pieces: SparseFile) -> Callable[[Sequence[Wanted]], None]:
    """Return a function to fetch ranges of a source into pieces."""
    return lambda wanted: fetch(source, pieces, [entry.range for entry in wanted])


def fetch(
    source: Source, pieces: SparseFile, ranges: Sequence[ByteRange], *, located: Sequence[ByteRange] = ()
) -> None:
    """Fetch ranges of a source into pieces concurrently, in the cheapest requests.

    Raises
    ------
    StaleIndex
        Fetched bytes of the `located` ranges differ from the bytes in `pieces`.
    """
    asked = coalesced(ranges, source.profile, pieces.may_cross)
    pieces.fill_all(_checked(pieces, source.read_many(asked), located))


def _checked(
    pieces: SparseFile, fetched: Iterable[tuple[int, bytes]], located: Sequence[ByteRange]
) -> Iterator[tuple[int, bytes]]:
    """Compare fetched data with located ranges."""
    for start, data in fetched:
        for one in located:
            first, last = max(start, one.start), min(start + len(data), one.stop)
            if first < last and pieces.read(first, last) != data[first - start : last - start]:
                raise StaleIndex(f"bytes {first} to {last} differ from the index")
        yield start, data
