"""The command line: what it prints where, and how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401  # gives arrays their accessor
import xarray as xr
from click.testing import CliRunner, Result

import jp2batch
from benchmarks.seaweedfs import S3_PUBLIC_BUCKET, S3_SECRET
from jp2batch import cli
from jp2batch.cli import image_commands
from jp2batch.cli.storage_flags import StorageFlags
from jp2batch.core.errors import InvalidRequest
from support.images import SHARED


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def start(*arguments: object, **options) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "jp2batch", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def test_info(band):
    assert run("info", band).output == f"{jp2batch.inspect(band)}\n"
    assert json.loads(run("info", band, "--json").stdout) == json.loads(json.dumps(jp2batch.inspect(band).to_dict()))


def test_plan(band):
    assert run("plan", band).output == f"{jp2batch.plan(band)}\n"
    expected = jp2batch.plan(band, 1, "10:90,20:60").to_dict()
    done = run("plan", band, "--rlevel", 1, "--window", "10:90,20:60", "--json")
    assert json.loads(done.stdout) == json.loads(json.dumps(expected))


def test_read_prints_the_contract(image_of):
    path = image_of("TCI_60m")
    done = run("read", path, "--rlevel", 2)
    answer, expected = json.loads(done.stdout), jp2batch.respond({"Path": path, "rlevel": 2})
    assert list(answer) == list(expected) == ["img_data", "shape", "time_download", "time_processing"]
    assert (answer["img_data"], answer["shape"]) == (expected["img_data"], expected["shape"])
    assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.skipif(not SHARED.exists(), reason="needs the real product beside the repository")
def test_the_old_services_example():
    (path,) = SHARED.glob("**/*_SCL_20m.jp2")
    assert json.loads(run("read", path).stdout)["shape"] == [344, 344]


def load(path: Path) -> np.ndarray:
    if path.suffix == ".json":
        return np.array(json.loads(path.read_bytes())["img_data"])
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".tif":
        with xr.open_dataarray(path, engine="rasterio", mask_and_scale=False) as array:
            return array.values[0]
    if path.suffix == ".nc":
        with xr.open_dataset(path, engine="h5netcdf", decode_coords="all") as dataset:
            return dataset["B8A"].values
    return xr.open_zarr(path, consolidated=False)["B8A"].values


@pytest.mark.parametrize("form", ["json", "npy", "tif", "nc", "zarr"])
def test_read_writes_what_read_returns(form, band, tmp_path):
    target = tmp_path / f"out.{form}"
    done = run("read", band, "--rlevel", 0, "--window", "20:80,30:150", "-o", target)
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.startswith(f"jp2batch: wrote {target}: 60 x 120, fetched ")
    np.testing.assert_array_equal(load(target), jp2batch.read(band, 0, "20:80,30:150").values)


def test_a_wrong_name_for_the_output_is_told_before_anything_is_read(tmp_path):
    done = run("read", tmp_path / "nowhere.jp2", "-o", "out.gif")
    assert done.exit_code == 2
    assert "out.gif" in done.stderr


def test_much_json_comes_with_a_warning(band, monkeypatch):
    monkeypatch.setattr(image_commands, "_HUGE", 1000)
    done = run("read", band, "--rlevel", 1)
    assert "MB of JSON" in done.stderr
    assert json.loads(done.stdout)["shape"] == [92, 92]


def test_sample_prints_the_paths_of_readable_images(tmp_path):
    done = run("sample", tmp_path / "scenes", "--size", 120, "--tlm")
    paths = done.stdout.splitlines()
    assert sorted(map(Path, paths)) == sorted((tmp_path / "scenes").rglob("*.jp2"))
    assert "TLM" in jp2batch.inspect(paths[0]).markers
    assert jp2batch.read(paths[0]).size > 0


def test_sample_makes_an_orthophoto(tmp_path):
    done = run("sample", tmp_path, "--orthophoto", "--size", 100)
    assert done.stdout.splitlines() == [str(tmp_path / "orthophoto.jp2")]
    assert b"\xff\x58" not in (tmp_path / "orthophoto.jp2").read_bytes()[:1500]
    assert "1 x 1 of 100 x 100" in run("info", tmp_path / "orthophoto.jp2").stdout


@pytest.fixture
def bad_images(band, tmp_path, monkeypatch) -> None:
    """Stand in a folder with files that are no images."""
    monkeypatch.chdir(tmp_path)
    Path("text.jp2").write_text("no image at all")
    Path("broken.jp2").write_bytes(Path(band).read_bytes()[:100])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["read", "nowhere.jp2"], 1, "nowhere.jp2: there is no such file"),
        (["info", "broken.jp2"], 1, "broken.jp2: "),
        (["read", "text.jp2"], 1, "text.jp2: "),
        (["info", "."], 1, "this is a folder"),
        (["plan", "unknown://x.jp2"], 1, "unknown:// is not a known protocol"),
        (["read", "{band}", "-o", "missing/out.npy"], 1, "out.npy: cannot be written: No such file or directory"),
        (["sample", "text.jp2"], 1, "text.jp2"),
        (["read", "{band}", "--rlevel", 9], 2, "rlevel 9"),
        (["read", "{band}", "--window", "5:4,0:1"], 2, "window 5:4,0:1 is empty"),
        (["plan", "{band}", "--window", "0:9000,0:1"], 2, "window"),
        (["read", "{band}", "-o", "out.gif"], 2, "out.gif: no format has its suffix"),
        (["read", "{band}", "--profile", "me"], 2, "--profile does not apply to local files"),
        (["info", "{band}", "--storage-options", "{{"], 2, "--storage-options is not a JSON object"),
        (["info", "{band}", "--storage-options", "@nowhere.json"], 2, "its file cannot be read: No such file"),
        (["sample", "scenes", "--size", 100], 2, "--size 100 is not possible"),
        (["sample", "scenes", "--orthophoto", "--size", 10], 2, "size 10, 3 bands"),
        (["sample", "scenes", "--orthophoto", "--dates", 2], 2, "--dates means nothing with --orthophoto"),
        (["run", "{band}", "-o", "out.ndjson"], 2, "a JPEG 2000 image (give it to read, or to jp2batch manifest)"),
    ],
)
def test_an_error_is_one_line_and_a_code(arguments, code, said, band, bad_images):
    done = run(*(str(argument).format(band=band) for argument in arguments))
    assert done.exit_code == code
    assert done.stderr.startswith("jp2batch: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments", [["read"], ["read", "x.jp2", "--rlevel", "low"], ["paint"], ["info", "x", "--no"]]
)
def test_wrong_usage_is_explained(arguments):
    done = run(*arguments)
    assert done.exit_code == 2
    assert "Usage: jp2batch" in done.stderr
    assert done.stdout == ""


def test_an_index_has_the_suffix_of_a_table(band, tmp_path):
    (tmp_path / "m.txt").write_text(f"{band}\n", encoding="utf-8")
    done = run("index", tmp_path / "m.txt", "-o", tmp_path / "index.json")
    assert done.exit_code == 2
    assert "index.json: an index is a file .parquet, or a folder with a slash at its end" in done.stderr


def test_an_image_is_not_overwritten_by_its_own_read(band, tmp_path):
    image = tmp_path / "image.json"
    image.write_bytes(Path(band).read_bytes())
    (tmp_path / "link.json").symlink_to(image)
    done = run("read", image, "-o", tmp_path / "link.json")
    assert (done.exit_code, "this is the image, and would be overwritten" in done.stderr) == (2, True)
    assert image.read_bytes() == Path(band).read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["read", "--help"]], ids=" ".join)
def test_a_full_output_is_told_in_a_line(arguments):
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "jp2batch", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "jp2batch: system: No space left on device\n"


def test_a_mistyped_name_is_answered_with_a_question():
    assert "Did you mean 'read'?" in run("reed", "x.jp2").stderr
    assert "'--window'?)" in run("read", "x.jp2", "--windw", "1").stderr


def test_a_tilde_is_the_home_folder_everywhere(tmp_path, monkeypatch):
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(elsewhere)
    done = run("sample", "~/scenes", "--size", 60)
    path = done.stdout.split()[0]
    assert Path(path).is_relative_to(home / "scenes")
    below = f"~/{Path(path).relative_to(home)}"
    (home / "manifest.txt").write_text(f"{below}\n", encoding="utf-8")
    (home / "all.geojson").write_text("POLYGON ((-180 -90, 180 -90, 180 90, -180 90, -180 -90))", encoding="utf-8")
    for arguments in (
        ["read", below, "-o", "~/read.npy", "--geometry", "~/all.geojson"],
        ["run", "~/manifest.txt", "-o", "~/rows.ndjson", "--records", "~/records.parquet", "--local-threads"],
        ["run", "~/manifest.txt", "-o", "~/files/", "--local-threads"],
        ["run", "~/manifest.txt", "-o", "~/rows.parquet", "--local-threads"],
        ["manifest", below, "-o", "~/listed.csv"],
        ["index", "~/manifest.txt", "-o", "~/index.parquet"],
    ):
        assert run(*arguments).exit_code == 0, arguments
    assert list(elsewhere.iterdir()) == []
    names = {"read.npy", "rows.ndjson", "records.parquet", "files", "rows.parquet", "listed.csv", "index.parquet"}
    assert names <= {one.name for one in home.iterdir()}


def test_a_name_may_begin_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("sample", "~no-user-of-this-name", "--size", 60)
    assert done.exit_code == 0
    assert Path(done.stdout.split()[0]).resolve().is_relative_to(tmp_path / "~no-user-of-this-name")
    assert (
        "the file of --geometry cannot be read"
        in run("read", "x.jp2", "--geometry", "~no-user-of-this-name.json").stderr
    )


def test_a_configuration_that_cannot_be_used_is_told_from_a_failure(band):
    settings = os.environ | {"DASK_JP2BATCH__MAX_RESULT": "much"}
    process = start("read", band, env=settings)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors.count(b"\n")) == (3, b"", 1)
    assert b"jp2batch.max-result of type str is not a size" in errors


def test_version():
    assert run("--version").output == f"jp2batch, version {jp2batch.__version__}\n"


def test_python_m_prints_the_same(band):
    output, errors = start("info", band).communicate(timeout=60)
    assert (output.decode(), errors) == (f"{jp2batch.inspect(band)}\n", b"")


@pytest.mark.parametrize("arguments", [("read", "--rlevel", "0"), ("info",)], ids=["much", "little"])
def test_a_reader_that_leaves_is_no_error(arguments, image_of):
    process = start(*arguments, image_of("TCI_10m"))
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 1


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_an_interruption_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as server:
        process = start("read", f"http://127.0.0.1:{server.getsockname()[1]}/image.jp2")
        connection, _ = server.accept()  # and never answer
        with connection:
            assert connection.recv(100).startswith(b"GET /image.jp2")
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, b"jp2batch: interrupted\n")


@pytest.mark.parametrize(
    ("path", "flags", "options"),
    [
        ("s3://b/k", {"endpoint_url": "http://x", "no_sign_request": True}, {"endpoint_url": "http://x", "anon": True}),
        ("s3a://b/k", {"request_payer": "requester"}, {"requester_pays": True}),
        ("s3://b/k", {"profile": "p", "region": "r"}, {"profile": "p", "client_kwargs": {"region_name": "r"}}),
        (
            "gs://b/k",
            {"no_sign_request": True, "request_payer": "requester"},
            {"token": "anon", "requester_pays": True},
        ),
        ("gcs://b/k", {"endpoint_url": "http://x"}, {"endpoint_url": "http://x"}),
        (
            "https://h/k",
            {"endpoint_url": None, "no_sign_request": False, "storage_options": '{"headers": {"A": "b"}}'},
            None,
        ),
        ("k.jp2", {}, {}),
        ("s3://b/k", {"no_sign_request": True, "storage_options": '{"anon": false}'}, {"anon": False}),
        (
            "s3://b/k",
            {"region": "r", "storage_options": '{"client_kwargs": {"verify": false}, "key": "k"}'},
            {"client_kwargs": {"region_name": "r", "verify": False}, "key": "k"},
        ),
    ],
)
def test_flags_become_options(path, flags, options):
    assert StorageFlags(**flags).options_for(path) == ({"headers": {"A": "b"}} if options is None else options)


@pytest.mark.parametrize(
    ("path", "flag", "where"),
    [
        ("https://user:pass@host/k?signed=1", "no_sign_request", "https:// paths"),
        ("gs://b/k", "profile", "gs:// paths"),
        ("gs://b/k", "region", "gs:// paths"),
        ("memory://k", "request_payer", "memory:// paths"),
        ("simplecache::gs://b/k", "profile", "gs:// paths"),
        ("k.jp2", "endpoint_url", "local files"),
    ],
)
def test_a_flag_that_means_nothing_there_is_an_error(path, flag, where):
    with pytest.raises(InvalidRequest) as raised:
        StorageFlags(**{flag: "given"}).options_for(path)
    assert f"--{flag.replace('_', '-')} does not apply to {where}" in str(raised.value)
    assert "pass@" not in str(raised.value)
    assert "signed" not in str(raised.value)


@pytest.mark.parametrize("text", ['{"secret": "hush"', '["hush"]', '"hush"', "hush"])
def test_options_that_cannot_be_read_are_not_repeated(text):
    with pytest.raises(InvalidRequest) as raised:
        StorageFlags(storage_options=text).options_for("s3://b/k")
    assert "hush" not in str(raised.value)


@pytest.mark.seaweedfs
def test_a_store_by_its_flags(s3_server, band, tmp_path):
    data = Path(band).read_bytes()
    private, public = s3_server.put("cli.jp2", data), s3_server.put("cli.jp2", data, S3_PUBLIC_BUCKET)
    secrets = tmp_path / "options.json"
    secrets.write_text(json.dumps({key: s3_server.options[key] for key in ("key", "secret")}))
    expected = run("info", band, "--json").stdout.replace(json.dumps(band), '"{}"')
    endpoint = ["--endpoint-url", s3_server.endpoint]
    assert run("info", public, "--json", *endpoint, "--no-sign-request").output == expected.replace("{}", public, 1)
    assert run("info", private, "--json", *endpoint, "--storage-options", f"@{secrets}").exit_code == 0
    refused = run("info", private, *endpoint, "--no-sign-request")
    assert refused.exit_code == 1
    assert "--no-sign-request" in refused.stderr
    wrong = json.dumps({"key": "AKIAWRONG", "secret": S3_SECRET})
    refused = run("info", private, *endpoint, "--storage-options", wrong)
    assert refused.exit_code == 1
    assert S3_SECRET not in refused.output
