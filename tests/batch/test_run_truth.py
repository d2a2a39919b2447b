"""What counts as done when a batch is resumed: size always, content on demand; and what is removed on demand."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import jp2batch
from jp2batch.batch.records import log
from jp2batch.batch.records.book import RecordBook
from jp2batch.batch.records.entry import void_line
from jp2batch.batch.records.log import SegmentLog
from jp2batch.storage.directory import Directory
from support.runs import check_lines, check_records, lines, run, write_rows

FORMS = ["npy", "json", "png", "tif", "nc", "zarr"]


@pytest.fixture
def manifest(image, tmp_path) -> Path:
    rows = [{"Path": str(image), "rlevel": 0, "window": f"{r}:{r + 9},0:20"} for r in range(6)]
    return write_rows(tmp_path / "manifest.ndjson", rows)


def summary(done) -> dict:
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def outputs_of(records: Path) -> list[Path]:
    return [Path(record["output"]) for record in lines(records)]


@pytest.mark.parametrize("form", FORMS)
def test_a_cut_file_is_read_again(form, manifest, tmp_path):
    target, records = f"{tmp_path}/out/", tmp_path / "out/records.ndjson"
    assert run(manifest, target, "--format", form).exit_code == 0
    cut = outputs_of(records)[2]
    cut = next(cut.rglob("c/0/0")) if form == "zarr" else cut
    whole = cut.read_bytes()
    for data in (whole[: len(whole) // 2], b"", 2 * whole):  # times in JSON differ by some digits
        cut.write_bytes(data)
        assert summary(run(manifest, target, "--format", form, "--resume", "--json"))["kept"] == 5
        assert abs(cut.stat().st_size - len(whole)) < 100  # responses tell their time
    check_records(records, manifest)


@pytest.mark.parametrize("form", FORMS)
def test_a_file_without_record_that_is_not_whole_is_read_again(form, manifest, tmp_path):
    target, records = f"{tmp_path}/out/", tmp_path / "out/records.ndjson"
    assert run(manifest, target, "--format", form).exit_code == 0
    paths = outputs_of(records)
    records.unlink()
    if form == "zarr":
        (paths[0] / "zarr.json").unlink()
    else:
        paths[0].write_bytes(bytes(paths[0].stat().st_size))
        paths[1].write_bytes(b"")
    assert summary(run(manifest, target, "--format", form, "--resume", "--json"))["kept"] == (
        5 if form == "zarr" else 4
    )
    found = check_records(records, manifest)
    assert sorted(Path(r["output"]) for r in found.values()) == sorted(paths)
    adopted = [record for record in found.values() if record["adopted"]]
    assert {(r["located_by"], r["bytes_read"], r["output_size"] > 0) for r in adopted} == {(None, 0, True)}


@pytest.mark.parametrize("output", ["results.ndjson", "out/", "results.zarr"])
def test_changed_content_is_found_on_demand(output, manifest, tmp_path):
    target = f"{tmp_path}/{output}"
    records = tmp_path / ("out/records.ndjson" if output == "out/" else f"{output}.records.ndjson")
    assert run(manifest, target).exit_code == 0
    path = Path(lines(records)[0]["output"] or target)
    path = next(path.rglob("c/0/0")) if path.is_dir() else path
    whole = path.read_bytes()
    place = whole.index(b"[[") + 2 if output == "results.ndjson" else len(whole) - 1
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    assert summary(run(manifest, target, "--resume", "--json"))["kept"] == 6
    assert summary(run(manifest, target, "--resume", "--verify", "--json"))["kept"] == 5
    assert path.read_bytes() == whole or output == "results.ndjson"
    assert summary(run(manifest, target, "--resume", "--verify", "--json"))["kept"] == 6
    if output == "results.ndjson":
        check_lines(tmp_path / output, manifest)


@pytest.mark.seaweedfs
@pytest.mark.parametrize("output", ["out/", "results.zarr"])
def test_changed_content_in_a_store_is_found_on_demand(output, manifest, away, fs):
    target = f"{away}/{output}"
    assert run(manifest, target).exit_code == 0
    ends = ".npy" if output == "out/" else "c/0/0"
    name = next(name for name in fs.find(target, refresh=True) if name.endswith(ends))
    data = fs.cat_file(name)
    fs.pipe_file(name, data[:-1] + bytes([data[-1] ^ 1]))
    assert summary(run(manifest, target, "--resume", "--json"))["kept"] == 6
    assert summary(run(manifest, target, "--resume", "--verify", "--json"))["kept"] == 5
    assert fs.cat_file(name) == data


@pytest.mark.parametrize("output", ["results.ndjson", "out/", "results.zarr"])
def test_results_of_another_manifest_are_removed_on_demand_and_counted(output, manifest, tmp_path):
    target = f"{tmp_path}/{output}"
    assert run(manifest, target).exit_code == 0
    fewer = write_rows(tmp_path / "fewer.ndjson", lines(manifest)[:2])
    (tmp_path / output / "mine.txt" if output == "out/" else tmp_path / "mine.txt").write_text("dear")
    before = sorted(tmp_path.rglob("*.*"))
    assert summary(run(fewer, target, "--resume", "--json"))["kept"] == 2
    assert sorted(tmp_path.rglob("*.*")) == before
    done = run(fewer, target, "--resume", "--clean", "--json")
    assert (
        summary(done)["kept"],
        f"{target}: removing 4 results of other items" in done.stderr,
    ) == (2, True)
    done = run(fewer, target, "--resume", "--clean", "--json")
    assert (summary(done)["kept"], "removing" in done.stderr) == (2, False)
    assert len(list(tmp_path.rglob("mine.txt"))) == 1
    if output == "results.ndjson":
        check_lines(tmp_path / output, fewer)


@pytest.mark.seaweedfs
def test_similar_names_share_nothing(manifest, image, away, fs):
    other = write_rows(manifest.with_name("other"), [{"Path": str(image), "rlevel": 1}])
    assert run(manifest, f"{away}/a/b/").exit_code == 0
    assert summary(run(other, f"{away}/a_b/", "--json"))["ok"] == 1
    assert summary(run(manifest, f"{away}/a/b/", "--resume", "--json"))["kept"] == 6
    assert summary(run(other, f"{away}/a_b/", "--resume", "--json"))["kept"] == 1


@pytest.mark.seaweedfs
@pytest.mark.parametrize("output", ["out/", "results.zarr"])
def test_failed_items_in_a_store_are_retried_from_another_machine(output, manifest, image, away, fs):
    rows = [*lines(manifest), {"Path": f"{image}.late.jp2", "rlevel": 0}]
    write_rows(manifest, rows)
    assert run(manifest, f"{away}/{output}").exit_code == 1
    before = {name: info["ETag"] for name, info in fs.find(away, detail=True, refresh=True).items()}
    Path(f"{image}.late.jp2").write_bytes(image.read_bytes())
    done = run(manifest, f"{away}/{output}", "--retry-failed", "--json")
    assert (summary(done)["ok"], summary(done)["kept"]) == (7, 6)
    after = {name: info["ETag"] for name, info in fs.find(away, detail=True, refresh=True).items()}
    state = re.compile(r"records|-run|\.zarr/zarr\.json$")
    assert all(after[name] == tag for name, tag in before.items() if not state.search(name))


# Segments


@pytest.fixture
def segments(tmp_path) -> Iterator[SegmentLog]:
    with contextlib.closing(SegmentLog(Directory(f"memory://{tmp_path.name}"), "records", tmp_path / "copy")) as found:
        yield found


def record(id_: str, status: str = "ok") -> bytes:
    fields = {"id": id_, "digest": id_, "root": None, "status": status, "output": f"x/{id_}.npy", "output_size": 5}
    return json.dumps(fields | {"error": None if status == "ok" else {"type": "Bad"}}).encode() + b"\n"


def ids_in(book: RecordBook) -> set[str]:
    return {id_ for id_ in "abcd" if id_ in book}


def void_in(book: RecordBook) -> set[str]:
    return {name for name in ("a.npy", "b.npy", "c.npy", "d.npy") if book.is_void(name)}


def test_the_newest_record_of_an_id_counts_and_void_records_do_not():
    book = RecordBook.of(
        [record("a", "failed"), record("b"), void_line(["b", "c"]), record("a"), b"\0\0" + record("d")]
    )
    assert (ids_in(book), len(book), book.has_ok("a"), book.has_ok("d")) == ({"a", "d"}, 2, True, True)
    assert (book.lines, book.damaged, void_in(book)) == (5, 1, {"b.npy"})
    book.add([void_line(None)])
    assert (len(book), void_in(book)) == (0, {"a.npy", "b.npy", "d.npy"})


def test_segments_are_merged_without_their_useless_lines(segments, tmp_path, monkeypatch):
    segments.open()
    for lines_ in ([record("a"), record("b")], [void_line(None)], [record("a"), b'{"id": "cut'], [record("c")]):
        segments.append(lines_)
    before = segments.read()
    monkeypatch.setattr(log, "_MERGED", 1)
    segments.compact(untidy=True)
    after = segments.read()
    assert (ids_in(after), after.lines, after.damaged) == (ids_in(before), 2, 0)
    assert (tmp_path / "copy").read_bytes() == record("a") + record("c")
    segments.compact(untidy=False)
    assert segments.read().lines == 2


@pytest.mark.parametrize("removals", range(2))
def test_a_merge_that_is_killed_changes_no_record(removals, segments, monkeypatch):
    segments.open()
    for lines_ in ([record("a"), record("gone")], [void_line(["gone"]), record("b")], [record("b")]):
        segments.append(lines_)
    remove, left = Directory.remove, [None] * removals

    def killed(folder: Directory, names) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        remove(folder, names)

    monkeypatch.setattr(Directory, "remove", killed)
    with pytest.raises(KeyboardInterrupt):
        segments.compact(untidy=True)
    assert ids_in(segments.read()) == {"a", "b"}


def test_adopted_results_read_as_any_other(manifest, tmp_path):
    assert run(manifest, f"{tmp_path}/out/").exit_code == 0
    (tmp_path / "out/records.ndjson").unlink()
    assert summary(run(manifest, f"{tmp_path}/out/", "--resume", "--json"))["kept"] == 6
    for request, found in zip(jp2batch.read_manifest(manifest), lines(tmp_path / "out/records.ndjson"), strict=True):
        np.testing.assert_array_equal(np.load(found["output"]), jp2batch.read(request.path, 0, request.window))
