"""A batch into a store, killed at random moments, and resumed each time from another empty folder."""

import io
import json
import os
import random
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest

import jp2batch
from jp2batch.batch.deduplicate import items_of
from support.images import PLAIN
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


def whole(fs, url: str, output: str) -> set[str]:
    """Return the names of the images whose results are whole in a store, once nothing more arrives."""
    before: set[str] | None = None
    while True:
        found = fs.find(url, refresh=True)
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
    for item in items_of(jp2batch.read_manifest(manifest)):
        record, expected = found[item.id], jp2batch.read(item.path, item.rlevel, item.window)
        assert record["status"] == "ok"
        if output == "out/":
            data = fs.cat_file(record["output"])
            np.testing.assert_array_equal(np.load(io.BytesIO(data)), expected)
            assert len(data) == record["output_size"]
        else:
            sizes = fs.find(record["output"], detail=True, refresh=True)
            assert sum(info["size"] for info in sizes.values()) == record["output_size"]


@pytest.mark.parametrize(
    ("output", "kills"), [("out/", 5), ("results.zarr", 2), pytest.param("out/", 20, marks=pytest.mark.exhaustive)]
)
def test_each_kill_loses_only_what_was_being_read(output, kills, manifest, http_server, away, fs):  # noqa: PLR0917
    tmp_path, url, chance = manifest.parent, f"{away}/{output}", random.Random(f"{output}{kills}")
    for kill in range(kills):
        before = whole(fs, away, output)
        http_server.paths.clear()
        folder = tmp_path / f"machine{kill}"
        folder.mkdir()
        process = start(manifest, "-o", url, "--resume", "--local-threads", cwd=folder)
        goal = chance.randrange(3 * ITEMS // kills)  # three requests an item
        wait_until(lambda: len(http_server.paths) > goal or process.poll() is not None)  # noqa: B023
        time.sleep(chance.random() / 20)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
        assert not read_names(http_server.paths) & before
        assert list(folder.iterdir()) == []
    before = whole(fs, away, output)
    http_server.paths.clear()
    done = run(manifest, url, "--resume", "--json")
    assert (done.exit_code, json.loads(done.stdout)["ok"]) == (0, ITEMS), done.stderr
    assert json.loads(done.stdout)["kept"] == len(before) > 0
    assert read_names(http_server.paths) == {str(number) for number in range(ITEMS)} - before
    http_server.delay = 0
    check_output(fs, url, output, manifest, tmp_path / "all")
