"""Expected lengths of tile-parts, from a sibling: where tiles lie, how surely, and when a sibling is no use."""

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jp2batch.jpeg2000.locate.stretches import Landmark
from jp2batch.jpeg2000.locate.tile_lengths import TileLengths, deviation_between

LENGTHS = st.lists(st.integers(14, 10**6), min_size=4, max_size=60)


def landmarks(lengths: list[int], tiles: list[int], start: int = 5000) -> list[Landmark]:
    """Return known tiles with their positions in an image of such tile-parts."""
    positions = list(accumulate(lengths, initial=start))
    return [Landmark(tile, positions[tile]) for tile in tiles]


@given(LENGTHS, st.integers(1, 5), st.data())
def test_where_lengths_are_proportional_tiles_lie_where_expected(lengths, factor, data):
    first = data.draw(st.integers(0, len(lengths) - 2))
    last = data.draw(st.integers(first + 1, len(lengths)))
    tile = data.draw(st.integers(first, last))
    (begin, end, true) = landmarks([factor * one for one in lengths], [first, last, tile])
    position, spread = TileLengths(tuple(lengths), 0.1).expected(begin, end, tile)
    assert position == pytest.approx(true[1], abs=1e-6 * end[1])
    assert spread >= 0
    assert (spread == 0) == (tile in (first, last))


@given(LENGTHS, st.data())
def test_the_expected_positions_are_in_the_order_of_tiles_within_the_known_ones(lengths, data):
    begin = Landmark(0, data.draw(st.integers(0, 10**6)))
    end = Landmark(len(lengths), data.draw(st.integers(10**6, 10**8)))
    expected = [TileLengths(tuple(lengths), 0.2).expected(begin, end, n)[0] for n in range(len(lengths) + 1)]
    assert expected == sorted(expected)
    assert (expected[0], expected[-1]) == pytest.approx((begin[1], end[1]))


def test_about_nineteen_of_twenty_tiles_lie_in_their_probable_place():
    rng, met = np.random.default_rng(4), []
    for _ in range(200):
        sibling = rng.integers(100_000, 1_000_000, 40)
        own = [int(one * rng.normal(1.3, 1.3 * 0.05)) for one in sibling]
        begin, end, *inner = landmarks(own, [0, 40, *range(1, 40)])
        lengths = TileLengths(tuple(map(int, sibling)), 0.05)
        met += [position in range(*lengths.place(begin, end, tile)) for tile, position in inner]
    assert 0.92 < np.mean(met) < 0.99


def test_tile_parts_without_data_take_no_hop():
    lengths = TileLengths((5000, 63, 63, 6000, 63, 7000), 0.05)
    assert [lengths.hops(0, stop) for stop in range(7)] == [0, 1, 1, 1, 2, 2, 3]
    assert [lengths.after_hops(0, hops) for hops in range(4)] == [0, 1, 4, 6]


def test_the_deviation_seen_replaces_the_assumed_one():
    rng = np.random.default_rng(5)
    sibling = tuple(map(int, rng.integers(100_000, 1_000_000, 121)))
    own = [int(one * np.exp(rng.normal(0, 0.05))) for one in sibling]
    for assumed in (0.01, 0.06, 0.11):
        corrected = TileLengths(sibling, assumed).corrected(landmarks(own, list(range(0, 122, 2))))
        assert corrected is not None
        assert 0.03 < corrected.deviation < 0.07
    few = TileLengths(sibling, 0.05)
    assert few.corrected(landmarks(own, [0, 60, 121])) == few


@pytest.mark.parametrize("seed", range(5))
def test_lengths_of_another_place_are_given_up(seed):
    rng = np.random.default_rng(seed)
    sibling = rng.choice([63, 300_000, 600_000, 900_000], 121)
    own = rng.permutation(sibling).tolist()
    assert TileLengths(tuple(map(int, sibling)), 0.02).corrected(landmarks(own, list(range(0, 122, 11)))) is None


def test_a_sibling_known_to_differ_is_no_use_from_the_start():
    assert TileLengths((100,) * 9, 0.5).corrected([Landmark(0, 0), Landmark(9, 900)]) is None


@given(LENGTHS, st.integers(1, 9), st.data())
def test_proportional_lengths_hardly_deviate(lengths, factor, data):
    tiles = data.draw(st.sets(st.integers(0, len(lengths) - 1), min_size=1))
    own = {tile: factor * lengths[tile] for tile in tiles}
    assert deviation_between(own, factor * sum(lengths), lengths) == pytest.approx(0.01)


def test_land_instead_of_no_data_counts_as_a_deviation():
    own = dict(enumerate([1000, 1000, 63, 63]))
    assert deviation_between(own, sum(own.values()), [1000, 63, 63, 1000]) >= 0.5


def test_a_single_tile_shows_that_a_sibling_differs():
    assert deviation_between({3: 9000}, 100_000, [1000] * 100) > 2
