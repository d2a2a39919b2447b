"""`jp2batch run` with its output in an object store: files by single PUTs, records in a local file and a copy there."""

import io
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import s3fs
import xarray as xr

import jp2batch
from benchmarks.seaweedfs import S3_BUCKET, S3_PUBLIC_BUCKET
from jp2batch.batch.deduplicate import items_of
from jp2batch.core import config
from jp2batch.core.errors import StorageError, StoreUnavailable
from jp2batch.storage import files
from jp2batch.storage.directory import Directory
from support.images import PLAIN
from support.runs import check_records, lines, run, start, write_rows
from support.waiting import wait_until

pytestmark = pytest.mark.seaweedfs


@pytest.fixture
def manifest(tmp_path) -> Path:
    (tmp_path / "image.jp2").write_bytes(PLAIN.data)
    rows = [{"Path": str(tmp_path / "image.jp2"), "rlevel": 0, "window": f"{r}:{r + 9},0:20"} for r in range(12)]
    return write_rows(tmp_path / "manifest.ndjson", [*rows, rows[0]])


def names(fs, url: str) -> set[str]:
    return {name.rpartition("/")[2] for name in fs.ls(url, refresh=True)}


def records_in(fs, url: str, into: Path) -> Path:
    """Return a local file with the records in a store."""
    segments = [fs.cat_file(name) for name in sorted(fs.find(url, refresh=True))]
    into.write_bytes(b"".join(segments))
    return into


def check_files(fs, url: str, manifest: Path, tmp_path: Path) -> None:
    """Check that each item has its record and its file, with the right pixels, and that nothing else is there."""
    found = check_records(records_in(fs, f"{url}/records", tmp_path / "all"), manifest)
    outputs = {Path(record["output"]).name for record in found.values()}
    assert names(fs, url) == outputs | {"records", ".jp2batch-run.json"}
    for record in found.values():
        info = fs.info(record["output"])
        assert (info["size"], f"md5:{info['ETag'][1:-1]}") == (record["output_size"], record["output_checksum"])
    for item in items_of(jp2batch.read_manifest(manifest)):
        values = np.load(io.BytesIO(fs.cat_file(found[item.id]["output"])))
        np.testing.assert_array_equal(values, jp2batch.read(item.path, item.rlevel, item.window))


@pytest.mark.parametrize("engine", [["--local-threads"], ["--workers", "2"]])
def test_files_are_put_into_the_store(engine, fs, away, manifest, tmp_path):
    process = start(manifest, "-o", f"{away}/out/", "--json", *engine)
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert json.loads(output)["ok"] == 13
    assert {path.name for path in tmp_path.iterdir()} == {"image.jp2", "manifest.ndjson"}
    check_files(fs, f"{away}/out", manifest, tmp_path)


def test_a_zarr_store_opens_from_there(away, fs, manifest, tmp_path, s3_server):
    assert run(manifest, f"{away}/results.zarr").exit_code == 0
    found = check_records(records_in(fs, f"{away}/results.zarr.records", tmp_path / "all"), manifest)
    assert names(fs, f"{away}/results.zarr") == {Path(r["output"]).name for r in found.values()} | {"zarr.json"}
    options = {"storage_options": s3_server.options, "consolidated": False}
    with xr.open_datatree(f"{away}/results.zarr", engine="zarr", decode_coords="all", **options) as tree:
        assert len(tree.children) == 12
        for item in items_of(jp2batch.read_manifest(manifest)):
            (values,) = tree[Path(found[item.id]["output"]).name].data_vars.values()
            np.testing.assert_array_equal(values, jp2batch.read(item.path, item.rlevel, item.window))
    assert run(manifest, f"{away}/results.zarr", "--overwrite").exit_code == 0
    assert len(names(fs, f"{away}/results.zarr")) == 13


def test_a_batch_in_a_store_is_resumed_replaced_and_kept_apart(away, fs, manifest, tmp_path):
    assert run(manifest, f"{away}/out/").exit_code == 0
    fs.pipe_file(f"{away}/out/theirs.txt", b"dear")
    done = run(manifest, f"{away}/out/")
    assert (done.exit_code, "results exist already" in done.stderr) == (2, True)
    first, *others = lines(records_in(fs, f"{away}/out/records", tmp_path / "all"))
    fs.rm(first["output"])
    done = run(manifest, f"{away}/out/", "--resume", "--json")
    kept = sum(other["output"] != first["output"] for other in others)
    assert (done.exit_code, json.loads(done.stdout)["kept"]) == (0, kept)
    assert fs.cat_file(f"{away}/out/theirs.txt") == b"dear"
    done = run(manifest, f"{away}/out/", "--overwrite", "--json")
    assert (done.exit_code, json.loads(done.stdout)["kept"]) == (0, 0)
    fs.rm(f"{away}/out/theirs.txt")
    check_files(fs, f"{away}/out", manifest, tmp_path)


def test_records_of_an_earlier_version_count(away, fs, manifest, tmp_path):
    assert run(manifest, f"{away}/out/").exit_code == 0
    old = [
        {name: value for name, value in record.items() if not name.startswith("output_")}
        for record in lines(records_in(fs, f"{away}/out/records", tmp_path / "all"))
    ]
    fs.rm(f"{away}/out/records", recursive=True)
    fs.pipe_file(f"{away}/out/records.ndjson", write_rows(tmp_path / "old", old[:9]).read_bytes())
    done = run(manifest, f"{away}/out/", "--resume", "--records", tmp_path / "copy", "--json")
    assert (done.exit_code, json.loads(done.stdout)["kept"]) == (0, 13)
    assert [record["adopted"] for record in check_records(tmp_path / "copy", manifest).values()].count(True) == 4


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_a_killed_run_into_a_store_is_resumed(away, fs, tmp_path):
    (tmp_path / "image.jp2").write_bytes(PLAIN.data)
    rows = [{"Path": str(tmp_path / "image.jp2"), "rlevel": 0, "window": f"{r}:{r + 5},0:20"} for r in range(90)]
    manifest = write_rows(tmp_path / "m.ndjson", rows)
    for number in (10, 30, 50):
        process = start(manifest, "-o", f"{away}/out/", "--resume", "--local-threads")
        wait_until(lambda: len(fs.find(f"{away}/out", refresh=True)) >= number)  # noqa: B023
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
    done = run(manifest, f"{away}/out/", "--resume", "--json")
    assert (done.exit_code, json.loads(done.stdout)["ok"]) == (0, 90)
    check_files(fs, f"{away}/out", manifest, tmp_path)


def test_what_cannot_be_written_is_told_before_anything_is_read(away, manifest, tmp_path, s3_server):
    flags = ["--no-sign-request", "--endpoint-url", s3_server.endpoint]
    done = run(manifest, f"s3://{S3_PUBLIC_BUCKET}/out/", "--records", tmp_path / "r", *flags)
    assert (done.exit_code, done.stderr.count("\n")) == (3, 1)
    assert f"s3://{S3_PUBLIC_BUCKET}/out" in done.stderr
    assert "cannot be written: the store refuses access" in done.stderr
    assert not (tmp_path / "r").exists()


def test_a_write_that_fails_in_a_way_that_passes_is_made_again(away, s3_server, monkeypatch):
    put, tries = s3fs.S3FileSystem.pipe_file, []

    def failing(fs, path, data, **limits):
        tries.append(path)
        if len(tries) < failures:
            raise ConnectionResetError("by peer")
        return put(fs, path, data, **limits)

    monkeypatch.setattr(s3fs.S3FileSystem, "pipe_file", failing)
    options = s3_server.options | {"default_block_size": 7 << 20}  # a file system of its own, made after that
    failures = 3
    files.write_bytes(f"{away}/late", b"data", storage_options=options)
    assert len(tries) == 3
    assert Directory(away, s3_server.options).read("late") == b"data"
    failures = 100
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        files.write_bytes(f"{away}/never", b"data", storage_options=options)
    assert len(tries) == 3 + config.retry_policy().attempts


def test_a_folder_tells_what_is_in_it(away, s3_server, tmp_path):
    for folder in (Directory(f"{away}/folder/", s3_server.options), Directory(str(tmp_path / "folder"))):
        assert folder.names() == set()
        folder.make()
        folder.write("a.npy", b"a")
        folder.write("b.npy", b"b")
        assert folder.names() == {"a.npy", "b.npy"}
        assert (folder.has("a.npy"), folder.has("c.npy")) == (True, False)
        assert (folder.read("b.npy"), folder.read("c.npy")) == (b"b", None)
        folder.remove(["a.npy"])
        folder.remove([])
        assert folder.names() == {"b.npy"}
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="Not a directory"):
        Directory(str(tmp_path / "file")).names()


def test_files_move_to_another_folder_of_the_store(away, s3_server, tmp_path):
    for url in (away, str(tmp_path), f"memory://{tmp_path.name}"):
        there, target = (Directory(f"{url}/a[1]*/{name}", s3_server.options) for name in ("there", "target"))
        there.make()
        target.make()
        for name in ("a", "b", "c"):
            there.write(name, name.encode())
        there.move(["a", "b"], target)
        assert (there.names(), target.names(), target.read("b")) == ({"c"}, {"a", "b"}, b"b")
        if url == away:
            there.move(["a"], target)  # as when the reply to a request was lost
            with pytest.raises(StorageError):
                there.move(["d"], target)
        assert target.names() == {"a", "b"}


@pytest.mark.parametrize("name", ["results.ndjson", "results.parquet"])
def test_parts_cost_four_requests_each_and_few_more(name, away, s3_server, tmp_path):
    (tmp_path / "image.jp2").write_bytes(PLAIN.data)
    rows = [{"Path": str(tmp_path / "image.jp2"), "rlevel": 0, "window": f"{r}:{r + 5},0:20"} for r in range(90)]
    manifest, before = write_rows(tmp_path / "m.ndjson", rows), s3_server.counts()
    process = start(manifest, "-o", f"{away}/{name}", "--workers", "2", "--json")
    summary, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    found = s3_server.counts() - before
    folder, records = Directory(f"{away}/{name}"), Directory(f"{away}/{name}.records")
    parts, segments = (sum(file.endswith(("n", "t")) for file in place.names()) for place in (folder, records))
    beats = json.loads(summary)["seconds"] // 5
    assert found["COPY"] == parts
    assert found["PUT"] <= parts + segments + beats + 6  # of the lease
    assert found["DELETE"] <= min(parts, segments) + 2
    assert found["GET"] <= parts + 2 * segments + 12  # the HEAD before a COPY; records are read at the end
    assert found["LIST"] <= 25


def test_records_at_a_url_are_refused(manifest):
    done = run(manifest, f"s3://{S3_BUCKET}/out/", "--records", f"s3://{S3_BUCKET}/records.ndjson")
    assert (done.exit_code, "give a local path" in done.stderr) == (2, True)
