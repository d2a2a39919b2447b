"""A batch into a store, killed at random moments, and resumed each time from another empty folder, and its workers."""

import io
import json
import os
import random
import re
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import jp2batch
from jp2batch.batch.deduplicate import items_of
from support.clusters import cluster_by_hand
from support.images import PLAIN
from support.processes import children_of, workers_of
from support.runs import check_records, run, start, write_rows
from support.waiting import wait_until

pytestmark = [
    pytest.mark.seaweedfs,
    pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX"),
]

ITEMS = 60


@pytest.fixture
def manifest(http_server, tmp_path) -> Path:
    """Return a manifest of an image each, half of them with ids of their own."""
    http_server.delay = 0.01
    rows = []
    for number in range(ITEMS):
        http_server.files[f"{number}.jp2"] = PLAIN.data
        row = {"Path": http_server.url(f"{number}.jp2"), "rlevel": 0, "window": f"0:{number + 9},0:20"}
        rows.append(row | ({"id": f"item/{number}"} if number % 2 else {}))
    return write_rows(tmp_path / "manifest.ndjson", rows)


PARTS = ("results.ndjson", "results.parquet")


def rows_in(fs, url: str) -> list[tuple[str, str, np.ndarray]]:
    """Return (id, path, values) of all rows in parts below a URL."""
    found = []
    for path in fs.find(url, refresh=True):
        if path.endswith(".parquet"):
            frame = pd.read_parquet(io.BytesIO(fs.cat_file(path)))
            found += [(row.id, path, row["values"].reshape(row["shape"])) for _, row in frame.iterrows()]
        elif "/part-" in path:
            rows = map(json.loads, fs.cat_file(path).splitlines())
            found += [(row["id"], path, np.array(row["img_data"])) for row in rows]
    return found


def whole(fs, url: str, output: str, images: dict[str, str]) -> set[str]:
    """Return the names of the images whose results are whole in a store, once nothing more arrives."""
    before: set[str] | None = None
    while True:
        found = fs.find(url, refresh=True)
        if output in PARTS:
            if found == before:
                return {images[id_] for id_, *_ in rows_in(fs, url)}
            before = found
            time.sleep(0.3)
            continue
        ends = r"\.npy$" if output == "out/" else r"/zarr\.json$"
        names = {match[1] for name in found if (match := re.search(rf"/(\d+)-r0-[^/]*{ends}", name))}
        if names == before:
            return names
        before = names
        time.sleep(0.3)


def read_names(paths: list[str]) -> set[str]:
    return {path.removeprefix("/").removesuffix(".jp2") for path in paths}


def check_output(fs, url: str, output: str, manifest: Path, records: Path) -> None:
    """Check that each item has exactly one record and the right output."""
    segments = fs.find(f"{url}records" if output == "out/" else f"{url}.records", refresh=True)
    records.write_bytes(b"".join(fs.cat_file(name) for name in sorted(segments)))
    found = check_records(records, manifest)
    rows = {id_: (path, values) for id_, path, values in rows_in(fs, url)} if output in PARTS else {}
    assert len(rows) == (len(rows_in(fs, url)) if output in PARTS else 0)
    for item in items_of(jp2batch.read_manifest(manifest)):
        record, expected = found[item.id], jp2batch.read(item.path, item.rlevel, item.window)
        assert record["status"] == "ok"
        if output == "out/":
            data = fs.cat_file(record["output"])
            np.testing.assert_array_equal(np.load(io.BytesIO(data)), expected)
            assert len(data) == record["output_size"]
        elif output in PARTS:
            path, values = rows.pop(item.id)
            assert (f"s3://{path}", fs.size(path)) == (record["output"], record["output_size"])
            np.testing.assert_array_equal(values, expected)
        else:
            sizes = fs.find(record["output"], detail=True, refresh=True)
            assert sum(info["size"] for info in sizes.values()) == record["output_size"]
    assert not rows
    assert not [path for path in fs.find(f"{url}.pending", refresh=True) if "part-" in path]


@pytest.mark.parametrize(
    ("output", "kills"),
    [
        *(("out/", 5), ("results.zarr", 2), ("results.ndjson", 3), ("results.parquet", 3)),
        *(pytest.param(output, 20, marks=pytest.mark.exhaustive) for output in ("out/", *PARTS)),
    ],
)
def test_each_kill_loses_only_what_was_being_read(output, kills, manifest, http_server, away, fs):  # noqa: PLR0917
    tmp_path, url, chance = manifest.parent, f"{away}/{output}", random.Random(f"{output}{kills}")
    images = {item.id: Path(item.path).stem for item in items_of(jp2batch.read_manifest(manifest))}
    engine = ["--workers", "2"] if output in PARTS else ["--local-threads"]
    for kill in range(kills):
        before = whole(fs, away, output, images)
        http_server.paths.clear()
        folder = tmp_path / f"machine{kill}"
        folder.mkdir()
        process = start(manifest, "-o", url, "--resume", *engine, cwd=folder)
        goal = chance.randrange(3 * ITEMS // kills)  # three requests an item
        wait_until(lambda: len(http_server.paths) > goal or process.poll() is not None)  # noqa: B023
        time.sleep(chance.random() / 20)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
        assert not read_names(http_server.paths) & before
        assert list(folder.iterdir()) == []
    before = whole(fs, away, output, images)
    http_server.paths.clear()
    done = run(manifest, url, "--resume", "--json")
    assert (done.exit_code, json.loads(done.stdout)["ok"]) == (0, ITEMS), done.stderr
    assert json.loads(done.stdout)["kept"] == len(before) > 0
    assert read_names(http_server.paths) == {str(number) for number in range(ITEMS)} - before
    http_server.delay = 0
    check_output(fs, url, output, manifest, tmp_path / "all")


def parts_at(fs, url: str) -> list[str]:
    return [path for path in fs.find(url, refresh=True) if "/part-" in path]


@pytest.mark.parametrize("output", PARTS)
def test_workers_killed_while_they_write_parts_cost_no_row(output, manifest, http_server, away, fs):
    http_server.delay = 0.05
    process, chance, kills = start(manifest, "-o", f"{away}/{output}", "--workers", "2"), random.Random(output), 0
    for number in (1, 5):
        wait_until(lambda: len(parts_at(fs, away)) >= number or process.poll() is not None)  # noqa: B023
        time.sleep(chance.random() / 5)
        for worker in workers_of(process.pid)[:1]:
            worker.kill()
            kills += 1
    _, errors = process.communicate(timeout=100)
    assert (process.returncode, kills) == (0, 2), errors
    http_server.delay = 0
    check_output(fs, f"{away}/{output}", output, manifest, manifest.parent / "all")


@pytest.mark.parametrize("output", PARTS)
def test_workers_that_go_on_when_the_next_run_is_over_add_no_row(output, manifest, http_server, away, fs):
    url = f"{away}/{output}"
    http_server.delay = 0.1
    with cluster_by_hand(manifest.parent / "cluster") as cluster:
        process = start(manifest, "-o", url, "--scheduler", cluster.address)
        wait_until(lambda: len(parts_at(fs, away)) >= 3)
        workers = [child for worker in cluster.workers for child in children_of(worker.pid)]
        for worker in workers:
            worker.suspend()
        process.kill()
        process.communicate()
        http_server.delay = 0
        assert run(manifest, url, "--resume").exit_code == 0
        check_output(fs, url, output, manifest, manifest.parent / "all")
        for worker in workers:
            worker.resume()
        wait_until(lambda: parts_at(fs, f"{url}.pending"))
    assert len(rows_in(fs, url)) == ITEMS
    assert json.loads(run(manifest, url, "--resume", "--json").stdout)["kept"] == ITEMS
    check_output(fs, url, output, manifest, manifest.parent / "all")
