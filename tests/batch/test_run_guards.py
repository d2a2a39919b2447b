"""What `jp2batch run` refuses: a second run, another root, a missing package; what it does not tell: secrets."""

import importlib.util
import itertools
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import fsspec
import psutil
import pytest

import jp2batch
from jp2batch.cli.storage_flags import StorageFlags
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.request import Request
from jp2batch.storage.store_options import options_for
from support.images import PLAIN
from support.runs import check_records, lines, run, start, wait_for_records, write_rows
from support.waiting import wait_until

posix = pytest.mark.skipif(os.name != "posix", reason="signals and locks are those of POSIX")

OUTPUTS = ["results.ndjson", "out/", "results.zarr"]


@pytest.fixture
def image(tmp_path) -> Path:
    (tmp_path / "images").mkdir()
    path = tmp_path / "images" / "image.jp2"
    path.write_bytes(PLAIN.data)
    return path


@pytest.fixture
def manifest(image, tmp_path) -> Path:
    return write_rows(tmp_path / "manifest.ndjson", [{"Path": str(image), "rlevel": level} for level in (0, 1)])


@pytest.fixture
def endless(image, tmp_path) -> Path:
    """Return a manifest that keeps a run busy for as long as a test takes."""
    rows = [
        {"Path": str(image), "rlevel": 0, "window": f"{r}:{r + 9},{c}:{c + 9}"} for r in range(90) for c in range(90)
    ]
    return write_rows(tmp_path / "endless.ndjson", rows)


# One run at a time


@posix
@pytest.mark.parametrize("output", OUTPUTS)
def test_a_second_run_on_one_output_is_refused(output, endless, tmp_path):
    records = tmp_path / ("out/records.ndjson" if output == "out/" else f"{output}.records.ndjson")
    first = start(endless, "-o", f"{tmp_path}/{output}", "--local-threads")
    try:
        wait_for_records(records, 5)
        assert run(endless, f"{tmp_path}/{output}").exit_code == 2
        for how in ("--resume", "--overwrite", "--retry-failed"):
            second = run(endless, f"{tmp_path}/{output}", how)
            assert (second.exit_code, second.stderr.count("\n")) == (3, 1)
            assert "another run is writing to it" in second.stderr
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate()
    few = write_rows(tmp_path / "few.ndjson", [json.loads(line) for line in endless.read_text().splitlines()[:50]])
    done = run(few, f"{tmp_path}/{output}", "--resume", "--json")
    assert done.exit_code == 0, done.stderr  # the lock has died with its process
    assert json.loads(done.stdout)["kept"] >= 1


@posix
def test_two_runs_that_begin_together_do_not_mix(manifest, tmp_path):
    runs = [start(manifest, "-o", tmp_path / "r.ndjson", "--local-threads") for _ in range(4)]
    codes = [one.wait(timeout=60) for one in runs]
    for one in runs:
        one.communicate()
    assert codes.count(0) == 1
    assert set(codes) <= {0, 2, 3}
    assert len(check_records(tmp_path / "r.ndjson.records.ndjson", manifest)) == len(lines(tmp_path / "r.ndjson")) == 2


@posix
def test_two_outputs_with_the_same_records_do_not_mix(endless, manifest, tmp_path):
    shared = tmp_path / "records"
    first = start(endless, "-o", tmp_path / "a.ndjson", "--records", shared, "--local-threads")
    try:
        wait_for_records(shared, 5)
        second = run(manifest, tmp_path / "b.ndjson", "--records", shared, "--resume")
    finally:
        first.kill()
        first.communicate()
    assert second.exit_code == 3


@pytest.mark.parametrize("output", OUTPUTS)
def test_no_lock_is_left(output, manifest, tmp_path):
    assert run(manifest, f"{tmp_path}/{output}").exit_code == 0
    assert not list(tmp_path.rglob("*.lock"))
    assert run(manifest, f"{tmp_path}/missing/{output}", "--workers", 1).exit_code == 2
    assert not (tmp_path / "missing").exists()


# The same root


def test_a_batch_is_not_resumed_below_another_root(image, tmp_path):
    manifest = write_rows(tmp_path / "m.ndjson", [{"Path": "image.jp2", "id": "a"}])
    here, other = tmp_path / "images", tmp_path / "others"
    assert run(manifest, tmp_path / "r.ndjson", "--root", here).exit_code == 0
    done = run(manifest, tmp_path / "r.ndjson", "--root", other, "--resume")
    assert done.exit_code == 2
    assert f"give --root {here}, or another output" in done.stderr
    assert len(lines(tmp_path / "r.ndjson")) == 1
    done = run(manifest, tmp_path / "r.ndjson", "--root", f"{here}/", "--resume", "--json")
    assert json.loads(done.stdout)["kept"] == 1
    record = lines(tmp_path / "r.ndjson.records.ndjson")[0]
    assert (record["Path"], record["root"]) == ("image.jp2", str(here))
    done = run(manifest, tmp_path / "r.ndjson", "--root", other, "--overwrite", "--json")
    assert json.loads(done.stdout)["failures"] == {"ImageNotFound": 1}


@pytest.mark.parametrize("name", ["r.ndjson", "./r.ndjson", "link.ndjson", "r.parquet"])
def test_records_in_the_place_of_the_results_are_refused(name, manifest):
    folder = manifest.parent
    (folder / "link.ndjson").symlink_to(folder / "r.ndjson")
    output = folder / ("r.parquet" if name == "r.parquet" else "r.ndjson")
    done = run(manifest, output, "--records", f"{folder}/{name}")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "these are the results, and the records need another place (name another file)" in done.stderr
    assert not output.exists()


def test_an_output_by_a_symbolic_link_is_the_same_output(manifest):
    folder = manifest.parent
    assert run(manifest, folder / "r.ndjson").exit_code == 0
    (folder / "link.ndjson").symlink_to("r.ndjson")
    before = (folder / "r.ndjson").read_bytes()
    assert "results exist already" in run(manifest, folder / "link.ndjson").stderr
    done = run(manifest, folder / "link.ndjson", "--resume", "--json")
    assert (done.exit_code, json.loads(done.stdout)["kept"]) == (0, 2)
    assert (folder / "link.ndjson").is_symlink()
    assert (folder / "r.ndjson").read_bytes() == before


def test_no_records_are_promised_of_the_standard_output(manifest):
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "jp2batch", "run", str(manifest), "-o", "-", "--local-threads"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "records" not in done.stderr


def test_a_slash_at_the_end_of_a_root_changes_no_id():
    assert Request("a.jp2", root="s3://bucket/").id == Request("a.jp2", root="s3://bucket").id
    assert Request("a.jp2", root="s3://bucket").id != Request("a.jp2", root="s3://other").id


# Missing packages


@pytest.mark.parametrize(
    ("output", "form", "package"),
    [("out/", "tif", "rioxarray"), ("out/", "nc", "h5netcdf"), ("out/", "zarr", "zarr"), ("r.zarr", None, "zarr")],
)
def test_a_missing_package_is_told_before_anything_is_read(output, form, package, manifest, monkeypatch):
    tmp_path, found = manifest.parent, importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == package else found(name, *more)
    )
    done = run(manifest, f"{tmp_path}/{output}", *(["--format", form] if form else []))
    assert done.exit_code == 2
    assert f'needs {package} (pip install "jp2batch[files]")' in done.stderr
    assert not (tmp_path / output).exists()


def test_a_missing_reader_of_parquet_is_told(tmp_path, monkeypatch):
    (tmp_path / "m.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = run(tmp_path / "m.parquet", tmp_path / "r.ndjson")
    assert done.exit_code == 2
    assert "reading Parquet needs pyarrow" in done.stderr


# Ended before it has begun


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_can_be_ended_while_it_waits_for_its_manifest(number, tmp_path):
    process = start("-", "-o", tmp_path / "r.ndjson", "--local-threads", stdin=subprocess.PIPE)
    process.stdin.write(b"\n" * 500_000)  # more than a pipe holds: it reads
    process.stdin.flush()
    process.send_signal(number)
    assert process.wait(timeout=30) == 130
    _, errors = process.communicate()
    assert errors.decode().startswith("jp2batch: interrupted")
    assert list(tmp_path.iterdir()) == []


@posix
def test_it_can_be_ended_while_its_cluster_starts(manifest, tmp_path):
    process = start(manifest, "-o", tmp_path / "r.ndjson", "--workers", 2)
    wait_until(psutil.Process(process.pid).children, 30)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert b"Traceback" not in errors
    assert not list(tmp_path.glob("*r.ndjson*"))


# Secrets


def test_no_secret_of_a_url_is_shown(image, http_server, tmp_path):
    http_server.files["image.jp2"] = image.read_bytes()
    secret = http_server.url("image.jp2").replace("://", "://me:pass-word@") + "?sig=sign-ature"
    request = Request(secret, rlevel=1)
    manifest = write_rows(tmp_path / "m.ndjson", [{"Path": secret}, {"Path": secret.replace("image", "nowhere")}])
    done = run(manifest, f"{tmp_path}/out/", "--json")
    assert json.loads(done.stdout)["ok"] == 1
    (task,) = jp2batch.to_delayed([request])
    table = jp2batch.run([request]).to_dataframe().to_string()
    names = [str(path) for path in (tmp_path / "out").iterdir()]
    shown = [done.output, (tmp_path / "out/records.ndjson").read_text(), *names, repr(request), task.key, table]
    for word in ("pass-word", "sign-ature"):
        assert not [text for text in shown if word in text]


# Several stores


@pytest.mark.parametrize(
    ("paths", "flags", "expected"),
    [
        (["a.jp2", "b.jp2"], {}, {}),
        (["s3://b/a.jp2"], {"no_sign_request": True}, {"anon": True}),
        (["s3://b/a.jp2", "a.jp2"], {"no_sign_request": True}, {"s3": {"anon": True}}),
        (["s3://b/a", "gs://b/a"], {"no_sign_request": True}, {"s3": {"anon": True}, "gs": {"token": "anon"}}),
        (["s3://b/a.jp2", "a.jp2"], {"storage_options": '{"key": "x"}'}, {"s3": {"key": "x"}}),
        (["s3://b/a", "https://h/a"], {"storage_options": '{"https": {"headers": {}}}'}, {"https": {"headers": {}}}),
        (
            ["s3://b/a"],
            {"storage_options": '{"s3": {"key": "x"}}', "no_sign_request": True},
            {"anon": True, "key": "x"},
        ),
        (["s3://b/a", "https://h/a"], {"profile": "me"}, {"s3": {"profile": "me"}}),
        (["zip://a.jp2::s3://b/a.zip"], {"no_sign_request": True}, {"anon": True}),
        (["zip://a.jp2::a.zip", "s3://b/a"], {"profile": "me"}, {"s3": {"profile": "me"}}),
        (
            ["simplecache::s3://b/a"],
            {"storage_options": '{"simplecache": {"cache_storage": "x"}}', "no_sign_request": True},
            {"simplecache": {"cache_storage": "x"}, "s3": {"anon": True}},
        ),
    ],
)
def test_flags_are_for_the_stores_that_know_them(paths, flags, expected):
    assert StorageFlags(**flags).options_for(*paths) == expected


def test_flags_that_no_store_knows_or_any_may_mean_are_refused():
    with pytest.raises(InvalidRequest, match="--profile does not apply"):
        StorageFlags(profile="me").options_for("https://h/a", "a.jp2")
    with pytest.raises(InvalidRequest, match="several stores: https, s3"):
        StorageFlags(storage_options='{"key": "x"}').options_for("https://h/a", "s3://b/a", "c.jp2")


def test_a_manifest_takes_the_flags_that_its_store_knows():
    key = '{"key": "x"}'
    anonymous = StorageFlags(no_sign_request=True)
    assert anonymous.options_for_manifest("scenes.csv", None) == {}
    assert replace(anonymous, storage_options=key).options_for_manifest("https://h/m.csv", "s3://b") == {}
    assert StorageFlags(storage_options=key, region="r").options_for_manifest("s3://b/m.csv", "s3://b") == {
        "key": "x",
        "client_kwargs": {"region_name": "r"},
    }


def test_options_by_protocol_go_to_their_stores():
    options = {"s3": {"anon": True}, "https": {"headers": {}}}
    assert options_for("s3://b/a", options) == {"anon": True}
    assert options_for("a.jp2", options) == {}
    assert options_for("s3://b/a", {"client_kwargs": {}}) == {"client_kwargs": {}}


@pytest.mark.seaweedfs
def test_one_manifest_may_name_images_in_several_stores(image, http_server, s3_server, tmp_path):
    http_server.files["image.jp2"] = image.read_bytes()
    fsspec.filesystem("memory").pipe_file("/mixed/image.jp2", image.read_bytes())
    paths = [str(image), http_server.url("image.jp2"), s3_server.put("mixed.jp2", image.read_bytes())]
    rows = [{"Path": path, "rlevel": 1} for path in [*paths, "memory://mixed/image.jp2"]]
    manifest = write_rows(tmp_path / "m.ndjson", rows)
    options = json.dumps({"s3": s3_server.options})
    done = run(manifest, tmp_path / "r.ndjson", "--storage-options", options, "--json")
    assert (done.exit_code, json.loads(done.stdout)["ok"]) == (0, 4), done.stderr
    answers = [line["img_data"] for line in lines(tmp_path / "r.ndjson")]
    assert answers == [jp2batch.respond({"Path": str(image), "rlevel": 1})["img_data"]] * 4


# Files of others


@pytest.mark.parametrize("mode", [[], ["--resume"], ["--retry-failed"], ["--overwrite"]])
@pytest.mark.parametrize("as_records", [False, True])
def test_the_manifest_is_never_written_to(mode, as_records, image, tmp_path, monkeypatch):
    manifest = write_rows(tmp_path / "m.ndjson", [{"Path": str(image)}])
    before = manifest.read_bytes()
    monkeypatch.chdir(tmp_path)
    where = ["x.ndjson", "--records", "m.ndjson"] if as_records else ["m.ndjson"]
    done = run(manifest, *where, *mode)
    assert done.exit_code == 2
    assert "this is the manifest" in done.stderr
    assert manifest.read_bytes() == before


@pytest.mark.parametrize("mode", ["--resume", "--overwrite"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        *itertools.product(
            ["mine.ndjson", "mine.ndjson.records.ndjson", "out/records.ndjson"],
            ["one\ntwo\n", '{"id":"a","name":"b"}\n'],
        ),
        ("mine.ndjson", "{x"),  # as records, that may be the half one of a killed run
    ],
)
def test_what_no_run_has_written_is_not_replaced(mode, name, text, image, tmp_path):
    manifest = write_rows(tmp_path / "m.ndjson", [{"Path": str(image)}])
    (tmp_path / "out").mkdir()
    (tmp_path / name).write_text(text)
    done = run(manifest, tmp_path / "mine.ndjson" if name.startswith("mine") else f"{tmp_path}/out/", mode)
    assert done.exit_code == 2
    assert "not written by an earlier run" in done.stderr
    assert (tmp_path / name).read_text() == text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([""], "the name of the output is empty"),
        (["d.ndjson"], "this is a folder"),
        (["-", "--records", "no/such/r.ndjson"], "no/such"),
    ],
)
def test_an_output_that_cannot_be_is_called_by_its_name(arguments, said, manifest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.ndjson").mkdir()
    done = run(manifest, *arguments)
    assert done.exit_code in (2, 3)
    assert said in done.stderr
    assert "--overwrite" not in done.stderr


# The words of the caller


def test_the_library_names_parameters_and_the_command_line_flags(image, tmp_path):
    manifest = write_rows(tmp_path / "m.ndjson", [{"Path": str(image)}])
    output = tmp_path / "r.ndjson"
    assert run(manifest, output).exit_code == 0
    for options, parameters, flags in (
        ({"resume": True, "overwrite": True}, "overwrite=True contradicts resume=True", "--overwrite contradicts"),
        ({}, "continue it with resume=True, replace it with overwrite=True", "continue it with --resume, replace it"),
    ):
        with pytest.raises(InvalidRequest, match=parameters) as raised:
            jp2batch.run_to([str(image)], output, progress=False, **options)
        assert "--" not in str(raised.value)
        assert flags in run(manifest, output, *(f"--{name}" for name in options)).stderr
