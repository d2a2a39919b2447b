"""What the doctor finds, and that it names the cure."""

import importlib.metadata
import json
import os
import subprocess
import sys

import dask
import pytest
from click.testing import CliRunner

from jp2batch import config, openjpeg
from jp2batch.cli import main
from jp2batch.doctor import examine

PACKAGES = {"glymur", "numpy", "xarray", "dask", "distributed", "fsspec", "s3fs", "aiohttp", "pyproj", "pillow"}
OPTIONAL = {"gcsfs", "rioxarray", "h5netcdf", "zarr"}
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
    assert str(findings["zarr"]) == "missing  zarr           needed for .zarr stores (pip install zarr)"
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
    with dask.config.set({"jp2batch.max-result": "8 GiB", "jp2batch.stores.s3.latency": "90ms"}):
        detail = found()["configuration"].detail
    assert "jp2batch.max-result = 8 GiB" in detail
    assert "jp2batch.stores.s3.latency = 90ms" in detail


@pytest.mark.parametrize("setting", [{"jp2batch.threads": "all"}, {"jp2batch.stores.s3.latency": "slow"}])
def test_a_configuration_that_cannot_be_used_is_a_problem(setting):
    with dask.config.set(setting):
        finding = found()["configuration"]
    assert finding.status == "problem"
    assert str(next(iter(setting.values()))) in finding.detail


def test_an_image_that_can_be_read(band):
    finding = found(band)["image"]
    assert finding.status == "ok"
    assert "183 x 183" in finding.detail
    assert "EPSG:32629" in finding.detail


@pytest.mark.seaweedfs
def test_an_image_that_cannot_be_read_comes_with_the_likely_cure(s3_server):
    finding = found("s3://scenes/secret.jp2", storage_options=s3_server.anonymous_options)["image"]
    assert finding.status == "problem"
    assert "--no-sign-request" in finding.detail


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
    cures = [line for line in lines if "pip install pillow" in line]
    assert len(cures) == (code != 0)
    assert all("no OpenJPEG library was found" in line for line in cures)
    assert code != 3 or len(lines) == 1
