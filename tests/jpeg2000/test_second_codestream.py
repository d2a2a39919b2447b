"""A gap in front of what was found may hide more tile-parts than it should: such a gap is looked into."""

import pytest

from jp2batch.jpeg2000.locate.second_codestream import Span, doubtful, lookouts

EVEN = [Span(1, size, True) for size in (100, 105, 95, 100)]
VARIED = [Span(1, size, True) for size in (30, 300, 80, 120)]


def gap(tile_parts: int, size: int) -> Span:
    return Span(tile_parts, size, False)


def test_gaps_like_their_neighbours_are_believed():
    assert doubtful([gap(60, 6000), *EVEN, gap(57, 5700)], 121) == []
    assert doubtful([gap(60, 7000), *VARIED, gap(57, 5000)], 121) == []


@pytest.mark.parametrize("found", [EVEN, VARIED], ids=["even", "varied"])
def test_a_gap_that_may_hold_all_tiles_once_more_is_not(found):
    mean = sum(span.size for span in found) // len(found)
    assert doubtful([gap(60, (121 + 60) * mean), *found, gap(57, 57 * mean)], 121) == [0]
    assert doubtful([gap(110, (2 * 121 + 110) * mean), *found, gap(7, 7 * mean)], 121) == [0]


def test_where_lengths_hardly_vary_a_few_tiles_once_more_are_noticed():
    assert doubtful([gap(20, 2000), *EVEN, gap(30, 4000), *EVEN, gap(10, 1000)], 121) == [5]


def test_a_gap_is_compared_with_the_longer_ones_of_both_sides():
    land, sea = [Span(1, 300, True)], [Span(1, 50, True)]
    assert doubtful([*land, gap(40, 40 * 320), *sea, gap(60, 60 * 50)], 121) == []


def test_a_gap_without_neighbours_is_believed():
    assert doubtful([gap(121, 10**6)], 121) == []


@pytest.mark.parametrize(
    ("found", "last", "tiles"),
    [
        ([50], 60, []),  # not at the end of the image
        ([119, 120], 120, [114, 96]),
        ([96, 114, 119, 120], 120, []),
        ([100, 113, 120], 120, []),  # near enough
        ([110], 110, [84]),
        ([120], 120, [114, 96]),
    ],
)
def test_at_the_end_some_tiles_are_looked_for_the_nearer_the_closer(found, last, tiles):
    assert list(lookouts(found, last, 121)) == tiles
