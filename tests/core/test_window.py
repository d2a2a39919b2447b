"""Windows: how they are given, what they refuse, and their arithmetic."""

import copy
import json
import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from dask.base import tokenize
from hypothesis import assume, given
from hypothesis import strategies as st

import jp2batch
from jp2batch.core.errors import InvalidWindow
from jp2batch.core.request import Request
from jp2batch.core.window import Window

LARGEST = 2**32 - 1

bounds = st.tuples(st.integers(0, LARGEST), st.integers(0, LARGEST)).map(sorted).filter(lambda ends: ends[0] < ends[1])
windows = st.builds(Window, bounds, bounds)
small = st.tuples(st.integers(0, 60), st.integers(1, 40)).map(lambda t: (t[0], t[0] + t[1]))


@given(windows)
def test_a_window_is_read_from_its_text_pairs_lists_and_array(window):
    (r0, r1), (c0, c1) = pairs = window.as_tuple()
    text = f" {r0}:{r1} , {c0}:{c1} "
    lists = json.loads(json.dumps(pairs))
    for form in (window, str(window), text, pairs, lists, np.array(pairs), tuple(window)):
        assert Window.parse(form) == window
        assert Request("a.jp2", 0, form).window == window


@given(st.tuples(*[st.integers(-3, 6)] * 4))
def test_a_window_holds_at_least_a_pixel(numbers):
    r0, r1, c0, c1 = numbers
    if 0 <= r0 < r1 and 0 <= c0 < c1:
        assert Window((r0, r1), (c0, c1)).shape == (r1 - r0, c1 - c0)
    else:
        with pytest.raises(InvalidWindow, match=f"window {r0}:{r1},{c0}:{c1} is empty or negative"):
            Window.parse([[r0, r1], [c0, c1]])


def test_a_window_is_a_value():
    window = Window((0, 5), (7, 9))
    for other in (pickle.loads(pickle.dumps(window)), copy.deepcopy(window), eval(repr(window))):
        assert (other, hash(other), tokenize(other)) == (window, hash(window), tokenize(window))
    assert window != Window((0, 5), (7, 10))
    with pytest.raises(FrozenInstanceError):
        window.rows = (1, 2)


def test_numbers_of_numpy_become_plain_ones():
    window = Window(np.array([0, 5]), (np.uint16(7), np.int64(9)))
    assert window == Window((0, 5), (7, 9))
    assert {type(bound) for span in window for bound in span} == {int}
    assert json.dumps(window.as_tuple()) == "[[0, 5], [7, 9]]"


def test_parts_have_names():
    window = Window((9500, 10000), (0, 300))
    (r0, r1), (c0, c1) = rows, columns = window
    assert (rows.start, rows.stop, columns.start, columns.stop) == (r0, r1, c0, c1) == (9500, 10000, 0, 300)
    assert (rows.size, columns.size) == window.shape == (500, 300)
    assert (str(window), repr(window)) == ("9500:10000,0:300", "Window((9500, 10000), (0, 300))")


@pytest.mark.parametrize(
    "given",
    [
        *("", "1:2", "0:5;7:9", "-1:5,0:5", "0:1,2:3,4:5", "1.5:2,0:1", "0:5,0:" + "1" * 100, "0:5,0:5\n0:1"),
        *(7, None, {}, b"0:1,0:1", (), (1, 2), ((0, 5),), ((0, 1), (2,)), ((0, 1, 2), (3,)), ((0,), (1, 2, 3))),
        *(((0, 1.5), (0, 1)), ((False, True), (0, 1)), (("0", "1"), (0, 1)), ("01", "01"), (range(3), (0, 1))),
    ],
)
def test_what_is_no_window_cannot_be_read(given):
    with pytest.raises(InvalidWindow, match=r"^a\.jp2: window .* cannot be read \(give r0:r1,c0:c1\)$"):
        Window.parse(given, "a.jp2")


def test_a_window_larger_than_any_image_is_refused():
    assert Window((0, LARGEST), (0, 1)).rows.stop == LARGEST
    with pytest.raises(InvalidWindow, match="larger than any image"):
        Window((0, 1), (0, LARGEST + 1))


@given(small, small, st.integers(0, 7))
def test_a_window_of_a_level_is_the_slice_of_the_pixels_that_are_left(rows, columns, rlevel):
    full = np.arange(100 * 100).reshape(100, 100)
    window = Window(rows, columns)
    inside = full[slice(*window.rows), slice(*window.columns)]
    kept = full[:: 1 << rlevel, :: 1 << rlevel]
    expected = np.intersect1d(inside, kept)
    try:
        at_level = window.at_level(rlevel)
    except InvalidWindow:
        assert not expected.size
        return
    assert np.array_equal(np.sort(kept[slice(*at_level.rows), slice(*at_level.columns)], axis=None), expected)


@given(windows, st.integers(0, 16), st.integers(0, 16))
def test_levels_add_up(window, first, second):
    try:
        together = window.at_level(first + second)
    except InvalidWindow:
        assume(False)
    assert window.at_level(first).at_level(second) == together
    assert window.at_level(0) == window


def test_the_window_is_public():
    assert jp2batch.Window is Window
