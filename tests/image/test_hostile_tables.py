"""Index tables of strangers: damaged, too large, or lying ones cost neither memory nor a pixel."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import dask
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jp2batch.core.costs import StoreCosts
from jp2batch.core.errors import StorageError
from jp2batch.core.request import Request
from jp2batch.core.window import Window
from jp2batch.image import index
from jp2batch.image.index import parquet_reader
from jp2batch.image.index.parquet_pages import check_pages
from jp2batch.image.index.parquet_reader import DamagedTable, ParquetReader
from jp2batch.image.index.parquet_table import Table
from jp2batch.image.index.table_layouts import POSITIONS, WHOLE, TableLayout
from jp2batch.image.index.table_writer import FileWriter
from jp2batch.image.read import Pixels, read_from, read_pixels
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.storage.source import MemorySource
from support.images import MANY_TILES, PLAIN, Made
from support.reads import start_anew
from support.tile_part_rows import learn

MEBIBYTE = 1 << 20


def table_of(tmp_path: Path, layout: TableLayout, indexes: dict[str, ImageIndex]) -> bytes:
    writer = FileWriter(str(tmp_path / "t.parquet"), None, layout)
    for key, one in indexes.items():
        writer.add(key, one)
    writer.finish()
    return (tmp_path / "t.parquet").read_bytes()


def parquet(columns: dict[str, object], **options: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, **options)
    return buffer.getvalue()


def opened(data: bytes) -> Table:
    return Table(lambda: MemorySource(data))


@pytest.mark.parametrize("layout", [POSITIONS, WHOLE], ids=["positions", "whole"])
def test_a_damaged_table_is_ignored_or_named(tmp_path, layout):
    keys = [f"s3://b/{number}.jp2" for number in range(20)]
    data = table_of(tmp_path, layout, dict.fromkeys(keys, learn(PLAIN)))
    right = [opened(data).get(key) for key in keys]

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), min_size=1, max_size=4), st.data())
    def check(changes, draw):
        damaged = bytearray(data)
        for position, byte in changes:
            damaged[position] = byte
        if draw.draw(st.booleans()):
            del damaged[draw.draw(st.integers(0, len(data))) :]
        try:
            found = [opened(bytes(damaged)).get(key) for key in keys]
        except StorageError:
            return
        if layout is WHOLE:  # its entries have checksums; those of pages are optional, and may be what is damaged
            assert all(one is None or one in right for one in found)

    check()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_no_page_header_breaks_the_check(data):
    try:
        assert check_pages(data, memory=1000, values=100).memory <= 1000
    except ValueError:
        return


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("codec", ["zstd", "snappy", "gzip", "none"])
def test_pages_of_any_writer_pass(version, codec):
    rows = 3000
    columns = {"path": [f"{number:05}.jp2" for number in range(rows)], "known": [learn(PLAIN).to_bytes()] * rows}
    encodings: list[dict[str, object]] = [
        {},
        {"use_dictionary": False},
        {"use_dictionary": False, "column_encoding": {"path": "DELTA_BYTE_ARRAY", "known": "DELTA_LENGTH_BYTE_ARRAY"}},
    ]
    for more in encodings:
        options = {"data_page_size": 5000, "write_page_index": True, "compression": codec, "data_page_version": version}
        table = opened(parquet(columns, **options, **more))
        assert table.get("00000.jp2") == table.get("02999.jp2") == learn(PLAIN)
        assert table.get("03000.jp2") is None


@pytest.mark.parametrize(
    "columns",
    [
        {"path": ["a"], "known": [b"\0" * 40 * MEBIBYTE]},
        {"path": ["a" * 40 * MEBIBYTE], "known": [b""]},
    ],
    ids=["value", "name"],
)
def test_a_bomb_is_not_unpacked(columns, monkeypatch):
    monkeypatch.setattr(parquet_reader, "_LARGEST_GROUP", 32 * MEBIBYTE)
    data = parquet(columns, compression="zstd")
    assert len(data) < MEBIBYTE
    before = pa.total_allocated_bytes()
    reader = ParquetReader(MemorySource(data))
    with pytest.raises(DamagedTable, match="too large"):
        reader.read(0, ["path", "known"])
    assert pa.total_allocated_bytes() <= before + MEBIBYTE
    assert opened(data).get("a") is None


def test_a_name_repeated_in_a_dictionary_takes_no_memory():
    rows = 1_000_000
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), ["x" * MEBIBYTE])
    data = parquet({"path": names, "known": pa.nulls(rows, pa.binary())}, compression="zstd", store_schema=False)
    table = opened(data)
    before = pa.total_allocated_bytes()
    assert table.get("x" * MEBIBYTE) is None  # it has no index
    assert pa.total_allocated_bytes() <= before + 32 * MEBIBYTE


def test_values_made_of_each_other_are_not_unpacked(monkeypatch):
    monkeypatch.setattr(parquet_reader, "_LARGEST_GROUP", 32 * MEBIBYTE)
    names = ["x" * MEBIBYTE] * 50
    options = {"use_dictionary": False, "column_encoding": {"path": "DELTA_BYTE_ARRAY", "known": "PLAIN"}}
    data = parquet({"path": names, "known": [b""] * 50}, compression="zstd", **options)
    with pytest.raises(DamagedTable, match="too large"):
        ParquetReader(MemorySource(data)).read(0, ["path"])


def test_a_list_of_many_tile_parts_is_not_read():
    lengths = pa.array([list(range(1, 200_000))], pa.list_(pa.uint32()))
    columns = {"path": ["a"], "size": [10**12], "etag": ["x"], "head": [b""], "tlm": pa.nulls(1, pa.int32())}
    data = parquet({**columns, "start": [0], "tiles": pa.nulls(1, pa.list_(pa.uint16())), "lengths": lengths})
    assert opened(data).get("a") is None


@pytest.mark.parametrize(
    "changed",
    [
        {"size": ["1"]},
        {"size": [-1]},
        {"head": ["text"]},
        {"start": [None]},
        {"start": [2**62]},
        {"tiles": [[0]]},
        {"tiles": [[0, 1, 2, 70_000]]},
        {"lengths": [[-5, 1, 1, 1]]},
        {"lengths": [[None] * 4]},
        {"lengths": [[0] * 4]},
        {"lengths": [["a"] * 4]},
        {"lengths": [5]},
        {"tlm": [4]},
        {"tlm": [2**30]},
        {"etag": [5]},
    ],
    ids=str,
)
def test_a_row_of_other_values_is_no_row(changed):
    columns = {"path": ["a"], "size": [10_000], "etag": ["x"], "head": [b"head"], "tlm": [None], "start": [4]}
    columns |= {"tiles": [None], "lengths": [[10] * 4]}
    assert opened(parquet(columns)).get("a") is not None
    assert opened(parquet(columns | changed)).get("a") is None


def test_a_footer_that_would_take_much_memory_is_refused(monkeypatch):
    monkeypatch.setattr(parquet_reader, "_LARGEST_FOOTER", 100)
    with pytest.raises(StorageError, match="footer is larger"):
        opened(parquet({"path": ["a"], "known": [b""]}))


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"PAR1" * 3, b"PAR1" + bytes(100) + b"\xff\xff\xff\x7fPAR1", b"\0" * 40]
)
def test_what_is_no_parquet_file_is_named(data):
    with pytest.raises(StorageError, match="not a Parquet file"):
        opened(data)


@pytest.mark.parametrize("layout", [POSITIONS, WHOLE], ids=["positions", "whole"])
def test_a_table_that_hides_the_end_of_the_main_header_is_noticed(http_server, tmp_path, layout):
    """It may hide a segment that changes the coding: here, a comment."""
    http_server.files["a.jp2"] = MANY_TILES.data
    url, known = http_server.url("a.jp2"), learn(MANY_TILES)
    cut = MANY_TILES.data.index(b"\xff\x64")
    assert cut < known.tile_parts[0].start
    head = MANY_TILES.data[:cut] + b"\xff\x90"
    etag = f'"{hashlib.md5(MANY_TILES.data).hexdigest()}"'
    forged = ImageIndex(known.size, etag, ((0, head), *known.header_bytes[1:]), known.tile_parts)
    table_of(tmp_path, layout, {url: forged})
    shared = {"jp2batch.index.enabled": False, "jp2batch.index.shared": str(tmp_path / "t.parquet")}
    with dask.config.set(shared | {"jp2batch.max-whole-file": 0, "jp2batch.first-read": 1000}):
        pixels = read_pixels(Request(url, 1))
    np.testing.assert_array_equal(pixels.values, MANY_TILES.oracle.at(1))
    assert pixels.stats.located_by == "walk"


REMOTE = StoreCosts(latency=0.1, bandwidth=1e6, connections=8)


def reads_with(monkeypatch, image: Made, told: ImageIndex, *windows: str | None) -> list[Pixels]:
    """Read windows of an image one after the other, as others told of it at first."""
    monkeypatch.setattr(index, "shared_table", lambda *_: {"memory://": told})
    start_anew()
    settings = {"jp2batch.index.shared": "a table", "jp2batch.index.disk": 0, "jp2batch.index.enabled": True}
    pixels = []
    with dask.config.set(settings | {"jp2batch.max-whole-file": 0, "jp2batch.first-read": 1000}):
        for window in windows:
            source = MemorySource(image.data, profile=REMOTE, etag='"1"')
            part = None if window is None else Window.parse(window)
            pixels.append(read_from(source, lambda opened, part=part: opened.selected(1, part)))
    return pixels


@pytest.mark.parametrize("image", [PLAIN, MANY_TILES], ids=["4 tiles", "132 tiles"])
def test_headers_not_compared_by_a_read_are_compared_by_the_next(monkeypatch, image):
    known, random = learn(image), np.random.default_rng(3)
    for _ in range(15):
        spans = [[start, bytearray(data)] for start, data in known.header_bytes]
        wrong = spans[random.integers(2, len(spans))][1]
        wrong[random.integers(12, len(wrong))] ^= 1 << random.integers(8)
        told = replace(known, header_bytes=tuple((start, bytes(data)) for start, data in spans))
        *_, pixels = reads_with(monkeypatch, image, told, "0:4,0:4", None)
        np.testing.assert_array_equal(pixels.values, image.oracle.at(1))
        assert pixels.stats.located_by == "walk"


@pytest.mark.parametrize("image", [PLAIN, MANY_TILES], ids=["4 tiles", "132 tiles"])
def test_packets_in_a_table_are_not_used(monkeypatch, image):
    known = learn(image)
    forged = bytes(byte ^ 0x5A for byte in image.data)
    spans = []
    for (start, data), stop in zip(
        known.header_bytes, [*(start for start, _ in known.header_bytes[1:]), None], strict=True
    ):
        last = known.tile_parts[-1].start + known.tile_parts[-1].length if stop is None else stop
        spans.append((start, data + forged[start + len(data) : last]))
    told = replace(known, header_bytes=tuple(spans))
    for pixels in reads_with(monkeypatch, image, told, None, None):
        np.testing.assert_array_equal(pixels.values, image.oracle.at(1))
        assert pixels.stats.located_by == "index"


def test_an_index_read_in_parts_stays_of_one_round(monkeypatch):
    told = learn(MANY_TILES)
    for pixels in reads_with(monkeypatch, MANY_TILES, told, "0:4,0:4", "40:50,60:70", None, None):
        assert pixels.stats.located_by == "index"


def test_a_verified_index_takes_only_extents_of_an_unverified():
    whole, part = learn(PLAIN), learn(PLAIN, window="0:1,0:1")
    for both in (part.joined(whole.unproven()), whole.unproven().joined(part)):
        assert (both.unverified, both.header_bytes, len(both.tile_parts)) == (False, part.header_bytes, 4)
        assert [place.proven for place in both.tile_parts] == [True, False, False, False]
