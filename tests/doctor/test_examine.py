"""What the doctor finds, and that it names the hint."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import dask
import pytest
from click.testing import CliRunner

from jp2batch.cli import main
from jp2batch.compute import connection
from jp2batch.compute.cluster import local_cluster
from jp2batch.core import config
from jp2batch.doctor.cluster import compare_versions
from jp2batch.doctor.examine import examine
from jp2batch.image import openjpeg
from jp2batch.image.index.table_writer import mark_folder, write_table
from jp2batch.storage.schemes import credentials_of

PACKAGES = {"glymur", "numpy", "xarray", "dask", "distributed", "fsspec", "s3fs", "aiohttp", "pyproj", "pillow"}
OPTIONAL = {"adlfs", "gcsfs", "obstore", "rioxarray", "h5netcdf", "h5py", "zarr"}
WITHOUT_OPENJPEG = """
import ctypes.util, importlib.util, sys
ctypes.util.find_library = lambda name: None
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "PIL" else find(name, *more)
from jp2batch.cli import main
main(sys.argv[1:])
"""


def found(path=None, **options):
    return {finding.topic: finding for finding in examine(path, **options)}


def test_all_is_well_here():
    findings = found()
    assert {"python", "openjpeg", "glymurrc", "configuration"} | PACKAGES | OPTIONAL == set(findings)
    assert {finding.status for finding in findings.values()} <= {"ok", "missing"}
    library = openjpeg.library()
    assert findings["openjpeg"].detail == f"{library.version} at {library.path}, found by {library.found_by}"
    assert findings["numpy"].detail == importlib.metadata.version("numpy")


@pytest.mark.system_openjpeg
def test_the_library_in_use_is_the_one_that_was_configured():
    configured = config.openjpeg_library()
    detail = found()["openjpeg"].detail
    assert (f"at {configured}, found by configuration" in detail) == (configured is not None)


def test_an_old_library_is_a_problem(monkeypatch):
    monkeypatch.setattr(openjpeg, "library", lambda: openjpeg.Library("libopenjp2.so", "2.4.0", "glymur"))
    finding = found()["openjpeg"]
    assert (finding.status, "pip install pillow" in finding.detail) == ("problem", True)


@pytest.mark.parametrize("version", ["2.5.0", "2.10.1", "3.0"])
def test_a_newer_library_is_none(version, monkeypatch):
    monkeypatch.setattr(openjpeg, "library", lambda: openjpeg.Library("libopenjp2.so", version, "glymur"))
    assert found()["openjpeg"].status == "ok"


def test_missing_packages(monkeypatch):
    version = importlib.metadata.version

    def without(name: str) -> str:
        if name in {"zarr", "s3fs"}:
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    findings = found()
    assert str(findings["zarr"]) == 'missing  zarr           needed for .zarr stores (pip install "jp2batch[files]")'
    assert str(findings["s3fs"]) == "problem  s3fs           not installed (pip install s3fs)"


def test_glymurs_configuration_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert found()["glymurrc"].detail.startswith("none")
    (tmp_path / "glymur").mkdir()
    (tmp_path / "glymur" / "glymurrc").touch()
    assert found()["glymurrc"].detail == f"{tmp_path / 'glymur' / 'glymurrc'} is in use"
    (tmp_path / "glymurrc").touch()
    assert found()["glymurrc"].detail == f"{tmp_path / 'glymurrc'} is in use"


def test_what_is_configured_is_told():
    with dask.config.set(config.DEFAULTS):
        assert found()["configuration"].detail == "the defaults"
    with dask.config.set({"jp2batch.max-result": "8 GiB", "jp2batch.profiles.aws.latency": "90ms"}):
        detail = found()["configuration"].detail
    assert "jp2batch.max-result = 8 GiB" in detail
    assert "jp2batch.profiles.aws.latency = 90ms" in detail


@pytest.mark.parametrize(
    "setting",
    [
        {"jp2batch.threads": "all"},
        {"jp2batch.profiles.aws.latency": "slow"},
        {"jp2batch.driver": "tape"},
        {"jp2batch.decoder": "kakadu"},
        {"jp2batch.world-files": "always"},
        {"jp2batch.deadline": "soon"},
        {"jp2batch.mirrors": "mine"},
        {"jp2batch.retries.attempts": "often"},
        {"jp2batch.index.enabled": "perhaps"},
    ],
)
def test_a_configuration_that_cannot_be_used_is_a_problem(setting):
    with dask.config.set(setting):
        finding = found()["configuration"]
    assert finding.status == "problem"
    ((key, value),) = setting.items()
    assert key.removesuffix(".latency") in finding.detail
    assert value not in finding.detail


@pytest.mark.parametrize(
    ("key", "meant"),
    [("max-resutl", "max-result"), ("retries.attemps", "retries.attempts"), ("index.disc", "index.disk")],
)
def test_an_unknown_key_is_a_problem(key, meant):
    with dask.config.set({f"jp2batch.{key}": 5}):
        finding = found()["configuration"]
    assert (finding.status, finding.detail) == (
        "problem",
        f"jp2batch.{key} is unknown: jp2batch.{meant} is meant?",
    )


def test_the_shared_index_is_looked_at(tmp_path):
    write_table(str(tmp_path / "index.parquet"), {})
    mark_folder(f"{tmp_path}/index/")
    for place in (tmp_path / "index.parquet", tmp_path / "index"):
        with dask.config.set({"jp2batch.index.shared": str(place)}):
            assert (found()["shared index"].status, found()["shared index"].detail) == ("ok", str(place))
    with dask.config.set({"jp2batch.index.shared": f"{tmp_path}/"}):
        finding = found()["shared index"]
    assert finding.status == "problem"
    assert "is no folder of index tables" in finding.detail
    assert "shared index" not in found()


def test_an_image_that_can_be_read(band):
    finding = found(band)["image"]
    assert finding.status == "ok"
    assert "183 x 183" in finding.detail
    assert "EPSG:32629" in finding.detail


# Stores that refuse


@pytest.fixture
def store(http_server, band, monkeypatch, tmp_path):
    """Return a server as a store that answers as S3 does, and refuses what `allow` does not allow."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    begin = http_server.begin
    http_server.files |= {f"{name}/b.jp2": Path(band).read_bytes() for name in ("bucket", "sentinel-s2-l2a")}
    http_server.allow = lambda headers: True

    def refusing(request):
        fault = begin(request)
        return fault if http_server.allow(request.headers) else 403

    monkeypatch.setattr(http_server, "begin", refusing)
    http_server.options = {"endpoint_url": http_server.url("").rstrip("/")}
    http_server.signed = http_server.options | {"key": "me", "secret": "hush-hush"}
    return http_server


def signed(headers):
    return "authorization" in headers


def test_a_public_bucket_is_to_be_asked_anonymously(store):
    store.allow = lambda headers: not signed(headers)
    findings = found("s3://bucket/b.jp2", storage_options=store.signed)
    assert findings["store"].detail == f"s3:// at {store.options['endpoint_url']}, credentials: storage_options"
    assert findings["image"].status == "problem"
    assert 'it is public: ask without credentials, by storage_options={"anon": True}' in findings["image"].detail
    assert "hush-hush" not in str(findings)
    assert found("s3://bucket/b.jp2", storage_options=store.options | {"anon": True})["image"].status == "ok"


def test_without_credentials_a_public_bucket_is_found_out(store):
    findings = found("s3://bucket/b.jp2", storage_options=store.options)
    assert findings["store"].detail.endswith("no credentials found")
    assert "it is public" in findings["image"].detail
    store.allow = signed
    detail = found("s3://bucket/b.jp2", storage_options=store.options)["image"].detail
    assert "anonymous requests are refused, too, and no credentials were found" in detail


def test_a_bucket_whose_requester_pays_is_found_out_without_paying(store):
    store.allow = lambda headers: signed(headers) and headers.get("x-amz-request-payer") == "requester"
    for bucket, likely in (
        ("bucket", "may have to pay"),
        ("sentinel-s2-l2a", "of this store is known: its requester pays"),
    ):
        detail = found(f"s3://{bucket}/b.jp2", storage_options=store.signed)["image"].detail
        assert likely in detail
        assert 'storage_options={"requester_pays": True}' in detail
    assert not any("x-amz-request-payer" in {name.lower() for name in headers} for headers in store.headers)
    paying = store.signed | {"requester_pays": True}
    assert found("s3://bucket/b.jp2", storage_options=paying)["image"].status == "ok"


def test_anonymous_requests_that_are_refused(store, monkeypatch):
    store.allow = signed
    anonymous = store.options | {"anon": True}
    finding = found("s3://bucket/b.jp2", storage_options=anonymous)["image"]
    assert 'it is not public: leave out storage_options={"anon": True}' in finding.detail
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    findings = found("s3://bucket/b.jp2", storage_options=anonymous)
    assert findings["store"].detail.endswith("asked anonymously")
    said = 'with the credentials found (environment) it can be read: leave out storage_options={"anon": True}'
    assert said in str(findings["image"])
    assert "credentials: environment" in found("s3://bucket/b.jp2", storage_options=store.options)["store"].detail


@pytest.mark.parametrize(
    ("protocol", "options", "kind"),
    [
        ("s3", {"anon": True}, "anonymous"),
        ("s3", {"profile": "nobody"}, None),
        ("gs", {"token": "anon"}, "anonymous"),
        ("gs", {"token": "key.json"}, "storage_options"),
        ("gs", {}, None),
        ("https", {"headers": {"Authorization": "x"}}, "storage_options"),
        ("https", {}, None),
    ],
)
def test_credentials_are_told_by_where_they_are_from(protocol, options, kind, store, monkeypatch):
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    assert credentials_of(protocol, options) == kind


def test_a_web_server_that_refuses(store):
    store.allow = lambda headers: False
    finding = found(store.url("bucket/b.jp2"))["image"]
    assert (finding.status, '"headers"' in finding.detail) == ("problem", True)


def test_a_store_that_is_not_there(store):
    options = {"endpoint_url": "http://127.0.0.1:9", "anon": True}
    finding = found("s3://eodata/b.jp2", storage_options=options)["image"]
    assert "of this store is known: Copernicus Data Space" in finding.detail
    assert "https://eodata" in finding.detail


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("http://no-such-host.invalid/b.jp2", "check the host's name and port, the network and the proxy"),
        ("ftp://127.0.0.1:9/b.jp2", "check the host's name and port, the network and the proxy"),
        ("/vsis3/bucket/b.jp2", "give s3://bucket/b.jp2"),
        ("nowhere/b.jp2", "there is no such file (check the path)"),
    ],
)
def test_what_cannot_be_reached_has_its_hint(path, hint):
    with dask.config.set({"jp2batch.retries.attempts": 1}):
        finding = found(path)["image"]
    assert (finding.status, hint in finding.detail) == ("problem", True), finding


def test_secrets_in_the_configuration_are_not_told():
    shared = {"shared": "https://me:hush-hush@host/i.parquet?sig=hush-hush", "shared-options": {"key": "hush-hush"}}
    with dask.config.set({"jp2batch.index": shared, "jp2batch.retries.attempts": 1}):
        detail = found()["configuration"].detail
    assert "jp2batch.index.shared = https://host/i.parquet" in detail
    assert "hush-hush" not in detail


# Clusters


@pytest.fixture(scope="module")
def client():
    """A cluster of two processes."""
    with local_cluster(workers=2) as started:
        yield started


def test_a_cluster_that_can_do_the_work(client, band):
    findings = examine(band, scheduler=client.scheduler.address)
    told = [str(finding) for finding in findings if finding.topic in ("scheduler", "versions", "on workers")]
    library = openjpeg.library()
    assert {finding.status for finding in findings} <= {"ok", "missing"}
    assert len(told) == 4
    assert "2 workers, 2 threads" in told[0]
    assert told[1].endswith("workers have the same versions as this process")
    assert f"openjpeg: {library.version}" in told[2]
    assert "reaching it: " in told[3]
    assert "183 x 183" in told[3]


def test_workers_that_do_not_reach_the_image_are_named(client, tmp_path):
    finding = examine(str(tmp_path / "x.jp2"), scheduler=client.scheduler.address)[-1]
    assert finding.status == "problem"
    assert re.search(r"reaching it: .*there is no such file.* \(on all workers\)", finding.detail)


def test_no_cluster_at_the_address(monkeypatch):
    monkeypatch.setattr(connection, "_PATIENCE", 0.3)
    finding = examine(scheduler="tcp://127.0.0.1:9")[-1]
    assert (finding.topic, finding.status) == ("scheduler", "problem")
    assert "Timed out trying to connect to tcp://127.0.0.1:9" in finding.detail
    assert "firewall" in finding.detail


def versions(python="3.11.7.final.0", **packages):
    return {"host": {"python": python}, "packages": {"jp2batch": "1", "dask": "2", "numpy": "3"} | packages}


@pytest.mark.parametrize(
    ("workers", "details"),
    [
        ({"a": versions(), "b": versions("3.11.9.final.0")}, ["workers have the same versions as this process"]),
        ({"a": versions(), "b": versions(jp2batch="2")}, ["jp2batch 1 here, 2 on b (pip install jp2batch==1 there)"]),
        ({"a": versions(jp2batch=None)}, ["jp2batch 1 here, none on all workers (pip install jp2batch==1 there)"]),
        (
            {"a": versions("3.13.1.final.0", dask="9"), "b": versions(dask="8"), "c": versions()},
            [
                "dask 2 here, 8, 9 on a, b (pip install dask==2 there)",
                "python 3.11 here, 3.13 on a (give both the same Python)",
            ],
        ),
        (
            {name: versions(numpy="4") for name in "abcde"} | {"f": versions()},
            ["numpy 3 here, 4 on a, b, c and 2 more (pip install numpy==3 there)"],
        ),
    ],
)
def test_versions_that_differ_are_named(workers, details):
    findings = compare_versions({"client": versions(), "workers": workers})
    assert [finding.detail for finding in findings] == details
    assert {finding.status for finding in findings} == {"ok" if "same versions" in details[0] else "problem"}
    assert any("jp2batch" in finding.detail for finding in findings) == (findings[0].topic == "on workers")


def test_the_command_prints_it_all_and_fails_where_there_is_a_problem(band):
    done = CliRunner().invoke(main, ["doctor", band])
    assert done.exit_code == 0
    assert done.output == "".join(f"{finding}\n" for finding in examine(band))
    done = CliRunner().invoke(main, ["doctor", "nowhere.jp2", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout) == [finding.to_dict() for finding in examine("nowhere.jp2")]


@pytest.mark.parametrize(("arguments", "code"), [(["read", "{band}"], 3), (["doctor"], 1), (["info", "{band}"], 0)])
def test_without_openjpeg_one_line_says_what_to_install(arguments, code, band, tmp_path):
    settings = {key: value for key, value in os.environ.items() if not key.startswith("DASK_JP2BATCH")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_OPENJPEG, *(one.format(band=band) for one in arguments)],
        env=settings | {"XDG_CONFIG_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    lines = (done.stderr + done.stdout).splitlines()
    hints = [line for line in lines if "pip install pillow" in line]
    assert len(hints) == (code != 0)
    assert all("no OpenJPEG library was found" in line for line in hints)
    assert code != 3 or len(lines) == 1
