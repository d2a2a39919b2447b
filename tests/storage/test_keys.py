"""Keys of objects: each driver asks for the very key that was given, or refuses it; none takes another for it.

By a server that keeps keys apart, which SeaweedFS does not: it takes `//` for `/`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import dask
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jp2batch
from jp2batch.core.errors import ConfigurationError, ImageNotFound
from jp2batch.core.location import Location
from jp2batch.core.ranges import ByteRange
from jp2batch.storage.drivers.obstore_driver import ObstoreObject
from jp2batch.storage.remote_source import RemoteSource
from jp2batch.storage.source import open_source
from support.servers import RangeServer, range_server

KEPT = [
    "x.jp2",
    "a/b.jp2",
    "a b.jp2",
    " a/ /b.jp2 ",
    "a%20b.jp2",
    "a%2Fb.jp2",
    "%2e%2e/x.jp2",
    "a+b.jp2",
    "a#b.jp2",
    "a?b.jp2",
    "a&b=c;d,e.jp2",
    "a\\b.jp2",
    "a*[b]{c}^`|<d>\"'.jp2",
    "é.jp2",
    "e\u0301.jp2",
    "日本.jp2",
    "a\u0085\u200b.jp2",
    "....jp2",
    ".a/..b/...",
]
"""Keys that all drivers ask for as they are."""

NOT_OF_OBSTORE = [
    "/x.jp2",
    "//x.jp2",
    "a//x.jp2",
    "x.jp2/",
    "x.jp2//",
    "./x.jp2",
    "../x.jp2",
    "a/./x.jp2",
    "a/../x.jp2",
    "x.jp2/.",
    "..",
    "a\tx.jp2",
    "a\x01x.jp2",
    "a\x7fx.jp2",
]
"""Keys that obstore would change or refuse."""


@pytest.fixture
def options(http_server: RangeServer) -> dict[str, Any]:
    """Storage options for the web server, as an S3 store."""
    return {"anon": True, "endpoint_url": http_server.url("").rstrip("/")}


def read_first(key: str, options: dict[str, Any], driver: str) -> tuple[bytes, bool]:
    """Return the first bytes of an object, and whether obstore read them."""
    with dask.config.set({"jp2batch.driver": driver}):
        source = open_source(f"s3://bucket/{key}", storage_options=options)
    assert isinstance(source, RemoteSource)
    ((_, data),) = source.read_many([ByteRange(0, 100)])
    source.verify()
    return data, isinstance(source._store, ObstoreObject)


@pytest.mark.parametrize("driver", ["auto", "fsspec", "obstore"])
@pytest.mark.parametrize("key", KEPT)
def test_a_key_is_asked_for_as_it_is(http_server: RangeServer, options: dict[str, Any], key: str, driver: str) -> None:
    http_server.files[f"bucket/{key}"] = key.encode()
    assert read_first(key, options, driver) == (key.encode(), driver != "fsspec")
    assert unquote(http_server.paths[0]) == f"/bucket/{key}"


@pytest.mark.parametrize("driver", ["auto", "fsspec"])
@pytest.mark.parametrize("key", NOT_OF_OBSTORE)
def test_a_key_that_obstore_would_change_is_read_by_s3fs(
    http_server: RangeServer, options: dict[str, Any], key: str, driver: str
) -> None:
    others = {"x.jp2", "a/x.jp2", "a/b.jp2", "ax.jp2"}
    http_server.files |= {f"bucket/{other}": b"another object" for other in others} | {f"bucket/{key}": b"this one"}
    assert read_first(key, options, driver) == (b"this one", False)
    assert unquote(http_server.paths[0]) == f"/bucket/{key}"


@pytest.mark.parametrize("key", NOT_OF_OBSTORE)
def test_the_driver_obstore_refuses_a_key_that_it_would_change(
    http_server: RangeServer, options: dict[str, Any], key: str
) -> None:
    with pytest.raises(
        ConfigurationError, match=r"driver is obstore, but it reads no key with .*take the driver fsspec"
    ):
        read_first(key, options, "obstore")
    assert not http_server.paths


def test_the_driver_obstore_refuses_arns(options: dict[str, Any]) -> None:
    arn = "arn:aws:s3:us-west-2:123456789012:accesspoint/scenes"
    with (
        dask.config.set({"jp2batch.driver": "obstore"}),
        pytest.raises(ConfigurationError, match="it does not know ARNs"),
    ):
        open_source(f"s3://{arn}/x.jp2", storage_options=options)


@pytest.mark.parametrize("driver", ["auto", "fsspec"])
@pytest.mark.parametrize("act", [jp2batch.read, jp2batch.inspect, jp2batch.plan, jp2batch.open])
def test_a_missing_object_is_not_replaced_by_one_of_a_similar_key(
    http_server: RangeServer, options: dict[str, Any], driver: str, act: Any, band: str
) -> None:
    http_server.files["bucket/x.jp2"] = Path(band).read_bytes()
    for path in ("s3://bucket//x.jp2", "s3://bucket/x.jp2/", "s3://bucket/./x.jp2"):
        with dask.config.set({"jp2batch.driver": driver}), pytest.raises(ImageNotFound) as raised:
            act(path, storage_options=options)
        assert raised.value.path == path


@pytest.mark.parametrize("driver", ["auto", "fsspec"])
@pytest.mark.parametrize("end", ["", "/"])
def test_what_stands_for_a_folder_is_no_image(
    http_server: RangeServer, options: dict[str, Any], driver: str, end: str
) -> None:
    http_server.files["bucket/folder/"] = b""
    with pytest.raises(ImageNotFound, match="folder"):
        read_first(f"folder{end}", options, driver)


@pytest.fixture(scope="module")
def store() -> Iterator[RangeServer]:
    """A web server for all examples."""
    with range_server() as server:
        yield server


@pytest.mark.parametrize("driver", ["fsspec", "auto"])
@settings(max_examples=60)
@given(key=st.text("ab:?/.%#=", min_size=1, max_size=8) | st.sampled_from(["a?versionId=1", "b::s3://c/d"]))
def test_below_a_root_a_key_is_literal(store: RangeServer, driver: str, key: str) -> None:
    store.paths.clear()
    store.files = {f"bucket/scenes/{key}": b"this one"}
    options = {"anon": True, "endpoint_url": store.url("").rstrip("/")}
    with dask.config.set({"jp2batch.driver": driver}):
        source = open_source(Location.below("s3://bucket/scenes", key), storage_options=options)
        assert source.read_many([ByteRange(0, 8)]) == [(0, b"this one")]
    assert unquote(store.paths[0]) == f"/bucket/scenes/{key}"


@settings(max_examples=150)
@given(key=st.text(st.sampled_from("ab./%é\t\x7f ?+") | st.characters(codec="utf-8"), min_size=1, max_size=8))
def test_no_key_is_taken_for_another(store: RangeServer, key: str) -> None:
    if key.strip("/") == "" or key.endswith("?versionId="):
        return  # a bucket
    options = {"anon": True, "endpoint_url": store.url("").rstrip("/")}
    store.paths.clear()
    store.files = {f"bucket/{key}": b"this one"}
    data, _ = read_first(key, options, "auto")
    assert data == b"this one"
    assert unquote(store.paths[0]) == f"/bucket/{key}"
