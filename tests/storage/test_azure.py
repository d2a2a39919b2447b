"""Azure Blob Storage: accounts, credentials, reads and writes; with a fake of its REST, and with Azurite."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import fsspec
import pytest
from click.testing import CliRunner
from fsspec.registry import _registry

import jp2batch
from jp2batch.cli import main
from jp2batch.core import errors
from jp2batch.core.location import Location
from jp2batch.core.ranges import ByteRange
from jp2batch.storage.drivers.azure_driver import azure_address, azure_options
from jp2batch.storage.files import read_bytes, write_bytes
from jp2batch.storage.schemes import credentials_of
from jp2batch.storage.source import open_source
from jp2batch.storage.store_identity import key_of, store_host
from jp2batch.storage.store_options import locate
from support.azure import ACCOUNT, KEY, BlobServer, azurite, blob_server, find_azurite
from support.images import PLAIN

CONNECTION = f"DefaultEndpointsProtocol=https;AccountName=one;AccountKey={KEY};EndpointSuffix=core.windows.net"
SIGNATURE = "sv=2024-11-04&sp=r&sig=s3samE%3D"
SECRETS = (KEY, KEY[:12], "s3samE", "sesame")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the environment name no account, and nothing be tried twice."""
    for name in ("ACCOUNT_NAME", "ACCOUNT_KEY", "CONNECTION_STRING", "SAS_TOKEN", "CLIENT_ID", "ANON"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)
    with dask.config.set({"jp2batch.retries.attempts": 1}):
        yield
    with contextlib.suppress(ImportError):
        from adlfs import AzureBlobFileSystem

        AzureBlobFileSystem.clear_instance_cache()


@pytest.fixture
def server() -> Iterator[BlobServer]:
    pytest.importorskip("adlfs")
    with blob_server() as server:
        server.blobs["scenes/a.jp2"] = PLAIN.data
        yield server


def address(url: str, **options: Any) -> dict[str, str]:
    return azure_address(Location.of(url), options)


def one(account: str, domain: str = "core.windows.net") -> dict[str, str]:
    return {"account_name": account, "endpoint": f"https://{account}.blob.{domain}"}


@pytest.mark.parametrize(
    ("url", "options", "expected"),
    [
        ("az://c/a", {}, {}),
        ("az://c/a", {"account_name": "one"}, one("one")),
        ("az://c/a", {"connection_string": CONNECTION}, one("one")),
        ("abfs://c@two.dfs.core.windows.net/a", {}, one("two")),
        ("abfss://c@two.dfs.core.windows.net/a", {}, one("two")),
        ("az://c@two.blob.core.chinacloudapi.cn/a", {}, one("two", "core.chinacloudapi.cn")),
        ("abfs://two.dfs.core.windows.net/c/a", {}, one("two")),
        ("az://c/a", {"endpoint_url": "http://h:1/two/"}, {"account_name": "two", "endpoint": "http://h:1/two"}),
        ("az://c/a", {"account_name": "x", "account_host": "h"}, {"account_name": "x", "endpoint": "https://h"}),
        (
            "az://c/a",
            {"connection_string": f"BlobEndpoint=https://me:pw@h/x?{SIGNATURE};SharedAccessSignature={SIGNATURE}"},
            {"account_name": "x", "endpoint": "https://h/x"},
        ),
    ],
)
def test_account_and_endpoint_are_found_without_credentials(
    url: str, options: dict[str, Any], expected: dict[str, str]
) -> None:
    assert address(url, **options) == expected


def test_the_environment_names_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "zero")
    assert address("az://c/a") == one("zero")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", CONNECTION)
    assert address("az://c/a") == one("one")
    assert address("abfs://c@two.dfs.core.windows.net/a") == one("two")
    assert address("az://c/a", account_name="three") == one("three")


def test_a_connection_string_of_another_account_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", CONNECTION)
    options = azure_options(Location("abfs://c@two.dfs.core.windows.net/a", {"sas_token": SIGNATURE}), 1)
    endpoint = "BlobEndpoint=https://two.blob.core.windows.net"
    assert options == {"connection_string": f"{endpoint};SharedAccessSignature={SIGNATURE}"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"account_name": "x", "account_key": "k"}, "BlobEndpoint=https://x.blob.core.windows.net;AccountName=x;AccountKey=k"),
        ({"account_name": "x", "account_key": "k", "anon": True}, "BlobEndpoint=https://x.blob.core.windows.net"),
        ({"connection_string": CONNECTION, "anon": True}, "BlobEndpoint=https://one.blob.core.windows.net"),
        ({"account_name": "x", "sas_token": "?sig=1"}, "BlobEndpoint=https://x.blob.core.windows.net;SharedAccessSignature=sig=1"),
    ],
)  # fmt: skip
def test_the_driver_gets_one_connection_string(options: dict[str, Any], expected: str) -> None:
    assert azure_options(Location("az://c/a", options), 1)["connection_string"] == expected


def test_two_accounts_have_two_keys_without_any_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    def key(**options: Any) -> str:
        return key_of(locate("az://c/a.jp2", options))

    keys = [key(account_name="one"), key(account_name="two"), key(connection_string=CONNECTION, account_key=KEY)]
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "three")
    keys += [key(), key(account_name="one", account_key=KEY, sas_token=SIGNATURE)]
    assert keys[0] == keys[2] == keys[4]
    assert len(set(keys)) == 3
    assert store_host(locate("az://c/a.jp2", {"connection_string": CONNECTION})) == "one.blob.core.windows.net"
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "another")
    assert key(account_name="one") == keys[0]


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"anon": True}, "anonymous"),
        ({"account_key": KEY}, "storage_options"),
        ({"connection_string": CONNECTION}, "storage_options"),
        ({"connection_string": "BlobEndpoint=https://h"}, None),
        ({"account_name": "x"}, None),
    ],
)
def test_the_origin_of_credentials(options: dict[str, Any], kind: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert credentials_of("abfs", options) == kind
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", SIGNATURE)
    assert credentials_of("az", options) == kind or "AZURE_STORAGE_SAS_TOKEN"


@pytest.mark.parametrize("scheme", ["az", "abfs", "abfss"])
def test_a_container_before_an_account_is_no_user(scheme: str) -> None:
    url = f"{scheme}://container@account.dfs.core.windows.net/a.jp2"
    assert Location.of(url).redacted == url
    with pytest.raises(errors.InvalidPath, match="holds credentials") as raised:
        locate(f"{scheme}://me:s3samE@container/a.jp2", None)
    assert "s3samE" not in str(raised.value)


@pytest.mark.parametrize("url", ["az://scenes/a.jp2", f"abfs://scenes@{ACCOUNT}.dfs.core.windows.net/a.jp2"])
def test_an_image_is_read_in_ranges(server: BlobServer, url: str, tmp_path: Path) -> None:
    (tmp_path / "a.jp2").write_bytes(PLAIN.data)
    found = jp2batch.read(url, 0, storage_options=server.options)
    assert (found.values == jp2batch.read(tmp_path / "a.jp2", 0).values).all()
    assert all(asked.startswith("GET ") for asked in server.asked)


def test_a_replaced_blob_is_noticed(server: BlobServer) -> None:
    source = open_source("az://scenes/a.jp2", storage_options=server.options)
    source.read_many([ByteRange(0, 100)])
    server.blobs["scenes/a.jp2"] += b"x"
    with pytest.raises(errors.ObjectChanged):
        source.read_many([ByteRange(0, 100)])


def test_version_and_size_are_told_by_each_reply(server: BlobServer) -> None:
    source = open_source("az://scenes/a.jp2", storage_options=server.options)
    data = server.blobs["scenes/a.jp2"]
    assert source.read_many([ByteRange(0, 8)]) == [(0, data[:8])]
    assert source.read_many([ByteRange(8, 9), ByteRange(len(data) - 2, len(data) + 9)]) == [
        (8, data[8:9]),
        (len(data) - 2, data[-2:]),
    ]
    source.verify()
    assert (source.size, source.meter.requests, source.meter.bytes_read, len(server.asked)) == (len(data), 3, 11, 3)
    server.blobs["scenes/empty.jp2"] = b""
    assert open_source("az://scenes/empty.jp2", storage_options=server.options).read_many([ByteRange(0, 8)]) == [
        (0, b"")
    ]


@pytest.mark.parametrize(
    ("path", "change", "kind"),
    [
        ("az://scenes/none.jp2", {}, errors.ImageNotFound),
        ("az://scenes", {}, errors.ImageNotFound),
        ("az://scenes/a.jp2", {"anon": True}, errors.PermissionDenied),
        ("az://scenes/a.jp2", {"endpoint_url": f"http://127.0.0.1:9/{ACCOUNT}"}, errors.StoreUnavailable),
        ("az://scenes/a.jp2", {"account_key": "s3samE"}, errors.StorageError),
    ],
)
def test_errors_show_no_secret(server: BlobServer, path: str, change: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind) as raised:
        open_source(path, storage_options=server.options | change).read_many([ByteRange(0, 9)])
    assert not any(secret in f"{raised.value}{raised.value!r}" for secret in SECRETS)
    assert raised.value.__context__ is None


def test_a_busy_store_is_asked_once_in_each_attempt(server: BlobServer) -> None:
    server.faults += [503]
    with pytest.raises(errors.StoreUnavailable, match="503 ServerBusy"):
        open_source("az://scenes/a.jp2", storage_options=server.options).read_many([ByteRange(0, 9)])
    assert len(server.asked) == 1


def test_a_shared_access_signature_is_enough_and_is_not_shown(server: BlobServer) -> None:
    options = {"account_name": ACCOUNT, "endpoint_url": server.endpoint, "sas_token": SIGNATURE}
    assert read_bytes("az://scenes/a.jp2", storage_options=options) == server.blobs["scenes/a.jp2"]
    with pytest.raises(errors.StorageError) as raised:
        read_bytes("az://scenes/none", storage_options=options)
    assert "s3samE" not in str(raised.value)


def test_what_is_written_is_read(server: BlobServer) -> None:
    write_bytes("az://results/r.npy", b"123", storage_options=server.options)
    assert server.blobs["results/r.npy"] == b"123"
    assert read_bytes("az://results/r.npy", storage_options=server.options) == b"123"


def test_a_write_is_tried_once_in_each_attempt(server: BlobServer) -> None:
    server.faults += [503]
    with pytest.raises(errors.StoreUnavailable, match=r"cannot be written: .*503 ServerBusy"):
        write_bytes("az://results/r.npy", b"123", storage_options=server.options)
    assert len(server.asked) == 1


def test_the_command_line_asks_anonymously_at_an_endpoint(server: BlobServer) -> None:
    server.public.add("scenes")
    flags = ["--no-sign-request", "--endpoint-url", server.endpoint]
    done = CliRunner().invoke(main, ["info", "az://scenes/a.jp2", *flags])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(main, ["doctor", "az://scenes/a.jp2", *flags])
    assert "asked anonymously" in done.output
    done = CliRunner().invoke(main, ["info", "az://scenes/a.jp2", "--profile", "p"])
    assert "--profile does not apply to az:// paths" in done.output


def test_without_an_account_the_cure_names_it() -> None:
    pytest.importorskip("adlfs")
    with pytest.raises(errors.StorageError, match="no storage account is named") as raised:
        open_source("az://scenes/a.jp2", storage_options={"anon": True})
    assert "account_name" in raised.value.hint


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adlfs", None)
    monkeypatch.delitem(_registry, "az", raising=False)
    with pytest.raises(errors.StorageError, match=r'pip install "jp2batch\[azure\]"'):
        open_source("az://scenes/a.jp2", storage_options={"account_name": "one", "anon": True})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    pytest.importorskip("adlfs")
    if (program := find_azurite()) is None:
        pytest.skip("needs Azurite: npm install -g azurite, or its program in JP2BATCH_AZURITE")
    with azurite(program, tmp_path_factory.mktemp("azurite")) as options:
        yield options


@pytest.mark.azurite
def test_a_batch_reads_from_and_writes_to_azurite(store: dict[str, Any], tmp_path: Path) -> None:
    fsspec.filesystem("az", **azure_options(Location("az://scenes", store), 8)).mkdir("scenes")
    write_bytes("az://scenes/in/a.jp2", PLAIN.data, storage_options=store)
    with pytest.raises(errors.Jp2BatchError):
        jp2batch.read("az://scenes/in/a.jp2", storage_options=store | {"anon": True})
    found = jp2batch.read("az://scenes/in/a.jp2", 0, storage_options=store)
    (tmp_path / "a.jp2").write_bytes(PLAIN.data)
    assert (found.values == jp2batch.read(tmp_path / "a.jp2", 0).values).all()
    (tmp_path / "m.csv").write_text("Path\naz://scenes/in/a.jp2\naz://scenes/in/none.jp2\n")
    options = tmp_path / "options.json"
    options.write_text(json.dumps({name: store[name] for name in ("account_name", "account_key")}))
    flags = ["--endpoint-url", store["endpoint_url"], "--storage-options", f"@{options}", "--local-threads"]
    for output in ("az://scenes/out/", "az://scenes/out.zarr"):
        records = ["--records", str(tmp_path / str(len(output)))]
        done = CliRunner().invoke(main, ["run", str(tmp_path / "m.csv"), "-o", output, *flags, *records])
        assert done.exit_code == 1, done.output
        assert store["account_key"] not in done.output
    fs = fsspec.filesystem("az", **azure_options(Location("az://scenes", store), 8))
    fs.invalidate_cache()
    assert len([name for name in fs.find("scenes/out") if name.endswith(".npy")]) == 1
    assert fs.exists("scenes/out.zarr/zarr.json")
