"""Keys, buckets and endpoints: every driver asks for the very object that was named, or says why it cannot."""

from collections.abc import Iterator

import dask
import pytest

from jp2batch.core.errors import ConfigurationError, ImageNotFound, InvalidPath, StoreUnavailable
from jp2batch.storage.source import open_source
from support.contract import DATA, SPAN, STORES, Refusal, outcome_of
from support.plays import PlayServer, play_server

PLAIN = (
    "x.jp2",
    "a/b.jp2",
    "a b.jp2",
    " a/ /b.jp2 ",
    "a+b.jp2",
    "a#b.jp2",
    "a#5.jp2",
    "a?b.jp2",
    "a%b.jp2",
    "a%20b.jp2",
    "a%2Fb.jp2",
    "%2e%2e/x.jp2",
    "a&b=c;d,e.jp2",
    "a:b@c.jp2",
    "a\\b.jp2",
    "a*[b]{c}^`|<d>\"'.jp2",
    "\u00e9.jp2",
    "e\u0301.jp2",
    "日本.jp2",
    "\U0001f6f0\ufe0f.jp2",
    "a.jp2.",
    "....jp2",
    ".a/..b/...",
    f"{'x' * 996}.jp2",
    f"{'x/' * 498}.jp2",
)
"""Keys that every driver asks for."""

EMPTY = (
    "//x.jp2",
    "/x.jp2",
    "a//x.jp2",
    "x.jp2/",
)
"""Keys with empty segments."""

CONTROL = ("a\nx.jp2", "a\tx.jp2", "a\x7fx.jp2")
"""Keys with control characters."""

DOTS = {
    "./x.jp2": "bucket/x.jp2",
    "a/./x.jp2": "bucket/a/x.jp2",
    "a/../x.jp2": "bucket/x.jp2",
    "x.jp2/.": "bucket/x.jp2/",
}
"""Keys with dot segments, and the same without these (RFC 3986, 5.2.4)."""


SLASHES = "it reads no key with an empty segment ('//', or '/' at an end), '.', '..' or a control character"
BY_OBSTORE = Refusal(ConfigurationError, f"jp2batch.driver is obstore, but {SLASHES}", "take the driver fsspec")
BY_ADLFS = Refusal(
    InvalidPath,
    "adlfs would ask for another key: this one has a segment '.' or '..', or a control character",
    "copy the object to another key",
)
REFUSALS = {
    **{("obstore", key): BY_OBSTORE for key in (*EMPTY, *CONTROL, *DOTS)},
    **{("az", key): BY_ADLFS for key in (*CONTROL, *DOTS)},
}
"""Keys that a driver would change; under `auto`, those of obstore are read by s3fs."""

ALIASES = {(store, key): name for key, name in DOTS.items() for store in ("http", "aiohttp")}
"""Keys that mean others: dot segments of a web address are removed before it is asked."""

NOT_A_URL = (
    "127.0.0.1:9000",
    "localhost:9000",
    "nonsense",
    "//h",
    "ftp://h",
    "http://",
    "http://[::1",
    "http://h:99999",
)


@pytest.fixture(scope="module")
def server() -> Iterator[PlayServer]:
    """A server that keeps all keys apart."""
    with play_server() as server:
        yield server


@pytest.fixture(autouse=True)
def once(server: PlayServer) -> Iterator[None]:
    """Let nothing be tried twice."""
    server.names.clear()
    with dask.config.set({"jp2batch.retries.attempts": 1}):
        yield


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize("key", [*PLAIN, *EMPTY, *CONTROL, *DOTS], ids=ascii)
def test_the_very_key_is_asked_for(server: PlayServer, key: str, name: str) -> None:
    asked = ALIASES.get((name, key), f"bucket/{key}")
    others = {"x.jp2", "a/x.jp2", "a/b.jp2", "ax.jp2", "a", "x.jp2/"}
    server.objects = {f"bucket/{other}": b"another object" for other in others} | {asked: DATA}
    store, expected = STORES[name], REFUSALS.get((name, key), "part")
    with store.chosen():
        told = outcome_of(store, server, store.url(server, key))
    assert told == expected
    assert set(server.names) == ({asked} if expected == "part" else set())


@pytest.mark.parametrize("name", STORES)
def test_half_a_character_is_refused(server: PlayServer, name: str) -> None:
    store = STORES[name]
    path = store.url(server).replace("x.jp2", "a\udcffx.jp2")
    with store.chosen(), pytest.raises(InvalidPath, match="its URL is not valid Unicode"):
        open_source(path, storage_options=store.options(server.address))


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize("bucket", ["my.bucket.of.scenes", "My-Bucket", "my_bucket", "b" * 63])
def test_a_bucket_is_named_in_the_path(server: PlayServer, bucket: str, name: str) -> None:
    server.objects = {f"{bucket}/x.jp2": DATA}
    store = STORES[name]
    with store.chosen():
        assert outcome_of(store, server, store.url(server, bucket=bucket)) == "part"


@pytest.mark.parametrize("name", ["s3fs", "obstore", "auto"])
def test_a_name_that_no_bucket_of_amazon_has_is_refused(server: PlayServer, name: str) -> None:
    expected = Refusal(InvalidPath, "the name of the bucket or key is invalid", "check the path")
    if name == "obstore":
        problem = "jp2batch.driver is obstore, but this is not the name of a bucket"
        expected = Refusal(ConfigurationError, problem, "take the driver fsspec")
    with STORES[name].chosen():
        assert outcome_of(STORES[name], server, "s3://no bucket!/x.jp2") == expected
    assert not server.names


@pytest.mark.parametrize("name", [name for name, store in STORES.items() if store.scheme != "http"])
@pytest.mark.parametrize("endpoint", NOT_A_URL)
def test_an_endpoint_is_a_url(server: PlayServer, endpoint: str, name: str) -> None:
    store = STORES[name]
    options = {**store.options(server.address), "endpoint_url": endpoint}
    with store.chosen(), pytest.raises(ConfigurationError, match="endpoint_url is not a URL: ") as raised:
        open_source(store.url(server), storage_options=options)
    assert "http://" in raised.value.hint


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.parametrize("name", ["s3fs", "obstore", "auto"])
def test_an_endpoint_of_the_environment_is_a_url(
    server: PlayServer, name: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "127.0.0.1:9000")
    with STORES[name].chosen(), pytest.raises(ConfigurationError, match=r"give http://127\.0\.0\.1:9000 or https://"):
        open_source(STORES[name].url(server), storage_options={"anon": True})


@pytest.mark.parametrize("name", ["s3fs", "obstore", "auto"])
@pytest.mark.parametrize("path", ["/", "/some/path", "/some/path/"])
def test_an_endpoint_may_have_a_path(server: PlayServer, path: str, name: str) -> None:
    server.objects = {f"{path.strip('/')}/bucket/x.jp2".removeprefix("/"): DATA}
    store = STORES[name]
    options = {"anon": True, "endpoint_url": f"{server.address}{path}"}
    with store.chosen():
        source = open_source(store.url(server), storage_options=options)
        assert source.read_many([SPAN]) == [(0, DATA[:100])]


@pytest.mark.parametrize("name", [name for name, store in STORES.items() if store.scheme != "http"])
@pytest.mark.parametrize("host", ["127.0.0.1:9", "[::1]:9", "no-such-host.invalid"])
def test_an_endpoint_where_nobody_listens_is_told(server: PlayServer, host: str, name: str) -> None:
    store = STORES[name]
    options = {**store.options(server.address), "endpoint_url": f"http://{host}/devstoreaccount1"}
    with store.chosen():
        source = open_source(store.url(server), storage_options=options)
        with pytest.raises(StoreUnavailable, match="the store cannot be reached when reading ") as raised:
            source.read_many([SPAN])
    assert raised.value.hint == "check the host's name and port, the network and the proxy"


@pytest.mark.parametrize("name", ["s3fs", "obstore", "auto"])
@pytest.mark.parametrize(("region", "is_one"), [("nowhere-9", True), ("not a region", False)])
def test_a_region_is_a_name(server: PlayServer, region: str, is_one: bool, name: str) -> None:
    server.objects = {"bucket/x.jp2": DATA}
    store = STORES[name]
    options = {"anon": True, "endpoint_url": server.address, "client_kwargs": {"region_name": region}}
    with store.chosen():
        if is_one:
            assert open_source(store.url(server), storage_options=options).read_many([SPAN]) == [(0, DATA[:100])]
            return
        with pytest.raises(ConfigurationError, match=r"name of the region is invalid|not the name of a region"):
            open_source(store.url(server), storage_options=options).read_many([SPAN])


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize("key", ["nothing.jp2", "x.jp2.", "X.jp2"])
def test_a_missing_key_is_not_found(server: PlayServer, key: str, name: str) -> None:
    server.objects = {"bucket/x.jp2": DATA}
    store = STORES[name]
    with store.chosen():
        told = outcome_of(store, server, store.url(server, key))
    assert isinstance(told, Refusal)
    assert told.kind is ImageNotFound
    assert told.problem.startswith("there is no such object: 404")
