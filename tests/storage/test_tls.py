"""Over TLS, connections have a price: a cold process opens as many as pay, and then uses these."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest

import jp2batch
from benchmarks.tls_relay import make_certificate, with_tls
from jp2batch.core.errors import StorageError, StoreUnavailable
from jp2batch.core.location import Location
from jp2batch.core.ranges import ByteRange
from jp2batch.sample.encode import Coding
from jp2batch.storage.source import open_source
from jp2batch.storage.store_identity import uses_tls
from support.images import Made
from support.servers import RangeServer

MANY_TILES = Made(Coding(tile=(10, 10), levels=2, precincts=(8, 8), tlm=True))
RANGES = [ByteRange(start, start + 10) for start in range(0, 12_000, 100)]
PROFILE = {"latency": "30ms", "handshake": "3.5ms", "line": "20 kB"}
"""As by default, but bytes are so dear that nothing is joined."""


@dataclass(frozen=True)
class Secure:
    """The web server behind TLS, and options to trust it."""

    address: str
    options: dict[str, Any]


@pytest.fixture
def secure(http_server: RangeServer, tmp_path: Path) -> Iterator[Secure]:
    certificate = make_certificate(tmp_path)
    context = ssl.create_default_context(cafile=certificate)
    http_server.files |= {"data.bin": bytes(12_000), "image.jp2": MANY_TILES.data}
    http_server.delay = 0.03
    settings = {"jp2batch.stores": {"127.0.0.1": PROFILE}, "jp2batch.max-whole-file": 0, "jp2batch.first-read": 1000}
    with with_tls(http_server.address, certificate, 0.0) as address, dask.config.set(settings):
        yield Secure(address, {"ssl": context})


def most_at_once(server: RangeServer, url: str, options: dict[str, Any]) -> int:
    """Return how many of 120 ranges, after a first one, are read at once."""
    source = open_source(url, storage_options=options)
    source.read_many(RANGES[:1])
    server.most_at_once = 0
    assert source.read_many(RANGES) == [(start, bytes(10)) for start, _ in RANGES]
    return server.most_at_once


def test_a_cold_process_opens_fewer_connections_with_tls(http_server: RangeServer, secure: Secure) -> None:
    assert most_at_once(http_server, f"{secure.address}/data.bin", secure.options) == 30
    assert most_at_once(http_server, http_server.url("data.bin"), {}) > 60


@pytest.mark.parametrize("rlevel", [0, 2])
def test_pixels_requests_and_bytes_are_those_without_tls(http_server: RangeServer, secure: Secure, rlevel: int) -> None:
    traffic = []
    for url, options in ((http_server.url("image.jp2"), {}), (f"{secure.address}/image.jp2", secure.options)):
        requests, sent = http_server.requests, http_server.bytes_sent
        values = jp2batch.read(url, rlevel, storage_options=options).values
        np.testing.assert_array_equal(values, MANY_TILES.oracle.at(rlevel)[0])
        traffic.append((http_server.requests - requests, http_server.bytes_sent - sent))
    assert traffic[0] == traffic[1]


@pytest.mark.parametrize("driver", ["auto", "obstore", "fsspec"])
@pytest.mark.parametrize("url", ["{address}/image.jp2", "s3://bucket/image.jp2"])
def test_a_certificate_of_nobody_is_not_trusted(secure: Secure, url: str, driver: str) -> None:
    is_s3 = url.startswith("s3:")
    options = {"endpoint_url": secure.address, "key": "k", "secret": "s"} if is_s3 else {}
    with (
        dask.config.set({"jp2batch.driver": driver}),
        pytest.raises(StorageError, match="the store's certificate is not trusted") as caught,
    ):
        jp2batch.read(url.format(address=secure.address), storage_options=options)
    assert not isinstance(caught.value, StoreUnavailable)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "options", "expected"),
    [
        ("https://host/x.jp2", {}, True),
        ("HTTPS://host/x.jp2", {}, True),
        ("http://host/x.jp2", {}, False),
        ("s3://bucket/x.jp2", {}, True),
        ("s3://bucket/x.jp2", {"endpoint_url": "http://127.0.0.1:9000"}, False),
        ("s3://bucket/x.jp2", {"endpoint_url": "https://host"}, True),
        ("s3://bucket/x.jp2", {"client_kwargs": {"endpoint_url": "http://127.0.0.1:9000"}}, False),
        ("gs://bucket/x.jp2", {}, True),
        ("gs://bucket/x.jp2", {"endpoint_url": "http://127.0.0.1:4443"}, False),
        ("az://container/x.jp2", {"account_name": "a"}, True),
        ("az://container/x.jp2", {"connection_string": "BlobEndpoint=http://127.0.0.1/a;AccountName=a"}, False),
        ("zip://x.jp2::https://host/x.zip", {}, True),
        ("zip://x.jp2::http://host/x.zip", {}, False),
        ("x.jp2", {}, False),
        ("memory://x.jp2", {}, False),
        ("file:///x.jp2", {}, False),
    ],
)
def test_which_stores_use_tls(
    monkeypatch: pytest.MonkeyPatch, url: str, options: dict[str, Any], expected: bool
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "FSSPEC_S3_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    assert uses_tls(Location(url, options)) == expected
