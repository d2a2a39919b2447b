"""`jp2batch run`: what it leaves behind, whatever ends it."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import jp2batch
from jp2batch import cli
from jp2batch.batch.outputs import folder
from jp2batch.core.request import Request
from support.images import PLAIN
from support.runs import check_lines, check_records, lines, run, start, wait_for_records, write_rows

posix = pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")


@pytest.fixture(scope="module")
def paths(product) -> list[str]:
    """Return the paths of a few images, one of them with three bands."""
    return sorted(map(str, product.glob("**/*_60m.jp2")))[:6]


@pytest.fixture
def manifest(paths, tmp_path) -> Path:
    """Return a manifest of these images, each at two levels."""
    rows = [{"Path": path, "rlevel": level, "site": "coast"} for path in paths for level in (-1, 1)]
    return write_rows(tmp_path / "manifest.ndjson", rows)


def test_lines_are_the_contract(manifest, tmp_path):
    done = run(manifest, tmp_path / "results.ndjson")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "12 ok, 0 failed" in done.stderr
    assert "items/s" in done.stderr
    check_lines(tmp_path / "results.ndjson", manifest)
    record = lines(tmp_path / "results.ndjson.records.ndjson")[0]
    assert (record["status"], record["site"], record["error"]) == ("ok", "coast", None)
    assert record["bytes_read"] > 0


@pytest.mark.parametrize("form", ["npy", "json", "png", "tif", "nc", "zarr"])
def test_a_folder_has_one_file_an_item(form, manifest, tmp_path):
    done = run(manifest, f"{tmp_path}/out/", "--format", form)
    assert done.exit_code == 0, done.stderr
    records = check_records(tmp_path / "out/records.ndjson", manifest)
    outputs = {Path(record["output"]) for record in records.values()}
    state = {tmp_path / "out" / name for name in ("records.ndjson", ".jp2batch-run.json")}
    assert {*outputs, *state} == set((tmp_path / "out").iterdir())
    for request in jp2batch.read_manifest(manifest):
        path, expected = Path(records[request.id]["output"]), jp2batch.read(request.path, request.rlevel)
        if form == "npy":
            np.testing.assert_array_equal(
                np.moveaxis(np.load(path), -1, 0) if expected.ndim == 3 else np.load(path), expected
            )
        if form == "json":
            assert (
                json.loads(path.read_bytes())["img_data"]
                == jp2batch.respond({"Path": request.path, "rlevel": request.rlevel})["img_data"]
            )
        if form in ("nc", "zarr"):
            how = {"engine": "h5netcdf"} if form == "nc" else {"engine": "zarr", "consolidated": False}
            with xr.open_dataset(path, decode_coords="all", **how) as dataset:
                np.testing.assert_array_equal(dataset[expected.name], expected)


def test_a_store_opens_as_a_tree_with_coordinates_and_crs(manifest, tmp_path):
    import rioxarray  # noqa: F401  # gives arrays their accessor

    done = run(manifest, tmp_path / "results.zarr")
    assert done.exit_code == 0, done.stderr
    records = check_records(tmp_path / "results.zarr.records.ndjson", manifest)
    with xr.open_datatree(tmp_path / "results.zarr", engine="zarr", consolidated=False, decode_coords="all") as tree:
        assert len(tree.children) == len(records)
        for request in jp2batch.read_manifest(manifest):
            expected = jp2batch.read(request.path, request.rlevel)
            found = tree[Path(records[request.id]["output"]).name][expected.name]
            xr.testing.assert_equal(found.load(), expected)
            assert found.rio.crs == expected.rio.crs
            assert found.rio.crs is not None


def test_a_cluster_of_processes_gives_the_same(manifest, tmp_path):
    process = start(manifest, "-o", tmp_path / "results.zarr", "--workers", 2, "--json")
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert json.loads(output)["ok"] == 12
    assert b", dashboard: http://127.0.0.1:" in errors
    assert b"12 ok, 0 failed" in errors
    assert b"item/s" not in errors  # nobody looks
    check_records(tmp_path / "results.zarr.records.ndjson", manifest)
    with xr.open_datatree(tmp_path / "results.zarr", engine="zarr", consolidated=False) as tree:
        assert len(tree.children) == 12


def test_stdout_takes_lines(manifest, tmp_path):
    done = run(manifest, "-", "--quiet", "--records", tmp_path / "records.ndjson")
    assert (done.exit_code, done.stderr) == (0, "")
    assert {json.loads(line)["id"] for line in done.stdout.splitlines()} == set(
        check_records(tmp_path / "records.ndjson", manifest)
    )
    assert run(manifest, "-", "--json").exit_code == 2
    assert run(manifest, "-", "--resume").exit_code == 2


def test_a_reader_that_leaves_ends_it_quietly(manifest, tmp_path):
    process = start(manifest, "-o", "-", "--local-threads", "--records", tmp_path / "records.ndjson")
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 1
    assert lines(tmp_path / "records.ndjson") == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_ends_it_with_a_word(manifest, tmp_path):
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "jp2batch", "run", str(manifest), "-o", "-", "--local-threads"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_bad_manifest_starts_nothing(tmp_path, paths):
    manifest = write_rows(tmp_path / "bad.ndjson", [{"Path": paths[0]}, {"Path": ""}, {"Path": paths[0], "rlevel": 99}])
    done = run(manifest, f"{tmp_path}/out/")
    assert done.exit_code == 2
    assert "line 2: " in done.stderr
    assert "line 3: " in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad.ndjson"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{manifest}", "-o", "{tmp}/results.csv"], 2, "cannot tell the output format from the name"),
        (["{manifest}", "-o", "{tmp}/r.ndjson", "--format", "npy"], 2, "--format npy is for folders"),
        (["{manifest}", "-o", "{tmp}/r.ndjson", "--resume", "--overwrite"], 2, "contradicts"),
        (["{manifest}", "-o", "{tmp}/r.ndjson", "--retry-failed"], 2, "records of an earlier run are missing"),
        (["{manifest}", "-o", "{tmp}/r.ndjson", "--workers", "2", "--local-threads"], 2, "does not apply with"),
        (["{manifest}", "-o", "{tmp}/r.ndjson", "--scheduler", "x:1", "--local-threads"], 2, "exclude each other"),
        (["{manifest}", "-o", "{tmp}/r.ndjson", "--memory-limit", "lots", "--workers", "1"], 3, "does not start"),
        (["{manifest}", "-o", "{tmp}/r.ndjson", "--scheduler", "nonsense://x"], 3, "cannot be reached"),
        (["{tmp}/nowhere.csv", "-o", "{tmp}/r.ndjson"], 3, "nowhere.csv: cannot be read"),
        (["{manifest}", "-o", "{tmp}/no/r.ndjson", "--local-threads"], 3, "cannot be written"),
    ],
)
def test_what_does_not_start_is_told_and_makes_nothing(arguments, code, said, manifest, tmp_path):
    command = [argument.format(manifest=manifest, tmp=tmp_path) for argument in arguments]
    done = CliRunner().invoke(cli.main, ["run", *command])
    assert done.exit_code == code, done.stderr
    assert said in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.ndjson"]


@pytest.mark.parametrize("output", ["results.ndjson", "out/", "results.zarr"])
def test_failures_are_recorded_and_can_be_retried(output, paths, tmp_path):
    late = tmp_path / "late.jp2"
    rows = [{"Path": path} for path in [paths[0], str(late), str(tmp_path / "never.jp2"), paths[1]]]
    manifest = write_rows(tmp_path / "manifest.ndjson", rows)
    target = f"{tmp_path}/{output}"
    name = "out/records.ndjson" if output == "out/" else f"{output}.records.ndjson"
    done = run(manifest, target, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["failures"] == {"ImageNotFound": 2}
    first = check_records(tmp_path / name, manifest)
    late.write_bytes(PLAIN.data)
    done = run(manifest, target, "--json", "--retry-failed")
    summary = json.loads(done.stdout)
    assert (done.exit_code, summary["ok"], summary["kept"], summary["failed"]) == (1, 3, 2, 1)
    again = check_records(tmp_path / name, manifest)
    changed = {id_ for id_ in first if first[id_]["status"] != again[id_]["status"]}
    assert {again[id_]["Path"] for id_ in changed} == {str(late)}
    (tmp_path / "never.jp2").write_bytes(PLAIN.data)
    assert run(manifest, target, "--resume").exit_code == 0
    records = check_records(tmp_path / name, manifest)
    assert {record["status"] for record in records.values()} == {"ok"}
    done = run(manifest, target, "--resume", "--json")
    assert json.loads(done.stdout)["kept"] == 4


def test_retry_failed_leaves_what_was_never_run(paths, tmp_path):
    manifest = write_rows(tmp_path / "manifest.ndjson", [{"Path": path} for path in ["nowhere.jp2", *paths]])
    with jp2batch.core.config.dask.config.set(num_workers=1):
        done = run(manifest, tmp_path / "r.ndjson", "--fail-fast", "--json")
    assert (done.exit_code, json.loads(done.stdout)["left"]) == (1, 6)
    done = run(manifest, tmp_path / "r.ndjson", "--retry-failed", "--json")
    assert (done.exit_code, json.loads(done.stdout)["left"]) == (1, 6)
    assert run(manifest, tmp_path / "r.ndjson", "--resume").exit_code == 1
    check_lines(tmp_path / "r.ndjson", manifest, failed=1)


@pytest.mark.parametrize("output", ["results.ndjson", "out/", "results.zarr"])
def test_existing_output_is_replaced_only_on_demand(output, manifest, paths, tmp_path):
    target = f"{tmp_path}/{output}"
    assert run(manifest, target).exit_code == 0
    if output == "out/":
        (tmp_path / "out/mine.txt").write_text("of somebody else")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    done = run(manifest, target)
    assert done.exit_code == 2
    assert "results exist already" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    fewer = write_rows(tmp_path / "fewer.ndjson", [{"Path": paths[0]}])
    done = run(fewer, target, "--overwrite", "--json")
    assert (done.exit_code, json.loads(done.stdout)["requests"]) == (0, 1)
    name = "out/records.ndjson" if output == "out/" else f"{output}.records.ndjson"
    assert len(check_records(tmp_path / name, fewer)) == 1
    if output == "out/":
        assert sorted(path.suffix for path in (tmp_path / "out").glob("[!.]*")) == [".ndjson", ".npy", ".txt"]


def test_overwriting_does_not_remove_what_is_no_store(manifest, tmp_path):
    (tmp_path / "home.zarr").mkdir()
    (tmp_path / "home.zarr/letter.txt").write_text("dear")
    assert run(manifest, tmp_path / "home.zarr", "--overwrite").exit_code == 2
    assert (tmp_path / "home.zarr/letter.txt").read_text() == "dear"


HOSTILE = ["../../x", "/etc/passwd", "..", ".", "a/b", "a_b", "ü", "x" * 500, "con:", "a\nb", " ", "%2e%2e/"]


@pytest.mark.parametrize("output", ["results.ndjson", "out/", "results.zarr"])
def test_no_name_leads_out_of_the_folder(output, paths, tmp_path):
    rows = [{"Path": paths[0], "id": id_, "window": f"0:{20 + n},0:90", "rlevel": 1} for n, id_ in enumerate(HOSTILE)]
    inner = tmp_path / "a/b/c"
    inner.mkdir(parents=True)
    manifest = write_rows(inner / "manifest.ndjson", rows)
    done = run(manifest, f"{inner}/{output}")
    assert done.exit_code == 0, done.stderr
    assert [path.name for path in (*tmp_path.iterdir(), *(tmp_path / "a").iterdir())] == ["a", "b"]
    if output == "results.ndjson":
        check_lines(inner / output, manifest)
    else:
        name = "out/records.ndjson" if output == "out/" else f"{output}.records.ndjson"
        records = check_records(inner / name, manifest)
        outputs = {Path(record["output"]) for record in records.values()}
        assert len(outputs) == len(HOSTILE)
        assert {path.parent for path in outputs} == {inner / output}


def test_names_that_are_the_same_on_some_systems_are_refused(paths, tmp_path):
    rows = [{"Path": paths[0], "id": id_, "window": [[0, n], [0, 9]]} for n, id_ in ((8, "a"), (9, "A"))]
    done = run(write_rows(tmp_path / "m.ndjson", rows), f"{tmp_path}/out/")
    assert done.exit_code == 2
    assert "give it another id" in done.stderr


def test_what_a_killed_run_leaves_counts_if_whole(manifest, tmp_path):
    path, records = tmp_path / "r.ndjson", tmp_path / "r.ndjson.records.ndjson"
    assert run(manifest, path).exit_code == 0
    whole, told = path.read_bytes().splitlines(True), records.read_bytes().splitlines(True)
    for damaged, known, kept in [
        ([*whole[:5], whole[5][:40]], told[:5], 5),  # half a line
        (whole[:6], [*told[:5], told[5][:30]], 6),  # half a record
        (whole[:6], told[:5], 6),  # a line without its record
        (whole[1:5], told[:5], 4),  # a record without its line
        (whole, [told[0][:90] + told[1], *told[2:]], 12),  # a record cut within the file
        (whole, [b"\0" * 512 + told[0], *told[1:]], 12),  # zeros of a power cut, and lines appended later
        ([b"\0\0\n", *whole[:3]], [*told[:3], b"\0\0\n"], 3),  # what a disk may leave
        ([whole[0], *whole[:10]], told[:8], 10),  # a line twice
        ([], told, 0),
        (whole, [], 12),
    ]:
        path.write_bytes(b"".join(damaged))
        records.write_bytes(b"".join(known))
        done = run(manifest, path, "--resume", "--json")
        assert (done.exit_code, json.loads(done.stdout)["kept"]) == (0, kept)
        check_lines(path, manifest)


@pytest.mark.parametrize("output", ["out/", "results.zarr"])
def test_incomplete_files_of_a_killed_run_are_removed_on_demand(output, manifest, tmp_path):
    target = tmp_path / output
    name = tmp_path / ("out/records.ndjson" if output == "out/" else f"{output}.records.ndjson")
    assert run(manifest, f"{tmp_path}/{output}").exit_code == 0
    told = name.read_bytes().splitlines(True)
    item = Path(json.loads(told[-1])["output"])
    (target / f".{item.name}.0123abcd").write_bytes(b"half of it")
    name.write_bytes(b"".join([*told[:-1], told[-1][:9]]))
    item.rename(tmp_path / "lost")
    gone = Path(json.loads(told[0])["output"])
    gone.rename(tmp_path / "elsewhere")
    done = run(manifest, f"{tmp_path}/{output}", "--resume", "--clean", "--json")
    assert (done.exit_code, json.loads(done.stdout)["kept"]) == (0, 10)
    assert "removing 1 incomplete file\n" in done.stderr
    outputs = {Path(record["output"]) for record in check_records(name, manifest).values()}
    own = ("records.ndjson", "zarr.json", ".jp2batch-run.json")
    assert {path for path in target.iterdir() if path.name not in own} == outputs


def test_an_id_with_another_meaning_is_done_again(paths, tmp_path):
    manifest = write_rows(tmp_path / "m.ndjson", [{"Path": paths[0], "id": "a"}, {"Path": paths[1], "id": "b"}])
    assert run(manifest, tmp_path / "r.ndjson").exit_code == 0
    write_rows(manifest, [{"Path": paths[2], "id": "a"}, {"Path": paths[1], "id": "b"}])
    done = run(manifest, tmp_path / "r.ndjson", "--resume", "--json")
    assert json.loads(done.stdout)["kept"] == 1
    check_lines(tmp_path / "r.ndjson", manifest)


@pytest.fixture
def many(paths, tmp_path) -> Path:
    """Return a manifest that takes seconds."""
    rows = [{"Path": path, "rlevel": 0, "window": f"{row}:{row + 90},0:150"} for path in paths for row in range(40)]
    return write_rows(tmp_path / "many.ndjson", rows)


def outcome(output: str, folder: Path, manifest: Path) -> dict[str, object]:
    """Return the pixels of each item, by its id."""
    check_records(folder / f"{output}.records.ndjson", manifest)
    answers = lines(folder / output)
    assert len({answer["id"] for answer in answers}) == len(answers)
    return {answer["id"]: answer["img_data"] for answer in answers}


@posix
@pytest.mark.parametrize(
    ("output", "engine"),
    [("r.ndjson", ["--local-threads"]), ("r.ndjson", ["--workers", "2"])],
)
def test_a_killed_run_is_resumed(output, engine, many, tmp_path):
    folder, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    folder.mkdir()
    undisturbed.mkdir()
    records = folder / f"{output}.records.ndjson"
    moments = random.Random(f"{output}{engine}")
    for number in range(3):
        process = start(many, "-o", f"{folder}/{output}", "--resume", *engine)
        wait_for_records(records, 50 * number + moments.randrange(1, 50))
        time.sleep(moments.random() / 20)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
        assert process.returncode == -signal.SIGKILL
    process = start(many, "-o", f"{folder}/{output}", "--resume", "--json", *engine)
    summary = json.loads(process.communicate(timeout=100)[0])
    assert process.returncode == 0
    assert summary["ok"] == 240
    assert summary["kept"] >= 100
    assert run(many, f"{undisturbed}/{output}").exit_code == 0
    assert outcome(output, folder, many) == outcome(output, undisturbed, many)


@posix
@pytest.mark.parametrize(
    ("engine", "number"),
    [
        (["--local-threads"], signal.SIGINT),
        (["--local-threads"], signal.SIGTERM),
        (["--workers", "2"], signal.SIGINT),
        (["--workers", "2"], signal.SIGTERM),
    ],
)
def test_an_interrupted_run_says_how_to_go_on(engine, number, many, tmp_path):
    process = start(many, "-o", tmp_path / "r.ndjson", "--json", *engine)
    wait_for_records(tmp_path / "r.ndjson.records.ndjson", 20)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert json.loads(output)["ended"] == "interrupted"
    assert errors.decode().splitlines()[-1].endswith("continue with --resume")
    assert b"Traceback" not in errors
    kept = len(lines(tmp_path / "r.ndjson.records.ndjson"))
    assert 20 <= kept < 240
    assert json.loads(output)["ok"] == kept
    done = run(many, tmp_path / "r.ndjson", "--resume", "--json")
    assert (done.exit_code, json.loads(done.stdout)["kept"]) == (0, kept)
    outcome("r.ndjson", tmp_path, many)


def test_names_of_outputs_are_readable():
    assert folder.item_name(Request("a/T32TQM_B04_10m.jp2", 2, id="north")) == "T32TQM_B04_10m-r2-north"
    assert "/" not in folder.item_name(Request("../..", id="../../x"))


def test_a_level_that_no_row_takes_is_said(paths, tmp_path):
    manifest = write_rows(tmp_path / "m.ndjson", [{"Path": path, "rlevel": 1} for path in paths])
    assert "--rlevel 2 has no effect" in run(manifest, tmp_path / "a.ndjson", "--rlevel", 2).stderr
    write_rows(manifest, [{"Path": paths[0], "rlevel": 1}, {"Path": paths[1]}])
    assert "has no effect" not in run(manifest, tmp_path / "b.ndjson", "--rlevel", 2).stderr


@pytest.mark.parametrize("output", ["results.ndjson", "results.zarr", "arrays"])
def test_a_program_can_do_it_without_a_manifest(output, paths, tmp_path):
    requests = [Request(path, 1) for path in paths]
    form = "npy" if output == "arrays" else None
    first = jp2batch.run_to(requests[:2], tmp_path / output, form=form)
    summary = jp2batch.run_to(requests, tmp_path / output, form=form, resume=True)
    assert (first.ok, summary.kept, summary.ok, summary.failed) == (2, 2, len(paths), 0)
    with pytest.raises(jp2batch.Jp2BatchError, match="results exist already"):
        jp2batch.run_to(requests, tmp_path / output, form=form)
    if output == "results.zarr":
        with xr.open_datatree(tmp_path / output, engine="zarr", consolidated=False, decode_coords="all") as tree:
            assert len(tree.children) == len(paths)
