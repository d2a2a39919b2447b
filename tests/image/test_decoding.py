"""A large reading is fetched in batches, decoded meanwhile, and never in memory as a whole."""

import itertools
import threading
from dataclasses import replace
from typing import Any

import dask
import numpy as np
import pytest

from jp2batch.core.costs import StoreCosts
from jp2batch.core.errors import StoreUnavailable
from jp2batch.core.window import Window
from jp2batch.image import decode, openjpeg
from jp2batch.image import open as opening
from jp2batch.image.open import OpenImage, memory_needed
from jp2batch.image.read import read_from
from jp2batch.jpeg2000.plan import decode_batches, estimates, packet_data, planner
from jp2batch.jpeg2000.syntax.sparse_file import SparseFile
from jp2batch.sample.encode import Coding, encode
from jp2batch.storage.source import MemorySource
from support.images import PLAIN, WITH_TLM, Made, choice_id, made, pairwise_choices
from support.oracle import verify_fetched_once

MANY_TILES = replace(PLAIN, coding=replace(PLAIN.coding, tile=(16, 16), precincts=None))
REMOTE = StoreCosts(latency=0.001, bandwidth=1e5, connections=8)
FREE = StoreCosts(latency=0, bandwidth=1e9, connections=8)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_batches, "BATCH", 3000)
    monkeypatch.setattr(decode_batches, "_BLOCK", 1000)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("image", [PLAIN, WITH_TLM], ids=["no TLM", "TLM"])
def test_batches_give_the_same_pixels_and_fetch_nothing_twice(image: Made, threads: int):
    for rlevel, window in itertools.product(range(image.coding.levels + 1), (None, Window((3, 99), (20, 118)))):
        source = MemorySource(image.data, profile=FREE)
        with dask.config.set({"jp2batch.first-read": 300, "jp2batch.max-whole-file": 0}):
            pixels = read_from(source, lambda opened, r=rlevel, w=window: opened.selected(r, w), threads=threads)
        expected = image.oracle.window(rlevel, window) if window else image.oracle.at(rlevel)
        np.testing.assert_array_equal(pixels.values, expected)
        verify_fetched_once(source)


@pytest.fixture
def own_threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the threads of each decode."""
    counts: list[int] = []

    def counted(*args: Any, threads: int = 1, **options: Any) -> list[str]:
        counts.append(threads)
        return plain(*args, threads=threads, **options)

    plain = openjpeg.decode
    monkeypatch.setattr(openjpeg, "decode", counted)
    return counts


@pytest.mark.parametrize("choice", pairwise_choices(), ids=choice_id)
def test_threads_of_openjpeg_change_no_pixel(choice, own_threads: list[int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decode, "_EACH_THREAD", 1)
    image, rng = made(**choice), np.random.default_rng(7)
    shape = image.oracle.shape[1:]
    for rlevel in range(image.coding.levels + 1):
        for window in (None, *(Window((y, y + 1), (x, x + 1)) for y, x in rng.integers(0, shape, (3, 2)).tolist())):
            expected = image.oracle.window(rlevel, window) if window else image.oracle.at(rlevel)
            if expected.size:
                source = MemorySource(image.data, profile=FREE)
                pixels = read_from(source, lambda opened, r=rlevel, w=window: opened.selected(r, w), threads=3)
                np.testing.assert_array_equal(pixels.values, expected)
    assert max(own_threads) == 3


@pytest.mark.parametrize(
    ("tile", "most", "threads", "expected"),
    [(256, 32768, 3, 3), (256, 32768, 1, 1), (256, 2, 3, 1), (192, 32768, 3, 3), (32, 32768, 3, 1)],
    ids=["a tile", "in dask", "few bytes", "few tiles", "many tiles"],
)
def test_few_blocks_are_decoded_in_threads_of_the_decoder(
    tile: int, most: int, threads: int, expected: int, own_threads: list[int]
):
    """Read noise below `most`, in tiles of a size."""
    noise = np.random.default_rng(5).integers(0, most, (256, 256), np.uint16)
    data = encode(noise, Coding(tile=(tile, tile)))
    for limit in (0, "1 GiB"):
        with dask.config.set({"jp2batch.max-whole-file": limit}):
            pixels = read_from(MemorySource(data, profile=FREE), lambda opened: opened.selected(0), threads=threads)
        np.testing.assert_array_equal(pixels.values[0], noise)
    assert max(own_threads) == expected


@pytest.mark.parametrize(
    ("threads", "blocks", "expected"),
    [(1, 1, 1), (2, 1, 2), (2, 2, 2), (2, 3, 2), (2, 4, 1), (8, 3, 6), (8, 16, 1), (8, 1000, 1)],
)
def test_threads_of_the_decoder_for_a_number_of_blocks(threads: int, blocks: int, expected: int):
    assert decode.own_threads(threads, blocks) == expected


def test_what_is_fetched_is_not_touched_by_threads_that_decode(monkeypatch: pytest.MonkeyPatch):
    """More is filled in meanwhile, which they would stumble over."""
    readers: set[int] = set()

    class Watched(SparseFile):
        def read(self, start: int, stop: int) -> bytes:
            readers.add(threading.get_ident())
            return super().read(start, stop)

    monkeypatch.setattr(opening, "SparseFile", Watched)
    with dask.config.set({"jp2batch.max-whole-file": 0, "jp2batch.first-read": 300}):
        read_from(MemorySource(PLAIN.data, profile=FREE), lambda opened: opened.selected(0), threads=3)
    assert readers == {threading.get_ident()}


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many bytes were in memory each time that some were read."""
    sizes: list[int] = []

    class Watched(SparseFile):
        def read(self, start: int, stop: int) -> bytes:
            sizes.append(sum(len(data or b"") for data in self._data))
            return super().read(start, stop)

    monkeypatch.setattr(opening, "SparseFile", Watched)
    return sizes


def test_a_large_file_is_never_held_whole(held: list[int]):
    with dask.config.set({"jp2batch.max-whole-file": 0, "jp2batch.first-read": 300}):
        read_from(MemorySource(PLAIN.data, profile=FREE), lambda opened: opened.selected(0))
    assert len(PLAIN.data) > 4 * 3000
    assert max(held) < len(PLAIN.data) / 2


@pytest.mark.parametrize("image", [MANY_TILES, WITH_TLM], ids=["no TLM", "TLM"])
def test_a_large_file_over_a_network_is_never_held_whole(image: Made, held: list[int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(estimates, "LARGEST_AHEAD", 3000)
    monkeypatch.setattr(planner, "LARGEST_AHEAD", 3000)
    source = MemorySource(image.data, profile=REMOTE)
    with dask.config.set({"jp2batch.first-read": 300}):
        pixels = read_from(source, lambda opened: opened.selected(0))
    np.testing.assert_array_equal(pixels.values, image.oracle.at(0))
    verify_fetched_once(source)
    assert pixels.stats.located_by in ("walk", "tlm")
    assert max(held) < 0.8 * len(image.data)


def test_what_is_held_whole_counts_as_memory():
    source = MemorySource(MANY_TILES.data, profile=replace(REMOTE, latency=10.0))
    opened = OpenImage.start(source)
    overview, full = opened.selected(4), opened.selected(0)
    assert memory_needed(opened, overview) >= len(MANY_TILES.data)
    assert memory_needed(opened, full) >= memory_needed(opened, overview)


def test_a_store_that_fails_halfway_ends_the_read_with_its_error():
    class Failing(MemorySource):
        def read_many(self, ranges):
            if any(stop > len(PLAIN.data) * 2 / 3 for _, stop in ranges):
                raise StoreUnavailable(self.path, "it is down", "try again later")
            return super().read_many(ranges)

    with dask.config.set({"jp2batch.max-whole-file": 0}), pytest.raises(StoreUnavailable, match="down"):
        read_from(Failing(WITH_TLM.data, profile=FREE), lambda opened: opened.selected(0), threads=2)


@pytest.mark.parametrize("at_once", [1, 1 << 20])
@pytest.mark.parametrize("sop", [False, True])
def test_tiles_cut_alone_and_together_are_assembled_alike(monkeypatch: pytest.MonkeyPatch, at_once: int, sop: bool):
    monkeypatch.setattr(packet_data, "_AT_ONCE", at_once)
    image = Made(replace(PLAIN.coding, layers=3, progression="PCRL", precincts=(16, 16), sop=sop, eph=sop))
    for rlevel, window in ((0, Window((20, 33), (70, 90))), (1, None), (image.coding.levels, None)):
        source = MemorySource(image.data, profile=FREE)
        with dask.config.set({"jp2batch.max-whole-file": 0}):
            pixels = read_from(source, lambda opened, r=rlevel, w=window: opened.selected(r, w))
        expected = image.oracle.window(rlevel, window) if window else image.oracle.at(rlevel)
        np.testing.assert_array_equal(pixels.values, expected)
        assert (pixels.stats.precision, pixels.stats.reasons) == ("packets", ())
