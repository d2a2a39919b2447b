"""Tables per tile on the ground: made by `jp2batch index DIR/`, merged, and read by range."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import jp2batch
from benchmarks.seaweedfs import S3_PUBLIC_BUCKET
from jp2batch import cli
from jp2batch.core import config
from jp2batch.core.errors import OutputError, StorageError, StoreUnavailable
from jp2batch.core.request import Request
from jp2batch.image.index import parquet_reader
from jp2batch.image.index.parquet_table import Table
from jp2batch.image.index.shared_index import file_of, shared_table
from jp2batch.image.index.table_layouts import KAYRROS, POSITIONS, WHOLE, TableLayout
from jp2batch.image.index.table_writer import FolderWriter, table_writer, write_table
from jp2batch.image.read import read_pixels
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.jpeg2000.locate.tile_parts import consecutive
from jp2batch.storage.source import MemorySource, open_source
from support.images import MANY_TILES, OTHER, PLAIN, WITH_TLM, Made
from support.tile_part_rows import learn

DAYS = ("20221005T115411", "20221010T115421", "20221015T115401")
BANDS = ("B02", "B03", "B04")


@pytest.fixture(autouse=True)
def settings():
    """Let every read look into tables alone, and find out by tiles."""
    index = config.DEFAULTS["jp2batch"]["index"] | {"enabled": False}  # as a whole: --index changes it
    with dask.config.set({"jp2batch.max-whole-file": 0, "jp2batch.first-read": 1000, "jp2batch.index": index}):
        yield


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def name(tile: str = "T29UNU", day: str = DAYS[0], band: str = "B04", level: str = "L2A") -> str:
    product = f"S2A_MSI{level}_{day}_N0400_R023_{tile}_{day}.SAFE"
    return f"{product}/GRANULE/{level}_{tile}_A038058_{day}/IMG_DATA/R10m/{tile}_{day}_{band}_10m.jp2"


def served(http_server, tmp_path: Path, **more: Made) -> list[str]:
    """Serve images of two tiles, and one of no tile; write a manifest."""
    http_server.files |= {name(): MANY_TILES.data, name(band="B03"): WITH_TLM.data, name("T32TNT"): PLAIN.data}
    http_server.files |= {"photo.jp2": OTHER.data} | {key: image.data for key, image in more.items()}
    urls = [http_server.url(one) for one in http_server.files]
    (tmp_path / "scenes.txt").write_text("\n".join(urls))
    return urls


def using(path: object):
    return dask.config.set({"jp2batch.index.shared": str(path)})


def written(folder: Path, indexes: dict[str, ImageIndex], layout: TableLayout = POSITIONS) -> None:
    writer = table_writer(f"{folder}/", layout=layout)
    for key, index in indexes.items():
        writer.add(key, index)
    writer.finish()


def paths(file: Path) -> list[str]:
    return pq.read_table(file)["path"].to_pylist()


def test_the_command_writes_a_table_per_tile_and_reads_take_it(http_server, tmp_path):
    urls = served(http_server, tmp_path)
    done = run("index", tmp_path / "scenes.txt", "-o", f"{tmp_path}/index/", "--json")
    assert (done.exit_code, json.loads(done.stdout)["learned"]) == (0, 4), done.stderr
    files = {path.name for path in (tmp_path / "index").iterdir()}
    assert files == {"29UNU.parquet", "32TNT.parquet", "other.parquet", "jp2batch-index.json"}
    assert paths(tmp_path / "index/29UNU.parquet") == sorted(urls[:2])
    for url, image in zip(urls, (MANY_TILES, WITH_TLM, PLAIN, OTHER), strict=True):
        for place in (tmp_path / "index", f"{tmp_path}/index/", f"{tmp_path}/index/{{tile}}.parquet"):
            with using(place):
                pixels = read_pixels(Request(url, 1))
            np.testing.assert_array_equal(pixels.values, image.oracle.at(1))
            assert pixels.stats.located_by == "index"


def test_positions_save_the_read_of_the_main_header(http_server, tmp_path):
    (url, *_) = served(http_server, tmp_path)
    assert run("index", tmp_path / "scenes.txt", "-o", f"{tmp_path}/index/").exit_code == 0
    asked = http_server.requests
    done = run("read", url, "--rlevel", 1, "--index", f"{tmp_path}/index/", "-o", tmp_path / "image.npy")
    assert done.exit_code == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "image.npy"), MANY_TILES.oracle.at(1)[0])
    assert "bytes=0-999" not in http_server.asked[asked:]


def test_new_dates_are_added_and_none_is_lost(tmp_path):
    first = {f"s3://b/{name(day=day)}": learn(PLAIN) for day in DAYS[:2]}
    written(tmp_path / "index", first)
    again = {f"s3://b/{name(day=day)}": learn(WITH_TLM) for day in DAYS[1:]}
    written(tmp_path / "index", again)
    table = shared_table(f"{tmp_path}/index/", {})
    assert paths(tmp_path / "index/29UNU.parquet") == sorted({**first, **again})
    sizes = [index and index.size for index in map(table.get, [*first, *again])]
    assert sizes == [len(PLAIN.data), *[len(WITH_TLM.data)] * 3]
    assert [path.name for path in (tmp_path / "index").glob(".*")] == []


@pytest.mark.parametrize("layout", [POSITIONS, KAYRROS, WHOLE], ids=["positions", "kayrros", "whole"])
def test_each_layout_is_merged_and_read(tmp_path, layout):
    indexes = {f"s3://b/{name(day=day, band=band)}": learn(PLAIN) for day in DAYS for band in BANDS}
    for key, index in indexes.items():
        written(tmp_path / "index", {key: index}, layout)
    table = shared_table(f"{tmp_path}/index/", {})
    assert len(paths(tmp_path / "index/29UNU.parquet")) == 9
    for key, index in indexes.items():
        found = table.get(key)
        assert found is not None
        assert found.unproven().tile_parts == index.unproven().tile_parts
    assert table.get(f"s3://b/{name('T32TNT')}") is table.get(f"s3://b/{name(band='B08')}") is None


def test_a_damaged_table_or_one_of_another_layout_is_not_replaced(tmp_path):
    key = f"s3://b/{name()}"
    written(tmp_path / "index", {key: learn(PLAIN)}, KAYRROS)
    file = tmp_path / "index/29UNU.parquet"
    for problem in ("is not a table of positions", "is damaged"):
        before = file.read_bytes()
        with pytest.raises(OutputError, match=rf"29UNU\.parquet.*{problem}"):
            written(tmp_path / "index", {key: learn(PLAIN)})
        assert file.read_bytes() == before
        file.write_bytes(before[:-20])


def test_writers_at_once_lose_no_row(tmp_path):
    keys = [f"s3://b/{name(day=f'202210{day:02}T115411')}" for day in range(1, 25)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: written(tmp_path / "index", {key: learn(PLAIN)}), keys))
    assert paths(tmp_path / "index/29UNU.parquet") == keys


@pytest.mark.seaweedfs
def test_in_a_bucket_writers_at_once_lose_no_row(s3_server):
    options = s3_server.options
    url = f"s3://{S3_PUBLIC_BUCKET}/index/"
    keys = [f"s3://b/{name(day=f'202210{day:02}T115411')}" for day in range(1, 5)]

    def write(key: str) -> None:
        writer = table_writer(url, options)
        writer.add(key, learn(PLAIN))
        writer.finish()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, keys))
    table = shared_table(url, s3_server.anonymous_options)  # who may read it, but not list it
    assert table.get(f"s3://b/{name('T32TNT')}") is None
    assert [key for key in keys if table.get(key) is None] == []


def test_a_writer_that_fails_leaves_the_old_table(tmp_path, monkeypatch):
    key = f"s3://b/{name()}"
    written(tmp_path / "index", {key: learn(PLAIN)})
    before = (tmp_path / "index/29UNU.parquet").read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jp2batch.storage.files._write_new", fail)
    with pytest.raises(OutputError, match="No space left"):
        written(tmp_path / "index", {key: learn(OTHER)})
    assert (tmp_path / "index/29UNU.parquet").read_bytes() == before
    assert {path.name for path in (tmp_path / "index").iterdir()} == {"29UNU.parquet", "jp2batch-index.json"}


def test_many_images_are_written_as_they_come(tmp_path):
    writer = FolderWriter(f"{tmp_path}/{{tile}}.parquet", None, POSITIONS, most=2)
    for day in DAYS:
        writer.add(f"s3://b/{name(day=day)}", learn(PLAIN))
    assert len(paths(tmp_path / "29UNU.parquet")) == 2
    writer.finish()
    assert len(paths(tmp_path / "29UNU.parquet")) == 3


def test_keys_that_differ_behind_their_path_alone_are_kept_apart(tmp_path):
    known = {f"s3://b/{name()}#a": learn(PLAIN), f"s3://b/{name()}#b": learn(WITH_TLM)}
    written(tmp_path / "index", known)
    table = shared_table(f"{tmp_path}/index/", {})
    assert [index and index.size for index in map(table.get, known)] == [len(PLAIN.data), len(WITH_TLM.data)]


def test_a_table_that_was_replaced_is_read_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_reader, "_FIRST", 4000)  # the table is small
    monkeypatch.setattr(parquet_reader, "_TAIL", 4000)
    known = {f"s3://b/{name(day=day)}": learn(PLAIN) for day in DAYS}
    big = {f"s3://b/{name(day=f'20{year}0105T115411')}": learn(MANY_TILES) for year in range(10, 90)}
    written(tmp_path / "index", big, WHOLE)
    table = shared_table(f"{tmp_path}/index/", {})
    assert table.get(next(iter(big))) == learn(MANY_TILES)
    written(tmp_path / "index", known, WHOLE)
    assert table.get(list(big)[40]) == learn(MANY_TILES)
    assert all(table.get(key) == learn(PLAIN) for key in known)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), (b"{}", "is damaged"), (b'{"jp2batch-index": 2}', "another version")],
)
def test_a_folder_without_mark_is_named(http_server, tmp_path, content, message):
    (url, *_) = served(http_server, tmp_path)
    (tmp_path / "index").mkdir()
    if content is not None:
        (tmp_path / "index/jp2batch-index.json").write_bytes(content)
    with using(f"{tmp_path}/index/"), pytest.raises(StorageError, match=rf"index/.*{message}"):
        read_pixels(Request(url, 1))
    done = run("run", tmp_path / "scenes.txt", "-o", tmp_path / "out.ndjson", "--index", f"{tmp_path}/index/")
    assert (done.exit_code, http_server.requests) == (3, 0)


def test_a_tile_without_a_table_is_looked_for_once(http_server, tmp_path):
    urls = served(http_server, tmp_path)
    mark = b'{"jp2batch-index": 1}'
    http_server.files["index/jp2batch-index.json"] = mark
    for url in urls[:2] * 2:
        with using(http_server.url("index/")):
            assert read_pixels(Request(url, 1)).stats.located_by != "index"
    assert [path for path in http_server.paths if path.startswith("/index")] == [
        "/index/jp2batch-index.json",
        "/index/29UNU.parquet",
    ]


def published(http_server, tmp_path: Path) -> str:
    """Write a folder of tables, and serve it."""
    assert run("index", tmp_path / "scenes.txt", "-o", f"{tmp_path}/index/").exit_code == 0
    for file in (tmp_path / "index").iterdir():
        http_server.files[f"index/{file.name}"] = file.read_bytes()
    return str(http_server.url("index/"))


def test_a_plan_is_that_of_positions(http_server, tmp_path):
    (url, *_) = served(http_server, tmp_path)
    with using(published(http_server, tmp_path)):
        for level, window in ((1, None), (0, ((20, 50), (30, 60)))):
            plan, stats = jp2batch.plan(url, level, window), read_pixels(Request(url, level, window)).stats
            assert (plan.located_by, plan.bytes) == (stats.located_by, stats.bytes_read)
            assert stats.located_by == "index"


def test_a_store_of_tables_that_fails_is_named(http_server, tmp_path):
    (url, *_) = served(http_server, tmp_path)
    with using(published(http_server, tmp_path)), dask.config.set({"jp2batch.retries.attempts": 1}):
        http_server.fault, http_server.faultless = 503, http_server.requests + 1
        with pytest.raises(StoreUnavailable, match=r"index/29UNU\.parquet.*503"):
            read_pixels(Request(url, 1))
        http_server.fault = ""
        assert read_pixels(Request(url, 1)).stats.located_by == "index"


def test_a_server_of_tables_without_ranges_is_enough(http_server, tmp_path):
    (url, *_) = served(http_server, tmp_path)
    with using(published(http_server, tmp_path)), dask.config.set({"jp2batch.max-whole-file": "1 MB"}):
        http_server.fault = "ignore-range"
        np.testing.assert_array_equal(read_pixels(Request(url, 1)).values, MANY_TILES.oracle.at(1))


def test_kayrros_tables_are_written_and_read(http_server, tmp_path):
    (url, with_tlm, *_) = served(http_server, tmp_path)
    done = run("index", tmp_path / "scenes.txt", "--to", "kayrros", "-o", f"{tmp_path}/{{level}}-{{tile}}.parquet")
    assert done.exit_code == 0, done.stderr
    rows = pq.read_table(tmp_path / "L2A-29UNU.parquet").to_pylist()
    product = name().partition(".")[0]
    assert [(row["product_id"], row["band_id"], row["path"]) for row in rows] == [
        (product, "B03", f"/{name(band='B03')}"),
        (product, "B04", f"/{name()}"),
    ]
    assert rows[0]["index"] == b""
    with using(f"{tmp_path}/{{level}}-{{tile}}.parquet"):
        assert read_pixels(Request(url, 1)).stats.located_by == "index"
        assert read_pixels(Request(with_tlm, 1)).stats.located_by == "tlm"


def test_a_single_file_of_kayrros_is_written(http_server, tmp_path):
    (url, *_) = served(http_server, tmp_path)
    done = run("index", tmp_path / "scenes.txt", "--to", "kayrros", "-o", tmp_path / "index.parquet")
    assert done.exit_code == 0, done.stderr
    with using(tmp_path / "index.parquet"):
        assert read_pixels(Request(url, 1)).stats.located_by == "index"


def test_kayrros_bands_of_other_pixel_sizes_are_others(tmp_path):
    fine = name(band="B02")
    written(tmp_path / "index", {f"s3://b/{fine}": learn(PLAIN)}, KAYRROS)
    table = shared_table(f"{tmp_path}/index/", {})
    assert table.get(f"s3://mirror/x/{fine}") is not None
    assert table.get(f"s3://mirror/x/{fine.replace('10m', '60m')}") is None


@pytest.mark.parametrize(
    ("key", "file"),
    [
        (f"s3://b/{name()}#digest", "L2A-29UNU"),
        (f"s3://b/{name(level='L1C')}", "L1C-29UNU"),
        ("s3://sentinel-s2-l1c/tiles/29/U/NU/2022/10/5/0/B04.jp2", "L1C-29UNU"),
        ("photo.jp2", "other-other"),
        ("/../T29UNU_20221005T115411_B04_10m.jp2", "L2A-29UNU"),
    ],
)
def test_the_table_of_an_image_is_that_of_its_tile(key, file):
    assert file_of("d/{level}-{tile}.parquet", key) == f"d/{file}.parquet"


@given(
    st.lists(st.tuples(st.integers(0, 2**16 - 1), st.integers(1, 2**32 - 1)), max_size=30),
    st.binary(max_size=50),
    st.none() | st.text(max_size=20),
    st.booleans(),
)
def test_positions_of_any_file_come_back(entries, head, etag, in_order):
    named = [(None if in_order else tile, length) for tile, length in entries]
    parts = tuple(consecutive(named, len(head) + 2))
    index = ImageIndex(len(head) + 4 + sum(length for _, length in named), etag, ((0, head),) if head else (), parts)
    assert POSITIONS.index(row_of(POSITIONS.rows("a", index))) == index


def row_of(row: dict[str, object]) -> dict[str, object]:
    """Return a row as it is read."""
    types = {"tiles": pa.list_(pa.uint16()), "lengths": pa.list_(pa.uint32())}
    return {key: pa.scalar(value, types[key]) if key in types else value for key, value in row.items()}


def test_rows_of_a_read_table_are_those_written(tmp_path):
    indexes = {f"s3://b/{number:03}.jp2": learn(image) for number, image in enumerate((PLAIN, WITH_TLM, MANY_TILES))}
    written(tmp_path / "index", indexes)
    table = Table(lambda: open_source(f"{tmp_path}/index/other.parquet"))
    assert len(table) == 3
    for key, index in indexes.items():
        found = table.get(key)
        assert found is not None
        assert (found.size, found.etag) == (index.size, index.etag)
        assert found.tile_parts == index.unproven().tile_parts
        ((start, head),) = found.header_bytes
        assert start == 0
        assert index.pieces().read(0, len(head)) == head


def test_an_old_table_stays_readable(tmp_path):
    """One of version 0.1 before the folders: large row groups, statistics of all columns, no checksums."""
    columns = {"path": ["a.jp2", "b.jp2"], "size": [1, 2], "etag": ["x", None], "tile_parts": [4, 4]}
    table = pa.table({**columns, "known": [learn(PLAIN).to_bytes(), learn(OTHER).to_bytes()]})
    pq.write_table(table, tmp_path / "index.parquet", row_group_size=256, compression={"path": "zstd", "known": "none"})
    found = shared_table(str(tmp_path / "index.parquet"), {})
    assert (found.get("a.jp2"), found.get("b.jp2#x"), found.get("c.jp2")) == (learn(PLAIN), learn(OTHER), None)


def test_a_lock_of_another_writer_is_waited_for(tmp_path):
    from jp2batch.storage.file_locks import waiting_lock

    done = threading.Event()
    (tmp_path / "index").mkdir()
    with waiting_lock(tmp_path / "index/29UNU.parquet"):
        thread = threading.Thread(
            target=lambda: (written(tmp_path / "index", {f"s3://b/{name()}": learn(PLAIN)}), done.set())
        )
        thread.start()
        assert not done.wait(0.3)
    thread.join(10)
    assert done.is_set()


def test_a_source_in_memory_is_a_table_as_well(tmp_path):
    write_table(str(tmp_path / "index.parquet"), {"a": learn(PLAIN)})
    data = (tmp_path / "index.parquet").read_bytes()
    assert Table(lambda: MemorySource(data)).get("a") == learn(PLAIN)
