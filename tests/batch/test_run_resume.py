"""`jp2batch run --resume` removes nothing: neither when it cannot begin, nor before the replacement is there."""

import json
import os
import random
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner, Result

import jp2batch
from jp2batch import cli
from jp2batch.batch.deduplicate import items_of
from jp2batch.batch.outputs.folder import Folder
from jp2batch.batch.records.book import RecordBook
from jp2batch.batch.records.lines import LineWriter, end_last_line
from jp2batch.compute import connection
from jp2batch.compute.checked_cluster import CheckedCluster
from jp2batch.compute.result import Result as ItemResult
from jp2batch.core.errors import ClusterLost, ConfigurationError, OutputError
from jp2batch.core.request import Request
from jp2batch.storage import files
from jp2batch.storage.directory import Directory
from support.clusters import cluster_by_hand
from support.runs import check_lines, check_pixels, check_records, lines, run, start, wait_for_records, write_rows

posix = pytest.mark.skipif(os.name != "posix", reason="signals and rights are those of POSIX")

OUTPUTS = ["results.ndjson", "out/", "results.zarr"]
NOT_STARTED = 3


@pytest.fixture
def manifest(image, tmp_path) -> Path:
    return write_rows(tmp_path / "manifest.ndjson", windows(image, 12))


@pytest.fixture
def place(tmp_path) -> Path:
    """Return a folder for output alone, which is compared as a whole."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


@pytest.fixture
def nobody(monkeypatch) -> str:
    """Return the address of a scheduler that is not there."""
    monkeypatch.setattr(connection, "_PATIENCE", 1.0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{free.getsockname()[1]}"


def windows(image: Path, number: int, columns: str = "0:20") -> list[dict]:
    return [{"Path": str(image), "rlevel": 0, "window": f"{row}:{row + 9},{columns}"} for row in range(number)]


def records_of(place: Path, output: str) -> Path:
    return place / ("out/records.ndjson" if output == "out/" else f"{output}.records.ndjson")


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return the time and content of all that is in a folder, and of the folder itself."""
    found = [folder, *folder.rglob("*")]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in found}


def contents(folder: Path) -> dict[str, bytes]:
    """Return what all files of a folder hold, but those of records, of the state of a run, and a store's index."""
    files = (path for path in folder.rglob("*") if path.is_file())
    found = (path for path in files if not re.search(r"records|-run\.json|\.zarr/zarr\.json", str(path)[-40:]))
    return {str(path): path.read_bytes() for path in found}


def check_output(place: Path, output: str, manifest: Path) -> None:
    """Check that each item has its record and its output, with the right pixels, and that nothing else is there."""
    if output.endswith(".ndjson"):
        check_lines(place / output, manifest)
        return
    records = check_records(records_of(place, output), manifest)
    outputs = {Path(record["output"]) for record in records.values()}
    assert {path for path in (place / output).iterdir() if not re.match(r"\.|records|zarr\.json", path.name)} == outputs
    if output == "out/":
        check_pixels(records_of(place, output), manifest, {})
        return
    with xr.open_datatree(place / output, engine="zarr", consolidated=False) as tree:
        for item in items_of(jp2batch.read_manifest(manifest)):
            (values,) = tree[Path(records[item.id]["output"]).name].data_vars.values()
            np.testing.assert_array_equal(values, jp2batch.read(item.path, item.rlevel, item.window))


def as_if_killed(place: Path, output: str, manifest: Path) -> None:
    """Do a batch, and leave of it what a killed run leaves: five records, three outputs more, a half one."""
    assert run(manifest, f"{place}/{output}").exit_code == 0
    records = records_of(place, output)
    told = records.read_bytes().splitlines(True)
    records.write_bytes(b"".join([*told[:5], told[5][:30]]))
    if output.endswith(".ndjson"):
        whole = (place / output).read_bytes().splitlines(True)[:8]
        (place / output).write_bytes(b"".join([*whole, b'{"id":"half of']))
        return
    for line in told[8:]:
        path = Path(json.loads(line)["output"])
        path.rename(path.with_name(f".{path.name}.0123abcd"))


def on(scheduler: str, manifest: Path, output: object, *arguments: str) -> Result:
    command = ["run", str(manifest), "-o", str(output), "--scheduler", scheduler, *arguments]
    return CliRunner().invoke(cli.main, command)


# Nothing is touched where a run cannot begin


@pytest.mark.parametrize("mode", ["--resume", "--overwrite", "--retry-failed"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_an_unreachable_scheduler_leaves_all_as_it_is(output, mode, manifest, place, nobody):
    as_if_killed(place, output, manifest)
    if mode == "--retry-failed":
        records = records_of(place, output)
        records.write_text(records.read_text().replace('"status":"ok"', '"status":"failed"'))
    before = snapshot(place)
    done = on(nobody, manifest, f"{place}/{output}", mode, "--quiet")
    assert (done.exit_code, done.stderr.count("\n")) == (NOT_STARTED, 1)
    assert "the scheduler cannot be reached" in done.stderr
    assert snapshot(place) == before


@pytest.mark.parametrize("output", OUTPUTS)
def test_an_unreachable_scheduler_makes_nothing(output, manifest, place, nobody):
    before = snapshot(place)
    assert on(nobody, manifest, f"{place}/new/{output}" if output == "out/" else f"{place}/{output}").exit_code == 3
    assert snapshot(place) == before


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_program_that_does_not_reach_its_scheduler_loses_nothing(output, manifest, place, nobody):
    as_if_killed(place, output, manifest)
    before = snapshot(place)
    with pytest.raises(ConfigurationError, match="the scheduler cannot be reached"):
        jp2batch.run_to(jp2batch.read_manifest(manifest), place / output, nobody, resume=True)
    assert snapshot(place) == before
    assert jp2batch.run_to(jp2batch.read_manifest(manifest), place / output, resume=True).kept == 8
    check_output(place, output, manifest)


def test_a_scheduler_lost_before_the_work_begins_counts_as_not_started(manifest, place, monkeypatch):
    as_if_killed(place, "out/", manifest)
    before = snapshot(place)

    def lost(*_: object) -> None:
        raise ClusterLost("", "the scheduler does not answer: OSError", "start it again")

    monkeypatch.setattr(CheckedCluster, "__enter__", lost)
    done = CliRunner().invoke(cli.main, ["run", str(manifest), "-o", f"{place}/out/", "--resume", "--workers", "1"])
    assert (done.exit_code, "the scheduler does not answer" in done.stderr) == (NOT_STARTED, True)
    assert snapshot(place) == before


def test_workers_of_another_version_are_refused_before_anything_is_touched(manifest, place, tmp_path):
    as_if_killed(place, "out/", manifest)
    before = snapshot(place)
    (tmp_path / "hiding/jp2batch").mkdir(parents=True)
    (tmp_path / "hiding/jp2batch/__init__.py").write_text("__version__ = '0.0.9'")
    with cluster_by_hand(tmp_path / "cluster", 1, env=os.environ | {"PYTHONPATH": f"{tmp_path}/hiding"}) as old:
        done = on(old.address, manifest, f"{place}/out/", "--resume")
    assert (done.exit_code, "has jp2batch 0.0.9" in done.stderr) == (NOT_STARTED, True)
    assert snapshot(place) == before


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_manifest_with_bad_rows_touches_nothing(output, manifest, place):
    as_if_killed(place, output, manifest)
    before = snapshot(place)
    rows = manifest.read_text()
    for text in (f"{rows}{{\n", f'{rows}{{"Path": ""}}\n', ""):
        manifest.write_text(text)
        assert run(manifest, f"{place}/{output}", "--resume").exit_code == 2
    manifest.unlink()
    assert run(manifest, f"{place}/{output}", "--resume").exit_code == NOT_STARTED
    assert snapshot(place) == before


@pytest.mark.parametrize("output", OUTPUTS)
def test_another_root_touches_nothing(output, place, image, tmp_path):
    rows = [{"Path": "image.jp2", "rlevel": level} for level in (0, 1)]
    manifest = write_rows(tmp_path / "m.ndjson", rows)
    assert run(manifest, f"{place}/{output}", "--root", tmp_path).exit_code == 0
    before = snapshot(place)
    for mode in ("--resume", "--retry-failed"):
        done = run(manifest, f"{place}/{output}", "--root", place, mode)
        assert (done.exit_code, "its records are of paths with root" in done.stderr) == (2, True)
    assert snapshot(place) == before


@posix
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("output", OUTPUTS)
def test_a_place_without_rights_touches_nothing(output, manifest, place):
    as_if_killed(place, output, manifest)
    before = snapshot(place)
    folder = place / "out" if output == "out/" else place
    folder.chmod(0o500)
    done = run(manifest, f"{place}/{output}", "--resume")
    folder.chmod(0o700)
    assert (done.exit_code, "Permission denied" in done.stderr) == (NOT_STARTED, True)
    assert snapshot(place) == before


@pytest.mark.parametrize("mode", ["--resume", "--overwrite"])
def test_a_folder_that_is_no_store_of_ours_is_not_made_one(mode, manifest, place):
    (place / "home.zarr").mkdir()
    (place / "home.zarr/letter.txt").write_text("dear")
    before = snapshot(place)
    done = run(manifest, place / "home.zarr", mode)
    assert (done.exit_code, "not written by an earlier run" in done.stderr) == (2, True)
    assert snapshot(place) == before


# Output without records stays until its replacement is there


@pytest.mark.parametrize("output", OUTPUTS)
def test_output_that_does_not_count_stays_while_items_fail(output, manifest, place, image):
    assert run(manifest, f"{place}/{output}").exit_code == 0
    damaged = records_of(place, output)
    damaged.write_text(damaged.read_text().replace('"output_size":', '"output_size":1'))
    before = contents(place)
    image.rename(image.with_suffix(".away"))
    done = run(manifest, f"{place}/{output}", "--resume", "--json")
    assert json.loads(done.stdout)["failures"] == {"ImageNotFound": 12}
    assert contents(place) == before
    image.with_suffix(".away").rename(image)
    assert run(manifest, f"{place}/{output}", "--resume").exit_code == 0
    check_output(place, output, manifest)


@pytest.mark.parametrize("output", OUTPUTS)
def test_overwriting_removes_nothing_where_no_item_is_done(output, manifest, place, image):
    assert run(manifest, f"{place}/{output}").exit_code == 0
    before = contents(place)
    image.rename(image.with_suffix(".away"))
    assert run(manifest, f"{place}/{output}", "--overwrite").exit_code == 1
    assert contents(place) == before
    image.with_suffix(".away").rename(image)
    fewer = write_rows(manifest.with_name("fewer.ndjson"), windows(image, 3, "5:30"))
    assert run(fewer, f"{place}/{output}", "--overwrite").exit_code == 0
    if output != "out/":  # there, records of failures no longer name what the first manifest has given
        check_output(place, output, fewer)


@pytest.mark.parametrize("output", OUTPUTS)
def test_overwriting_leaves_nothing_of_the_earlier_run(output, manifest, place, image):
    assert run(manifest, f"{place}/{output}").exit_code == 0
    other = write_rows(manifest.with_name("other.ndjson"), [*windows(image, 3, "5:30"), *windows(image, 2)])
    assert run(other, f"{place}/{output}", "--overwrite").exit_code == 0
    check_output(place, output, other)


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_results_of_another_manifest_stay(output, manifest, place, image):
    assert run(manifest, f"{place}/{output}").exit_code == 0
    records_of(place, output).unlink()
    before = contents(place)
    other = write_rows(manifest.with_name("other.ndjson"), windows(image, 3, "5:30"))
    assert run(other, f"{place}/{output}", "--resume").exit_code == 0
    after = contents(place)
    assert all(after[name].startswith(data) for name, data in before.items())
    check_records(records_of(place, output), other)
    assert run(manifest, f"{place}/{output}", "--resume").exit_code == 0
    both = write_rows(manifest.with_name("both.ndjson"), [*windows(image, 12), *windows(image, 3, "5:30")])
    check_output(place, output, both)


@posix
@pytest.mark.parametrize("output", OUTPUTS)
def test_ids_of_another_meaning_are_right_with_either_manifest(output, image, place, tmp_path):
    def named(columns: str) -> list[dict]:
        return [{**row, "id": f"a{number}"} for number, row in enumerate(windows(image, 60, columns))]

    one, two = write_rows(tmp_path / "1.ndjson", named("0:20")), write_rows(tmp_path / "2.ndjson", named("5:40"))
    assert run(one, f"{place}/{output}").exit_code == 0
    process = start(two, "-o", f"{place}/{output}", "--resume", "--local-threads")
    wait_for_records(records_of(place, output), 5)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    for manifest in (one, two):
        assert run(manifest, f"{place}/{output}", "--resume").exit_code == 0
        check_output(place, output, manifest)


@posix
@pytest.mark.parametrize("output", OUTPUTS)
def test_a_resumed_run_killed_at_any_moment_loses_no_finished_output(output, image, place, tmp_path):
    manifest = write_rows(tmp_path / "many.ndjson", windows(image, 80))
    assert run(manifest, f"{place}/{output}").exit_code == 0
    chance, records = random.Random(output), records_of(place, output)
    check = no_line_is_lost(place / output) if output.endswith(".ndjson") else no_output_is_lost(place / output)
    for _ in range(6):
        records.unlink(missing_ok=True)
        process = start(manifest, "-o", f"{place}/{output}", "--resume", "--local-threads")
        wait_for_records(records, chance.randrange(60))
        time.sleep(chance.random() / 50)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
        check()
    assert run(manifest, f"{place}/{output}", "--resume").exit_code == 0
    check_output(place, output, manifest)


def no_line_is_lost(path: Path) -> Callable[[], None]:
    """Return a check that all results of now are in a file of lines, maybe with others, and maybe in other lines."""

    def results() -> set[tuple[str, str]]:
        whole = (json.loads(line) for line in path.read_bytes().splitlines(True) if line.endswith(b"\n"))
        return {(line["id"], str(line["img_data"])) for line in whole}

    wanted = results()

    def check() -> None:
        assert len(wanted) == 80
        assert wanted <= results()

    return check


def no_output_is_lost(folder: Path) -> Callable[[], None]:
    """Return a check that all outputs of now are in a folder; a group may stand beside its name between two renames."""
    names = {path.name for path in folder.iterdir() if not re.match(r"\.|records|zarr\.json", path.name)}
    files_of = {name: contents(folder / name) or {"": (folder / name).read_bytes()} for name in names}

    def check() -> None:
        for name, wanted in files_of.items():
            found = folder / name
            if not found.exists():
                (found,) = folder.glob(f".{name}.*.old")
            now = contents(found) if found.is_dir() else {"": found.read_bytes()}
            assert [data for _, data in sorted(now.items())] == [data for _, data in sorted(wanted.items())]

    return check


# Lines


def test_lines_end_whole_before_others_are_appended(tmp_path):
    path = tmp_path / "lines"
    for before, after in [
        (b"", b""),
        (b'{"a":1}\n', b'{"a":1}\n'),
        (b'{"a":1}', b'{"a":1}\n'),  # whole: an editor has left out the line feed
        (b'{"a":1}\n{"b":2', b'{"a":1}\n'),
        (b'{"a":1}\n' + b"\0" * 3_000_000, b'{"a":1}\n'),
        (b"12", b""),
    ]:
        path.write_bytes(before)
        with LineWriter(path) as writer:
            assert path.read_bytes() == before
            writer.append(b'{"c":3}\n')
            writer.append(b'{"d":4}\n')
        assert path.read_bytes() == after + b'{"c":3}\n{"d":4}\n'
    end_last_line(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_line_replaced_by_a_later_one_goes_when_the_run_is_complete(manifest, place):
    path = place / "r.ndjson"
    assert run(manifest, path).exit_code == 0
    whole = path.read_bytes().splitlines(True)
    theirs = b'{"id": "theirs", "img_data": []}\n'
    path.write_bytes(b"".join([b'{"id":"theirs","img_data":[]}\n', theirs, b"\0\n", *whole, *whole[:3]]))
    done = run(manifest, path, "--resume", "--json")
    assert (done.exit_code, json.loads(done.stdout)["kept"]) == (0, 12)
    left = path.read_bytes().splitlines(True)
    assert left[:2] == [b'{"id":"theirs","img_data":[]}\n', theirs]
    assert sorted(left[2:]) == sorted(whole)
    before = snapshot(path.parent)[str(path)]
    assert run(manifest, path, "--resume").exit_code == 0
    assert snapshot(path.parent)[str(path)] == before


def test_a_line_that_another_program_has_changed_is_read_again(manifest, place):
    path = place / "r.ndjson"
    assert run(manifest, path).exit_code == 0
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines(path)))
    assert json.loads(run(manifest, path, "--resume", "--json").stdout)["kept"] == 0
    check_output(place, "r.ndjson", manifest)


# Groups


def test_a_group_that_a_killed_run_had_moved_aside_has_its_name_again(manifest, place, image):
    target = place / "results.zarr"
    assert run(manifest, target).exit_code == 0
    told = lines(records_of(place, "results.zarr"))
    group = Path(told[3]["output"])
    before = {path.relative_to(group): path.read_bytes() for path in group.rglob("*") if path.is_file()}
    group.rename(target / f".{group.name}.0123abcd.old")
    image.rename(image.with_suffix(".away"))
    assert run(manifest, target, "--resume").exit_code == 1
    assert {path.relative_to(group): path.read_bytes() for path in group.rglob("*") if path.is_file()} == before
    image.with_suffix(".away").rename(image)
    assert run(manifest, target, "--resume").exit_code == 0
    check_output(place, "results.zarr", manifest)


def test_a_group_whose_replacement_does_not_come_keeps_its_name(place, monkeypatch):
    files.write_folder(f"{place}/group", {"a": b"old"})
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if target == place / "group" and not path.name.endswith(".old"):
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OutputError, match="No space left"):
        files.write_folder(f"{place}/group", {"a": b"new"})
    assert [path.name for path in place.iterdir()] == ["group"]
    assert (place / "group/a").read_bytes() == b"old"


def test_a_group_in_a_store_that_refuses_the_new_one_stays(monkeypatch):
    fs = fsspec.filesystem("memory")
    files.write_folder("memory://groups/g", {"zarr.json": b"old", "c/0": b"old", "c/1": b"old"})
    files.write_folder("memory://groups/gg", {"zarr.json": b"of another"})

    def refuse(*_: object) -> None:
        raise PermissionError("not now")

    with monkeypatch.context() as patch:
        patch.setattr(type(fs), "pipe_file", refuse)
        with pytest.raises(OutputError):
            files.write_folder("memory://groups/g", {"zarr.json": b"new"})
    assert {name: fs.cat_file(name) for name in fs.find("/groups/g")} == dict.fromkeys(
        ["/groups/g/c/0", "/groups/g/c/1", "/groups/g/zarr.json"], b"old"
    )
    files.write_folder("memory://groups/g", {"zarr.json": b"new", "c/0": b"new"})
    assert {name: fs.cat_file(name) for name in fs.find("/groups/g")} == dict.fromkeys(
        ["/groups/g/c/0", "/groups/g/zarr.json"], b"new"
    )
    assert fs.cat_file("/groups/gg/zarr.json") == b"of another"


def test_an_old_file_does_not_stand_for_one_that_a_worker_wrote_on_a_disk_of_its_own(tmp_path):
    request = Request("a.jp2", 0, id="a")
    folder = Folder(f"{tmp_path}/out", ".npy")
    name = tmp_path / "out/a-r0-a.npy"
    files.write_bytes(f"{tmp_path}/elsewhere", b"new")
    name.parent.mkdir()
    name.write_bytes(b"old")
    folder.stored(RecordBook())
    folder.open(overwrite=False)
    result = ItemResult(request, "ok", worker="tcp://elsewhere:1", output=str(name))
    with pytest.raises(OutputError, match="missing on this machine"):
        folder.put(result)
    files.write_bytes(str(name), b"new")
    folder.put(result)


# In a store


def listing(fs, url: str) -> dict[str, tuple]:
    found = fs.find(url, detail=True, refresh=True)
    return {name: (info["size"], info["ETag"], info["LastModified"]) for name, info in found.items()}


def run_file(output: str) -> str:
    """Return the path of the state of a run into a store."""
    return "out/.jp2batch-run.json" if output == "out/" else f"{output}.jp2batch-run.json"


def settled(fs, url: str) -> dict[str, tuple]:
    """Return the listing once it no longer changes: what a killed run has sent may still arrive at the store."""
    before = None
    while (now := listing(fs, url)) != before:
        before = now
        time.sleep(1)
    return now


def kill_one_into(url: str, manifest: Path, records: Path) -> None:
    """Begin a run into a store, and kill it when it has put its first records."""
    process = start(manifest, "-o", url, "--records", records, "--local-threads")
    wait_for_records(records, 1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)


@posix
@pytest.mark.seaweedfs
@pytest.mark.parametrize("output", ["out/", "results.zarr"])
def test_another_machine_without_records_removes_nothing_from_a_store(output, away, fs, image, nobody):
    tmp_path, place = image.parent, image.parent / "place"
    manifest = write_rows(tmp_path / "many.ndjson", [*windows(image, 90), *windows(image, 90, "0:30")])
    url = f"{away}/{output}"
    kill_one_into(url, manifest, tmp_path / "lost")
    before = settled(fs, away)
    done = on(nobody, manifest, url, "--resume", "--quiet")
    assert (done.exit_code, done.stderr.count("\n")) == (NOT_STARTED, 1)
    bad = write_rows(tmp_path / "bad.ndjson", [*windows(image, 2), {"Path": ""}])
    assert run(bad, url, "--resume").exit_code == 2
    elsewhere = write_rows(tmp_path / "elsewhere.ndjson", [{"Path": image.name, "rlevel": 0}])
    done = run(elsewhere, url, "--resume", "--root", tmp_path)
    assert (done.exit_code, "its records are of paths without root" in done.stderr) == (2, True)
    assert listing(fs, away) == before
    assert list(place.iterdir()) == []
    image.rename(image.with_suffix(".away"))
    assert run(manifest, url, "--resume").exit_code == 1
    after = listing(fs, away)
    index = f"{away[5:]}/{output}/zarr.json"  # begun anew by a run that reads images
    changed = {name for name in before if after[name] != before[name]}
    assert changed - {index} == {f"{away[5:]}/{run_file(output)}"}
    image.with_suffix(".away").rename(image)
    assert list(place.iterdir()) == []
    done = run(manifest, url, "--resume", "--records", tmp_path / "third", "--json")
    assert (done.exit_code, json.loads(done.stdout)["ok"]) == (0, 180)
    assert {name for name in before if "records" not in name} <= listing(fs, away).keys()
    found = check_records(tmp_path / "third", manifest)
    for item in items_of(jp2batch.read_manifest(manifest)):
        expected = jp2batch.read(item.path, item.rlevel, item.window)
        if output == "out/":
            with fs.open(found[item.id]["output"]) as file:
                np.testing.assert_array_equal(np.load(file), expected)
        else:
            store = fs.get_mapper(found[item.id]["output"])
            with xr.open_dataset(store, engine="zarr", consolidated=False) as group:
                np.testing.assert_array_equal(next(iter(group.data_vars.values())), expected)


@pytest.mark.seaweedfs
def test_a_store_that_cannot_be_written_changes_no_records(away, fs, manifest, place, monkeypatch):
    tmp_path = manifest.parent
    assert run(manifest, f"{away}/out/", "--records", tmp_path / "lost").exit_code == 0
    (tmp_path / "lost").unlink()
    fs.rm([name for name in fs.find(f"{away}/out", refresh=True) if name.endswith(".npy")][:2])
    before = listing(fs, away)

    def refuse(folder: Directory, *_: object) -> None:
        raise OutputError(folder.url, "cannot be written: the store refuses access", "check the rights")

    monkeypatch.setattr(Directory, "put", refuse)
    assert run(manifest, f"{away}/out/", "--resume").exit_code == NOT_STARTED
    assert listing(fs, away) == before
    assert list(place.iterdir()) == []


@pytest.mark.seaweedfs
def test_an_object_in_the_place_of_the_records_is_not_replaced(away, fs, manifest, place):
    for name in ("records.ndjson", "records/00000001.ndjson"):
        fs.pipe_file(f"{away}/out/{name}", b"one\ntwo\n")
        for mode in ("--resume", "--overwrite"):
            done = run(manifest, f"{away}/out/", mode)
            assert (done.exit_code, "not written by an earlier run" in done.stderr) == (2, True)
        assert fs.cat_file(f"{away}/out/{name}") == b"one\ntwo\n"
        fs.rm(f"{away}/out/{name}")
    assert list(place.iterdir()) == []
