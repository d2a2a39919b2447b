"""A resume takes little for each row that is done: no request, and few bytes."""

import hashlib
import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jp2batch
from jp2batch.batch import item_source
from jp2batch.batch.manifest import json_rows
from jp2batch.batch.manifest.digested import request_of
from jp2batch.batch.manifest.read import manifest_of, open_manifest
from jp2batch.batch.manifest.requests import RequestMaker
from jp2batch.batch.outputs.ndjson import Lines
from jp2batch.batch.records import book
from jp2batch.batch.records.book import RecordBook
from jp2batch.batch.records.entry import line_of, void_line
from jp2batch.batch.records.log import FileLog
from jp2batch.batch.resume import EarlierRun
from jp2batch.compute.result import Result
from jp2batch.core.errors import StorageError
from jp2batch.core.request import Request
from support.runs import run

ROWS = 20_000


def finished(image: Path, folder: Path, rows: int) -> Path:
    """Write manifest, results and records of a finished run; return the manifest."""
    manifest = folder / "m.ndjson"
    with manifest.open("w") as file:
        file.writelines(f'{{"Path":"{image}","window":"0:{n + 1},0:9","cloud":0.5}}\n' for n in range(rows))
    with (folder / "r.ndjson").open("wb") as results, (folder / "r.ndjson.records.ndjson").open("wb") as records:
        for request in jp2batch.iter_manifest(manifest):
            line = b'{"id":"%s","img_data":[[1]],"shape":[1,1]}\n' % request.id.encode()
            md5 = f"md5:{hashlib.md5(line, usedforsecurity=False).hexdigest()}"
            results.write(line)
            records.write(line_of(Result(request, "ok", output_size=len(line), output_checksum=md5)))
    return manifest


def test_rows_that_are_done_become_no_requests(image, tmp_path, monkeypatch):
    manifest = finished(image, tmp_path, 3000)
    lines = (tmp_path / "r.ndjson").read_bytes().splitlines(keepends=True)
    (tmp_path / "r.ndjson").write_bytes(b"".join(lines[:2900] + lines[2905:]))
    monkeypatch.setattr(item_source, "AHEAD", 100)
    made, read = [], RequestMaker.read
    monkeypatch.setattr(RequestMaker, "read", lambda *row: made.append(row) or read(*row))
    done = run(manifest, tmp_path / "r.ndjson", "--resume", "--json")
    assert (json.loads(done.stdout)["kept"], json.loads(done.stdout)["requests"]) == (2995, 3000), done.stderr
    assert len(made) == 100 + 5


def test_a_row_that_is_done_takes_few_bytes(image, tmp_path):
    manifest = finished(image, tmp_path, ROWS)
    log, output = FileLog(tmp_path / "r.ndjson.records.ndjson"), Lines(tmp_path / "r.ndjson")
    tracemalloc.start()
    earlier = EarlierRun(output, log, None)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(earlier.book) == ROWS
    assert used / ROWS < 220
    assert len(list(open_manifest(manifest).requests())) == ROWS


def test_records_of_the_usual_kind_are_read_fast(image, tmp_path, monkeypatch):
    finished(image, tmp_path, 10)
    monkeypatch.delattr(RecordBook, "_add_unusual")
    assert len(FileLog(tmp_path / "r.ndjson.records.ndjson").read()) == 10


# The short ways give what the long ways give

PATHS = st.sampled_from(["a.jp2", "a b/c.jp2", " a", "", "ü.jp2", 'a"b', "a\\b", "x" * 4090, "../a", "s3://b/k?x=1", 7])
LEVELS = st.sampled_from([None, "", 0, -1, 32, 33, -2, "3", " 3", "3.0", 2.0, True, "x"])
WINDOWS = st.sampled_from(
    [None, "", " ", "0:5,1:7", "00:5,0:7", "5:5,0:1", "0:5, 0:7", "0:9999999999,0:1", [[0, 5], [0, 7]]]
)
IDS = st.sampled_from([None, "", " ", "mine", "ü", 3, 3.0, True])
ROOTS = st.sampled_from([None, "", "s3://bucket", "s3://bucket/", "/data", "a\nb"])


MORE = st.sampled_from([{}, {"x": 1}, {"rLevel": 2}, {"x": "ü", "y": None}, {"x": 1.5, "y": [1]}, {"x": "a\\b"}])
WRITTEN = st.sampled_from([orjson.dumps, lambda row: json.dumps(row).encode()])
ENDS = st.sampled_from([b"\n", b"\r\n", b""])


def line_like(row: dict[str, Any]) -> dict[str, Any]:
    """Return a usual row with the columns of a row."""
    own = {"path": "first.jp2", "rlevel": 0, "window": "0:1,0:1", "id": "first"}
    return {name: own.get(name.lower(), 1) for name in row}


@given(
    PATHS, LEVELS, WINDOWS, IDS, ROOTS, MORE, WRITTEN, ENDS, st.permutations(["Path", "rlevel", "window", "id", "x"])
)
def test_a_digested_row_is_its_request(path, level, window, id_, root, more, written, end, order):  # noqa: PLR0917
    row = {"Path": path, "rlevel": level, "window": window, "id": id_} | more
    row = {name: row[name] for name in order if name in row} | row
    data = b"\n".join(map(written, [line_like(row), row])) + end
    (_, (_, found)) = manifest_of([data], root=root).digested_rows()
    manifest = manifest_of([], root=root)
    expected = manifest.maker.read(orjson.loads(orjson.dumps(row)))
    if isinstance(expected, str) or isinstance(found, str):
        assert found == expected
        return
    (block,) = manifest.block([found])
    assert (block.id, block.digest) == (expected.id, expected.digest)
    request = request_of(block)
    assert (request, request.id, request.columns) == (expected, expected.id, expected.columns)


@pytest.mark.parametrize("root", [None, "s3://bucket"])
@pytest.mark.parametrize(
    "rows",
    [
        b'{"Path":"a.jp2","window":"0:5,0:7","x":1}\n{"path":"b.jp2","rlevel":2,"id":"mine"}\n',
        b"Path,rlevel\na.jp2,\nb.jp2,3\n",
        b"a.jp2\nb.jp2\n",
    ],
)
def test_usual_rows_are_digested(rows, root):
    assert all(isinstance(row, tuple) for _, row in manifest_of([rows], root=root).digested_rows())


@pytest.mark.parametrize(
    "line",
    [
        b'{"Path":"%d.jp2","window":"0:5,0:7","scene":"S2A","cloud":0.5}\n',
        b'{"id": "%d", "rlevel": 2, "Path": "a.jp2", "place": "Z\xc3\xbcrich", "ok": true, "none": null}\r\n',
        b'{"path":"%d.jp2","rlevel":-1,"window":null,"id":null}\n',
    ],
)
def test_lines_like_the_first_are_not_parsed(line, monkeypatch):
    parsed, parse = [], json_rows.plain_row
    monkeypatch.setattr(json_rows, "plain_row", lambda text: parsed.append(text) or parse(text))
    rows = list(manifest_of([b"".join(line % n for n in range(50))]).digested_rows())
    assert len(parsed) == 1
    assert [number for number, row in rows if isinstance(row, tuple)] == list(range(1, 51))


NAMES = st.sampled_from(["a", "b", "ü", "a-2", "A", 'q"'])
COLUMNS = st.sampled_from([{}, {"x": 1, "y": "text"}, {"id": "other"}, {"z": {"id": "c"}}, {"w": [1]}, {"n": None}])
OUTPUTS = st.sampled_from([None, "out/{}.npy", "s3://b/{}.tif", "{}", "out/{}.png"])


def records(draw: Any) -> list[bytes]:
    found = []
    for _ in range(draw(st.integers(0, 8))):
        if draw(st.integers(0, 5)) == 0:
            found.append(void_line(draw(st.sampled_from([None, ["a"], ["b", "ü"]]))))
            continue
        request = Request("i.jp2", draw(st.integers(-1, 1)), None, draw(st.sampled_from([None, "s3://r"])), draw(NAMES))
        request = Request(request.path, request.rlevel, None, request.root, request.id, tuple(draw(COLUMNS).items()))
        output, size = draw(OUTPUTS), draw(st.sampled_from([None, 5]))
        checksum = draw(st.sampled_from([None, "md5:" + "a1" * 16, "crc:1"]))
        error = draw(st.sampled_from([None, None, StorageError("i.jp2", "gone", "look")]))
        result = Result(
            *(request, "ok" if error is None else "failed"),
            error=error,
            output=output and output.format(request.id),
            output_size=size,
            output_checksum=checksum,
        )
        line = line_of(result)
        cut = draw(st.sampled_from([None] * 5 + [30, len(line) - 3, -1]))
        found.append(b"\0\0" + line if cut == -1 else line if cut is None else line[:cut] + b"\n")
    return found


@given(st.data())
def test_records_read_fast_are_those_read_one_by_one(data):
    lines = records(data.draw)
    fast = RecordBook.of(lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(book, "_USUAL", re.compile(b"(?!)"))
        slow = RecordBook.of(lines)
    assert (fast.lines, fast.damaged, fast.roots) == (slow.lines, slow.damaged, slow.roots)
    np.testing.assert_array_equal(fast.live, slow.live)
    endings = [[found.endings[row["ending"]] for row in found.columns[found.live]] for found in (fast, slow)]
    assert endings[0] == endings[1]
    names = [name for name in fast.columns.dtype.names or () if name not in ("ending", "live")]
    assert fast.columns[fast.live][names].tolist() == slow.columns[slow.live][names].tolist()


def test_a_cut_line_before_a_record_costs_both(tmp_path):
    lines = [line_of(Result(Request(f"{name}.jp2", id=name), "ok")) for name in "abc"]
    found = RecordBook.of([lines[0], lines[1][:40] + lines[2]])
    assert ("a" in found, "b" in found, "c" in found, found.damaged) == (True, False, False, 1)
    check = lines[0].replace(b'"id":"a"', b'"id":"a\x01"')
    assert RecordBook.of([check]).damaged == 1
