"""Outputs in parts: rows that workers write, a part for each chunk of items."""

import importlib.util
import io
import json
import math
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pytest

import jp2batch
from jp2batch.batch import commit
from jp2batch.batch.deduplicate import items_of
from jp2batch.batch.outputs import sink_for
from jp2batch.batch.outputs.part_listing import part_name
from jp2batch.batch.outputs.row_formats import ROW_FORMATS
from jp2batch.compute import chunk, task
from jp2batch.compute.chunk import run_chunk
from jp2batch.compute.task import PickledSpec, TaskSpec
from jp2batch.core.errors import UnsupportedImage
from jp2batch.core.options import SecretDict
from jp2batch.core.request import Request
from support.runs import check_records, lines, run, start, write_rows
from support.waiting import wait_until

ENGINES = [["--local-threads"], ["--workers", "2"]]


def rows_of(image: Path, number: int) -> list[dict]:
    return [{"Path": str(image), "rlevel": 0, "window": f"{r}:{r + 5},0:20", "site": r} for r in range(number)]


@pytest.fixture
def manifest(image, tmp_path) -> Path:
    """Return a manifest with equal requests, an image that is missing, and a lowest level."""
    rows = rows_of(image, 12)
    more = [rows[0], rows[0] | {"id": "again"}, {"Path": str(tmp_path / "missing.jp2")}, {"Path": str(image)}]
    return write_rows(tmp_path / "m.ndjson", rows + more)


def expected(manifest: Path) -> dict[str, np.ndarray]:
    """Return the pixels of all items but the missing images."""
    items = [item for item in items_of(jp2batch.read_manifest(manifest)) if "missing" not in item.path]
    return {item.id: np.asarray(jp2batch.read(item.path, item.rlevel, item.window)) for item in items}


def check_parquet(folder: Path, manifest: Path) -> pd.DataFrame:
    """Check each item's row, record and part, and that there is no other row or part."""
    frame, pixels = pd.read_parquet(folder).set_index("id"), expected(manifest)
    assert frame.index.is_unique
    assert set(frame.index) == set(pixels)
    for id_, row in frame.iterrows():
        np.testing.assert_array_equal(row["values"].reshape(row["shape"]).astype(row["dtype"]), pixels[id_])
    records = check_records(folder.with_name(f"{folder.name}.records.ndjson"), manifest)
    parts = {}
    for record in records.values():
        if record["status"] == "ok":
            part = Path(record["output"])
            assert record["output_size"] == part.stat().st_size
            parts.setdefault(part, set()).add(record["id"])
    assert set(folder.iterdir()) == set(parts)
    assert all(set(pd.read_parquet(part)["id"]) == ids for part, ids in parts.items())
    return frame


def largest_in(folder: Path) -> Path:
    return max(folder.iterdir(), key=lambda part: int(part.stem.rpartition("-")[2]))


@pytest.mark.parametrize("engine", ENGINES, ids=["threads", "processes"])
def test_a_folder_of_parts_is_a_table_of_all_items(engine, manifest, image, tmp_path):
    folder = tmp_path / "results.parquet"
    process = start(manifest, "-o", folder, "--json", *engine)
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 1, errors
    assert (json.loads(output)["ok"], json.loads(output)["failed"]) == (15, 1)
    frame = check_parquet(folder, manifest)
    assert list(frame.columns) == ["Path", "rlevel", "window", "site", "columns", "shape", "dtype", "values"]
    assert str(ds.dataset(folder).schema.field("values").type) == "list<element: int32>"
    assert [json.loads(text).get("site") for text in frame.loc[["again"], "columns"]] == [0]
    assert len(list(folder.iterdir())) < 15
    done = run(manifest, folder, "--resume", "--verify", "--json")
    assert (done.exit_code, json.loads(done.stdout)["kept"]) == (1, 15)
    check_parquet(folder, manifest)


def test_rows_of_items_that_change_or_go_leave_their_parts(image, tmp_path):
    folder, rows = tmp_path / "results.parquet", [row | {"id": f"i{row['site']}"} for row in rows_of(image, 10)]
    assert run(write_rows(tmp_path / "m.ndjson", rows), folder).exit_code == 0
    changed = [rows[0] | {"window": "7:9,3:8"}, *rows[1:8]]
    manifest = write_rows(tmp_path / "changed.ndjson", changed)
    done = run(manifest, folder, "--resume", "--clean", "--json")
    assert (done.exit_code, json.loads(done.stdout)["kept"]) == (0, 7)
    check_parquet(folder, manifest)
    assert json.loads(run(manifest, folder, "--resume", "--verify", "--json").stdout)["kept"] == 8
    assert run(manifest, folder, "--overwrite").exit_code == 0
    check_parquet(folder, manifest)


def test_a_lost_part_is_read_again(manifest, tmp_path):
    folder = tmp_path / "results.parquet"
    run(manifest, folder)
    part = min(folder.iterdir())
    lost = len(pd.read_parquet(part))
    part.write_bytes(part.read_bytes()[:50])
    assert json.loads(run(manifest, folder, "--resume", "--json").stdout)["kept"] == 15 - lost
    check_parquet(folder, manifest)


def test_a_part_of_a_lost_worker_or_a_killed_run_is_no_result(manifest, tmp_path):
    folder, pending = tmp_path / "results.parquet", tmp_path / "results.parquet.pending"
    run(manifest, folder)
    part = largest_in(folder)
    pending.mkdir()
    shutil.copy(part, pending / f"{part.name[:22]}0123456789abcdef-15.parquet")
    (pending / f".{part.name}.0123abcd").write_bytes(b"PAR1")
    (pending / "theirs").touch()
    check_parquet(folder, manifest)
    part.rename(pending / part.name)  # as after a kill between the records and the move
    assert json.loads(run(manifest, folder, "--resume", "--json").stdout)["kept"] == 15
    check_parquet(folder, manifest)
    assert [path.name for path in pending.iterdir()] == ["theirs"]


class Killed:
    """A run of items with ids, killed before some records were written and its parts shown."""

    def __init__(self, image: Path, folder: Path) -> None:
        self.rows = [row | {"id": f"i{row['site']}"} for row in rows_of(image, 8)]
        self.image, self.table, self.pending = image, folder / "results.parquet", folder / "results.parquet.pending"
        self.records = folder / "results.parquet.records.ndjson"
        self.manifest = write_rows(folder / "killed.ndjson", self.rows)
        assert run(self.manifest, self.table).exit_code == 0
        (part,) = self.table.iterdir()
        self.pending.mkdir()
        self.part = part.rename(self.pending / part.name)
        kept = self.records.read_bytes().splitlines(keepends=True)
        self.records.write_bytes(b"".join(kept[:3]))

    def resumed(self, *flags: str, manifest: Path | None = None) -> dict:
        """Resume it; return the summary."""
        return json.loads(run(manifest or self.manifest, self.table, "--json", *(flags or ("--resume",))).stdout)

    def check(self, manifest: Path | None = None) -> None:
        check_parquet(self.table, manifest or self.manifest)
        assert not self.pending.exists()


@pytest.fixture
def killed(image, tmp_path, monkeypatch) -> Killed:
    with monkeypatch.context() as patch:
        patch.setattr(commit, "_LOCAL", (99, 99))  # a group of records, and thus a part
        return Killed(image, tmp_path)


@pytest.mark.parametrize("is_shown", [False, True])
def test_rows_without_records_get_them_and_are_not_read_again(is_shown, killed, tmp_path):
    if is_shown:
        killed.part.rename(killed.table / killed.part.name)
    gone = killed.image.rename(tmp_path / "gone")
    assert killed.resumed()["kept"] == 8
    gone.rename(killed.image)
    killed.check()
    assert Counter(record["adopted"] for record in lines(killed.records)) == {True: 5, False: 3}


def test_a_row_that_workers_wrote_twice_is_taken_once(killed, tmp_path):
    rows, data = ROW_FORMATS[".parquet"], killed.part.read_bytes()
    for ids in (["i2", "i3", "i4"], ["i4", "i5"], ["i6"]):
        part = rows.only(data, ids)
        name = part_name(killed.part.name.split("-")[1], part, len(ids), ".parquet")
        (killed.pending / name).write_bytes(part)
    gone = killed.image.rename(tmp_path / "gone")
    assert killed.resumed()["kept"] == 8
    gone.rename(killed.image)
    killed.check()


def test_rows_of_other_items_of_these_ids_are_not_taken(killed, tmp_path):
    changed = write_rows(tmp_path / "changed.ndjson", [row | {"window": "3:9,1:7"} for row in killed.rows])
    process = start(changed, "-o", killed.table, "--resume", "--max-failures", "0", "--root", "/nowhere")
    process.communicate(timeout=60)
    os.utime(killed.part)  # as from a worker of the killed run, which was late
    assert killed.resumed(manifest=changed)["kept"] == 0
    killed.check(changed)


def test_pending_parts_with_records_fix_the_columns(killed, tmp_path):
    more = write_rows(
        tmp_path / "more.ndjson", [row | {"extra": "x"} for row in [*killed.rows, killed.rows[0] | {"id": "new"}]]
    )
    assert killed.resumed(manifest=more)["kept"] == 3
    killed.check(more)
    schemas = {tuple(ds.dataset(part).schema.names) for part in killed.table.iterdir()}
    assert len(schemas) == 1
    assert "extra" not in min(schemas)


@pytest.mark.parametrize(("flags", "place"), [(["--overwrite"], 0), *((["--resume"], n / 5) for n in range(5))])
def test_rows_that_are_replaced_or_damaged_are_read_again(flags, place, killed):
    if flags == ["--resume"]:
        data = bytearray(killed.part.read_bytes())
        data[int(len(data) * place)] ^= 1
        killed.part.write_bytes(data)
    assert killed.resumed(*flags)["kept"] == 3 * (flags == ["--resume"])
    assert killed.resumed()["kept"] == (5 if flags == ["--resume"] else 8)  # damage to rows with records shows later
    killed.check()


def test_an_item_of_a_known_request_gets_a_row_of_its_own(manifest, image, tmp_path):
    folder = tmp_path / "results.parquet"
    rows = rows_of(image, 2)
    run(write_rows(tmp_path / "few.ndjson", rows), folder)
    more = write_rows(tmp_path / "more.ndjson", [*rows, rows[0] | {"id": "β/1"}, rows[0] | {"id": "..", "site": "x"}])
    assert json.loads(run(more, folder, "--resume", "--json").stdout)["kept"] == 2
    frame = check_parquet(folder, more)
    assert (frame.loc["β/1", "site"], pd.isna(frame.loc["..", "site"])) == (0, True)
    assert json.loads(frame.loc["..", "columns"]) == {"site": "x"}


def test_columns_of_a_single_type_are_columns_of_the_table(image, tmp_path):
    values = {
        "text": ["a", "β", None],
        "whole": [1, -5, None],
        "number": [1, 2.5, None],
        "flag": [True, None, False],
        "mixed": [1, "1", None],
        "nested": [{"a": [None]}, [1], {}],
        "nothing": [None] * 3,
        "large": [2**63, 1, 2],
        "Shape": ["mine", "is", "other"],
    }
    rows = [row | {name: some[n] for name, some in values.items()} for n, row in enumerate(rows_of(image, 3))]
    assert run(write_rows(tmp_path / "m.ndjson", rows), tmp_path / "results.parquet").exit_code == 0
    table = ds.dataset(tmp_path / "results.parquet").to_table().sort_by("site")
    found = {field.name: str(field.type) for field in table.schema}
    assert {name: found.get(name) for name in values} == {
        "text": "string", "whole": "int64", "number": "double", "flag": "bool", "large": "int64"
    } | dict.fromkeys(["mixed", "nested", "nothing", "Shape"])  # fmt: skip
    for name in ("text", "whole", "number", "flag"):
        assert table[name].to_pylist() == values[name]
    assert table["large"].to_pylist() == [None, 1, 2]
    assert [json.loads(text) for text in table["columns"].to_pylist()] == [
        {name: value for name, value in row.items() if name not in {"Path", "rlevel", "window"}} for row in rows
    ]


@pytest.mark.parametrize(("values", "parts"), [(20, [100]), (300_000, [4] * 25)])  # of int32: 4 MiB make a part
def test_a_chunk_is_stored_as_parts_of_bounded_size(values, parts, tmp_path, monkeypatch):
    monkeypatch.setattr(chunk, "_LONGEST", math.inf)
    monkeypatch.setattr(task, "_read", lambda *_: pixels)
    pixels = SimpleNamespace(
        values=np.zeros((1, 1, values), "uint16"), stats=None, opened=SimpleNamespace(pieces=SimpleNamespace(size=1))
    )
    (tmp_path / "image.jp2").touch()
    requests = [Request(str(tmp_path / "image.jp2"), id=str(n)) for n in range(100)]
    output = sink_for(str(tmp_path / "results.parquet"))
    output.open(overwrite=False)
    order, found = PickledSpec.of(TaskSpec(output.deliver, SecretDict(), None, None)), []
    while len(found) < 100:
        found += run_chunk(pickle.dumps(requests[len(found) :]), order, False).results(requests[len(found) :])
    assert {(result.status, result.value) for result in found} == {("ok", None)}
    assert list(Counter(result.output for result in found).values()) == parts
    assert len(list((tmp_path / "results.parquet.pending").iterdir())) == len(parts)


ROW = """
import numpy as np
from types import SimpleNamespace
from jp2batch.batch.outputs.parts import AsRow
from jp2batch.batch.outputs.row_formats import ROW_FORMATS
from jp2batch.compute.result import Result
from jp2batch.core.options import SecretDict
from jp2batch.core.request import Request

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) << 10

rows, request = ROW_FORMATS[".parquet"], Request("a.jp2", id="a")
deliver = AsRow("pending", "folder", ".parquet", (), SecretDict(), rows)
AsRow.write = lambda _, part, rows: SimpleNamespace(path="", size=len(part), checksum="")
for size in (10, 4000):
    pixels = SimpleNamespace(values=np.random.default_rng(1).integers(0, 4096, (1, size, size), "uint16"))
    before, samples = peak(), size**2
    result = Result(request, "ok", value=deliver(pixels, request), shape=(size, size), dtype="uint16")
    del pixels
    deliver.store([result])
print((peak() - before) / samples, deliver.bytes_per_sample)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is that of Linux")
def test_a_large_row_takes_no_more_memory_than_is_reserved_for_it():
    found = subprocess.run([sys.executable, "-c", ROW], capture_output=True, text=True, check=True, timeout=100)
    measured, reserved = map(float, found.stdout.split())
    assert measured < reserved


def test_samples_beyond_int32_are_refused():
    def value_of(*samples: int, dtype: str) -> list[int]:
        pixels = SimpleNamespace(values=np.array([[samples]], dtype))
        return np.frombuffer(ROW_FORMATS[".parquet"].value_of(pixels, Request("a.jp2")), np.int32).tolist()

    assert value_of(0, 2**31 - 1, dtype="uint32") == [0, 2**31 - 1]
    assert value_of(-(2**31), 5, dtype="int32") == [-(2**31), 5]
    for samples, dtype in [([2**31], "uint32"), ([2**40], "int64"), ([0.5], "float32")]:
        with pytest.raises(UnsupportedImage, match=r"a\.jp2: its 1 samples of \w+ do not fit"):
            value_of(*samples, dtype=dtype)


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_a_killed_run_is_resumed_without_double_rows(image, tmp_path):
    manifest, folder = write_rows(tmp_path / "m.ndjson", rows_of(image, 90)), tmp_path / "results.parquet"
    for number in (1, 3):
        process = start(manifest, "-o", folder, "--resume", "--workers", "2")
        wait_until(lambda: folder.is_dir() and len(list(folder.glob("part-*"))) >= number, 60)  # noqa: B023
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
    done = run(manifest, folder, "--resume", "--json")
    assert (done.exit_code, json.loads(done.stdout)["ok"]) == (0, 90)
    check_parquet(folder, manifest)


@pytest.mark.seaweedfs
@pytest.mark.parametrize("engine", ENGINES, ids=["threads", "processes"])
@pytest.mark.parametrize("name", ["results.ndjson", "results.parquet"])
def test_workers_put_parts_into_a_store(name, engine, away, fs, manifest, tmp_path):  # noqa: PLR0917
    process = start(manifest, "-o", f"{away}/{name}", "--json", *engine)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 1, errors
    assert not [path for path in fs.find(f"{away}/{name}.pending", refresh=True) if "part-" in path]
    parts = {f"s3://{path}": fs.cat_file(path) for path in fs.find(f"{away}/{name}", refresh=True)}
    if name.endswith(".parquet"):
        frames = [pd.read_parquet(io.BytesIO(part)).assign(part=url) for url, part in parts.items()]
        found = [
            (row["id"], row["part"], row["values"].reshape(row["shape"])) for _, row in pd.concat(frames).iterrows()
        ]
    else:
        rows = [(url, json.loads(line)) for url, part in parts.items() for line in part.splitlines()]
        found = [(row["id"], url, np.array(row["img_data"])) for url, row in rows]
    pixels = expected(manifest)
    assert sorted(id_ for id_, *_ in found) == sorted(pixels)
    segments = b"".join(fs.cat_file(path) for path in sorted(fs.find(f"{away}/{name}.records", refresh=True)))
    (tmp_path / "all").write_bytes(segments)
    records = {record["id"]: record for record in lines(tmp_path / "all")}
    for id_, url, values in found:
        np.testing.assert_array_equal(values, pixels[id_])
        assert (records[id_]["output"], records[id_]["output_size"]) == (url, len(parts[url]))
    done = run(manifest, f"{away}/{name}", "--resume", "--json")
    assert (done.exit_code, json.loads(done.stdout)["kept"]) == (1, 15)


def test_what_is_no_folder_of_parts_is_refused_and_stays(manifest, tmp_path):
    file, folder = tmp_path / "file.parquet", tmp_path / "theirs.parquet"
    file.write_bytes(b"PAR1")
    folder.mkdir()
    (folder / "0.parquet").write_bytes(b"PAR1")
    for output in (file, folder):
        for flags in ([], ["--overwrite"]):
            done = run(manifest, output, *flags)
            assert (done.exit_code in (2, 3), done.stderr.count("\n")) == (True, 1), done.stderr
    assert file.read_bytes() == (folder / "0.parquet").read_bytes() == b"PAR1"


def test_without_pyarrow_parquet_is_refused(manifest, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "pyarrow" else find(name, *more)
    )
    monkeypatch.delitem(sys.modules, "pyarrow", raising=False)
    done = run(manifest, tmp_path / "results.parquet")
    assert (done.exit_code, "writing .parquet files needs pyarrow" in done.stderr) == (2, True)
