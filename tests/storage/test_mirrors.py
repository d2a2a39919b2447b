"""Mirrors behind one name, whose ETags differ: an image is read right, and a replacement is noticed."""

from collections.abc import Iterator
from pathlib import Path

import dask
import numpy as np
import pytest

import jp2batch
from jp2batch.core.config import is_mirrored
from jp2batch.core.errors import ConfigurationError, Jp2BatchError, ObjectChanged
from jp2batch.core.request import Request
from jp2batch.image.read import read_pixels
from jp2batch.sample.encode import Coding
from support.contract import STORES, Store
from support.images import Made
from support.plays import Play, PlayServer, play_server

IMAGE = Made(Coding(tile=(10, 10), levels=2, precincts=(8, 8), tlm=True))
LATER = {"Last-Modified": "Wed, 05 Oct 2022 11:54:12 GMT"}
MIRRORS = [Play(tag="a"), Play(tag="b"), Play(tag='W/"c"')]
"""Each reply is of another server; conditions hold for its own ETag."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PlayServer]:
    """A server of an image, read by ranges of their own, and indexed."""
    settings = {
        "jp2batch.max-whole-file": 0,
        "jp2batch.first-read": 1000,
        "jp2batch.retries.attempts": 1,
        "jp2batch.stores": {"127.0.0.1": {"line": "100 kB"}},
        "jp2batch.mirrors": ["127.0.0.1"],
        "jp2batch.index": {"enabled": True, "folder": str(tmp_path)},
    }
    with play_server() as server, dask.config.set(settings):
        server.objects["bucket/x.jp2"] = IMAGE.data
        server.plays = MIRRORS
        yield server


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    store = STORES[request.param]
    with store.chosen():
        yield store


def read(store: Store, server: PlayServer) -> np.ndarray:
    return jp2batch.read(store.url(server), 0, storage_options=store.options(server.address)).values


def test_an_image_on_mirrors_is_read_and_read_again_by_its_index(store: Store, server: PlayServer) -> None:
    for located_by in ("tlm", "index"):
        request = Request(store.url(server), 0)
        pixels = read_pixels(request, storage_options=store.options(server.address))
        np.testing.assert_array_equal(pixels.values, IMAGE.oracle.at(0))
        assert pixels.stats.located_by == located_by


def test_an_image_on_mirrors_is_read_lazily(store: Store, server: PlayServer) -> None:
    lazy = jp2batch.open(store.url(server), 0, storage_options=store.options(server.address))
    for _ in range(2):
        np.testing.assert_array_equal(lazy.compute().values, IMAGE.oracle.at(0)[0])


@pytest.mark.parametrize("change", ["time", "size"])
@pytest.mark.parametrize("lazily", [False, True], ids=["at once", "lazily"])
def test_a_replacement_on_mirrors_is_noticed(store: Store, server: PlayServer, change: str, lazily: bool) -> None:
    late = Play(tag="d", headers=LATER) if change == "time" else Play(tag="d", size=len(IMAGE.data) + 1)
    if lazily:
        lazy = jp2batch.open(store.url(server), 0, storage_options=store.options(server.address))
        server.plays = [late]
    else:
        server.plays = [Play(tag="a"), Play(tag="b"), *100 * [late]]
    with pytest.raises(ObjectChanged):
        lazy.compute() if lazily else read(store, server)


@pytest.fixture
def unconfigured(server: PlayServer) -> Iterator[PlayServer]:
    """The server, of which nobody has said that it is several."""
    with dask.config.set({"jp2batch.mirrors": []}):
        yield server


def test_without_the_configuration_mirrors_are_told(store: Store, unconfigured: PlayServer) -> None:
    with pytest.raises(ObjectChanged) as raised:
        read(store, unconfigured)
    assert "set jp2batch.mirrors" in raised.value.hint


def test_without_the_configuration_mirrors_are_told_lazily(store: Store, unconfigured: PlayServer) -> None:
    unconfigured.plays = [Play(tag="a")]
    lazy = jp2batch.open(store.url(unconfigured), 0, storage_options=store.options(unconfigured.address))
    unconfigured.plays = [Play(tag="b")]
    with pytest.raises(ObjectChanged) as raised:
        lazy.compute()
    assert "set jp2batch.mirrors" in raised.value.hint


def test_mirrors_without_a_time_are_refused(store: Store, server: PlayServer) -> None:
    server.plays = [Play(headers={"Last-Modified": None})]
    with pytest.raises(ConfigurationError, match=r"jp2batch\.mirrors has its host, but a reply has no Last-Modified"):
        read(store, server)


def test_an_index_made_before_the_configuration_is_made_anew(store: Store, server: PlayServer) -> None:
    server.plays = [Play(tag="a")]
    with dask.config.set({"jp2batch.mirrors": []}):
        read(store, server)
    server.plays = MIRRORS
    np.testing.assert_array_equal(read(store, server), IMAGE.oracle.at(0)[0])


@pytest.mark.parametrize(
    ("hosts", "mirrored"),
    [
        (["example.org"], True),
        (["mirrors.EXAMPLE.org"], True),
        (["org"], True),
        (["ample.org"], False),
        (["a.mirrors.example.org"], False),
        ([], False),
        (None, False),
    ],
)
def test_a_host_or_its_domain_is_named(hosts: list[str] | None, mirrored: bool) -> None:
    with dask.config.set({"jp2batch.mirrors": hosts}):
        assert is_mirrored("Mirrors.example.org") is mirrored


@pytest.mark.parametrize("value", ["example.org", [1], 5])
def test_a_value_other_than_a_list_is_refused(value: object) -> None:
    with dask.config.set({"jp2batch.mirrors": value}), pytest.raises(Jp2BatchError, match=r"mirrors .* list of hosts"):
        is_mirrored("example.org")
