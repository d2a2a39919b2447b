"""Tables of what is known, to be shared: made by `jp2batch index`, used by whoever names them; and those of Kayrros."""

import json
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from benchmarks.seaweedfs import S3_PUBLIC_BUCKET
from jp2batch import cli
from jp2batch.batch import run as batch
from jp2batch.batch.build_index import build_index
from jp2batch.compute.cluster import local_cluster
from jp2batch.core import config
from jp2batch.core.errors import ConfigurationError, StorageError
from jp2batch.core.request import Request
from jp2batch.image.index import shared_index
from jp2batch.image.index.parquet_table import Table
from jp2batch.image.index.shared_index import shared_table
from jp2batch.image.index.table_writer import write_table
from jp2batch.image.open import OpenImage
from jp2batch.image.read import read_pixels
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.storage.source import MemorySource, open_source
from support.images import MANY_TILES, OTHER, PLAIN, WITH_TLM, Made
from support.tile_part_rows import kayrros, learn, rows_of, tlm

PRODUCT = "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454"
KEY = (
    f"Sentinel-2/MSI/L2A/2022/10/05/{PRODUCT}.SAFE/GRANULE/L2A_T29UNU/IMG_DATA/R10m/T29UNU_20221005T115411_B04_10m.jp2"
)


@pytest.fixture(autouse=True)
def settings():
    """Let every read look into tables alone, and find out by tiles."""
    with dask.config.set({"jp2batch.max-whole-file": 0, "jp2batch.first-read": 1000}):
        yield


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def served(http_server, **images: Made) -> list[str]:
    for name, image in images.items():
        http_server.files[f"{name}.jp2"] = image.data
    return [http_server.url(f"{name}.jp2") for name in images]


def table(path: Path) -> Table:
    return Table(lambda: open_source(str(path)))


def test_what_is_written_is_read(tmp_path):
    known = {f"s3://bucket/{number}.jp2#digest": learn(image) for number, image in enumerate((PLAIN, WITH_TLM))}
    write_table(str(tmp_path / "index.parquet"), known)
    found = table(tmp_path / "index.parquet")
    assert len(found) == 2
    assert found.get("s3://bucket/0.jp2") == found.get("s3://bucket/0.jp2#other") == learn(PLAIN)
    assert found.get("s3://bucket/2.jp2") is None
    columns = pq.read_table(tmp_path / "index.parquet").to_pydict()
    assert columns["size"] == [len(PLAIN.data), len(WITH_TLM.data)]
    assert columns["tile_parts"] == [4, 4]


def test_keys_that_differ_behind_their_path_alone_are_kept_apart(tmp_path):
    known = {"s3://b/one.jp2#a": learn(PLAIN), "s3://b/one.jp2#b": learn(WITH_TLM), "s3://b/two.jp2#a": learn(PLAIN)}
    write_table(str(tmp_path / "index.parquet"), known | {"s3://b/one.jp2": learn(OTHER)})
    found = table(tmp_path / "index.parquet")
    assert {key: found.get(key) for key in known} == known
    assert found.get("s3://b/one.jp2") == found.get("s3://b/one.jp2#c") == learn(OTHER)
    assert found.get("s3://b/two.jp2#c") == learn(PLAIN)
    assert pq.read_table(tmp_path / "index.parquet")["path"].to_pylist() == [
        *sorted(["s3://b/one.jp2", *known])[:3],
        "s3://b/two.jp2",
    ]


def test_images_that_differ_in_their_query_alone_are_learned(http_server, tmp_path):
    served(http_server, image=MANY_TILES)
    urls = [http_server.url(f"image.jp2?id={number}") for number in (1, 2)]
    (tmp_path / "scenes.txt").write_text("\n".join(urls))
    done = run("index", tmp_path / "scenes.txt", "-o", tmp_path / "index.parquet", "--json")
    assert (done.exit_code, json.loads(done.stdout)["learned"]) == (0, 2), done.stderr
    with using(tmp_path / "index.parquet"):
        assert {read_pixels(Request(url, 1)).stats.located_by for url in urls} == {"index"}


def test_threads_load_it_once(tmp_path, monkeypatch):
    write_table(str(tmp_path / "index.parquet"), {"a": learn(PLAIN)})
    loads, read = [], shared_index.open_source
    monkeypatch.setattr(
        shared_index, "open_source", lambda *args, **options: loads.append(args) or read(*args, **options)
    )
    with ThreadPoolExecutor(8) as pool:
        tables = list(pool.map(lambda _: shared_table(str(tmp_path / "index.parquet"), {}), range(8)))
    assert len(set(map(id, tables))) == len(loads) == 1


def test_a_path_that_is_no_text_costs_no_other_image(tmp_path):
    write_table(str(tmp_path / "index.parquet"), {"/folder/\udcff.jp2": learn(PLAIN), "/folder/ü b.jp2": learn(OTHER)})
    found = table(tmp_path / "index.parquet")
    assert (len(found), found.get("/folder/ü b.jp2")) == (1, learn(OTHER))
    assert found.get("/folder/\udcff.jp2") is None


def test_many_are_found_in_their_groups(tmp_path):
    write_table(str(tmp_path / "index.parquet"), {str(number): ImageIndex(number + 1, "tag") for number in range(600)})
    found = table(tmp_path / "index.parquet")
    assert [found.get(str(number)).size for number in (0, 255, 256, 599)] == [1, 256, 257, 600]  # type: ignore[union-attr]


def test_the_command_learns_headers_alone_and_others_read_in_one_round(http_server, tmp_path):
    urls = served(http_server, one=MANY_TILES, two=WITH_TLM, three=MANY_TILES)
    (tmp_path / "scenes.txt").write_text("\n".join([*urls, urls[0]]))
    done = run("index", tmp_path / "scenes.txt", "-o", tmp_path / "index.parquet", "--json")
    assert (done.exit_code, json.loads(done.stdout)["learned"]) == (0, 3)
    told = json.loads(done.stdout)
    assert told["bytes_read"] == http_server.bytes_sent < 0.9 * told["bytes_whole"]
    assert "learned 3 of 3 images" in done.stderr
    asked = http_server.requests
    with dask.config.set({"jp2batch.index": config.DEFAULTS["jp2batch"]["index"] | {"enabled": False}}):
        done = run("read", urls[0], "--rlevel", 1, "--index", tmp_path / "index.parquet", "-o", tmp_path / "image.npy")
        assert done.exit_code == 0, done.stderr
        config_now = config.index_settings().shared
        stats = read_pixels(Request(urls[0], 1)).stats
    assert config_now == str(tmp_path / "index.parquet")
    assert stats.located_by == "index"
    assert http_server.requests - asked == 2 * stats.requests
    assert f"bytes=0-{config.first_read() - 1}" not in http_server.asked[asked:]
    np.testing.assert_array_equal(np.load(tmp_path / "image.npy"), MANY_TILES.oracle.at(1)[0])


def test_images_that_cannot_be_learned_are_named_and_left_out(http_server, tmp_path):
    urls = served(http_server, good=PLAIN)
    http_server.files["text.jp2"] = b"no image at all"
    (tmp_path / "scenes.txt").write_text("\n".join([*urls, http_server.url("text.jp2"), http_server.url("gone.jp2")]))
    done = run("index", tmp_path / "scenes.txt", "-o", tmp_path / "index.parquet")
    assert done.exit_code == 1
    assert "text.jp2: not a JPEG 2000 file" in done.stderr
    assert "gone.jp2: there is no such object" in done.stderr
    assert len(table(tmp_path / "index.parquet")) == 1


def test_images_that_cannot_be_asked_for_cost_no_other(http_server, tmp_path):
    urls = ["nosuch://bucket/a.jp2", "s3://AKIAME:s3cret@bucket/a.jp2", *served(http_server, good=PLAIN)]
    summary = build_index([Request(url) for url in urls], str(tmp_path / "index.parquet"))
    assert (summary.learned, len(summary.errors)) == (1, 2)
    assert "s3cret" not in str(summary.errors)


def test_processes_learn_as_well(http_server, tmp_path):
    urls = served(http_server, one=MANY_TILES, two=PLAIN)
    (tmp_path / "scenes.txt").write_text("\n".join(urls))
    done = run("index", tmp_path / "scenes.txt", "-o", tmp_path / "index.parquet", "--workers", 1, "--quiet")
    assert (done.exit_code, done.stderr) == (0, "")
    assert {len(table(tmp_path / "index.parquet").get(url).tile_parts) for url in urls} == {132, 4}  # type: ignore[union-attr]


def test_a_batch_on_a_cluster_looks_into_it(http_server, tmp_path):
    urls = served(http_server, one=MANY_TILES, two=WITH_TLM)
    requests = [Request(url, 1) for url in urls]
    build_index(requests, str(tmp_path / "index.parquet"))
    settings = config.DEFAULTS["jp2batch"]["index"] | {"enabled": False}
    with dask.config.set({"jp2batch.index": settings}), local_cluster(1) as client:
        config.share_index(str(tmp_path / "index.parquet"), {})
        report = batch.run(requests, client)
    assert [result.stats.located_by for result in report.results] == ["index", "index"]  # type: ignore[union-attr]
    np.testing.assert_array_equal(report.results[0].value.values, MANY_TILES.oracle.at(1)[0])


@pytest.mark.seaweedfs
def test_it_may_lie_in_a_bucket(s3_server, tmp_path):
    s3_server.put("shared/image.jp2", MANY_TILES.data, S3_PUBLIC_BUCKET)
    url = f"s3://{S3_PUBLIC_BUCKET}/shared/image.jp2"
    flags = ["--endpoint-url", s3_server.endpoint, "--no-sign-request"]
    (tmp_path / "scenes.txt").write_text(url)
    done = run("index", tmp_path / "scenes.txt", "-o", tmp_path / "index.parquet", *flags)
    assert done.exit_code == 0, done.stderr
    s3_server.put("shared/index.parquet", (tmp_path / "index.parquet").read_bytes(), S3_PUBLIC_BUCKET)
    there = f"s3://{S3_PUBLIC_BUCKET}/shared/index.parquet"
    with dask.config.set({"jp2batch.index": config.DEFAULTS["jp2batch"]["index"] | {"enabled": False}}):
        done = run("plan", url, "--index", there, "--json", *flags)
    assert json.loads(done.stdout)["located_by"] == "index"


def using(path: Path):
    return dask.config.set({"jp2batch.index.shared": str(path)})


@pytest.mark.parametrize("image", [MANY_TILES, WITH_TLM, OTHER], ids=["no TLM", "TLM", "another"])
def test_a_table_of_another_file_changes_no_pixel(http_server, tmp_path, image):
    (url,) = served(http_server, image=image)
    for mistaken in (MANY_TILES, WITH_TLM, OTHER):
        for etag in ('"another"', None):
            known = learn(mistaken)
            known = ImageIndex(known.size, etag, known.header_bytes, known.tile_parts)
            path = tmp_path / f"{known.size}-{etag is None}.parquet"
            write_table(str(path), {url: known})
            with using(path):
                pixels = read_pixels(Request(url, 1))
            np.testing.assert_array_equal(pixels.values, image.oracle.at(1))
            right = etag is None and mistaken is image
            assert (pixels.stats.located_by == "index") == right


def test_a_damaged_entry_is_no_entry(http_server, tmp_path):
    (url,) = served(http_server, image=PLAIN)
    columns = {"path": [url], "known": [b"garbage"]}
    pq.write_table(pa.table(columns), tmp_path / "index.parquet")
    with using(tmp_path / "index.parquet"):
        np.testing.assert_array_equal(read_pixels(Request(url, 1)).values, PLAIN.oracle.at(1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"garbage", "not a Parquet file"),
        ({"a": [1]}, "has the columns a"),
        ({"path": [["a"]], "known": [b"x"]}, "its paths are not text"),
    ],
)
def test_a_table_that_is_none_is_named(http_server, tmp_path, content, message):
    (url,) = served(http_server, image=PLAIN)
    path = tmp_path / "index.parquet"
    if isinstance(content, dict):
        pq.write_table(pa.table(content), path)
    elif content is not None:
        path.write_bytes(content)
    with using(path), pytest.raises(StorageError, match=rf"index\.parquet.*{message}"):
        read_pixels(Request(url, 1))
    done = run("run", __file__, "-o", tmp_path / "out.ndjson", "--index", path)
    assert (done.exit_code, http_server.requests) == (3, 0)
    assert "index.parquet" in done.stderr


def test_without_pyarrow_it_says_what_to_install(http_server, tmp_path, monkeypatch):
    (url,) = served(http_server, image=PLAIN)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    (tmp_path / "index.parquet").write_bytes(b"")
    with using(tmp_path / "index.parquet"), pytest.raises(ConfigurationError, match=r"pyarrow.*jp2batch\[files\]"):
        read_pixels(Request(url, 1))


def kayrros_table(path: Path, image: Made, **changed: object) -> None:
    start = OpenImage.start(MemorySource(image.data)).image.header.stop
    body = tlm(rows_of(image.data))
    entry = kayrros(image.data, start, struct.pack(">HH", 0xFF55, len(body) + 2) + body)
    row = {"product_id": PRODUCT, "band_id": "B04", "path": f"/{KEY}", "index": entry} | changed
    pq.write_table(pa.table({name: [value] for name, value in row.items()}), path)


@pytest.mark.parametrize("place", [KEY, f"mirror/{PRODUCT}.SAFE/T29UNU_20221005T115411_B04_10m.jp2"])
def test_a_table_of_kayrros_tells_the_places(http_server, tmp_path, place):
    kayrros_table(tmp_path / "29UNU.parquet", MANY_TILES)
    http_server.files[place] = MANY_TILES.data
    with using(tmp_path / "29UNU.parquet"):
        pixels = read_pixels(Request(http_server.url(place), 1))
    np.testing.assert_array_equal(pixels.values, MANY_TILES.oracle.at(1))
    assert pixels.stats.located_by == "index"
    assert http_server.asked[0].startswith("bytes=0-")  # the main header is not in it


def test_a_table_of_kayrros_is_checked(http_server, tmp_path):
    http_server.files[KEY] = MANY_TILES.data
    wrong = tlm([(tile, length) for tile, (_, length) in enumerate(rows_of(MANY_TILES.data)[::-1])])
    start = OpenImage.start(MemorySource(MANY_TILES.data)).image.header.stop
    entries = {
        "wrong lengths": kayrros(MANY_TILES.data, start, struct.pack(">HH", 0xFF55, len(wrong) + 2) + wrong),
        "its own TLM": b"",
        "garbage": b"garbage",
        "nothing": None,
    }
    for name, entry in entries.items():
        path = tmp_path / f"{name}.parquet"
        kayrros_table(path, MANY_TILES, index=entry)
        with using(path):
            pixels = read_pixels(Request(http_server.url(KEY), 1))
        np.testing.assert_array_equal(pixels.values, MANY_TILES.oracle.at(1))
        assert pixels.stats.located_by == "walk"


def test_a_table_of_kayrros_is_not_for_other_bands(tmp_path):
    kayrros_table(tmp_path / "29UNU.parquet", MANY_TILES)
    found = table(tmp_path / "29UNU.parquet")
    assert found.get(f"s3://eodata/{KEY}") is not None
    assert found.get(f"s3://eodata/{KEY.replace('B04', 'B03')}") is None
    assert found.get(f"s3://eodata/{KEY.replace('20221005T115411', '20221105T115411')}") is None
