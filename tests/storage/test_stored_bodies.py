"""Objects are read as they are stored, whatever their Content-Encoding claims."""

import gzip
import zlib
from collections.abc import Iterator

import dask
import numpy as np
import pytest

import jp2batch
from jp2batch.core.errors import NotJpeg2000
from support.contract import STORES, Store
from support.images import WITH_TLM
from support.plays import Play, PlayServer, play_server

CODINGS = ("gzip", "deflate", "br", "zstd", "identity")
COMPRESSED = {
    "gzip": (gzip.compress(WITH_TLM.data, mtime=0), "gzip data"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(5000), "zstd data"),
    "deflate": (zlib.compress(WITH_TLM.data), "not JPEG 2000|not a JPEG 2000"),
}


@pytest.fixture
def server() -> Iterator[PlayServer]:
    """A server; small reads, and nothing tried twice."""
    settings = {"jp2batch.max-whole-file": 0, "jp2batch.first-read": 200, "jp2batch.retries.attempts": 1}
    with play_server() as server, dask.config.set(settings):
        yield server


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    store = STORES[request.param]
    with store.chosen():
        yield store


@pytest.mark.parametrize("coding", CODINGS)
def test_a_false_content_encoding_is_ignored(store: Store, server: PlayServer, coding: str) -> None:
    server.objects["bucket/x.jp2"] = WITH_TLM.data
    server.plays = [Play(headers={"Content-Encoding": coding})]
    array = jp2batch.read(store.url(server), 0, storage_options=store.options(server.address))
    np.testing.assert_array_equal(array.values, WITH_TLM.oracle.at(0)[0])
    assert len(server.asked) > 1


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
@pytest.mark.parametrize("coding", COMPRESSED)
def test_a_compressed_object_is_refused_once(store: Store, server: PlayServer, coding: str, ranges: bool) -> None:
    data, text = COMPRESSED[coding]
    server.objects["bucket/x.jp2"] = data
    whole = Play(200, headers={"Content-Encoding": coding, "Content-Range": None}, body=lambda _: data)
    server.plays = [Play(headers={"Content-Encoding": coding}) if ranges else whole]
    usual = {"jp2batch.max-whole-file": "1 MB", "jp2batch.first-read": "8 KiB"}
    with dask.config.set(usual), pytest.raises(NotJpeg2000, match=text):
        jp2batch.read(store.url(server), 0, storage_options=store.options(server.address))
    replaced_driver = not ranges and store.package == "obstore"  # which does not show the reply: one request more
    assert len(server.asked) == 1 + replaced_driver


@pytest.mark.parametrize("login", [b"<!doctype html><html>log in</html>", b"<html><body>Moved</body></html>"])
def test_a_page_in_place_of_the_object_is_named(store: Store, server: PlayServer, login: bytes) -> None:
    server.objects["bucket/x.jp2"] = WITH_TLM.data
    server.plays = [Play(200, headers={"Content-Range": None, "Content-Type": "text/html"}, body=lambda _: login)]
    with dask.config.set({"jp2batch.max-whole-file": "1 MB"}), pytest.raises(NotJpeg2000, match="an HTML page"):
        jp2batch.read(store.url(server), 0, storage_options=store.options(server.address))


def test_stores_are_asked_for_the_stored_bytes(store: Store, server: PlayServer) -> None:
    server.objects["bucket/x.jp2"] = WITH_TLM.data
    jp2batch.read(store.url(server), 0, storage_options=store.options(server.address))
    # Google decompresses for those who do not take gzip; web servers compress for those who do.
    expected = {"gs": "gzip", "http": "identity"}.get(store.scheme)
    assert expected is None or {headers.get("accept-encoding") for headers in server.headers} == {expected}
