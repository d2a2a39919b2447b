"""Ranges of bytes, and their union."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from jp2batch.core.ranges import ByteRange, merged

ranges = st.builds(lambda start, size: ByteRange(start, start + size), st.integers(0, 199), st.integers(1, 60))


def positions(spans: list[ByteRange]) -> set[int]:
    return {position for span in spans for position in range(*span)}


def test_a_range_shows_its_ends_and_its_size():
    span = ByteRange(10, 55)
    assert (span.start, span.stop, span.size) == (10, 55, 45)
    assert str(span) == "bytes 10:55 (45)"
    assert hash(span) == hash(ByteRange(10, 55))


@given(st.lists(ranges, max_size=20))
def test_merged_ranges_are_the_same_bytes_and_do_not_touch(spans):
    joined = merged(spans)
    assert positions(joined) == positions(spans)
    assert sum(span.size for span in joined) == len(positions(spans))
    assert all(left.stop < right.start for left, right in itertools.pairwise(joined))


@given(st.lists(ranges, max_size=20))
def test_merging_again_changes_nothing(spans):
    assert merged(merged(spans)) == merged(spans)
