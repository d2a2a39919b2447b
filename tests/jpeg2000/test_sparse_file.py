"""The sparse view of a file, the ranges asked of it, and conversations."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jp2batch.core.errors import CorruptImage
from jp2batch.core.ranges import ByteRange, merged
from jp2batch.image.fetch import run_steps
from jp2batch.jpeg2000.syntax.sparse_file import Ahead, SparseFile, Unknown, Wanted, disjoint, fetch, gather, require

DATA = bytes(range(200))
ranges = st.tuples(st.integers(0, 199), st.integers(1, 60)).map(lambda t: ByteRange(t[0], min(200, t[0] + t[1])))


def feed(pieces: SparseFile):
    """Return what answers a conversation from DATA."""

    def answer(wanted):
        for (start, stop), _ in wanted:
            pieces.add(start, DATA[start:stop])

    return answer


@given(st.lists(ranges, max_size=12), ranges)
def test_what_is_missing_is_just_what_was_not_added(known, asked):
    pieces = SparseFile(200)
    for start, stop in known:
        for gap in pieces.missing(start, stop):
            pieces.add(gap.start, DATA[gap.start : gap.stop])
    have = {position for start, stop in known for position in range(start, stop)}
    missing = [position for gap in pieces.missing(asked.start, asked.stop) for position in range(gap.start, gap.stop)]
    assert missing == [position for position in range(asked.start, asked.stop) if position not in have]
    run_steps(fetch(pieces, [asked]), feed(pieces))
    assert pieces.covers(asked.start, asked.stop)
    assert pieces.read(asked.start, asked.stop) == DATA[asked.start : asked.stop]


@given(st.lists(ranges, max_size=12), st.lists(ranges, max_size=12), ranges)
def test_filling_all_at_once_is_filling_one_by_one(known, fetched, asked):
    each, together = SparseFile(200), SparseFile(200)
    for start, stop in merged(known):
        each.add(start, DATA[start:stop])
        together.add(start, DATA[start:stop])
    parts = [(start, DATA[start:stop]) for start, stop in merged(fetched)]
    for start, data in parts:
        each.fill(start, data)
    together.fill_all(reversed(parts))
    assert each.missing(0, 200) == together.missing(0, 200)
    assert each.read_parts(*asked) == together.read_parts(*asked)
    data, offset = together.piece_at(asked.start)
    assert data[offset : offset + 1] == (DATA[asked.start :][:1] if each.covers(asked.start, asked.start + 1) else b"")


@given(st.lists(st.tuples(ranges, st.integers(0, 60)), max_size=20))
def test_disjoint_ranges_decide_as_far_as_their_parts(parts):
    wanted = [Wanted(span, min(span.stop, span.start + head)) for span, head in parts]
    joined = disjoint(wanted)
    assert all(left.range.stop <= right.range.start for left, right in itertools.pairwise(joined))
    for span, decisive in wanted:
        (around,) = [one for one in joined if one.range.start <= span.start and span.stop <= one.range.stop]
        assert around.decisive >= decisive
        assert around.head.stop <= around.range.stop


@given(st.lists(ranges, max_size=8), st.lists(ranges, max_size=8), ranges)
def test_what_was_fetched_may_not_be_crossed(known, fetched, gap):
    pieces = SparseFile(200)
    for start, stop in merged(known):
        pieces.add(start, DATA[start:stop])
    assert pieces.may_cross(gap.start, gap.stop)
    for start, stop in fetched:
        pieces.fill(start, DATA[start:stop])
    there = {position for start, stop in known + fetched for position in range(start, stop)}
    crossed = bool(there & set(range(gap.start, gap.stop)))
    assert pieces.may_cross(gap.start, gap.stop) == (not fetched or not crossed)
    for start, stop in merged(known + fetched):
        assert pieces.read(start, stop) == DATA[start:stop]


def test_a_range_that_must_be_fetched_brings_what_is_ahead():
    pieces = SparseFile(200)
    steps = require(pieces, 10, 20, Ahead(header=5, data=30))
    assert next(steps) == [Wanted(ByteRange(10, 55), 25)]
    pieces.add(10, DATA[10:55])
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value == DATA[10:20]
    assert list(require(pieces, 20, 50)) == []


def test_what_is_ahead_ends_with_the_file():
    assert next(require(SparseFile(200), 190, 195, Ahead(100, 100))) == [Wanted(ByteRange(190, 200), 200)]


def test_a_range_beyond_the_end_says_that_the_file_is_cut():
    with pytest.raises(CorruptImage, match="cut short: 200 bytes"):
        list(require(SparseFile(200), 190, 201))


def test_conversations_held_together_ask_in_common_rounds():
    pieces, rounds = SparseFile(200), []

    def chain(start):
        first = yield from require(pieces, start, start + 1)
        second = yield from require(pieces, start + 50, start + 51)
        return first + second

    def answer(wanted):
        rounds.append(list(wanted))
        feed(pieces)(wanted)

    results = run_steps(gather(chain(start) for start in (0, 10, 20)), answer)
    assert results == [bytes((s, s + 50)) for s in (0, 10, 20)]
    assert [len(wanted) for wanted in rounds] == [3, 3]


def test_bytes_only_taken_for_read_cannot_be_read():
    pieces = SparseFile(200)
    pieces.add(0, DATA[:10])
    pieces.fill_unknown(10, 30)
    assert pieces.covers(0, 30)
    assert pieces.read(0, 10) == DATA[:10]
    with pytest.raises(Unknown):
        pieces.read(5, 15)


@given(
    pieces=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    cuts=st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=4),
)
def test_what_is_dropped_is_missing_and_the_rest_stays(pieces, cuts):
    data = bytes(range(2 * sum(pieces)))
    known, position = SparseFile(len(data)), 0
    for length in pieces:
        known.add(position, data[position : position + length])
        position += 2 * length  # with gaps
    held = [i for i in range(len(data)) if known.covers(i, i + 1)]
    ranges = merged(ByteRange(start, start + length) for start, length in cuts)
    known.drop(ranges)
    left = [i for i in held if not any(start <= i < stop for start, stop in ranges)]
    assert [i for i in range(len(data)) if known.covers(i, i + 1)] == left
    assert all(known.read(i, i + 1) == data[i : i + 1] for i in left)
