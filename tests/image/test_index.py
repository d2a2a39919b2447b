"""What was learned of an image makes the next read one round trip; and whatever is wrong with it changes no pixel."""

import functools
import pickle
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import dask
import numpy as np
import pytest
from dask.base import tokenize

import jp2batch
from jp2batch.core.costs import StoreCosts
from jp2batch.core.errors import CorruptImage, ImageNotFound, InvalidWindow, ObjectChanged
from jp2batch.core.request import Request
from jp2batch.image import index, inspect
from jp2batch.image.open import OpenImage
from jp2batch.image.read import Pixels, read_from, read_pixels
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.jpeg2000.locate.tile_parts import TilePartExtent
from jp2batch.sample.encode import Coding
from jp2batch.storage.source import MemorySource, open_source
from support.images import MANY_TILES, OTHER, PLAIN, WITH_TLM, Made
from support.oracle import Oracle
from support.reads import Timed, start_anew
from support.tile_part_rows import learn

REMOTE = StoreCosts(latency=0.1, bandwidth=1e6, connections=8)
WINDOW = ((20, 50), (30, 60))


@pytest.fixture(autouse=True)
def folder(tmp_path):
    """Let the index be there, empty, in a folder of this test."""
    settings = {
        "jp2batch.index": {"enabled": True, "folder": str(tmp_path / "index")},
        "jp2batch.max-whole-file": 0,
        "jp2batch.first-read": 1000,
        "jp2batch.stores": {"http": {"line": "100 kB"}},  # the images are small: let bytes be dear
    }
    with dask.config.set(settings):
        yield tmp_path / "index"


@pytest.fixture
def serve(http_server):
    """Return what puts an image on a web server, and gives its address."""

    def put(data: bytes, name: str = "image.jp2") -> str:
        http_server.files[name] = data
        return http_server.url(name)

    return put


def read(url: str, rlevel: int = 1, window=None) -> Pixels:
    return read_pixels(Request(url, rlevel, window))


def check(url: str, image: Made, rlevel: int = 1) -> Pixels:
    pixels = read(url, rlevel)
    np.testing.assert_array_equal(pixels.values, image.oracle.at(rlevel))
    window = read(url, 0, WINDOW)
    np.testing.assert_array_equal(window.values, image.oracle.window(0, WINDOW))
    return pixels


def kept(url: str) -> ImageIndex | None:
    return index.recall(open_source(url))


@pytest.mark.parametrize("image", [MANY_TILES, WITH_TLM], ids=["no TLM", "TLM"])
@pytest.mark.parametrize("rlevel", [0, 1, 2])
def test_a_known_image_takes_one_round_of_its_packets(http_server, serve, image, rlevel):
    url = serve(image.data)
    cold = read(url, rlevel).stats
    asked = http_server.requests
    known = read(url, rlevel)
    np.testing.assert_array_equal(known.values, image.oracle.at(rlevel))
    assert cold.located_by in ("tlm", "walk")
    assert known.stats.located_by == "index"
    headers = kept(url)
    assert headers is not None
    first = {int(request.partition("=")[2].partition("-")[0]) for request in http_server.asked[asked:]}
    assert first.isdisjoint(start for start, _ in headers.header_bytes)
    assert known.stats.requests == http_server.requests - asked
    assert known.stats.bytes_read < cold.bytes_read


def test_one_round_is_one_round(http_server, serve, monkeypatch):
    url = serve(MANY_TILES.data)
    read(url)
    rounds = []
    from jp2batch.storage.remote_source import RemoteSource

    read_many = RemoteSource.read_many

    def counted(self, ranges):
        rounds.append(len(ranges))
        return read_many(self, ranges)

    monkeypatch.setattr(RemoteSource, "read_many", counted)
    stats = read(url).stats
    assert rounds == [stats.requests]


def test_it_lasts_beyond_the_memory(serve):
    url = serve(MANY_TILES.data)
    cold = read(url).stats
    start_anew()
    stats = check(url, MANY_TILES).stats
    assert stats.located_by == "index"
    assert stats.requests < cold.requests


def test_windows_teach_bit_by_bit(serve):
    url = serve(MANY_TILES.data)
    read(url, 0, ((50, 60), (50, 60)))
    start_anew()
    assert read(url, 0, ((50, 60), (50, 60))).stats.located_by == "index"
    assert read(url, 0, ((90, 101), (100, 118))).stats.located_by == "walk"
    start_anew()
    assert read(url, 0, ((50, 60), (50, 60))).stats.located_by == "index"
    pixels = read(url, 0, ((90, 101), (100, 118)))
    assert pixels.stats.located_by == "index"
    np.testing.assert_array_equal(pixels.values, MANY_TILES.oracle.window(0, ((90, 101), (100, 118))))


def test_a_local_image_is_known_to_its_process_alone(tmp_path, folder):
    path = tmp_path / "image.jp2"
    path.write_bytes(MANY_TILES.data)
    assert check(str(path), MANY_TILES).stats.located_by == "walk"
    assert check(str(path), MANY_TILES).stats.located_by == "index"
    assert not folder.exists()


def test_a_replaced_local_file_is_noticed(tmp_path):
    path = tmp_path / "image.jp2"
    path.write_bytes(MANY_TILES.data)
    check(str(path), MANY_TILES)
    path.write_bytes(OTHER.data)
    assert check(str(path), OTHER).stats.located_by == "walk"
    assert check(str(path), OTHER).stats.located_by == "index"


def test_it_may_be_turned_off(serve, folder):
    url = serve(MANY_TILES.data)
    with dask.config.set({"jp2batch.index.enabled": False}):
        assert {read(url).stats.located_by for _ in range(2)} == {"walk"}
    assert not folder.exists()


@functools.cache
def altered(image: Made) -> Made:
    """Return another image of the same length."""
    other = replace(image)
    pixels = bytearray(image.data)
    for position in range(len(pixels) - 3, 0, -1):  # somewhere in the last packets
        pixels[position] ^= 1
        other.__dict__["data"] = bytes(pixels)
        with suppress(CorruptImage):
            if (Oracle(other.data, (0, 0), (1, 101, 118), "uint16").at(0) != image.oracle.at(0)).any():
                return other
        pixels[position] ^= 1
    raise AssertionError


@pytest.mark.parametrize("memory", [True, False], ids=["memory", "file"])
def test_a_replaced_object_is_read_afresh(serve, memory):
    url = serve(MANY_TILES.data)
    read(url)
    serve(OTHER.data)
    if not memory:
        start_anew()
    assert check(url, OTHER).stats.located_by == "walk"
    assert check(url, OTHER).stats.located_by == "index"


def test_an_object_of_the_same_length_is_another_one(serve):
    url = serve(MANY_TILES.data)
    read(url)
    first = kept(url)
    serve(altered(MANY_TILES).data)
    with dask.config.set({"jp2batch.index.enabled": False}):
        expected = read(url, 0).values
    np.testing.assert_array_equal(read(url, 0).values, expected)
    assert (expected != MANY_TILES.oracle.at(0)).any()
    second = kept(url)
    assert first is not None
    assert second is None or first.etag != second.etag


def test_a_smaller_object_is_read_afresh(serve):
    url = serve(MANY_TILES.data)
    read(url)
    serve(PLAIN.data)
    assert len(PLAIN.data) < len(MANY_TILES.data)
    check(url, PLAIN)


def test_an_object_that_is_gone_is_told(http_server, serve):
    url = serve(MANY_TILES.data)
    read(url)
    http_server.files.clear()
    with pytest.raises(ImageNotFound, match=r"image\.jp2"):
        read(url)


def test_a_server_that_tells_no_version_teaches_nothing(http_server, serve):
    http_server.fault = "no-etag"
    url = serve(MANY_TILES.data)
    assert {check(url, MANY_TILES).stats.located_by for _ in range(2)} == {"walk"}


def test_a_server_that_stops_telling_the_version_is_not_trusted(http_server, serve):
    url = serve(MANY_TILES.data)
    read(url)
    http_server.fault = "no-etag"
    serve(altered(MANY_TILES).data)
    with dask.config.set({"jp2batch.index.enabled": False}):
        expected = read(url, 0).values
    np.testing.assert_array_equal(read(url, 0).values, expected)
    assert (expected != MANY_TILES.oracle.at(0)).any()


def test_what_is_asked_is_judged_by_the_image_that_is_there(serve):
    url = serve(PLAIN.data)
    read(url)
    larger = Made(Coding(tile=(64, 64)))
    larger.__dict__["data"] = encoded_at(300)
    serve(larger.data)
    assert read(url, 0, ((200, 300), (200, 300))).values.shape == (1, 100, 100)
    with pytest.raises(InvalidWindow):
        read(url, 0, ((300, 301), (0, 1)))


def encoded_at(size: int) -> bytes:
    from jp2batch.sample.encode import encode

    return encode(np.zeros((1, size, size), np.int32), Coding(tile=(64, 64)))


def lies(known: ImageIndex) -> dict[str, ImageIndex]:
    """Return what may be kept by mistake, of the right version all the same."""
    other = learn(OTHER)
    first, *stretches = known.header_bytes
    swapped = [(a[0], b[1]) for a, b in zip(stretches, stretches[::-1], strict=True) if len(a[1]) == len(b[1])]
    return {
        "another image": replace(known, header_bytes=other.header_bytes[:1], tile_parts=()),
        "places of another image": replace(
            known,
            header_bytes=(first,),
            tile_parts=tuple(p for p in other.tile_parts if p.start + p.length <= known.size),
        ),
        "places moved": replace(
            known,
            header_bytes=(first,),
            tile_parts=tuple(p._replace(start=p.start + 1) for p in known.tile_parts[:-1]),
        ),
        "no places": replace(known, tile_parts=()),
        "a header cut": replace(known, header_bytes=((0, first[1][:-30]), *stretches)),
        "headers swapped": replace(known, header_bytes=(first, *swapped)),
        "headers zeroed": replace(
            known, header_bytes=(first, *((start, bytes(len(data))) for start, data in stretches))
        ),
        "nothing": replace(known, header_bytes=(), tile_parts=()),
    }


@pytest.mark.parametrize("lie", lies(learn(MANY_TILES)))
def test_wrong_entries_change_no_pixel(serve, lie):
    url = serve(MANY_TILES.data)
    read(url)
    known = kept(url)
    assert known is not None
    source = open_source(url)
    index.forget(source)
    index.keep(source, lies(known)[lie])
    check(url, MANY_TILES)
    start_anew()
    check(url, MANY_TILES)


def test_damaged_files_change_no_pixel(serve, folder):
    url = serve(MANY_TILES.data)
    read(url)
    start_anew()
    (folder / "index.sqlite").write_bytes(b"garbage" * 10_000)
    check(url, MANY_TILES)
    start_anew()
    assert check(url, MANY_TILES).stats.located_by == "index"


def test_a_damaged_image_fails_as_it_would(serve):
    url = serve(MANY_TILES.data)
    read(url)
    cut = MANY_TILES.data[:-300]
    serve(cut)
    for _ in range(2):
        with pytest.raises(CorruptImage, match="are missing"):
            read(url)


def test_little_memory_holds_few_images(serve):
    with dask.config.set({"jp2batch.index.memory": "130 kB", "jp2batch.index.disk": 0}):
        urls = [serve(MANY_TILES.data, f"{number}.jp2") for number in range(4)]
        for url in urls:
            read(url)
        assert [kept(url) is not None for url in urls].count(True) in (1, 2)
        assert kept(urls[-1]) is not None


def test_what_threads_learn_at_once_is_all_kept():
    source = MemorySource(b"", profile=REMOTE)
    lessons = [ImageIndex(10_000, "1", (), (TilePartExtent(0, tile, tile * 100, 50),)) for tile in range(8)]
    begin, interval = threading.Barrier(len(lessons)), sys.getswitchinterval()

    def learn_one(lesson: ImageIndex) -> None:
        begin.wait()
        index.keep(source, lesson)

    sys.setswitchinterval(1e-6)
    try:
        with dask.config.set({"jp2batch.index.disk": 0}), ThreadPoolExecutor(len(lessons)) as pool:
            for _ in range(50):
                start_anew()
                list(pool.map(learn_one, lessons))
                known = index.recall(source)
                assert known is not None
                assert [place.tile for place in known.tile_parts] == list(range(8))
    finally:
        sys.setswitchinterval(interval)


def test_plans_know_it_and_are_exact(http_server, serve):
    url = serve(MANY_TILES.data)
    read(url)
    asked = http_server.requests
    plan = inspect.plan(url, 1)
    assert http_server.asked[asked:] == ["bytes=0-0"]
    assert http_server.headers[-1]["if-none-match"]
    stats = read(url).stats
    assert (plan.exact, plan.located_by) == (True, "index")
    assert (plan.requests - 1, plan.bytes) == (stats.requests, stats.bytes_read)


def test_inspect_looks_at_the_object_itself(serve):
    url = serve(MANY_TILES.data)
    read(url)
    serve(OTHER.data)
    assert jp2batch.inspect(url).progression == "RPCL"
    assert jp2batch.plan(url, 1).located_by == "walk"


def test_a_lazy_array_takes_along_what_is_known(http_server, serve):
    url = serve(WITH_TLM.data)
    array = jp2batch.open(url, 1)
    with dask.config.set({"jp2batch.index.enabled": False}):
        asked = http_server.requests
        np.testing.assert_array_equal(array.values, WITH_TLM.oracle.at(1)[0])
        assert not any(request.startswith("bytes=0-") for request in http_server.asked[asked:])
    graph = array.__dask_graph__()
    (lazy,) = {id(value): value for value in graph.values() if "ImageArray" in repr(value)}.values()
    assert lazy is not None
    assert len(pickle.dumps(dict(graph))) < 40_000


def test_a_lazy_array_takes_along_where_tiles_were_found(http_server, serve):
    url = serve(MANY_TILES.data)
    read(url, 0)
    known = kept(url)
    array = jp2batch.open(url, 0, chunks={"y": 40, "x": 40})
    start_anew()
    asked = http_server.requests
    with dask.config.set({"jp2batch.index.enabled": False}):
        np.testing.assert_array_equal(array.compute(scheduler="sync"), MANY_TILES.oracle.at(0)[0])
    assert known is not None
    first = {int(request.partition("=")[2].partition("-")[0]) for request in http_server.asked[asked:]}
    assert first.isdisjoint(start for start, _ in known.header_bytes)  # packets alone
    assert len(pickle.dumps(dict(array.__dask_graph__()))) < 40_000


@pytest.mark.parametrize("lazy", [False, True])
def test_a_known_image_is_read_from_a_server_that_gives_no_ranges_any_more(http_server, serve, lazy):
    url = serve(MANY_TILES.data)
    read(url)
    array = jp2batch.open(url, 1)
    http_server.fault = "ignore-range"
    with dask.config.set({"jp2batch.max-whole-file": "1 MB"}):
        values = array.values if lazy else read(url).values[0]
    np.testing.assert_array_equal(values, MANY_TILES.oracle.at(1)[0])
    assert kept(url) is None


def test_a_lazy_array_of_a_replaced_image_says_so_without_ranges_too(http_server, serve):
    url = serve(MANY_TILES.data)
    array = jp2batch.open(url, 1)
    serve(OTHER.data)
    http_server.fault = "ignore-range"
    with dask.config.set({"jp2batch.max-whole-file": "1 MB"}), pytest.raises(ObjectChanged, match=r"image\.jp2"):
        array.compute()


LOSSY = Made(Coding(tile=(64, 64), precincts=(32, 32), code_block=(16, 16), reversible=False))


@pytest.mark.parametrize("image", [PLAIN, LOSSY], ids=["5/3", "9/7"])
def test_what_somebody_else_tells_is_compared(image, monkeypatch):
    known, rng = learn(image), np.random.default_rng(3)
    for number in range(300):
        which = rng.integers(1, len(known.header_bytes)) if number % 2 else 0
        stretches = [[start, bytearray(data)] for start, data in known.header_bytes]
        wrong = stretches[which][1]
        wrong[rng.integers(len(wrong))] ^= 1 << rng.integers(8)
        source = MemorySource(image.data, profile=REMOTE, etag=known.etag)
        told = replace(known, header_bytes=tuple((start, bytes(data)) for start, data in stretches))
        monkeypatch.setattr(index, "shared_table", lambda *_, source=source, told=told: {source.key: told})
        start_anew()
        with dask.config.set({"jp2batch.index.shared": "a table", "jp2batch.index.disk": 0}):
            pixels = read_from(source, lambda opened: opened.selected(1))
        np.testing.assert_array_equal(pixels.values, image.oracle.at(1))


def test_comparing_costs_no_round_and_is_done_once(monkeypatch):
    known = learn(PLAIN)
    monkeypatch.setattr(index, "shared_table", lambda *_: {"memory://": known})
    stats, rounds = [], []
    with dask.config.set({"jp2batch.index.shared": "a table"}):
        for _ in range(2):
            source = Timed(PLAIN.data, profile=REMOTE, etag=known.etag)
            stats.append(read_from(source, lambda opened: opened.selected(1)).stats)
            rounds.append(source.rounds)
    assert [one.located_by for one in stats] == ["index", "index"]
    assert rounds == [1, 1]
    assert stats[0].requests <= stats[1].requests + 1
    assert stats[0].bytes_read == stats[1].bytes_read + sum(len(data) for _, data in known.header_bytes)


def test_the_names_of_lazy_arrays_do_not_depend_on_what_is_known(serve):
    url = serve(MANY_TILES.data)
    before = jp2batch.open(url, 1)
    read(url)
    assert tokenize(before) == tokenize(jp2batch.open(url, 1))
    assert before.data.name == jp2batch.open(url, 1).data.name
    serve(OTHER.data)
    assert before.data.name != jp2batch.open(url, 1).data.name


def test_a_lazy_array_whose_image_was_replaced_says_so(serve):
    url = serve(MANY_TILES.data)
    array = jp2batch.open(url, 1)
    serve(OTHER.data)
    with pytest.raises(ObjectChanged, match=r"image\.jp2"):
        array.compute()
    check(url, OTHER)


READ = """
import sys, dask
from jp2batch.image.read import read_pixels
from jp2batch.core.request import Request
folder, *urls = sys.argv[1:]
with dask.config.set({"jp2batch.index.enabled": True, "jp2batch.index.folder": folder, "jp2batch.max-whole-file": 0}):
    for url in urls * 2:
        print(read_pixels(Request(url, 1)).values.sum())
"""


def test_processes_share_it(serve, folder):
    urls = [serve(MANY_TILES.data, f"{number}.jp2") for number in range(10)]
    command = [sys.executable, "-c", READ, str(folder), *urls]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    answers = [child.communicate(timeout=100) for child in children]
    expected = str(MANY_TILES.oracle.at(1).sum()).encode()
    assert [error for _, error in answers] == [b"", b""]
    assert {line for output, _ in answers for line in output.split()} == {expected}
    assert {read(url).stats.located_by for url in urls} == {"index"}


@pytest.mark.seaweedfs
def test_objects_of_s3_are_known_by_their_store(s3_server):
    url = s3_server.put("known/image.jp2", MANY_TILES.data)
    request = Request(url, 1)
    for located in ("walk", "index"):
        pixels = read_pixels(request, storage_options=s3_server.options)
        np.testing.assert_array_equal(pixels.values, MANY_TILES.oracle.at(1))
        assert pixels.stats.located_by == located
    s3_server.put("known/image.jp2", OTHER.data)
    pixels = read_pixels(request, storage_options=s3_server.options)
    np.testing.assert_array_equal(pixels.values, OTHER.oracle.at(1))
    assert pixels.stats.located_by == "walk"


@pytest.mark.parametrize(
    ("path", "options", "key"),
    [
        ("s3://bucket/key", {}, "s3://bucket/key"),
        ("s3://bucket/key", {"key": "a", "secret": "b", "anon": False}, "s3://bucket/key"),
        ("http://user:secret@host/key", {}, "http://host/key"),
        ("http://host/key?X-Amz-Signature=secret&X-Amz-Date=now", {}, "http://host/key"),
        ("http://host/key?sv=1&sig=secret", {}, "http://host/key"),
        ("http://host/key?Policy=secret&Signature=secret&Key-Pair-Id=K", {}, "http://host/key"),
        ("memory://folder/key", {}, "memory://folder/key"),
        ("/folder/key", {}, "/folder/key"),
        ("file:///folder/key", {}, "/folder/key"),
    ],
)
def test_keys_hold_no_secrets(monkeypatch, path, options, key):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    assert open_source(path, storage_options=options).key == key


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("s3://bucket/key", {"endpoint_url": "http://secret@one"}),
        ("s3://bucket/key", {"client_kwargs": {"endpoint_url": "http://secret@two"}}),
        ("http://host/get?id=secret", {}),
    ],
)
def test_keys_tell_stores_and_queries_apart(path, options):
    key = open_source(path, storage_options=options).key
    assert key.startswith(path.partition("?")[0] + "#")
    assert "secret" not in key


def test_signatures_make_no_keys_but_what_they_sign_does():
    queries = [
        "id=1",
        "id=1&token=old",
        "token=new&id=1",
        "id=1&X-Amz-Date=now&X-Amz-Signature=s",
        "id=1&sv=2&se=3&sig=4",
    ]
    keys = [open_source(f"http://host/get?{query}").key for query in queries]
    assert len(set(keys)) == 1
    others = ["id=2&token=old", "id=1&sv=2&se=3", "id=1&policy=open", "id=1&tokens=3", ""]
    assert len({open_source(f"http://host/get?{query}").key for query in others} - set(keys)) == len(others)


def test_what_is_kept_holds_no_secrets(http_server, serve, folder):
    url = serve(MANY_TILES.data).replace("//", "//user:hidden@") + "?sig=hidden"
    read(url)
    assert kept(url) is not None
    index.flush()
    assert all(b"hidden" not in file.read_bytes() for file in Path(folder).iterdir())
    assert b"hidden" not in zlib.decompress(kept(url).to_bytes())  # type: ignore[union-attr]


def test_settings_that_cannot_be_read_are_named():
    for wrong in (3, {"enabled": "perhaps"}, {"memory": "much"}):
        with (
            dask.config.set({"jp2batch.index": wrong}),
            pytest.raises(jp2batch.Jp2BatchError, match=r"jp2batch\.index"),
        ):
            jp2batch.read("nothing.jp2")


def test_what_is_asked_again_of_a_known_image_is_found_without_its_headers(serve, monkeypatch):
    url = serve(MANY_TILES.data)
    for _ in range(2):
        check(url, MANY_TILES)
    searched = []
    monkeypatch.setattr(OpenImage, "steps", lambda *_, **__: searched.append(1))
    assert check(url, MANY_TILES).stats.located_by == "index"
    assert searched == []


def test_how_a_replaced_image_was_read_is_forgotten(serve):
    url = serve(MANY_TILES.data)
    for _ in range(3):
        check(url, MANY_TILES)
    serve(OTHER.data)
    for _ in range(3):
        check(url, OTHER)


def test_only_the_last_readings_of_an_image_are_held(serve):
    url = serve(MANY_TILES.data)
    read(url, 0)
    for row in range(30):
        for _ in range(2):
            window = ((row, row + 40), (row, row + 50))
            np.testing.assert_array_equal(read(url, 0, window).values, MANY_TILES.oracle.window(0, window))
    memory = index._memory()
    (entry,) = memory._entries.values()
    assert len(entry.readings) == 8
    assert memory._weight == entry.weight
