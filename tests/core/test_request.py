"""A request is checked once, where it is made."""

import copy
import pickle
from dataclasses import FrozenInstanceError, replace

import dask
import numpy as np
import pytest
from dask.base import tokenize

from jp2batch.core.errors import InvalidPath, InvalidRequest, InvalidRlevel, InvalidWindow
from jp2batch.core.request import Request
from jp2batch.core.window import Window


def test_defaults_are_the_lowest_resolution_of_the_whole_image():
    request = Request("a.jp2")
    assert (request.rlevel, request.window, request.root, request.url) == (-1, None, None, "a.jp2")


def test_the_body_of_the_old_service_makes_a_request():
    request = Request.from_json({"Path": "tiles/a.jp2", "rlevel": 2}, root="s3://bucket/")
    assert (request.url, request.rlevel) == ("s3://bucket/tiles/a.jp2", 2)
    assert Request.from_json({"path": "a.jp2"}) == Request("a.jp2")
    assert Request.from_json({"Path": "a.jp2", "window": "0:5,7:9"}).window == Window((0, 5), (7, 9))
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


IDS = [
    (Request("a.jp2"), "8b8a2dde53d97bbc", "bbc87a9790d8f544e3e83448e45cbd25"),
    (Request("a.jp2", 2), "1cdcbd09940f886a", "3d560fbe71366a9732021cfc6c58a481"),
    (Request("a.jp2", 0, ((0, 500), (0, 500))), "ec1cf39af6bbf89d", "615bc2a375426d0136ee95c0b79203a2"),
    (
        Request("T32TMS/B04.jp2", 0, "9500:10000,9400:9900", "s3://bucket/tiles"),
        "8dc3a476af0c79e3",
        "837a0a5f7dbf500664fc414268ffafd5",
    ),
    (
        Request("a.jp2", -1, Window((1, 2), (3, 2**32 - 1)), None, "mine"),
        "289aa4dfe7d3882a",
        "c2304c0aca9a2f0baf8b71d2187164ee",
    ),
]
"""Requests, their digests and tokens: a batch that is resumed finds its records by them, so they may never change."""


@pytest.mark.parametrize(("request_", "digest", "token"), IDS)
def test_digests_and_tokens_stay_as_in_the_records_of_earlier_versions(request_, digest, token):
    assert (request_.digest, tokenize(request_)) == (digest, token)
    assert request_.id in (digest, "mine")


@pytest.mark.parametrize("request_", [request for request, _, _ in IDS])
def test_a_request_is_a_value(request_):
    for other in (pickle.loads(pickle.dumps(request_)), copy.deepcopy(request_), replace(request_)):
        assert (other, hash(other), other.id) == (request_, hash(request_), request_.id)
    with pytest.raises(FrozenInstanceError):
        request_.window = None


def test_numbers_too_long_to_be_written_are_refused():
    with pytest.raises(InvalidRlevel, match="too many digits"):
        Request("a.jp2", 10**5000)
    with pytest.raises(InvalidWindow, match="too many digits"):
        Request("a.jp2", 0, ((0, 10**5000), (0, 1)))


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
        "%2e%2e/a.jp2",
        "a/%2E%2E/b.jp2",
        "%2Fetc/passwd",
    ],
)
@pytest.mark.parametrize("root", ["s3://bucket", "/folder"])
def test_a_root_cannot_be_left(path, root):
    with pytest.raises(InvalidPath, match="leads out of"):
        Request(path, root=root)


@pytest.mark.parametrize("path", ["simplecache::a.jp2", "C:/a.jp2"])
def test_a_key_of_a_bucket_may_hold_colons_and_a_file_name_may_not(path):
    assert Request(path, root="s3://bucket").url == f"s3://bucket/{path}"
    with pytest.raises(InvalidPath, match="leads out of"):
        Request(path, root="/folder")


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
