"""The contract of drivers on real stores: SeaweedFS, and Azurite where it is installed."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import dask
import numpy as np
import pytest
import s3fs

import jp2batch
from benchmarks.seaweedfs import S3Server
from jp2batch.core.errors import ImageNotFound, Jp2BatchError, ObjectChanged, PermissionDenied
from jp2batch.core.ranges import ByteRange
from jp2batch.storage.source import open_source
from support.azure import ACCOUNT, AZURITE_KEY, azurite, find_azurite
from support.images import PLAIN

KEYS = ("a b.jp2", "a+b#c?d%20e.jp2", "a%2Fb.jp2", "e\u0301.jp2", "\u00e9.jp2", "\U0001f6f0.jp2", f"{'x' * 200}.jp2")
WRONG = "d3Jvbmcgd3Jvbmc="


@dataclass(frozen=True)
class RealStore:
    """A store, and how to write to it."""

    root: str
    options: dict[str, Any]
    wrong_options: dict[str, Any]
    put: Callable[[str, bytes, str], None]
    """Writes an object: its key, content and Content-Encoding."""
    codes: tuple[str, str, str]
    """Its codes for no object, no bucket, and a wrong secret."""


def seaweedfs_store(server: S3Server) -> RealStore:
    def put(key: str, data: bytes, coding: str) -> None:
        fs = s3fs.S3FileSystem(**server.options)
        fs.call_s3("put_object", Bucket="scenes", Key=key, Body=data, **({"ContentEncoding": coding} if coding else {}))

    codes = "404 NoSuchKey", "404 NoSuchBucket", "403 SignatureDoesNotMatch"
    return RealStore("s3://scenes", server.options, server.options | {"secret": WRONG}, put, codes)


def azurite_store(options: dict[str, Any]) -> RealStore:
    from azure.core.exceptions import ResourceExistsError
    from azure.storage.blob import BlobServiceClient, ContentSettings

    endpoint = f"BlobEndpoint={options['endpoint_url']};AccountName={ACCOUNT};AccountKey={AZURITE_KEY}"

    def put(key: str, data: bytes, coding: str) -> None:
        with BlobServiceClient.from_connection_string(endpoint) as service:
            container = service.get_container_client("scenes")
            with contextlib.suppress(ResourceExistsError):
                container.create_container()
            settings = ContentSettings(content_encoding=coding or None)
            container.upload_blob(key, data, overwrite=True, content_settings=settings)

    codes = "404 BlobNotFound", "404 ContainerNotFound", "403 AuthorizationFailure"
    return RealStore("az://scenes", options, options | {"account_key": WRONG}, put, codes)


@pytest.fixture(scope="module")
def azure_options(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    pytest.importorskip("adlfs")
    if (program := find_azurite()) is None:
        pytest.skip("needs Azurite: npm install -g azurite, or its program in JP2BATCH_AZURITE")
    with azurite(program, tmp_path_factory.mktemp("azurite")) as options:
        yield options


@pytest.fixture(
    params=[
        *(pytest.param(driver, marks=pytest.mark.seaweedfs) for driver in ("fsspec", "obstore", "auto")),
        pytest.param("azure", marks=pytest.mark.azurite),
    ]
)
def store(request: pytest.FixtureRequest) -> Iterator[RealStore]:
    """A store, and nothing tried twice."""
    if request.param == "azure":
        found, driver = azurite_store(request.getfixturevalue("azure_options")), "auto"
    else:
        found, driver = seaweedfs_store(request.getfixturevalue("s3_server")), request.param
    with dask.config.set({"jp2batch.driver": driver, "jp2batch.retries.attempts": 1}):
        yield found


def refused(store: RealStore, path: str, options: dict[str, Any]) -> Jp2BatchError:
    with pytest.raises(Jp2BatchError) as raised:
        jp2batch.read(path, storage_options=options)
    return raised.value


@pytest.mark.parametrize("coding", ["", "gzip", "br"])
def test_an_image_is_read_as_it_is_stored(store: RealStore, coding: str) -> None:
    store.put(f"stored/{coding}.jp2", PLAIN.data, coding)
    array = jp2batch.read(f"{store.root}/stored/{coding}.jp2", 0, storage_options=store.options)
    np.testing.assert_array_equal(array.values, PLAIN.oracle.at(0)[0])


@pytest.mark.parametrize("key", KEYS, ids=ascii)
def test_the_very_key_is_read(store: RealStore, key: str) -> None:
    store.put(f"keys/{key}", key.encode(), "")
    source = open_source(f"{store.root}/keys/{key}", storage_options=store.options)
    assert source.read_many([ByteRange(0, 1000)]) == [(0, key.encode())]


def test_what_is_missing_is_named(store: RealStore) -> None:
    no_object, no_bucket, _ = store.codes
    store.put("x.jp2", PLAIN.data, "")
    error = refused(store, f"{store.root}/nothing.jp2", store.options)
    assert (type(error), error.problem) == (ImageNotFound, f"there is no such object: {no_object}")
    error = refused(store, f"{store.root}-of-nobody/x.jp2", store.options)
    assert (type(error), error.problem) == (ImageNotFound, f"there is no such bucket: {no_bucket}")


def test_wrong_credentials_are_refused(store: RealStore) -> None:
    store.put("x.jp2", PLAIN.data, "")
    error = refused(store, f"{store.root}/x.jp2", store.wrong_options)
    assert isinstance(error, PermissionDenied)
    assert error.problem.endswith(store.codes[2])


def test_a_replacement_is_noticed(store: RealStore) -> None:
    store.put("replaced.jp2", PLAIN.data, "")
    source = open_source(f"{store.root}/replaced.jp2", storage_options=store.options)
    source.read_many([ByteRange(0, 10)])
    store.put("replaced.jp2", bytes(reversed(PLAIN.data)), "")
    with pytest.raises(ObjectChanged):
        source.read_many([ByteRange(0, 10)])
