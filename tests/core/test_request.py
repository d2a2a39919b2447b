"""A request is checked once, where it is made."""

import pickle

import dask
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jp2batch.core.errors import InvalidPath, InvalidRequest, InvalidRlevel, InvalidWindow
from jp2batch.core.request import Request, parse_window


def test_defaults_are_the_lowest_resolution_of_the_whole_image():
    request = Request("a.jp2")
    assert (request.rlevel, request.window, request.root, request.url) == (-1, None, None, "a.jp2")


def test_the_body_of_the_old_service_makes_a_request():
    request = Request.from_json({"Path": "tiles/a.jp2", "rlevel": 2}, root="s3://bucket/")
    assert (request.url, request.rlevel) == ("s3://bucket/tiles/a.jp2", 2)
    assert Request.from_json({"path": "a.jp2"}) == Request("a.jp2")
    assert Request.from_json({"Path": "a.jp2", "window": "0:5,7:9"}).window == ((0, 5), (7, 9))
    assert Request.from_json({"Path": "a.jp2", "id": 7}).id == "7"


@pytest.mark.parametrize("body", [None, [], "a.jp2", {}, {"rlevel": 1}, {"Path": None}, {"Path": 3}, {"Path": " "}])
def test_a_body_without_a_path_is_refused(body):
    with pytest.raises(InvalidRequest):
        Request.from_json(body)


@pytest.mark.parametrize("rlevel", ["x", "1", None, True, 1.5, float("nan"), -2, 33, 10**30, [1]])
def test_what_is_no_level_is_refused(rlevel):
    with pytest.raises(InvalidRlevel, match=r"a\.jp2: rlevel .* is not a resolution level"):
        Request("a.jp2", rlevel)


@pytest.mark.parametrize(
    "window",
    [
        "",
        "1:2",
        "0:5;7:9",
        "-1:5,0:5",
        "5:5,0:5",
        "9:5,0:5",
        ((0, 5),),
        ((0, 5), (5, 0)),
        ((0, 1.5), (0, 2)),
        7,
        "1" * 200,
        ((0, 2**32), (0, 1)),
    ],
)
def test_what_is_no_window_is_refused(window):
    with pytest.raises(InvalidWindow, match="window"):
        Request("a.jp2", 0, window)


def test_numbers_too_long_to_be_written_are_refused():
    with pytest.raises(InvalidRlevel, match="too many digits"):
        Request("a.jp2", 10**5000)
    with pytest.raises(InvalidWindow, match="too many digits"):
        Request("a.jp2", 0, ((0, 10**5000), (0, 1)))


@given(st.tuples(*[st.integers(0, 2**31)] * 4))
def test_a_window_is_read_from_numbers_lists_and_text(numbers):
    r0, r1, c0, c1 = numbers
    forms = (((r0, r1), (c0, c1)), [[r0, r1], [c0, c1]], f" {r0}:{r1}, {c0}:{c1}", np.array([[r0, r1], [c0, c1]]))
    if r0 < r1 and c0 < c1:
        assert {parse_window(form) for form in forms} == {((r0, r1), (c0, c1))}
    else:
        for form in forms:
            with pytest.raises(InvalidWindow, match="empty"):
                parse_window(form)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../a.jp2",
        "a/../../b.jp2",
        "a/..",
        "s3://other/a.jp2",
        "file:///etc/passwd",
        "a\\..\\b",
        "simplecache::a.jp2",
        "%2e%2e/a.jp2",
        "a/%2E%2E/b.jp2",
        "%2Fetc/passwd",
        "C:/a.jp2",
    ],
)
def test_a_root_cannot_be_left(path):
    with pytest.raises(InvalidPath, match="leads out of"):
        Request(path, root="s3://bucket")


@pytest.mark.parametrize("path", ["a..b.jp2", "a/b/c.jp2", "a b.jp2", "ä.jp2"])
def test_a_key_below_its_root_is_left_as_it_is(path):
    assert Request(path, root="s3://bucket/folder").url == f"s3://bucket/folder/{path}"


@pytest.mark.parametrize("path", ["a\0b", "a\nb", "a\rb"])
def test_control_characters_are_refused(path):
    with pytest.raises(InvalidPath) as raised:
        Request(path)
    assert "\n" not in str(raised.value)


def test_requests_are_values():
    request = Request("a.jp2", np.int64(2), [[0, 5], [0, 5]])
    same = Request("a.jp2", 2, "0:5,0:5")
    assert request == same
    assert hash(request) == hash(same)
    assert request.id == same.id
    assert pickle.loads(pickle.dumps(request)) == request
    assert dask.base.tokenize(request) == dask.base.tokenize(same)


def test_different_requests_have_different_ids_and_tokens():
    requests = [
        Request("a.jp2"),
        Request("b.jp2"),
        Request("a.jp2", 1),
        Request("a.jp2", 1, "0:1,0:1"),
        Request("a.jp2", root="s3://b"),
    ]
    assert len({request.id for request in requests}) == 5
    assert len({dask.base.tokenize(request) for request in requests}) == 5


def test_an_id_that_is_given_is_kept():
    assert Request("a.jp2", id="mine").id == "mine"
    assert dask.base.tokenize(Request("a.jp2", id="mine")) == dask.base.tokenize(Request("a.jp2"))
