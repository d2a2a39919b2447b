"""Known stores of Sentinel-2 images: their options, quotas and hints are in one table, which users may change."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from click.testing import CliRunner

import jp2batch
from jp2batch.cli import main
from jp2batch.core.errors import ConfigurationError, PermissionDenied
from jp2batch.core.location import Location
from jp2batch.core.store_settings import store_costs
from jp2batch.storage.known_stores import known_hint, known_store
from jp2batch.storage.source import open_source
from jp2batch.storage.store_identity import store_host
from jp2batch.storage.store_options import locate
from support.servers import RangeServer

CDSE = "https://eodata.dataspace.copernicus.eu"
GOOGLE = "https://storage.googleapis.com"
NAME = "T29UNU_20221005T115411_B8A_60m.jp2"
REGION = {"client_kwargs": {"region_name": "default"}}
ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "FSSPEC_S3_ENDPOINT_URL")


@pytest.fixture(autouse=True)
def _no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENDPOINTS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("url", "options", "expected"),
    [
        ("s3://eodata/x.jp2", {}, {"endpoint_url": CDSE, **REGION}),
        ("s3a://eodata/x.jp2", {}, {"endpoint_url": CDSE, **REGION}),
        ("s3://eodata/x.jp2", {"key": "k", "secret": "s"}, {"key": "k", "secret": "s", "endpoint_url": CDSE, **REGION}),
        ("s3://eodata/x.jp2", {"endpoint_url": "https://mirror"}, {"endpoint_url": "https://mirror"}),
        (
            "s3://eodata/x.jp2",
            {"client_kwargs": {"verify": False}},
            {"endpoint_url": CDSE, "client_kwargs": {"region_name": "default", "verify": False}},
        ),
        ("zip://x.jp2::s3://eodata/x.zip", {}, {"s3": {"endpoint_url": CDSE, **REGION}}),
        ("s3://eodata/x.jp2", {"s3": {"key": "k"}}, {"key": "k", "endpoint_url": CDSE, **REGION}),
        ("s3://eodata-of-others/x.jp2", {}, {}),
        ("s3://sentinel-s2-l2a/x.jp2", {}, {}),
        ("gs://gcp-public-data-sentinel-2/x.jp2", {}, {"token": "anon"}),
        ("gcs://gcp-public-data-sentinel-2/x.jp2", {"token": "t.json"}, {"token": "t.json"}),
        ("s3://gcp-public-data-sentinel-2/x.jp2", {}, {"endpoint_url": GOOGLE, "anon": True}),
        ("s3://gcp-public-data-sentinel-2/x.jp2", {"key": "k"}, {"endpoint_url": GOOGLE, "key": "k"}),
        ("s3://gcp-public-data-sentinel-2/x.jp2", {"profile": "p"}, {"endpoint_url": GOOGLE, "profile": "p"}),
        ("https://storage.googleapis.com/gcp-public-data-sentinel-2/x.jp2", {}, {}),
        ("eodata/x.jp2", {}, {}),
        ("file:///eodata/x.jp2", {}, {}),
    ],
)
def test_a_known_store_gets_the_options_it_needs(url: str, options: dict[str, Any], expected: dict[str, Any]) -> None:
    assert locate(url, options).options == expected


@pytest.mark.parametrize("name", ENDPOINTS)
def test_an_endpoint_in_the_environment_takes_precedence(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "https://mirror")
    assert locate("s3://eodata/x.jp2", {}).options == {}


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("s3://sentinel-s2-l1c/tiles/x.jp2", "its requester pays"),
        ("s3://sentinel-s2-l2a/tiles/x.jp2", "its requester pays"),
        ("zip://x.jp2::s3://sentinel-s2-l1c/x.zip", "its requester pays"),
        ("s3://eodata/x.jp2", "Copernicus Data Space, at https://eodata"),
        ("https://download.dataspace.copernicus.eu/odata/v1/x", "access tokens"),
        ("https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/x.tif", "planetary_computer.sign"),
        ("s3://bucket/x.jp2", ""),
        ("x.jp2", ""),
    ],
)
def test_what_is_known_of_a_store(url: str, hint: str) -> None:
    text = known_hint(Location(url))
    assert (hint in text) if hint else not text


def test_whoever_pays_is_not_told_to_pay() -> None:
    assert known_hint(Location("s3://sentinel-s2-l2a/x.jp2", {"requester_pays": True})) == ""


@pytest.mark.parametrize(
    ("url", "profile", "per_minute"),
    [
        ("s3://eodata/x.jp2", "cdse", 2000),
        ("https://catalogue.dataspace.copernicus.eu/odata/v1/Products", "cdse", 2000),
        ("https://download.dataspace.copernicus.eu/odata/v1/x", "cdse", 2000),
        ("https://stac.dataspace.copernicus.eu/v1/collections", "cdse-stac", 300),
        ("s3://sentinel-s2-l2a/x.jp2", "aws", None),
        ("gs://gcp-public-data-sentinel-2/x.jp2", "gcs", None),
        ("s3://gcp-public-data-sentinel-2/x.jp2", "gcs", None),
    ],
)
def test_each_host_has_its_own_quota(url: str, profile: str, per_minute: float | None) -> None:
    location = locate(url, {})
    costs = store_costs(location.scheme, store_host(location))
    assert (costs.name, costs.requests_per_minute) == (profile, per_minute)


def test_a_source_of_a_known_store_has_the_quota_of_its_endpoint() -> None:
    source = open_source("s3://eodata/x.jp2", storage_options={"anon": True})
    assert source.profile.connections == 4


# A store whose row the user changes


@pytest.fixture
def row(http_server: RangeServer, band: str) -> Iterator[str]:
    """A bucket with a band, whose endpoint only the table has."""
    http_server.files[f"eodata/{NAME}"] = Path(band).read_bytes()
    options = {"endpoint_url": http_server.url("").rstrip("/"), "anon": True}
    rows = {"s3://eodata": {"about": "ask its keeper", "options": options}, "s3://sentinel-s2-*": None}
    with dask.config.set({"jp2batch.known-stores": rows, "jp2batch.index.enabled": False}):
        yield f"s3://eodata/{NAME}"


READS = {
    "read": lambda url: jp2batch.read(url, 0).values,
    "open": lambda url: jp2batch.open(url, 0).values,
    "cube": lambda url: jp2batch.open_cube([url], 0).values[0, 0],
    "respond": lambda url: np.array(jp2batch.respond({"Path": url, "rlevel": 0})["img_data"]),
    "run": lambda url: jp2batch.run([jp2batch.Request(url, 0)]).results[0].value.values,
    "root": lambda url: np.array(
        jp2batch.respond({"Path": url.rpartition("/")[2], "rlevel": 0}, root=url.rpartition("/")[0])["img_data"]
    ),
}


@pytest.mark.parametrize("act", READS)
def test_every_function_reads_with_the_options_of_the_table(row: str, act: str, band: str) -> None:
    np.testing.assert_array_equal(READS[act](row), jp2batch.read(band, 0).values)


@pytest.mark.parametrize("command", ["info", "plan", "read --rlevel 1"])
def test_every_command_reads_with_the_options_of_the_table(row: str, command: str) -> None:
    done = CliRunner().invoke(main, [*command.split(), row])
    assert done.exit_code == 0, done.output


def test_a_refusal_repeats_what_is_known(row: str, http_server: RangeServer) -> None:
    http_server.fault = 403
    with pytest.raises(PermissionDenied, match=rf"eodata/{NAME}: .*of this store is known: ask its keeper"):
        jp2batch.read(row)
    for command in ("info", "doctor"):
        assert "of this store is known: ask its keeper" in CliRunner().invoke(main, [command, row]).output


def test_a_row_can_be_removed(row: str) -> None:
    assert known_store(Location("s3://sentinel-s2-l2a/x.jp2")) is None
    assert known_store(Location(row)) is not None


@pytest.mark.parametrize(
    "value",
    [
        "text",
        3,
        {"about": 4},
        {"option": {}},
        {"about": "", "options": {}, "more": 1},
        {"options": "anon"},
        {"options": {1: 2}},
    ],
)
def test_a_row_that_cannot_be_read_is_an_error(value: object) -> None:
    with (
        dask.config.set({"jp2batch.known-stores": {"s3://eodata": value}}),
        pytest.raises(ConfigurationError, match=r"jp2batch\.known-stores\.s3://eodata cannot be read"),
    ):
        locate("s3://eodata/x.jp2", {})


def test_the_table_is_a_mapping() -> None:
    with (
        dask.config.set({"jp2batch.known-stores": ["s3://eodata"]}),
        pytest.raises(ConfigurationError, match=r"jp2batch\.known-stores is of type list"),
    ):
        locate("s3://eodata/x.jp2", {})
