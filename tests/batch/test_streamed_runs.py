"""Batches of manifests that are still being read: begun early, resumed, stopped, with bad rows far behind."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import jp2batch
from jp2batch.batch import item_source
from jp2batch.batch.deduplicate import items_of
from jp2batch.batch.item_source import ItemStream
from jp2batch.batch.manifest.read import manifest_of
from jp2batch.batch.report import BatchSummary
from jp2batch.core.errors import ManifestError
from support.runs import check_lines, check_records, lines, run, start, write_rows
from support.waiting import wait_until

OUTPUTS = {"results.ndjson": "results.ndjson.records.ndjson", "out/": "out/records.ndjson"}
"""Outputs, and their records."""


@pytest.fixture
def few_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check only five rows before a batch begins."""
    monkeypatch.setattr(item_source, "AHEAD", 5)
    monkeypatch.setattr(item_source, "_PART", 3)
    monkeypatch.setattr(item_source, "_PATIENCE", 0.2)


@pytest.fixture
def rows(image: Path) -> list[dict[str, object]]:
    """Return 24 rows of 12 reads; equal rows stand far from each other."""
    return [{"Path": str(image), "rlevel": 0, "window": f"0:{8 + n % 12},0:8", "row": n} for n in range(24)]


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_streamed_batch_has_a_record_of_each_row(few_ahead: None, output: str, rows: list, tmp_path: Path) -> None:
    manifest = write_rows(tmp_path / "m.ndjson", rows)
    done = run(manifest, f"{tmp_path}/{output}", "--json")
    summary = json.loads(done.stdout)
    assert (done.exit_code, summary["requests"], summary["ok"], summary["left"]) == (0, 24, 24, 0)
    check_records(tmp_path / OUTPUTS[output], manifest)
    if output == "results.ndjson":
        check_lines(tmp_path / output, manifest)


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_streamed_batch_is_resumed(few_ahead: None, output: str, rows: list, tmp_path: Path) -> None:
    manifest, records = write_rows(tmp_path / "m.ndjson", rows), tmp_path / OUTPUTS[output]
    assert run(manifest, f"{tmp_path}/{output}").exit_code == 0
    state = next(tmp_path.rglob("*.jp2batch-run.json"))
    state.unlink()  # nothing is adopted without it, unless its name tells the request
    kept = [line for line in records.read_text().splitlines(True) if json.loads(line)["row"] not in (2, 13, 23)]
    records.write_text("".join(kept))
    done = run(manifest, f"{tmp_path}/{output}", "--resume", "--json")
    summary = json.loads(done.stdout)
    assert (done.exit_code, summary["requests"], summary["ok"], summary["left"]) == (0, 24, 24, 0)
    assert summary["kept"] >= 21
    check_records(records, manifest)
    again = json.loads(run(manifest, f"{tmp_path}/{output}", "--resume", "--json").stdout)
    assert (again["kept"], again["bytes_read"]) == (24, 0)


def test_rows_far_behind_that_fail_are_counted_and_told(few_ahead: None, rows: list, tmp_path: Path) -> None:
    manifest = write_rows(tmp_path / "m.ndjson", [*rows[:12], {"rlevel": 1}, *rows[12:], {"Path": "a", "rlevel": "x"}])
    done = run(manifest, f"{tmp_path}/results.ndjson", "--json")
    summary = json.loads(done.stdout)
    assert (done.exit_code, summary["requests"], summary["ok"], summary["failures"]) == (
        1,
        26,
        24,
        {"ManifestError": 2},
    )
    assert "line 13: it has no Path" in done.stderr
    assert "line 26: a: rlevel of type str" in done.stderr
    assert len(lines(tmp_path / "results.ndjson")) == 24


def test_a_bad_row_among_the_first_refuses_all(few_ahead: None, rows: list, tmp_path: Path) -> None:
    manifest = write_rows(tmp_path / "m.ndjson", [*rows[:4], {"rlevel": 1}, *rows[4:]])
    assert run(manifest, f"{tmp_path}/results.ndjson").exit_code == 2
    assert not (tmp_path / "results.ndjson").exists()


def test_the_first_item_is_done_before_the_last_row_is_written(few_ahead: None, rows: list, tmp_path: Path) -> None:
    pipe, records, done = tmp_path / "pipe", tmp_path / "out/records.ndjson", list[BatchSummary]()
    os.mkfifo(pipe)

    def run_batch() -> None:
        done.append(jp2batch.run_to(jp2batch.iter_manifest(pipe), f"{tmp_path}/out/"))

    batch = threading.Thread(target=run_batch)
    batch.start()
    with pipe.open("w", buffering=1) as file:
        for number in (0, 1, 2):  # each row is done before the next is written
            file.write(json.dumps(rows[number]) + "\n")
            wait_until(lambda: records.exists() and len(lines(records)) == number + 1)  # noqa: B023
        file.writelines(json.dumps(row) + "\n" for row in rows[3:])
    batch.join()
    assert (done[0].ok, done[0].requests) == (24, 24)


def test_a_batch_that_waits_for_rows_is_interrupted(image: Path, tmp_path: Path) -> None:
    output = tmp_path / "results.ndjson"
    with start("-", "-o", output, "--local-threads", stdin=subprocess.PIPE) as process:
        process.stdin.write(f"{image}\n".encode())
        process.stdin.flush()
        wait_until(lambda: output.exists() and output.read_bytes().endswith(b"\n"))
        process.send_signal(signal.SIGINT)
        process.wait(60)  # before its stdin ends
        told = process.stderr.read()
    assert process.returncode == 130
    assert b"records are kept" in told
    assert b"Traceback" not in told
    assert b"Fatal" not in told


def test_too_many_bad_rows_end_a_batch(few_ahead: None, rows: list, tmp_path: Path) -> None:
    manifest = write_rows(tmp_path / "m.ndjson", [*rows, *[{}] * 1100])
    with pytest.raises(ManifestError, match="1000 bad rows"):
        jp2batch.run_to(jp2batch.iter_manifest(manifest), f"{tmp_path}/out/")
    assert len(lines(tmp_path / "out/records.ndjson")) <= 24


IDS = st.lists(st.sampled_from(["x", "x-2", "x-3", "x-2-2", "y"]), min_size=1, max_size=12)


def streamed(ids: list[str], ahead: int) -> Iterator[str]:
    data = "".join(f'{{"Path":"a.jp2","id":"{id_}"}}\n' for id_ in ids).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(item_source, "AHEAD", ahead)
        patch.setattr(item_source, "_PART", 2)
        items = ItemStream(manifest_of([data]))
        yield from (item.id for item in items.first)
        while (more := items.more()) is not None:
            yield from (item.id for item in more)


@given(IDS, st.integers(1, 4))
def test_ids_of_a_stream_are_those_of_a_list_and_depend_on_no_clock(ids: list[str], ahead: int) -> None:
    requests = [jp2batch.Request("a.jp2", id=id_) for id_ in ids]
    assert list(streamed(ids, 100)) == [item.id for item in items_of(requests)]
    found = list(streamed(ids, ahead))
    assert len(set(found)) == len(ids)
    assert found == list(streamed(ids, ahead))
