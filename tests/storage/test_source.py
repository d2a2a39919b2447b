"""Reading ranges: the same promises over every kind of store, and a typed one-line error for everything that fails."""

import asyncio
import os
import pickle
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask.config
import distributed  # noqa: F401  # from now on tracebacks and contexts are pickled too, as on its workers
import fsspec
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from fsspec.asyn import AsyncFileSystem
from fsspec.registry import _registry

from jp2batch.core import errors
from jp2batch.core.costs import StoreCosts
from jp2batch.core.location import Location
from jp2batch.core.ranges import ByteRange
from jp2batch.core.redaction import redact
from jp2batch.core.store_settings import store_costs
from jp2batch.storage.errors import translate_error
from jp2batch.storage.replies import content_range
from jp2batch.storage.source import MemorySource, Source, open_source

DATA = bytes(i * i // 7 % 251 for i in range(300_000))
RANGES = [ByteRange(i * 2000, i * 2000 + 700 + i) for i in range(121)]
FIRST = ByteRange(0, 8)


@pytest.fixture(autouse=True)
def one_attempt() -> Iterator[None]:
    """Show each fault as it is: retries have tests of their own."""
    with dask.config.set({"jp2batch.retries.attempts": 1}):
        yield


@dataclass
class Somewhere:
    """Somewhere to put an object, and what reading it there costs."""

    put: Callable[[bytes], str]
    options: dict[str, Any] = field(default_factory=dict)
    served: Callable[[], int] | None = None
    first_requests: int = 1
    verify_requests: int = 0

    def source(self, data: bytes = DATA) -> Source:
        return open_source(self.put(data), storage_options=self.options)

    @property
    def folder(self) -> str:
        return self.put(DATA).rpartition("/")[0]


class BareFileSystem(AsyncFileSystem):  # type: ignore[misc]
    """An asynchronous file system as gcsfs is one: bare bytes, and an error for any range of an empty object."""

    protocol = "bare"
    files: dict[str, bytes] = {}  # noqa: RUF012

    async def _info(self, path: str, **_: Any) -> dict[str, Any]:
        data = await self._cat_file(path)
        return {"name": path, "size": len(data), "type": "file", "generation": hash(data)}

    async def _cat_file(self, path: str, start: int = 0, end: int | None = None, **_: Any) -> bytes:
        await asyncio.sleep(0)
        if path not in self.files:
            raise FileNotFoundError(path)
        if end is not None and start >= len(self.files[path]):
            raise ValueError("416")
        return self.files[path][start:end]


def _memory_place(_: pytest.FixtureRequest) -> Somewhere:
    fs = fsspec.filesystem("memory")

    def put(data: bytes) -> str:
        fs.pipe_file("/scenes/a.jp2", data)
        return "memory://scenes/a.jp2"

    return Somewhere(put)


def _file_place(request: pytest.FixtureRequest) -> Somewhere:
    path = request.getfixturevalue("tmp_path") / "a?b@c.jp2"

    def put(data: bytes) -> str:
        # Two files side by side have different inodes; their times may be the same.
        path.with_suffix(".new").write_bytes(data)
        path.with_suffix(".new").replace(path)
        return str(path)

    return Somewhere(put)


def _bare_place(_: pytest.FixtureRequest) -> Somewhere:
    fsspec.register_implementation("bare", BareFileSystem, clobber=True)

    def put(data: bytes) -> str:
        BareFileSystem.files["scenes/a.jp2"] = data
        return "bare://scenes/a.jp2"

    return Somewhere(put, first_requests=2, verify_requests=1)


def _http_place(request: pytest.FixtureRequest) -> Somewhere:
    server = request.getfixturevalue("http_server")

    def put(data: bytes) -> str:
        server.files["scenes/a.jp2"] = data
        return str(server.url("scenes/a.jp2"))

    return Somewhere(put, served=lambda: server.requests)


def _s3_place(request: pytest.FixtureRequest) -> Somewhere:
    server = request.getfixturevalue("s3_server")
    return Somewhere(lambda data: str(server.put("folder/a.jp2", data)), server.options, server.requests)


def _obstore_place(request: pytest.FixtureRequest) -> Somewhere:
    return _s3_place(request)


PLACES = [
    pytest.param(_memory_place, id="memory"),
    pytest.param(_file_place, id="file"),
    pytest.param(_bare_place, id="async"),
    pytest.param(_http_place, id="http"),
    pytest.param(_s3_place, id="s3", marks=pytest.mark.seaweedfs),
    pytest.param(_obstore_place, id="s3 by obstore", marks=pytest.mark.seaweedfs),
]
DRIVERS = ["fsspec", "obstore"]


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Iterator[str]:
    """Let one of the two read from S3."""
    with dask.config.set({"jp2batch.driver": request.param}):
        yield request.param


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Somewhere]:
    driver = "obstore" if request.param is _obstore_place else "fsspec"
    with dask.config.set({"jp2batch.driver": driver}):
        yield request.param(request)
    fsspec.filesystem("memory").store.clear()
    BareFileSystem.files.clear()


def _verify_one_line(error: pytest.ExceptionInfo[BaseException], path: str) -> None:
    text = str(error.value)
    assert path in text
    assert "\n" not in text
    assert error.value.__context__ is None
    assert str(pickle.loads(pickle.dumps(error.value))) == text


def _read_and_verify(source: Source) -> None:
    source.read_many(RANGES)
    source.verify()


# The same everywhere


def test_ranges_come_in_the_order_asked_and_are_counted(place: Somewhere) -> None:
    source = place.source()
    served = place.served() if place.served else 0
    assert (source.size, source.etag, source.meter.requests, source.meter.bytes_read) == (None, None, 0, 0)
    assert source.read_many([FIRST]) == [(0, DATA[:8])]
    assert source.size == len(DATA)
    assert source.etag
    assert source.meter.requests == place.first_requests
    ranges = RANGES[::-1]
    assert source.read_many(ranges) == [(start, DATA[start:stop]) for start, stop in ranges]
    source.verify()
    assert source.meter.requests == place.first_requests + len(RANGES) + place.verify_requests
    assert source.meter.bytes_read == 8 + sum(stop - start for start, stop in RANGES)
    assert source.meter.seconds > 0
    if place.served:
        assert place.served() - served == source.meter.requests


def test_the_first_range_may_reach_beyond_the_end(place: Somewhere) -> None:
    source = place.source(b"short")
    assert source.read_many([ByteRange(0, 8192)]) == [(0, b"short")]
    assert source.size == 5
    assert source.read_many([ByteRange(3, 100), ByteRange(0, 2)]) == [(3, b"rt"), (0, b"sh")]


def test_an_empty_object_has_size_0(place: Somewhere) -> None:
    source = place.source(b"")
    assert source.read_many([ByteRange(0, 8192)]) == [(0, b"")]
    assert source.size == 0
    source.verify()


def test_one_range_is_tried_before_a_hundred(place: Somewhere) -> None:
    source = place.source()
    with pytest.raises(ValueError, match="one range is tried"):
        source.read_many(RANGES)
    assert source.meter.requests == 0
    assert source.read_many([]) == []


@pytest.mark.parametrize(
    "span", [ByteRange(5, 5), ByteRange(9, 5), ByteRange(-4, 5), ByteRange(len(DATA), len(DATA) + 1)]
)
def test_a_range_that_holds_nothing_is_the_callers_mistake(place: Somewhere, span: ByteRange) -> None:
    source = place.source()
    source.read_many([FIRST])
    with pytest.raises(ValueError, match="no bytes"):
        source.read_many([span])


def test_a_missing_object_is_named(place: Somewhere) -> None:
    path = place.put(DATA).replace("a.jp2", "missing.jp2").replace("a?b@c", "missing")
    with pytest.raises(errors.ImageNotFound) as error:
        open_source(path, storage_options=place.options).read_many([FIRST])
    _verify_one_line(error, path)


def test_a_folder_is_no_image(place: Somewhere) -> None:
    with pytest.raises(errors.ImageNotFound, match="folder") as error:
        open_source(place.folder, storage_options=place.options).read_many([FIRST])
    _verify_one_line(error, place.folder)


def test_a_replaced_object_is_noticed(place: Somewhere) -> None:
    source = place.source()
    source.read_many([FIRST])
    place.put(DATA[::-1])
    with pytest.raises(errors.ObjectChanged, match="replaced") as error:
        _read_and_verify(source)
    _verify_one_line(error, source.path)
    assert error.value.retryable


def test_threads_may_read_from_one_source(place: Somewhere) -> None:
    source = place.source()
    with ThreadPoolExecutor(8) as pool:
        firsts = list(pool.map(lambda _: source.read_many([FIRST]), range(8)))
        rest = list(pool.map(lambda span: source.read_many([span, FIRST]), RANGES))
    assert firsts == [[(0, DATA[:8])]] * 8
    assert [pieces[0] for pieces in rest] == [(start, DATA[start:stop]) for start, stop in RANGES]
    assert source.meter.bytes_read == 8 * 8 + sum(stop - start + 8 for start, stop in RANGES)


def test_it_works_where_an_event_loop_runs_already(place: Somewhere) -> None:
    async def notebook() -> list[tuple[int, bytes]]:
        return place.source().read_many([FIRST])

    assert asyncio.run(notebook()) == [(0, DATA[:8])]


# A web server


def _http_source(server: Any, **options: Any) -> Source:
    server.files["a.jp2"] = DATA
    return open_source(server.url("a.jp2"), storage_options=options)


def test_all_ranges_are_under_way_at_once(http_server: Any) -> None:
    source = _http_source(http_server)
    source.read_many([FIRST])
    http_server.gathering = asyncio.Barrier(len(RANGES))  # breaks unless all are there together
    assert len(source.read_many(RANGES)) == len(RANGES)
    assert http_server.most_at_once == len(RANGES)


def test_no_more_requests_are_under_way_than_the_profile_allows(http_server: Any) -> None:
    with dask.config.set({"jp2batch.stores": {"http": {"connections": 3}}}):
        source = _http_source(http_server)
    source.read_many([FIRST])
    source.read_many(RANGES)
    assert http_server.most_at_once <= 3


def test_only_uncompressed_ranges_are_asked_for(http_server: Any) -> None:
    source = _http_source(http_server, headers={"X-Mine": "kept"})
    source.read_many([ByteRange(0, 100)])
    assert http_server.asked == ["bytes=0-99"]
    assert http_server.headers[0]["accept-encoding"] == "identity"
    assert http_server.headers[0]["x-mine"] == "kept"


def test_a_body_without_length_is_read(http_server: Any) -> None:
    http_server.fault = "chunked"
    source = _http_source(http_server)
    source.read_many([FIRST])
    assert source.read_many([ByteRange(10, 5000)]) == [(10, DATA[10:5000])]
    assert source.meter.bytes_read == http_server.bytes_sent


@pytest.mark.parametrize("fault", ["ignore-range", "ignore-range-chunked"])
def test_a_server_without_ranges_sends_the_whole_file_once(http_server: Any, fault: str) -> None:
    http_server.fault = fault
    source = _http_source(http_server)
    assert source.read_many([FIRST]) == [(0, DATA)]
    assert source.size == len(DATA)
    assert source.read_many([ByteRange(5, 10), ByteRange(3, 4)]) == [(5, DATA[5:10]), (3, DATA[3:4])]
    source.verify()
    assert source.meter.requests == http_server.requests == 1
    assert source.meter.bytes_read == http_server.bytes_sent == len(DATA)


@pytest.mark.parametrize("fault", ["ignore-range", "ignore-range-chunked"])
def test_a_whole_file_is_not_taken_beyond_the_limit(http_server: Any, fault: str) -> None:
    http_server.fault = fault
    with dask.config.set({"jp2batch.max-whole-file": 1000}), pytest.raises(errors.ImageTooLarge) as error:
        _http_source(http_server).read_many([FIRST])
    _verify_one_line(error, http_server.url("a.jp2"))


def test_an_unknown_total_is_asked_for(http_server: Any) -> None:
    http_server.fault = "no-total"
    source = _http_source(http_server)
    assert source.read_many([FIRST]) == [(0, DATA[:8])]
    assert source.size == len(DATA)
    assert http_server.asked == ["bytes=0-7", "bytes=-1"]
    assert source.meter.requests == 2
    assert source.read_many([ByteRange(5, 10)]) == [(5, DATA[5:10])]


FAULTS: list[tuple[str | int, type[errors.Jp2BatchError], str]] = [
    ("cut", errors.StoreUnavailable, "the connection broke"),
    ("short", errors.StoreUnavailable, "but received only 50"),
    ("long", errors.StoreUnavailable, "but received more"),
    ("wrong-range", errors.StoreUnavailable, r"but received bytes 1(01)?:"),
    ("no-content-range", errors.StoreUnavailable, "Content-Range"),
    ("reset", errors.StoreUnavailable, "the connection broke"),
    (400, errors.StorageError, "400"),
    (401, errors.PermissionDenied, "headers"),
    (403, errors.PermissionDenied, "headers"),
    (404, errors.ImageNotFound, "no such object"),
    (429, errors.StoreUnavailable, "429"),
    (500, errors.StoreUnavailable, "500"),
    (503, errors.StoreUnavailable, "503"),
]


@pytest.mark.parametrize(("fault", "expected", "text"), FAULTS)
@pytest.mark.parametrize("faultless", [0, 1])
def test_a_fault_is_one_typed_line(
    http_server: Any, fault: str | int, expected: type[errors.Jp2BatchError], text: str, faultless: int
) -> None:
    http_server.fault, http_server.faultless = fault, faultless
    source = _http_source(http_server, headers={"Authorization": "Bearer sesame"})
    span = ByteRange(100 * faultless, 100 * faultless + 100)
    for _ in range(faultless):
        source.read_many([span])
    with pytest.raises(expected, match=text) as error:
        source.read_many([span])
    _verify_one_line(error, source.path)
    assert type(error.value) is expected
    assert "sesame" not in str(error.value)
    # aiohttp sends once more what was asked on a connection that broke.
    assert source.meter.requests == http_server.requests == faultless + (2 if fault == "reset" else 1)
    assert source.meter.bytes_read <= http_server.bytes_sent


@pytest.mark.parametrize(
    ("fault", "expected"),
    [("ignore-range", errors.StoreUnavailable), ("other-total", errors.ObjectChanged), (412, errors.ObjectChanged)],
)
def test_a_server_may_not_change_its_mind(http_server: Any, fault: str | int, expected: type[Exception]) -> None:
    http_server.fault, http_server.faultless = fault, 1
    source = _http_source(http_server)
    source.read_many([FIRST])
    with pytest.raises(expected) as error:
        source.read_many(RANGES)
    _verify_one_line(error, source.path)
    assert source.meter.bytes_read < len(DATA)


def test_redirects_are_counted(http_server: Any) -> None:
    http_server.files["a.jp2"] = DATA
    http_server.moved["/moved/a.jp2"] = "/a.jp2"
    source = open_source(http_server.url("moved/a.jp2"))
    assert source.read_many([FIRST]) == [(0, DATA[:8])]
    assert source.meter.requests == http_server.requests == 2


def test_a_failed_first_read_leaves_no_trace(http_server: Any) -> None:
    http_server.fault = 503
    source = _http_source(http_server)
    with pytest.raises(errors.StoreUnavailable):
        source.read_many([FIRST])
    http_server.fault = ""
    assert source.read_many([FIRST]) == [(0, DATA[:8])]
    assert source.meter.requests == 2


def test_a_shrunken_file_is_noticed_without_etags(http_server: Any) -> None:
    http_server.fault = "no-etag"
    source = _http_source(http_server)
    source.read_many([FIRST])
    assert source.etag is None
    http_server.files["a.jp2"] = DATA[:50]
    with pytest.raises(errors.ObjectChanged):
        source.read_many([ByteRange(100, 200)])


@pytest.mark.parametrize("host", ["127.0.0.1:9", "no-such-host.invalid"])
def test_an_unreachable_server_is_one_typed_line(host: str) -> None:
    source = open_source(f"http://user:sesame@{host}/a.jp2?X-Amz-Signature=sesame")
    with pytest.raises(errors.StoreUnavailable) as error:
        source.read_many([FIRST])
    _verify_one_line(error, f"http://{host}/a.jp2")
    assert "sesame" not in str(error.value) + source.path + repr(source)


# S3


@pytest.mark.seaweedfs
def test_a_public_bucket_is_read_redact(s3_server: Any, driver: str) -> None:
    url = s3_server.put("a.jp2", DATA, bucket="public")
    assert open_source(url, storage_options=s3_server.anonymous_options).read_many([FIRST]) == [(0, DATA[:8])]


@pytest.mark.seaweedfs
@pytest.mark.parametrize(
    "credentials",
    [{"anon": True}, {"key": "AKIAUNKNOWN", "secret": "sesame"}, {"key": "AKIATESTJP2BATCH", "secret": "sesame"}],
)
def test_a_refusal_names_the_cure_and_no_secret(s3_server: Any, driver: str, credentials: dict[str, Any]) -> None:
    url = s3_server.put("a.jp2", DATA)
    source = open_source(url, storage_options={**credentials, "endpoint_url": s3_server.endpoint})
    with pytest.raises(errors.PermissionDenied, match=r"\"anon\": True.*\"requester_pays\": True") as error:
        source.read_many([FIRST])
    _verify_one_line(error, url)
    assert not re.search("sesame|AKIA", str(error.value))


@pytest.mark.seaweedfs
@pytest.mark.parametrize("path", ["s3://scenes", "s3://scenes/", "s3://no-such-bucket/a.jp2"])
def test_a_bucket_is_no_image(s3_server: Any, driver: str, path: str) -> None:
    with pytest.raises(errors.ImageNotFound, match=r"folder|there is no such bucket"):
        open_source(path, storage_options=s3_server.options).read_many([FIRST])


@pytest.mark.seaweedfs
@pytest.mark.parametrize("chosen", ["fsspec", "auto"])
def test_a_folder_of_a_bucket_is_no_image(s3_server: Any, chosen: str) -> None:
    s3_server.put("folder/a.jp2", DATA)
    with dask.config.set({"jp2batch.driver": chosen}), pytest.raises(errors.ImageNotFound, match="folder"):
        open_source("s3://scenes/folder/", storage_options=s3_server.options).read_many([FIRST])


def _s3_source(server: Any, driver: str) -> Source:
    """Return a source that takes the web server for an S3 store."""
    server.files["scenes/a.jp2"] = DATA
    options: dict[str, Any] = {"anon": True, "endpoint_url": server.url("").rstrip("/")}
    if driver == "fsspec":
        options["config_kwargs"] = {"retries": {"total_max_attempts": 2}}
    return open_source("s3://scenes/a.jp2", storage_options=options)


@pytest.mark.parametrize(("fault", "expected", "text"), FAULTS)
def test_a_fault_of_an_s3_store_is_one_typed_line(
    http_server: Any, driver: str, fault: str | int, expected: type[errors.Jp2BatchError], text: str
) -> None:
    http_server.fault, http_server.faultless = fault, 1
    source = _s3_source(http_server, driver)
    source.read_many([ByteRange(0, 100)])
    with pytest.raises(expected, match=text.replace("headers", "requester_pays")) as error:
        source.read_many([ByteRange(100, 200)])
    _verify_one_line(error, source.path)
    assert type(error.value) is expected
    if fault != "reset":  # botocore does not tell how often it tried
        assert source.meter.requests == http_server.requests


def test_an_s3_store_without_ranges_sends_the_whole_file_once(http_server: Any, driver: str) -> None:
    http_server.fault = "ignore-range"
    source = _s3_source(http_server, driver)
    assert source.read_many([FIRST]) == [(0, DATA)]
    assert source.read_many([ByteRange(5, 10)]) == [(5, DATA[5:10])]
    assert (
        source.meter.requests == http_server.requests == (1 if driver == "fsspec" else 2)
    )  # obstore refuses it at first


def test_an_s3_store_is_asked_for_the_same_version(http_server: Any, driver: str) -> None:
    source = _s3_source(http_server, driver)
    source.read_many([FIRST])
    source.read_many([ByteRange(5, 10)])
    sent = http_server.headers
    assert [headers.get("if-match") for headers in sent] == [None, source.etag]


def test_obstore_is_asked_where_it_does_as_well(http_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def name(**options: Any) -> str:
        source = open_source("s3://scenes/a.jp2", storage_options={"anon": True} | options)
        return type(source._store).__name__  # type: ignore[attr-defined]

    here = {"endpoint_url": http_server.url("").rstrip("/")}
    for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(variable, raising=False)
    assert name(**here) == "ObstoreObject"
    assert name() != "ObstoreObject"  # s3fs finds the region of Amazon's buckets
    assert name(**here, default_block_size=5) != "ObstoreObject"
    assert name(**here, client_kwargs={"verify": False}) != "ObstoreObject"
    with dask.config.set({"jp2batch.stores": {"127.0.0.1": "cdse"}}):
        assert name(**here) != "ObstoreObject"  # whose Retry-After it does not tell
    with dask.config.set({"jp2batch.driver": "obstore"}):
        assert name() == "ObstoreObject"
        with pytest.raises(errors.ConfigurationError, match="default_block_size"):
            name(default_block_size=5)
    with (
        dask.config.set({"jp2batch.driver": "rust"}),
        pytest.raises(errors.ConfigurationError, match=r"jp2batch\.driver"),
    ):
        name()
    monkeypatch.setattr("jp2batch.storage.drivers.obstore_driver.find_spec", lambda _: None)
    assert name(**here) != "ObstoreObject"
    with (
        dask.config.set({"jp2batch.driver": "obstore"}),
        pytest.raises(errors.ConfigurationError, match=r"jp2batch\[fast\]"),
    ):
        name(**here)


@pytest.mark.seaweedfs
def test_obstore_finds_the_credentials_that_s3fs_finds(
    s3_server: Any, driver: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = s3_server.put("a.jp2", DATA)
    given = s3_server.options
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "credentials").write_text(
        f"[mine]\naws_access_key_id = {given['key']}\naws_secret_access_key = {given['secret']}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint)
    source = open_source(url, storage_options={"profile": "mine"})
    assert source.read_many([FIRST]) == [(0, DATA[:8])]
    assert (type(source._store).__name__ == "ObstoreObject") == (driver == "obstore")  # type: ignore[attr-defined]


def test_given_storage_options_win(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def url_to_fs(path: str, **options: Any) -> tuple[Any, str]:
        seen.update(options)
        return fsspec.filesystem("memory"), path

    monkeypatch.setattr("fsspec.core.url_to_fs", url_to_fs)
    open_source("s3://scenes/a.jp2", storage_options={"anon": True, "config_kwargs": {"max_pool_connections": 5}})
    assert seen["anon"] is True
    assert seen["config_kwargs"]["max_pool_connections"] == 5
    open_source("s3://scenes/a.jp2")
    assert seen["config_kwargs"]["max_pool_connections"] == store_costs("s3").connections


# Opening


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_local_paths_are_read(tmp_path: Path, form: str) -> None:
    (tmp_path / "a.jp2").write_bytes(DATA)
    assert open_source(form.format(tmp_path / "a.jp2")).read_many([FIRST]) == [(0, DATA[:8])]


def test_relative_paths_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jp2").write_bytes(DATA)
    monkeypatch.chdir(tmp_path)
    assert open_source("a.jp2").read_many([FIRST]) == [(0, DATA[:8])]


def test_a_chained_url_is_read(http_server: Any) -> None:
    http_server.files["a.jp2"] = DATA
    source = open_source("simplecache::" + http_server.url("a.jp2"))
    assert source.read_many([FIRST]) == [(0, DATA[:8])]
    assert source.read_many(RANGES[:2]) == [(start, DATA[start:stop]) for start, stop in RANGES[:2]]


def test_an_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jp2").write_bytes(DATA)

    def denied(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", denied)  # root may read everything
    with pytest.raises(errors.PermissionDenied, match="who may read"):
        open_source(str(tmp_path / "a.jp2")).read_many([FIRST])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_path_that_no_file_can_have_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("n" * 300, "loop"):
        with pytest.raises(errors.ImageNotFound, match="no such file"):
            open_source(str(tmp_path / name)).read_many([ByteRange(0, 10)])


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jp2")
    with pytest.raises(errors.ImageNotFound, match="a pipe or a device"):
        open_source(str(tmp_path / "a.jp2")).read_many([FIRST])


def test_a_local_fault_that_passes_costs_a_retry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jp2").write_bytes(DATA)
    faults, plain = [TimeoutError(110, "Connection timed out")], os.open

    def sometimes(*arguments: Any, **options: Any) -> Any:
        if faults:
            raise faults.pop()
        return plain(*arguments, **options)

    monkeypatch.setattr("os.open", sometimes)
    with dask.config.set({"jp2batch.retries.attempts": 2}):
        source = open_source(str(tmp_path / "a.jp2"))
        assert source.read_many([FIRST]) == [(0, DATA[:8])]
    assert (source.meter.requests, source.meter.retries) == (1, 1)


def test_an_unknown_protocol_is_named() -> None:
    with pytest.raises(errors.StorageError, match="nosuch:// is not a known protocol") as error:
        open_source("nosuch://me:sesame@bucket/a.jp2")
    _verify_one_line(error, "nosuch://bucket/a.jp2")


def test_a_missing_driver_comes_with_its_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    monkeypatch.delitem(_registry, "gs", raising=False)  # other tests may have loaded it
    with pytest.raises(errors.StorageError, match=r'pip install "jp2batch\[gs\]"'):
        open_source("gs://bucket/a.jp2", storage_options={"token": "anon"})


def test_unfit_storage_options_show_no_secret() -> None:
    with pytest.raises(errors.StorageError, match="storage_options do not fit") as error:
        open_source("s3://scenes/a.jp2", storage_options={"key": "sesame", "username": "sesame"})
    assert "sesame" not in str(error.value)


def test_opening_asks_nothing(http_server: Any) -> None:
    _http_source(http_server)
    assert http_server.requests == 0


def test_importing_loads_no_driver() -> None:
    code = (
        "import sys, jp2batch.storage.source; print([m for m in ('s3fs', 'aiohttp', 'botocore') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def _refused(path: str, driver: str = "fsspec", **options: Any) -> errors.Jp2BatchError:
    """Return the error of a first read, which no store answers."""
    with dask.config.set({"jp2batch.driver": driver}), pytest.raises(errors.Jp2BatchError) as error:
        open_source(path, storage_options=options).read_many([FIRST])
    _verify_one_line(error, redact(path))
    return error.value


@pytest.mark.parametrize("host", ["127.0.0.1:9", "no-such-host.invalid"])
@pytest.mark.parametrize("scheme", ["http", "https", "ftp", "s3 by fsspec", "s3 by obstore"])
def test_a_host_that_is_not_there_has_a_cure_of_its_own(scheme: str, host: str) -> None:
    if scheme.startswith("s3"):
        found = _refused("s3://b/a.jp2", scheme.rsplit(maxsplit=1)[-1], anon=True, endpoint_url=f"http://{host}")
    else:
        found = _refused(f"{scheme}://someone:sesame@{host}/a.jp2")
    assert isinstance(found, errors.StoreUnavailable)
    assert found.problem.startswith("the store cannot be reached")
    assert found.hint == "check the host's name and port, the network and the proxy"
    assert not re.search("someone|sesame", str(found))


@pytest.mark.parametrize("cache", ["simplecache", "filecache", "blockcache"])
def test_a_host_that_is_not_there_is_told_through_a_cache_as_well(cache: str) -> None:
    found = _refused(f"{cache}::http://127.0.0.1:9/a.jp2")
    assert isinstance(found, errors.StoreUnavailable)
    assert found.problem.startswith("the store cannot be reached")


def test_a_missing_file_behind_a_cache_is_not_found(http_server: Any) -> None:
    found = _refused(f"simplecache::{http_server.url('nowhere.jp2')}")
    assert isinstance(found, errors.ImageNotFound)


def test_a_port_that_speaks_no_tls_is_told(http_server: Any) -> None:
    found = _refused(http_server.url("a.jp2").replace("http:", "https:"))
    assert "no secure connection is made" in found.problem
    assert found.hint == "check that the port speaks https"


def test_a_certificate_that_is_not_trusted_is_told() -> None:
    base: Any = type("ClientConnectorError", (OSError,), {})
    error: Exception = type("ClientConnectorCertificateError", (base,), {})("self-signed")
    found = translate_error(error, Location("https://host/a.jp2"))
    assert type(found) is errors.StorageError
    assert "certificate is not trusted" in found.problem


def test_an_archive_that_is_not_there_or_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.zip").write_bytes(b"nothing of the kind")
    missing = _refused(f"zip://a.jp2::{tmp_path}/missing.zip")
    assert (type(missing), missing.problem) == (errors.ImageNotFound, "there is no such file")
    assert "not a zip archive, or damaged" in str(_refused(f"zip://a.jp2::{tmp_path}/bad.zip"))


# Pieces


def _client_error(status: int, code: str) -> Exception:
    response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error: Exception = ClientError(response, "GetObject")
    return error


def _named(name: str, **fields: Any) -> Exception:
    """Return an exception as a driver that is not installed would raise it."""
    error: Exception = type(name, (Exception,), fields)("sesame")
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (_client_error(400, "ExpiredToken"), errors.PermissionDenied),
        (_client_error(400, "RequestTimeout"), errors.StoreUnavailable),
        (_client_error(503, "SlowDown"), errors.StoreUnavailable),
        (_client_error(301, "PermanentRedirect"), errors.StorageError),
        (NoCredentialsError(), errors.PermissionDenied),
        (EndpointConnectionError(endpoint_url="https://host"), errors.StoreUnavailable),
        (TimeoutError(), errors.StoreUnavailable),
        (ConnectionResetError(), errors.StoreUnavailable),
        (socket.gaierror(-2, "Name or service not known"), errors.StoreUnavailable),
        (_named("HttpError", code=403), errors.PermissionDenied),
        (_named("ResourceNotFoundError", status_code=404), errors.ImageNotFound),
        (_named("UnauthenticatedError"), errors.PermissionDenied),
        (RuntimeError("sesame"), errors.StorageError),
    ],
)
def test_errors_of_all_drivers_are_told_apart(error: Exception, expected: type[Exception]) -> None:
    location = Location("s3://scenes/a.jp2", {"client_kwargs": {"aws_secret_access_key": "sesame"}})
    found = translate_error(error, location)
    assert type(found) is expected
    assert "sesame" not in str(found)


def test_the_memory_source_notes_what_was_asked() -> None:
    profile = StoreCosts(latency=0.1, bandwidth=1e6, connections=4)
    source = MemorySource(b"0123456789", path="a.jp2", profile=profile)
    with pytest.raises(ValueError, match="one range"):
        source.read_many([ByteRange(0, 1), ByteRange(1, 2)])
    assert source.read_many([ByteRange(0, 99)]) == [(0, b"0123456789")]
    assert source.read_many([ByteRange(5, 6), ByteRange(1, 3)]) == [(5, b"5"), (1, b"12")]
    source.verify()
    assert (source.size, source.meter.requests, source.meter.bytes_read, source.profile) == (10, 3, 13, profile)
    assert source.ranges == [(0, 99), (5, 6), (1, 3)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes 0-9/100", ((0, 10), 100)),
        ("bytes 5-9/*", ((5, 10), None)),
        ("bytes */100", (None, 100)),
        ("items 0-9/100", (None, None)),
        ("", (None, None)),
        (None, (None, None)),
    ],
)
def test_content_range_is_read(text: str | None, expected: tuple[ByteRange | None, int | None]) -> None:
    assert content_range(text) == expected


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:word@host/a.jp2?sig=1", "https://host/a.jp2"),
        ("s3://bucket/a@b.jp2", "s3://bucket/a@b.jp2"),
        ("simplecache::https://me:word@host/a?x", "simplecache::https://host/a"),
        ("abfs://container@account.dfs.core.windows.net/a", "abfs://container@account.dfs.core.windows.net/a"),
        ("cannot read 'https://host/a?sig=1' now", "cannot read 'https://host/a' now"),
    ],
)
def test_credentials_are_left_out(url: str, shown: str) -> None:
    assert redact(url) == shown
