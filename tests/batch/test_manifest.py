"""A manifest of any form becomes the same requests; a bad one is refused with every bad row named."""

import gzip
import io
import json
import os
import pickle
import random
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from jp2batch.batch.manifest.read import manifest_of, read_manifest
from jp2batch.batch.manifest.write import write_manifest
from jp2batch.cli import main
from jp2batch.core.errors import (
    InvalidRequest,
    InvalidRlevel,
    Jp2BatchError,
    ManifestError,
    StorageError,
    StoreUnavailable,
)
from jp2batch.core.request import Request
from jp2batch.core.window import Window
from jp2batch.storage.files import read_bytes

ROWS: list[dict[str, Any]] = [
    {"Path": "a.jp2", "rlevel": 2, "window": "0:500,10:20", "id": "first", "cloud": "clear", "Tile": "32TQM"},
    {"Path": "b/ü, c.jp2", "rlevel": None, "window": None, "id": None, "cloud": "", "Tile": "32TQM"},
]
REQUESTS = [Request("a.jp2", 2, "0:500,10:20", id="first"), Request("b/ü, c.jp2")]
COLUMNS = [(("cloud", "clear"), ("Tile", "32TQM")), (("cloud", ""), ("Tile", "32TQM"))]


def parse_manifest(data: bytes, name: str = "-", size: int = 2**20, **options: Any) -> list[Request]:
    """Return the requests of a manifest that arrives in chunks of a size."""
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    return list(manifest_of(chunks, name, **options).requests())


def _csv(separator: str) -> bytes:
    lines = [list(ROWS[0]), *([row[name] for name in ROWS[0]] for row in ROWS)]
    return "\n".join(separator.join(f'"{"" if cell is None else cell}"' for cell in line) for line in lines).encode()


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


FORMS = {
    "ndjson": "\n".join(map(json.dumps, ROWS)).encode(),
    "array": json.dumps(ROWS).encode(),
    "array-indented": json.dumps(ROWS, indent=2, ensure_ascii=False).encode(),
    "csv": _csv(","),
    "semicolons": _csv(";"),
    "tabs": _csv("\t"),
    "csv-in-other-case": _csv(",").replace(b"Path", b"PATH").replace(b"rlevel", b" RLevel").replace(b"id", b"ID", 1),
    "csv-after-comments": b"# made by hand\n\n" + _csv(","),
    "parquet": _parquet(ROWS),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_requests_are_read_from_each_form(form: str) -> None:
    requests = parse_manifest(FORMS[form])
    assert requests == REQUESTS
    assert [request.columns for request in requests] == COLUMNS


@pytest.mark.parametrize(
    "changed",
    [
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text + b"\n\n  \n",
        lambda text: b"\n \n" + text,
    ],
    ids=["bom", "crlf", "blank-lines-after", "blank-lines-before"],
)
@pytest.mark.parametrize("form", [form for form in FORMS if form != "parquet"])
def test_how_an_editor_saves_a_text_does_not_matter(form: str, changed: Callable[[bytes], bytes]) -> None:
    assert parse_manifest(changed(FORMS[form])) == REQUESTS


@pytest.mark.parametrize(
    "text", ["a.jp2\nb c.jp2\n", "\ufeff# two\r\na.jp2\r\n\r\n  b c.jp2 ", '["a.jp2",\n"b c.jp2"]']
)
def test_bare_paths_are_enough(text: str) -> None:
    assert parse_manifest(text.encode()) == [Request("a.jp2"), Request("b c.jp2")]


def test_the_default_level_and_the_root_are_given() -> None:
    requests = parse_manifest(b"Path,rlevel\na.jp2,\nb.jp2,0\n", rlevel=3, root="s3://bucket")
    assert requests == [Request("a.jp2", 3, root="s3://bucket"), Request("b.jp2", 0, root="s3://bucket")]
    with pytest.raises(InvalidRlevel, match="rlevel 99"):
        parse_manifest(b"a.jp2\nb.jp2\n", rlevel=99)


@pytest.mark.parametrize("level", ["2", " 2 ", "2.0", 2, 2.0])
def test_a_level_may_be_what_a_spreadsheet_or_pandas_makes_of_it(level: object) -> None:
    assert parse_manifest(json.dumps([{"Path": "a.jp2", "rlevel": level}]).encode())[0].rlevel == 2


def test_a_window_may_be_lists() -> None:
    rows = [{"Path": "a.jp2", "window": [[0, 500], [10, 20]]}]
    assert parse_manifest(json.dumps(rows).encode())[0].window == Window((0, 500), (10, 20))
    assert parse_manifest(_parquet(rows))[0].window == Window((0, 500), (10, 20))


def test_other_columns_keep_their_values() -> None:
    row = {"Path": "a.jp2", "n": 1, "x": 0.5, "none": None, "deep": {"list": [1, "ü"]}, "id ": 7, "Ｐath": "wide"}
    (request,) = parse_manifest(json.dumps(row).encode())
    assert request.columns == tuple((name, row[name]) for name in ("n", "x", "none", "deep", "Ｐath"))
    assert request.id == "7"


def test_columns_of_parquet_become_what_json_can_hold() -> None:
    import datetime
    import decimal

    row = {
        "Path": b"a.jp2",
        "day": datetime.date(2024, 1, 2),
        "at": datetime.datetime(2024, 1, 2, 3, 4),  # noqa: DTZ001  # a naive one is what most tables hold
        "price": decimal.Decimal("1.5"),
        "nothing": float("nan"),
    }
    (request,) = parse_manifest(_parquet([row]))
    expected = {"day": "2024-01-02", "at": "2024-01-02T03:04:00", "price": "1.5", "nothing": None}
    assert dict(request.columns) == expected
    json.dumps(request.columns, allow_nan=False)


def test_columns_without_a_name_are_left_out() -> None:
    (request,) = parse_manifest(b",Path,x,,\n0,a.jp2,1,,\n,,,,\n")
    assert (request.path, request.columns) == ("a.jp2", (("x", "1"),))


def test_a_suffix_decides_where_the_content_does_not() -> None:
    assert parse_manifest(b"a,b.jp2\n", "list.txt") == [Request("a,b.jp2")]
    with pytest.raises(ManifestError, match="line 1: no column is called Path"):
        parse_manifest(b"a,b.jp2\n", "https://host/list.csv?signature=x")
    with pytest.raises(ManifestError, match=r"a\.jsonl: line 1: not JSON"):
        parse_manifest(b'a.jp2\n{"Path": "b.jp2"}\n', "a.jsonl")


# Ids and duplicates


def test_rows_that_ask_the_same_are_all_kept_in_order() -> None:
    requests = parse_manifest(b'{"Path":"a.jp2","n":1}\n{"Path":"b.jp2"}\n{"path":"a.jp2","rlevel":-1,"n":2}\n')
    assert requests[0] == requests[2]
    assert requests[0].id == requests[2].id
    assert [dict(request.columns).get("n") for request in requests] == [1, None, 2]


def test_columns_are_no_part_of_what_is_asked() -> None:
    one, other = Request("a.jp2", columns=(("n", [1]),)), Request("a.jp2")
    assert (one, hash(one), one.id, one.__dask_tokenize__()) == (
        other,
        hash(other),
        other.id,
        other.__dask_tokenize__(),
    )
    assert pickle.loads(pickle.dumps(one)).columns == (("n", [1]),)


def test_an_id_that_means_two_things_names_both_lines() -> None:
    with pytest.raises(ManifestError) as raised:
        parse_manifest(b"Path,id\na.jp2,x\na.jp2,x\nb.jp2,x\n")
    ((line, message),) = raised.value.rows
    assert line == 4
    assert "'x'" not in message
    assert "on line 2" in message
    made = Request("a.jp2").id
    with pytest.raises(ManifestError, match="line 3"):
        parse_manifest(f"Path,id\na.jp2,\nb.jp2,{made}\n".encode())


# Where a manifest lies


def test_a_file_is_read_compressed_or_not(tmp_path: Path) -> None:
    for name, form in [("a.csv", "csv"), ("b.json", "array"), ("c", "parquet")]:
        (tmp_path / name).write_bytes(FORMS[form])
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(FORMS[form]))
        assert read_manifest(tmp_path / name) == read_manifest(str(tmp_path / f"{name}.gz")) == REQUESTS
    parts = gzip.compress(b"a.jp2\n") + gzip.compress(b"b.jp2\n")
    (tmp_path / "parts").write_bytes(parts)
    assert read_manifest(tmp_path / "parts") == [Request("a.jp2"), Request("b.jp2")]


def test_a_pipe_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(FORMS["csv"],))
    writer.start()
    assert read_manifest(pipe) == REQUESTS
    writer.join()


def test_a_url_is_read(http_server: Any) -> None:
    fsspec.filesystem("memory").pipe("/manifests/a.csv.gz", gzip.compress(FORMS["csv"]))
    assert read_manifest("memory://manifests/a.csv.gz") == REQUESTS
    http_server.files["a.csv"] = FORMS["csv"]
    assert read_manifest(http_server.url("a.csv")) == REQUESTS
    assert read_manifest(http_server.url("a.csv"), storage_options={"headers": {"X": "y"}}) == REQUESTS


@pytest.mark.parametrize("fault", ["ignore-range", "ignore-range-chunked", "chunked"])
def test_a_server_may_send_it_as_it_likes(http_server: Any, fault: str) -> None:
    http_server.files["a"], http_server.fault = FORMS["ndjson"], fault
    assert read_manifest(http_server.url("a")) == REQUESTS


def test_what_passes_is_tried_again(http_server: Any) -> None:
    data = random.Random(0).randbytes(20 * 2**20)
    http_server.files["a"], http_server.fault, http_server.every = data, 503, 2
    assert read_bytes(http_server.url("a")) == data
    http_server.every = 1
    with pytest.raises(StoreUnavailable, match="503"):
        read_bytes(http_server.url("a"))


@pytest.mark.parametrize("packed", [bytes, gzip.compress])
def test_the_standard_input_is_read(monkeypatch: pytest.MonkeyPatch, packed: Callable[[bytes], bytes]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(packed(FORMS["ndjson"]))))
    assert read_manifest("-") == REQUESTS


def test_no_standard_input_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(ManifestError, match="standard input is not available"):
        read_manifest("-")


def test_what_cannot_be_read_is_one_typed_line(tmp_path: Path, http_server: Any) -> None:
    places = [str(tmp_path), str(tmp_path / "none.csv"), http_server.url("none.csv?secret"), "memory://none", "x://y"]
    for place in places:
        with pytest.raises(StorageError) as raised:
            read_manifest(place)
        assert str(raised.value).startswith(place.split("?")[0])
        assert "\n" not in str(raised.value)
        assert "image" not in str(raised.value)
        assert "secret" not in str(raised.value)


def test_a_gzip_bomb_ends_at_the_limit(tmp_path: Path) -> None:
    bomb, plain, cut = tmp_path / "bomb", tmp_path / "plain", tmp_path / "cut"
    bomb.write_bytes(gzip.compress(bytes(10**6)))
    plain.write_bytes(bytes(10**6))
    cut.write_bytes(gzip.compress(random.Random(0).randbytes(1000))[:-20])
    fsspec.filesystem("memory").pipe("/plain", bytes(10**6))
    for url in (str(bomb), str(plain), "memory://plain"):
        assert len(read_bytes(url, limit=10**6)) == 10**6
        with pytest.raises(StorageError, match="larger than 999999 bytes"):
            read_bytes(url, limit=10**6 - 1)
    with pytest.raises(StorageError, match="damaged or cut short"):
        read_bytes(str(cut))


def test_without_pyarrow_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ManifestError, match=r"needs pyarrow \(pip install 'jp2batch\[files\]'\)"):
        parse_manifest(FORMS["parquet"])


# Bad manifests: what they hold, and the lines that must be named with what must be said of them

GOOD = '{"Path": "good.jp2"}'
BAD: dict[str, tuple[str | bytes, dict[int, str]]] = {
    "json-line-7": ("\n".join([GOOD] * 6 + ['{"Path": "b.jp2",']), {7: "not JSON"}),
    "json-two-lines": (f'{GOOD}\n{{"Path"}}\n\n{GOOD}\n{{]\n', {2: "not JSON", 5: "not JSON"}),
    "json-extra": (f"{GOOD} {GOOD}\n{GOOD}", {1: "Extra data at column 22"}),
    "json-no-path": (f'{GOOD}\n{{"rlevel": 1}}\n{{"Path": null}}\n{{"Path": ""}}', dict.fromkeys((2, 3, 4), "no Path")),
    "json-path-type": (
        f'{GOOD}\n{{"Path": 7}}\n{{"Path": ["a"]}}',
        {2: "Path must be text, not int", 3: "Path must be text, not list"},
    ),
    "json-path-blank": (f'{GOOD}\n{{"Path": " "}}', {2: "Path is empty"}),
    "json-path-newline": (f'{GOOD}\n{{"Path": "a\\nb"}}\n{{"Path": "a\\u0000"}}', dict.fromkeys((2, 3), "control")),
    "json-no-object": (
        f"{GOOD}\n7\nnull\n[]\ntrue",
        dict.fromkeys((2, 3, 4, 5), "a row must be an object or text, not "),
    ),
    "json-rlevel": (
        f'{GOOD}\n{{"Path": "a", "rlevel": "high"}}\n{{"Path": "a", "rlevel": 1.5}}\n{{"Path": "a", "rlevel": true}}'
        '\n{"Path": "a", "rlevel": 33}\n{"Path": "a", "rlevel": [1]}',
        dict.fromkeys(range(2, 7), "is not a resolution level"),
    ),
    "json-window": (
        f'{GOOD}\n{{"Path": "a", "window": "9:5,0:5"}}\n{{"Path": "a", "window": [[0, 5]]}}\n'
        '{"Path": "a", "window": {"rows": 1}}\n{"Path": "a", "window": [[5, 5], [0, 5]]}',
        dict.fromkeys(range(2, 6), "window"),
    ),
    "json-id": (
        f'{GOOD}\n{{"Path": "a", "id": [1]}}\n{{"Path": "a", "id": false}}',
        {2: "id must be text, not list", 3: "id must be text, not bool"},
    ),
    "json-id-twice": (f'{GOOD}\n{{"Path": "a", "id": 1}}\n{{"Path": "b", "id": "1"}}', {3: "on line 2"}),
    "json-name-twice": (
        f'{GOOD}\n{{"Path": "a", "Path": "b"}}\n{{"Path": "a", "path": "b"}}',
        {2: "twice", 3: "twice"},
    ),
    "json-nan": (
        f'{GOOD}\n{{"Path": "a", "x": NaN}}\n{{"Path": "a", "x": [-Infinity]}}\n{{"Path": "a", "x": 1e999}}',
        {2: "NaN is not JSON", 3: "-Infinity is not JSON", 4: "beyond the range of floats"},
    ),
    "json-deep": (f'{GOOD}\n{{"Path": {"[" * 100_000}\n{{"Path": "a", "x": {"[" * 400}{"]" * 400}}}', {2: "", 3: ""}),
    "json-long-number": (
        f'{GOOD}\n{{"Path": "a", "x": {"9" * 9999}}}\n{{"Path": "a", "x": {2**64}}}',
        {2: "", 3: "64"},
    ),
    "json-surrogate": (f'{GOOD}\n{{"Path": "a\\ud800"}}', {2: "UTF-8"}),
    "json-not-utf8": (GOOD.encode() + b'\n{"Path": "\xe4.jp2"}\n{"Path": "a", "\xe4": 1}', {2: "UTF-8", 3: "UTF-8"}),
    "json-a-megabyte": (f'{GOOD}\n{{"Path": "a", "rlevel": "{"x" * 10**6}"}}\n{{"x{"y" * 10**6}": 1}}', {2: "", 3: ""}),
    "array-items": ('["a", 7, {"Path": "b"}, {}] \n', {2: "a row must be an object or text, not int", 4: "no Path"}),
    "array-broken": ('["a",\n"b"\n"c"]', {3: "lacks a comma or its end"}),
    "array-open": ('["a",\n"b"\n', {3: "lacks a comma or its end"}),
    "array-comma": ('["a",\n"b",\n]', {3: "not JSON"}),
    "array-more": ('["a"]\n["b"]', {2: "followed by more"}),
    "array-rows": (
        '[{"Path": "a"},\n{"rlevel": 2},\n\n7,\n"",{"Path": "a"},\n{"Path": "a", "x": NaN}\n]',
        {2: "", 4: "", 5: "", 6: "NaN"},
    ),
    "array-deep": ("[\n" + "[" * 100_000, {2: "nested too deeply"}),
    "csv-no-path": ("name,rlevel\na.jp2,2", {1: "no column is called Path"}),
    "csv-path-twice": ("Path,path\na.jp2,2", {1: "two columns are called path"}),
    "csv-column-twice": ("Path,x,x\na.jp2,2,3", {1: "columns 2 and 3 have the same name"}),
    "csv-header-not-utf8": (b"Path,\xe4\na.jp2,2", {1: "not UTF-8"}),
    "csv-not-utf8": (b"Path,x\na.jp2,2\n\xe4.jp2,\nb.jp2,\xff", {3: "UTF-8", 4: "UTF-8"}),
    "csv-cells": ("Path,window\na,0:5,0:5\nb\n\nc,", {2: "3 cells, but the header names 2", 3: "1 cells"}),
    "csv-quotes": ('Path,x\n"a"b,1\nc,2\n"d,3\ne,4\n', {2: "not CSV", 4: "not CSV"}),
    "csv-lines-in-a-cell": ('Path,x,rlevel\na,"1\n2\n3",0\nb,1,high\n', {5: "rlevel of type str"}),
    "csv-huge-cell": (f"Path,x\na,{'x' * 200_000}\nb,1\n", {2: "field limit"}),
    "csv-values": (
        'Path,rlevel,window\na,high,\nb,1.5,\nc,-2,\n,1,\nd,,"5:0,0:5"\ne,,all',
        {2: "", 3: "", 4: "", 5: "", 6: "", 7: ""},
    ),
    "plain-json": (f"a.jp2\n{GOOD}\n", {2: "JSON among plain paths"}),
    "plain-not-utf8": (b"a.jp2\n\xe4.jp2\n", {2: "UTF-8"}),
    "binary": (b"\x7fELF\n\x01\n\x00\x02", {3: "byte 0x00 at offset 7"}),
    "random": (random.Random(1).randbytes(10**5), {}),
    "utf-16": ("Path,rlevel\na.jp2,2".encode("utf-16"), {1: "UTF-16"}),
    "zip": (b"PK\x03\x04\x14\x00", {1: "this is a zip archive"}),
    "parquet-cut": (FORMS["parquet"][:-50], {1: "damaged"}),
    "parquet-magic": (b"PAR1", {1: "damaged"}),
    "parquet-no-path": (_parquet([{"name": "a.jp2"}]), {1: "no column is called Path"}),
    "parquet-rows": (_parquet([{"Path": "a"}, {"Path": None}, {"Path": "b", "rlevel": 1}]), {2: "no Path"}),
}
ROOTED: dict[str, tuple[str, dict[int, str]]] = {
    "ndjson": (f'{GOOD}\n{{"Path": "../a.jp2"}}\n{{"Path": "s3://other/a.jp2"}}', {2: "leads out", 3: "leads out"}),
    "csv": ("Path\na/../../b.jp2\nb.jp2\n/etc/passwd", {2: "leads out", 4: "leads out"}),
    "plain": ("b.jp2\n..\n%2e%2e/a", {2: "leads out", 3: "leads out"}),
}


def _verify_named(error: ManifestError, expected: dict[int, str]) -> None:
    if expected:
        assert [line for line, _ in error.rows] == list(expected)
    for line, message in error.rows:
        assert expected.get(line, "") in message
        assert len(message) <= 300
        assert message.isprintable()
        if line in [number for number, _ in error.rows[:100]]:
            assert f"{error.unit} {line}: {message}" in str(error)
    assert len(str(error).splitlines()) <= 102


@pytest.mark.parametrize("name", BAD)
def test_every_bad_row_is_named(name: str) -> None:
    data, expected = BAD[name]
    with pytest.raises(ManifestError) as raised:
        parse_manifest(data if isinstance(data, bytes) else data.encode(), "bad")
    _verify_named(raised.value, expected)
    again = pickle.loads(pickle.dumps(raised.value))
    assert (str(again), again.rows, again.unit) == (str(raised.value), raised.value.rows, raised.value.unit)


@pytest.mark.parametrize("name", ROOTED)
def test_every_path_that_leads_out_of_the_root_is_named(name: str) -> None:
    text, expected = ROOTED[name]
    with pytest.raises(ManifestError) as raised:
        parse_manifest(text.encode(), root="s3://bucket")
    _verify_named(raised.value, expected)
    assert len(parse_manifest(text.encode())) > len(expected)  # without a root, they lead nowhere in particular


@pytest.mark.parametrize(
    "data", [b"", b"\xef\xbb\xbf", b" \n\t\n", b"[]", b"[ \n ]\n", b"Path,rlevel\n", b"# nothing\n", b"\r\n" * 10**6]
)
def test_no_requests_are_an_error(data: bytes) -> None:
    with pytest.raises(ManifestError, match=r"^empty\.csv\.gz: holds no requests") as raised:
        parse_manifest(data, "empty.csv.gz")
    assert raised.value.rows == ()


def test_one_bad_row_is_one_line_and_many_are_bounded() -> None:
    with pytest.raises(ManifestError) as raised:
        parse_manifest(b'"a.jp2"\n7\n', "a.jsonl")
    assert str(raised.value) == """a.jsonl: line 2: a row must be an object or text, not int (give {"Path": "…"})"""
    with pytest.raises(ManifestError) as raised:
        parse_manifest(b"Path,rlevel\n" + b"a.jp2,high\n" * 1000, "a.csv")
    lines = str(raised.value).splitlines()
    assert lines[0] == "1000 bad rows in a.csv"
    assert lines[1] == "line 2: a.jp2: rlevel of type str is not a resolution level (give -1, 0, 1, …)"
    assert (len(lines), lines[-1]) == (102, "… and 900 more")
    assert [line for line, _ in raised.value.rows] == list(range(2, 1002))


SECRET = "s3cret"


@pytest.mark.parametrize(
    "row",
    [
        {"Path": f"https://me:{SECRET}@host/a.jp2", "rlevel": "high"},
        {"Path": f"https://host/a.jp2?sig={SECRET}", "window": "5:0,0:5"},
        {"Path": f"https://host/a.jp2?sig={SECRET}\n"},
        {"Path": [f"https://me:{SECRET}@host/{'a' * 100}"]},
        {"Path": "a.jp2", "rlevel": f"https://me:{SECRET}{'x' * 50}@host/"},
        {"Path": "a.jp2", "window": f"https://me:{SECRET}{'x' * 50}@host/"},
        {"Path": "a.jp2", "id": [f"https://me:{SECRET}{'x' * 50}@host/"]},
        [f"https://me:{SECRET}{'x' * 50}@host/"],
    ],
)
def test_messages_show_no_credentials(row: object) -> None:
    with pytest.raises(ManifestError) as raised:
        parse_manifest(json.dumps([row]).encode(), f"https://me:{SECRET}@host/list?sig={SECRET}")
    assert SECRET not in str(raised.value)
    assert str(raised.value).startswith("https://host/list: item 1: ")


@given(st.binary(max_size=200), st.sampled_from(["", "a.csv", "a.tsv", "a.json", "a.jsonl", "a.parquet", "a.txt"]))
@example(b"PAR1" + bytes(8) + b"PAR1", "")
@example(b'Path\n"', "")
@example(b"Path,x\r\r\n\n\ra,b\r", "")
@example(b"[" * 5000, "")
@example(b"\xff\xfe[]", "")
def test_any_bytes_are_requests_or_a_manifest_error(data: bytes, name: str) -> None:
    _verify_requests_or_error(data, name)


@given(
    st.text(alphabet='{}[]"\\,:;\t\n\r #PathridNa1e9.-\ud7ff\x85\u2028', max_size=60), st.sampled_from(["", "a.csv"])
)
def test_any_text_is_requests_or_a_manifest_error(text: str, name: str) -> None:
    for start in ("", "Path,x\n", '{"Path": "a"}\n', '["a",'):
        _verify_requests_or_error((start + text).encode(), name)


@given(st.data())
def test_a_damaged_manifest_is_requests_or_a_manifest_error(data: st.DataObject) -> None:
    whole = bytearray(FORMS[data.draw(st.sampled_from(list(FORMS)))])
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    _verify_requests_or_error(bytes(whole), "")


def _verify_requests_or_error(data: bytes, name: str) -> None:
    try:
        requests = parse_manifest(data, name, root="s3://bucket")
    except ManifestError as error:
        _verify_named(error, {})
        numbers = [number for number, _ in error.rows]
        assert numbers == sorted(numbers)
    else:
        assert requests
        json.dumps([(request.path, request.id, request.columns) for request in requests], allow_nan=False)


# Writing

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
KEY = st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r"), min_size=1, max_size=8).filter(str.strip)
NAME = TEXT.filter(lambda name: name.strip().lower() not in ("", "path", "rlevel", "window", "id"))
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
WINDOW = st.builds(
    lambda r, h, c, w: ((r, r + h), (c, c + w)), *[st.integers(0, 10**6), st.integers(1, 10**6)] * 2
) | st.none()  # fmt: skip
REQUEST = st.builds(
    lambda path, rlevel, window, columns: Request(path, rlevel, window, columns=tuple(columns.items())),
    KEY,
    st.integers(-1, 32),
    WINDOW,
    st.dictionaries(NAME, VALUE, max_size=3),
)


@given(st.lists(REQUEST, min_size=1, max_size=5), st.sampled_from([".ndjson", ".jsonl", ".ndjson.gz"]))
def test_what_is_written_as_json_lines_is_read_again(requests: list[Request], suffix: str) -> None:
    write_manifest(requests, f"memory://again{suffix}")
    again = read_manifest(f"memory://again{suffix}")
    assert again == requests
    assert [request.columns for request in again] == [request.columns for request in requests]


@given(st.lists(REQUEST, min_size=1, max_size=5), st.sampled_from([".csv", ".csv.gz"]))
def test_what_is_written_as_csv_is_read_again(requests: list[Request], suffix: str) -> None:
    write_manifest(iter(requests), f"memory://again{suffix}")
    again = read_manifest(f"memory://again{suffix}")
    assert again == requests
    for one, other in zip(again, requests, strict=True):
        read, texts = dict(one.columns), {n: v for n, v in other.columns if isinstance(v, str)}
        assert {name: read[name] for name in texts} == texts


def test_ids_and_roots_are_kept(tmp_path: Path) -> None:
    requests = [Request("a.jp2", 0, root="s3://b", id="mine"), Request("a.jp2", 1, root="s3://b")]
    write_manifest(requests, tmp_path / "a.csv")
    assert read_manifest(tmp_path / "a.csv", root="s3://b") == requests
    assert b"s3://b" not in (tmp_path / "a.csv").read_bytes()


@pytest.mark.parametrize(
    ("requests", "name", "message"),
    [
        ([Request("a")], "a.xlsx", "not that of a manifest format"),
        ([Request("a"), Request("a", root="s3://b")], "a.csv", "several roots"),
        ([Request("a", columns=(("PATH", 1),))], "a.csv", "reserved name"),
        ([Request("a", columns=(("x", object()),))], "a.ndjson", "cannot be JSON"),
        ([Request("a", columns=(("x", object()),))], "a.csv", "cannot be text"),
        ([Request("a\ud800")], "a.ndjson", "cannot be JSON"),
        ([Request("a\ud800")], "a.csv", "cannot be text"),
        ([Request("a", columns=(("x", "\0"),))], "a.csv", "CSV cannot hold"),
    ],
)
def test_what_cannot_be_written_is_said(requests: list[Request], name: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as raised:
        write_manifest(requests, f"memory://refused/{name}")
    assert isinstance(raised.value, Jp2BatchError)
    assert not fsspec.filesystem("memory").exists(f"/refused/{name}")


def test_a_level_that_was_not_asked_for_is_left_to_the_reader(tmp_path: Path) -> None:
    requests = [Request("a.jp2"), Request("b.jp2", window=((0, 8), (0, 8)))]
    for name in ("m.csv", "m.ndjson"):
        write_manifest(requests, tmp_path / name, levels=False)
        assert read_manifest(tmp_path / name) == requests
        found = read_manifest(tmp_path / name, rlevel=2)
        assert found == [Request("a.jp2", 2), Request("b.jp2", 2, ((0, 8), (0, 8)))]


@pytest.mark.parametrize("name", BAD)
def test_the_command_line_names_every_bad_row_and_runs_nothing(name: str, tmp_path: Path) -> None:
    data, expected = BAD[name]
    manifest = tmp_path / "manifest"
    manifest.write_bytes(data if isinstance(data, bytes) else data.encode())
    done = CliRunner().invoke(main, ["run", str(manifest), "-o", f"{tmp_path}/out/", "--local-threads"])
    assert done.exit_code == 2
    named = {
        number
        for first, last in re.findall(r"\b(?:line|row|item)s? (\d+)(?:-(\d+))?: ", done.stderr)
        for number in range(int(first), int(last or first) + 1)
    }
    assert named >= set(expected)
    assert not (tmp_path / "out").exists()


def test_the_command_line_leaves_out_no_bad_row(tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("Path,rlevel\n" + "a.jp2,high\n" * 250 + "b.jp2,1\nc.jp2,low\n")
    done = CliRunner().invoke(main, ["run", str(manifest), "-o", "-", "--local-threads"])
    assert done.exit_code == 2
    assert "lines 2-251: a.jp2: rlevel of type str" in done.stderr
    assert "line 253: c.jp2: rlevel of type str" in done.stderr
