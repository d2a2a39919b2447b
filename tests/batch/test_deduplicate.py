"""An item for each row, also where rows ask the same: read once, recorded for each, whatever interrupts it."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jp2batch
from jp2batch.batch.deduplicate import ReadQueue, items_of
from jp2batch.compute.result import Result
from jp2batch.core.request import Request
from support.images import PLAIN
from support.runs import check_lines, check_records, lines, run, write_rows

OUTPUTS = {
    "results.ndjson": "results.ndjson.records.ndjson",
    "out/": "out/records.ndjson",
    "results.zarr": "results.zarr.records.ndjson",
}
"""Outputs, and their records."""


@pytest.fixture
def manifest(image, tmp_path) -> Path:
    """Return a manifest of six rows and two reads, that echo a column of their own."""
    rows = [{"Path": str(image)}, {"Path": str(image), "rlevel": 1}, {"Path": str(image), "id": "mine"}]
    rows += [{"Path": str(image)}, {"Path": str(image), "id": "mine"}, {"Path": str(image), "rlevel": -1}]
    return write_rows(tmp_path / "manifest.ndjson", [row | {"row": number} for number, row in enumerate(rows)])


def ids(*given_ids: str) -> list[str]:
    return [item.id for item in items_of(Request("a.jp2", id=id_) for id_ in given_ids)]


def test_rows_of_one_id_are_told_apart_in_their_order():
    assert ids("a", "b", "a", "a") == ["a", "b", "a-2", "a-3"]


def test_an_id_that_is_given_is_not_taken_by_another_row():
    assert ids("a", "a", "a-2", "a") == ["a", "a-3", "a-2", "a-4"]
    assert ids("a", "a-2", "a", "a-2") == ["a", "a-2", "a-3", "a-2-2"]


@given(st.lists(st.sampled_from(["a", "a-2", "a-3", "a-2-2", "b", "b-2"])))
def test_items_have_ids_of_their_own_and_the_first_of_each_keeps_its(given_ids):
    found = ids(*given_ids)
    assert len(set(found)) == len(found) == len(given_ids)
    assert all(found[given_ids.index(id_)] == id_ for id_ in given_ids)


@given(st.lists(st.sampled_from(["a", "a-2", "b"]), min_size=1), st.lists(st.just("c")))
def test_rows_that_are_added_at_the_end_change_no_id(given_ids, added):
    assert ids(*given_ids, *added)[: len(given_ids)] == ids(*given_ids)


def test_a_read_serves_all_that_ask_the_same():
    items = [Request("a.jp2", id="x"), Request("b.jp2"), Request("a.jp2", id="y"), Request("a.jp2", 1)]
    reads = ReadQueue.of(items)
    assert reads.take(2) == [items[0], items[1]]
    assert not reads.exhausted
    assert (reads.take(2), reads.take(1), reads.exhausted) == ([items[3]], [], True)
    found = reads.results(Result(items[0], "ok"))
    assert [(place, result.request.id, result.same_as) for place, result in found] == [(0, "x", None), (2, "y", "x")]


def test_a_read_serves_items_that_become_known_before_it_ends():
    first, second, third = (Request("a.jp2", id=id_) for id_ in "xyz")
    parts = iter([[(second, first)], [], [(third, third)], [(first, first)], None])
    reads = ReadQueue(lambda: next(parts))
    assert reads.take(1) == [first]
    assert (reads.take(5), reads.exhausted) == ([], False)
    assert (reads.take(5), reads.exhausted) == ([], True)
    found = reads.results(Result(first, "ok"))
    assert [(result.request.id, result.same_as) for _, result in found] == [("y", None), ("z", "y"), ("x", "y")]


@pytest.mark.parametrize("output", OUTPUTS)
def test_each_row_has_its_record_and_what_is_asked_twice_is_read_once(output, manifest, tmp_path):
    done = run(manifest, f"{tmp_path}/{output}", "--json")
    summary = json.loads(done.stdout)
    assert (done.exit_code, summary["requests"], summary["ok"]) == (0, 6, 6)
    records = check_records(tmp_path / OUTPUTS[output], manifest)
    first = jp2batch.read_manifest(manifest)[0].id
    assert [record["id"] for record in sorted(records.values(), key=lambda record: record["row"])] == [
        *(first, jp2batch.read_manifest(manifest)[1].id, "mine", f"{first}-2", "mine-2", f"{first}-3")
    ]
    assert {record["same_as"] for record in records.values()} == {None, first}
    assert summary["bytes_read"] == sum(r["bytes_read"] for r in records.values() if r["same_as"] is None)
    if output == "results.ndjson":
        check_lines(tmp_path / output, manifest)
    else:
        assert len({record["output"] for record in records.values()}) == 2


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("kept", [[], [0], [3], [0, 2, 4], [1, 5]])
def test_rows_that_ask_the_same_are_adopted_one_by_one(kept, output, manifest, tmp_path):
    target, records = f"{tmp_path}/{output}", tmp_path / OUTPUTS[output]
    assert run(manifest, target).exit_code == 0
    undisturbed = {id_: record["output"] for id_, record in check_records(records, manifest).items()}
    told = [line for line in records.read_text().splitlines(True) if json.loads(line)["row"] in kept]
    records.write_text("".join(told))
    done = run(manifest, target, "--resume", "--json")
    assert (done.exit_code, json.loads(done.stdout)["kept"]) == (0, 6)  # outputs without records are adopted
    assert {id_: record["output"] for id_, record in check_records(records, manifest).items()} == undisturbed
    if output == "results.ndjson":
        check_lines(tmp_path / output, manifest)


@pytest.mark.parametrize("output", OUTPUTS)
def test_rows_that_ask_the_same_fail_and_are_retried_together(output, manifest, image, tmp_path):
    image.rename(tmp_path / "elsewhere")
    done = run(manifest, f"{tmp_path}/{output}", "--json")
    assert (done.exit_code, json.loads(done.stdout)["failures"]) == (1, {"ImageNotFound": 6})
    check_records(tmp_path / OUTPUTS[output], manifest)
    (tmp_path / "elsewhere").rename(image)
    done = run(manifest, f"{tmp_path}/{output}", "--retry-failed", "--json")
    assert (done.exit_code, json.loads(done.stdout)["ok"]) == (0, 6)
    assert {r["status"] for r in check_records(tmp_path / OUTPUTS[output], manifest).values()} == {"ok"}


def test_a_shared_file_does_not_become_that_of_another_image(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "image.jp2").write_bytes(PLAIN.data)
    row = {"Path": str(tmp_path / "a/image.jp2"), "window": "0:8,0:8", "rlevel": 0}
    manifest = write_rows(tmp_path / "m.ndjson", [row | {"id": "x"}, row | {"id": "y"}])
    assert run(manifest, f"{tmp_path}/out/").exit_code == 0
    other = {"Path": str(tmp_path / "b/image.jp2"), "window": "0:9,0:9", "rlevel": 0}
    write_rows(manifest, [other | {"id": "x"}, row | {"id": "y"}])
    assert run(manifest, f"{tmp_path}/out/", "--resume").exit_code == 0
    records = check_records(tmp_path / "out/records.ndjson", manifest)
    assert [np.load(records[id_]["output"]).shape for id_ in "xy"] == [(9, 9), (8, 8)]


def test_a_batch_in_python_counts_the_bytes_of_a_read_once(image):
    report = jp2batch.run([Request(str(image), id=id_) for id_ in "abc"])
    assert [result.same_as for result in report] == [None, "a", "a"]
    assert report.bytes_read == report.results[0].stats.bytes_read
    assert report.bytes_whole == image.stat().st_size


def test_lines_of_rows_that_ask_the_same_differ_in_their_ids_only(manifest, tmp_path):
    assert run(manifest, tmp_path / "results.ndjson").exit_code == 0
    answers = {json.dumps(line["img_data"]) for line in lines(tmp_path / "results.ndjson")}
    assert len(answers) == 2
