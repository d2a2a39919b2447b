"""A manifest is read as it arrives: the first request before the last row, in bounded memory, with the same errors."""

import gzip
import io
import json
import os
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jp2batch.batch.deduplicate import items_of
from jp2batch.batch.manifest import json_rows
from jp2batch.batch.manifest.read import iter_manifest, manifest_of
from jp2batch.core.errors import ManifestError
from jp2batch.core.request import Request

ROWS = 30_000
Line = Callable[[int], str]
LINES: dict[str, tuple[str, Line]] = {
    "ndjson": ("", lambda n: f'{{"Path":"{n}.jp2","window":"0:8,0:8","cloud":0.5}}\n'),
    "csv": ("Path,window,cloud\n", lambda n: f'{n}.jp2,"0:8,0:8",0.5\n'),
    "plain": ("# by hand\n", lambda n: f"{n}.jp2\n"),
}
"""Head, and a line by its number."""


def text(form: str, rows: int) -> bytes:
    head, line = LINES[form]
    return (head + "".join(map(line, range(rows)))).encode()


def outcome(data: bytes, size: int, name: str) -> object:
    """Return the requests or the error of a manifest that arrives in chunks of a size."""
    chunks = (data[start : start + size] for start in range(0, len(data), size))
    try:
        return [(request, request.columns) for request in manifest_of(chunks, name).requests()]
    except ManifestError as error:
        return error.rows, error.unit, str(error)


@pytest.mark.parametrize("packed", [lambda data: data, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("form", LINES)
def test_the_first_request_is_there_before_the_last_row_is_written(form: str, packed: Any, tmp_path: Path) -> None:
    pipe, first_is_read = tmp_path / "pipe", threading.Event()
    os.mkfifo(pipe)
    parts = [packed(text(form, 1)), packed("".join(map(LINES[form][1], range(1, 5))).encode())]

    def write() -> None:
        with pipe.open("wb", buffering=0) as file:
            file.write(parts[0])
            assert first_is_read.wait(60)
            file.write(parts[1])

    writer = threading.Thread(target=write)
    writer.start()
    requests = iter_manifest(pipe)
    assert next(requests).path == "0.jp2"
    first_is_read.set()
    assert [request.path for request in requests] == [f"{n}.jp2" for n in range(1, 5)]
    writer.join()


def test_an_object_is_read_range_by_range(http_server: Any) -> None:
    http_server.files["m.csv"] = b"Path,x\n" + b"".join(b"%d.jp2,%s\n" % (n, b"x" * 1000) for n in range(20_000))
    requests = iter_manifest(http_server.url("m.csv"))
    assert next(requests).path == "0.jp2"
    assert http_server.requests == 1
    assert sum(1 for _ in requests) == 19_999
    assert http_server.requests == 3


def test_parquet_is_read_by_groups_of_rows(tmp_path: Path) -> None:
    table = pa.table({"Path": [f"{n}.jp2" for n in range(ROWS)], "rlevel": [None, 2] * (ROWS // 2)})
    pq.write_table(table, tmp_path / "m", row_group_size=1000)
    requests = list(iter_manifest(tmp_path / "m"))
    assert [(r.path, r.rlevel) for r in requests[-2:]] == [(f"{ROWS - 2}.jp2", -1), (f"{ROWS - 1}.jp2", 2)]
    assert len(requests) == ROWS


@pytest.mark.parametrize("form", LINES)
def test_memory_does_not_grow_with_the_manifest(form: str) -> None:
    def chunks(rows: int) -> Iterator[bytes]:
        head, line = LINES[form]
        yield head.encode()
        yield from ("".join(map(line, range(start, start + 100))).encode() for start in range(0, rows, 100))

    def peak(rows: int) -> int:
        tracemalloc.start()
        assert sum(1 for _ in manifest_of(chunks(rows)).requests()) == rows
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    few, many = peak(ROWS // 10), peak(ROWS)
    assert (many - few) / (ROWS * 0.9) < 180  # bytes a row: the hash of its id, in a dict that has just grown


@pytest.mark.parametrize("form", LINES)
def test_bad_rows_far_behind_are_told_at_the_end(form: str, tmp_path: Path) -> None:
    head, line = LINES[form]
    bad = {"ndjson": "{]\n", "csv": "x\n", "plain": "{}\n"}[form]
    lines = [*map(line, range(ROWS)), bad, line(ROWS)]
    (tmp_path / "m").write_text(head + "".join(lines))
    requests = iter_manifest(tmp_path / "m")
    assert [next(requests).path for _ in range(ROWS + 1)][-1] == f"{ROWS}.jp2"
    with pytest.raises(ManifestError, match=f"line {ROWS + 1 + bool(head)}: "):
        next(requests)


def test_a_byte_that_is_no_text_ends_the_manifest_before_its_line() -> None:
    data = text("plain", 1000)
    requests = manifest_of([data, b"half a pa", b"th\0.jp2\nmore.jp2\n"]).requests()
    assert [next(requests).path for _ in range(1000)][-1] == "999.jp2"
    with pytest.raises(ManifestError, match=f"line 1002: this is not text: byte 0x00 at offset {len(data) + 11}"):
        next(requests)


TEXT = st.text(alphabet='{}[]"\\,:;\t\n\r #PathridNa1e9.-\ud7ff\x85\u2028', max_size=60)


@given(
    st.sampled_from(["", "Path,x\n", "Path;x\r\n", '{"Path":"a"}\n', '["a",', "\ufeff# c\r"]),
    TEXT,
    st.sampled_from(["-", "a.csv", "a.jsonl"]),
    st.integers(1, 9),
)
def test_chunks_make_no_difference(start: str, more: str, name: str, size: int) -> None:
    data = (start + more).encode()
    assert outcome(data, size, name) == outcome(data, 1000, name)


NAME = st.sampled_from(["Path", "path", "rlevel", "window", "id", "x", "x:y", "ü", '"'])
NUMBERS = ("NaN", "1e400", "18446744073709551616", "-9223372036854775809", "1e20", "-0", "-0.0", "2.0", "true")
VALUE = st.one_of(
    st.sampled_from(["a.jp2", "", " ", "0:5,0:5", "a:b", "2", "ü", "\ud800", "\\", '"']),
    st.sampled_from([("number", text) for text in NUMBERS]),
    st.sampled_from([None, [[0, 5], [0, 5]], {"a": 1}, [2**64]]),
)


def written(value: object) -> str:
    return value[1] if isinstance(value, tuple) else json.dumps(value, ensure_ascii=value == "\ud800")


@given(st.lists(st.tuples(NAME, VALUE), max_size=5), st.sampled_from(["{%s}", " {%s} ", "{%s},", "{%s"]))
def test_a_fast_row_is_that_of_the_strict_decoder(pairs: list[tuple[str, object]], form: str) -> None:
    line = form % ",".join(f"{json.dumps(name)}:{written(value)}" for name, value in [("Path", "a"), *pairs])
    data = f'{{"Path":"first.jp2"}}\n{line}\n'.encode()
    fast = outcome(data, 1000, "-")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "plain_row", lambda _: None)
        assert outcome(data, 1000, "-") == fast


def test_rows_of_the_usual_kind_are_read_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(json_rows, "_DECODER")
    assert len(list(manifest_of([text("ndjson", 10)]).requests())) == 10


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["", "x", "x-2", "x-2-2", "y"])), max_size=12))
def test_ids_are_those_of_a_simple_rule(rows: list[tuple[str, str]]) -> None:
    requests = [Request(path, id=id_) for path, id_ in rows]
    taken, issued = {request.id for request in requests}, list[str]()
    for request in requests:
        id_, number = request.id, 1
        while id_ in issued or (number > 1 and id_ in taken):
            number += 1
            id_ = f"{request.id}-{number}"
        issued.append(id_)
    assert [item.id for item in items_of(requests)] == issued


def test_the_standard_input_gives_requests_as_they_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, encoding="utf-8") as stdin, os.fdopen(writing, "wb", buffering=0) as pipe:
        monkeypatch.setattr("sys.stdin", stdin)
        pipe.write(b"a.jp2\n")
        requests = iter_manifest("-")
        assert next(requests).path == "a.jp2"
        pipe.write(b"b.jp2\n")
        assert next(requests).path == "b.jp2"
    fsspec.filesystem("memory").pipe("/m.gz", gzip.compress(text("plain", 3)))
    assert len(list(iter_manifest("memory://m.gz"))) == 3
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text("csv", 3))))
    assert len(list(iter_manifest("-"))) == 3
