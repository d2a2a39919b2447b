"""The same image reads alike from every store; what the store was asked for is what the statistics say."""

import functools
import gc
import itertools
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import fsspec
import numpy as np
import pytest
from click.testing import CliRunner

import jp2batch
from jp2batch import read_manifest
from jp2batch.cli import main
from jp2batch.core.errors import ImageNotFound, InvalidPath, ObjectChanged, PermissionDenied, StoreUnavailable
from jp2batch.core.ranges import ByteRange
from jp2batch.core.request import Request
from jp2batch.image.open import OpenImage
from jp2batch.image.read import read_opened, read_pixels
from jp2batch.sample.encode import Coding
from jp2batch.storage.source import open_source
from support.images import REAL, WITH_TLM, Made

MANY_TILES = Made(Coding(tile=(10, 10), levels=2, precincts=(8, 8), tlm=True))
"""121 tiles, as a 10 m band has."""


S3 = [pytest.param(driver, marks=pytest.mark.seaweedfs) for driver in ("s3 by fsspec", "s3 by obstore")]


@pytest.fixture(params=["local", "memory", "http", *S3])
def place(request, tmp_path):
    """Return what puts bytes into a store, and gives their path and the options to read them."""
    with dask.config.set({"jp2batch.driver": request.param.rpartition(" ")[2] if "s3" in request.param else "auto"}):
        yield somewhere(request, tmp_path)


def somewhere(request, tmp_path):
    if request.param == "http":
        server = request.getfixturevalue("http_server")

        def put(data):
            server.files["image.jp2"] = data
            return server.url("image.jp2"), {}
    elif "s3" in request.param:
        server = request.getfixturevalue("s3_server")

        def put(data):
            return server.put("folder/image.jp2", data), server.options
    else:
        url = f"memory://{tmp_path}/image.jp2" if request.param == "memory" else str(tmp_path / "image.jp2")

        def put(data):
            with fsspec.open(url, "wb") as file:
                file.write(data)
            return url, {}

    return put


@pytest.mark.parametrize("rlevel", [0, 2])
@pytest.mark.parametrize("image", [WITH_TLM, MANY_TILES], ids=["few tiles", "many tiles"])
def test_pixels_are_the_same_from_every_store(place, image, rlevel):
    path, options = place(image.data)
    pixels = read_pixels(Request(path, rlevel), storage_options=options)
    np.testing.assert_array_equal(pixels.values, image.oracle.at(rlevel))


def test_everything_public_takes_storage_options(place):
    path, options = place(WITH_TLM.data)
    assert jp2batch.inspect(path, storage_options=options).shape == (101, 118)
    assert jp2batch.plan(path, storage_options=options).bytes <= len(WITH_TLM.data)
    assert jp2batch.read(path, storage_options=options).shape == (7, 8)
    assert jp2batch.open(path, 1, storage_options=options).compute().shape == (51, 59)
    root, _, key = path.rpartition("/")
    answer = jp2batch.respond({"Path": key, "rlevel": -1}, root=root, storage_options=options)
    assert list(answer) == ["img_data", "shape", "time_download", "time_processing"]
    assert answer["shape"] == [7, 8]


def test_the_server_counts_what_the_statistics_say(http_server):
    http_server.files["image.jp2"] = MANY_TILES.data
    with dask.config.set({"jp2batch.max-whole-file": 0, "jp2batch.first-read": 1000}):
        stats = read_pixels(Request(http_server.url("image.jp2"), 2)).stats
    assert (stats.requests, stats.bytes_read) == (http_server.requests, http_server.bytes_sent)
    ranges = sorted(tuple(map(int, re.findall(r"\d+", headers["range"]))) for headers in http_server.headers)
    assert all(stop < start for (_, stop), (start, _) in itertools.pairwise(ranges))
    assert stats.located_by == "tlm"


def test_a_server_that_ignores_ranges_is_asked_once(http_server):
    http_server.files["image.jp2"] = MANY_TILES.data
    http_server.fault = "ignore-range"
    pixels = read_pixels(Request(http_server.url("image.jp2"), 1))
    np.testing.assert_array_equal(pixels.values, MANY_TILES.oracle.at(1))
    assert http_server.requests == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [(404, ImageNotFound), (403, PermissionDenied), (500, StoreUnavailable), (429, StoreUnavailable)],
)
def test_what_a_server_refuses_is_told(http_server, fault, error):
    http_server.files["image.jp2"] = MANY_TILES.data
    http_server.fault = fault
    with pytest.raises(error, match=r"image\.jp2") as raised:
        jp2batch.read(http_server.url("image.jp2"))
    assert "\n" not in str(raised.value)


def test_an_image_replaced_while_it_is_read_is_noticed(place):
    path, options = place(MANY_TILES.data)
    source = open_source(path, storage_options=options)
    with dask.config.set({"jp2batch.max-whole-file": 0, "jp2batch.first-read": 1000}):
        opened = OpenImage.start(source)
        place(bytes(reversed(MANY_TILES.data)))
        with pytest.raises(ObjectChanged, match=r"image\.jp2"):
            read_opened(opened, opened.selected(0))


@functools.cache
def real_band() -> bytes:
    (path,) = (path for path in REAL if path.stem.endswith("SCL_20m"))
    return path.read_bytes()


@pytest.mark.seaweedfs
@pytest.mark.skipif(not REAL, reason="no real images beside the repository")
def test_a_real_band_from_s3_has_the_shape_of_the_old_service(s3_server):
    path = s3_server.put("tiles/SCL_20m.jp2", real_band())
    root = path.removesuffix("/tiles/SCL_20m.jp2")
    answer = jp2batch.respond({"Path": "tiles/SCL_20m.jp2"}, root=root, storage_options=s3_server.options)
    assert answer["shape"] == [344, 344]
    assert answer["img_data"] == jp2batch.read(path, storage_options=s3_server.options).values.tolist()


@pytest.mark.seaweedfs
def test_without_credentials_s3_says_what_to_do(s3_server):
    path = s3_server.put("private.jp2", WITH_TLM.data)
    with pytest.raises(PermissionDenied, match=r"anonymous|credentials"):
        jp2batch.read(path, storage_options=s3_server.anonymous_options)


SECRET = "s3cret/of+somebody"
WITH_CREDENTIALS = [f"{scheme}://AKIASOMEBODY:{SECRET}@bucket/x.jp2" for scheme in ("s3", "S3", "s3a", "gs", "gcs")]
WITH_CREDENTIALS += ["s3://AKIASOMEBODY@bucket/x.jp2", f"simplecache::s3://AKIASOMEBODY:{SECRET}@bucket/x.jp2"]


def verify_nothing_is_told(*texts):
    for text in texts:
        assert not re.search("AKIA|s3cret|somebody", str(text)), text


@pytest.mark.parametrize("path", WITH_CREDENTIALS)
@pytest.mark.parametrize("act", [jp2batch.read, jp2batch.open, jp2batch.inspect, jp2batch.plan, read_manifest])
def test_credentials_in_the_url_of_an_object_are_refused_and_not_repeated(path, act):
    with pytest.raises(InvalidPath, match=r"bucket/x\.jp2: its URL holds credentials .*storage_options") as raised:
        act(path)
    verify_nothing_is_told(raised.value, repr(raised.value))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("path", WITH_CREDENTIALS)
def test_credentials_in_a_url_are_in_no_record_and_no_repr(path, tmp_path):
    (tmp_path / "scenes.txt").write_text(path)
    done = CliRunner().invoke(main, ["run", str(tmp_path / "scenes.txt"), "-o", str(tmp_path / "out.ndjson")])
    assert done.exit_code == 1
    records = (tmp_path / "out.ndjson.records.ndjson").read_text()
    assert '"InvalidPath"' in records
    report = jp2batch.run([Request(path)])
    (result,) = report.results
    shown = [thing for one in (report, result, result.request) for thing in (repr(one), str(one), one._repr_html_())]
    verify_nothing_is_told(done.output, records, *shown, report.to_dataframe().to_csv())


@pytest.mark.parametrize("path", WITH_CREDENTIALS)
def test_the_doctor_repeats_no_credentials(path):
    done = CliRunner().invoke(main, ["doctor", path])
    assert "its URL holds credentials" in done.output
    verify_nothing_is_told(done.output)


@pytest.mark.parametrize(
    "command",
    [
        "info {bucket}/x.jp2",
        "plan {bucket}/scenes.csv",
        "run {bucket}/scenes.csv -o out.ndjson",
        "run {scenes} -o {bucket}/out --format json --local-threads",
        "run {scenes} -o out.ndjson --index {bucket}/index.parquet",
        "index {scenes} -o {bucket}/index.parquet",
        "manifest {bucket}/X.SAFE",
        "read {image} -o {bucket}/x.npy",
    ],
)
def test_no_command_repeats_credentials(command, band, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenes.txt").write_text(band)
    bucket = f"s3://AKIASOMEBODY:{SECRET}@bucket"
    arguments = [word.format(bucket=bucket, scenes="scenes.txt", image=band) for word in command.split()]
    with dask.config.set({"jp2batch.index.shared": None}):  # --index is for all of a process
        done = CliRunner().invoke(main, arguments)
    assert done.exit_code != 0
    assert "its URL holds credentials" in done.output
    verify_nothing_is_told(done.output)


def test_a_bucket_that_cannot_be_is_told_in_short():
    with (
        dask.config.set({"jp2batch.driver": "fsspec"}),
        pytest.raises(InvalidPath, match="bucket or key is invalid") as raised,
    ):
        jp2batch.read("s3://no bucket!/x.jp2", storage_options={"anon": True})
    assert len(str(raised.value)) < 120


def open_descriptors() -> int:
    gc.collect()  # connections of earlier tests may still wait for it
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no list of open files here")
@pytest.mark.parametrize("act", [jp2batch.read, jp2batch.open, jp2batch.inspect, jp2batch.plan])
def test_errors_that_are_kept_keep_no_file_open(tmp_path, act):
    (tmp_path / "cut.jp2").write_bytes(WITH_TLM.data[:60])
    (tmp_path / "image.jp2").write_bytes(WITH_TLM.data)
    before, kept = open_descriptors(), []
    for _ in range(10):
        with pytest.raises(jp2batch.Jp2BatchError) as raised:
            act(str(tmp_path / "cut.jp2"))
        kept.append((raised, act(str(tmp_path / "image.jp2"))))
    assert open_descriptors() <= before


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no list of open files here")
def test_a_report_of_failures_keeps_no_file_open(tmp_path):
    (tmp_path / "cut.jp2").write_bytes(WITH_TLM.data[:1500])
    jp2batch.run([Request(str(tmp_path / "cut.jp2"), 0)])
    before = open_descriptors()
    report = jp2batch.run([Request(str(tmp_path / "cut.jp2"), 0, ((0, row), (0, 9))) for row in range(1, 60)])
    assert len(report.failed) == 59
    assert open_descriptors() <= before


def test_a_source_may_be_closed_while_it_is_read_and_read_again(tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(bytes(range(256)) * 4000)
    source = open_source(str(path))
    source.read_many([ByteRange(0, 8)])
    ranges = [ByteRange(start, start + 256) for start in range(0, 512_000, 256)]
    with ThreadPoolExecutor(4) as pool:
        reads = [pool.submit(source.read_many, ranges) for _ in range(4)]
        while not all(read.done() for read in reads):
            source.close()
    assert {data for read in reads for _, data in read.result()} == {bytes(range(256))}
    path.with_suffix(".new").write_bytes(b"another")
    path.with_suffix(".new").replace(path)
    source.close()
    with pytest.raises(ObjectChanged):
        source.read_many([ByteRange(0, 1)])


LEAVING_EARLY = """
import asyncio, threading
from jp2batch.storage.drivers.pending_calls import pending_calls

async def answer():
    began.set()
    await asyncio.sleep(0.2)
    print("answered", flush=True)

began = threading.Event()
threading.Thread(target=asyncio.run, args=(pending_calls().run(answer()),), daemon=True).start()
began.wait()
"""


def test_python_ends_after_the_answers_of_obstore():
    done = subprocess.run([sys.executable, "-c", LEAVING_EARLY], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("answered\n", "")
