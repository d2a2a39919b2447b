"""Tiles found by a search are decoded while it waits; only what the resolved read confirms counts."""

import threading
from dataclasses import replace

import dask
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jp2batch.core.costs import StoreCosts
from jp2batch.core.errors import CorruptImage, StorageError
from jp2batch.core.ranges import ByteRange
from jp2batch.core.window import Window
from jp2batch.image import early_decode
from jp2batch.image.decode import Target
from jp2batch.image.early_decode import EarlyDecode
from jp2batch.image.fetch import run_steps
from jp2batch.image.open import OpenImage
from jp2batch.image.read import read_from
from jp2batch.jpeg2000.assemble import tile_runs
from jp2batch.jpeg2000.geometry.grid import tile_counts
from jp2batch.jpeg2000.plan.planner import plan_read
from jp2batch.jpeg2000.syntax.sparse_file import SparseFile
from jp2batch.storage.source import MemorySource
from support.forced import DEAR, SETTINGS, forced
from support.images import PLAIN, SIZE, Made

TILES = Made(replace(PLAIN.coding, tile=(16, 16), tlm=False, levels=2))
"""Some dozens of tiles, without TLM."""
TILE_COUNT = -(-SIZE[0] // 16) * -(-SIZE[1] // 16)


@pytest.fixture(autouse=True)
def settings():
    with dask.config.set(SETTINGS | {"jp2batch.first-read": 300, "jp2batch.threads": 2}):
        yield


@pytest.fixture
def counts(monkeypatch) -> list[int]:
    """Tiles decoded early that counted, of each read."""
    counts: list[int] = []
    finish = EarlyDecode.finish

    def counted(self, reading, fetch):
        tiles = finish(self, reading, fetch)
        counts.append(len(tiles))
        return tiles

    monkeypatch.setattr(EarlyDecode, "finish", counted)
    monkeypatch.setattr(early_decode, "_PAUSE", 0)
    return counts


def early_decode_of(opened: OpenImage, target: Target) -> EarlyDecode:
    return EarlyDecode(
        opened.pieces, opened.image, opened.selected(1), decoder=opened.decoder, target=target, threads=1
    )


def read(rlevel: int, window: Window | None = None, source: MemorySource | None = None) -> np.ndarray:
    source = source or MemorySource(TILES.data, profile=DEAR)
    return read_from(source, lambda opened: opened.selected(rlevel, window)).values


@pytest.mark.parametrize("way", ["walk", "stretches", "interpolation"])
@pytest.mark.parametrize("rlevel", [0, 1, 2])
def test_pixels_are_exact_with_most_tiles_decoded_early(way, rlevel, counts):
    with forced(way):
        np.testing.assert_array_equal(read(rlevel), TILES.oracle.at(rlevel))
        if rlevel and way != "stretches":  # which reads all tiles in its last round
            assert counts[-1] >= TILE_COUNT // 2
        window = Window((5, 60), (3, 77))
        np.testing.assert_array_equal(read(rlevel, window), TILES.oracle.window(rlevel, window))


@pytest.mark.parametrize("way", ["walk", "interpolation"])
@pytest.mark.parametrize("window", [Window((5, 60), (3, 77)), Window((5, 30), (3, 77))])
def test_large_tiles_are_decoded_as_their_packets_come(way, window, counts, monkeypatch):
    monkeypatch.setattr(early_decode, "_LARGE", 1)
    with forced(way):
        np.testing.assert_array_equal(read(1, window), TILES.oracle.window(1, window))
    assert counts[-1] >= 2
    with forced(way):
        np.testing.assert_array_equal(read(2), TILES.oracle.at(2))
    assert counts[-1] >= TILE_COUNT // 2


def test_missing_packets_are_fetched_while_others_are_decoded(monkeypatch):
    """Let a decode last until the packets of the last tiles are requested."""
    requested = threading.Event()
    monkeypatch.setattr(early_decode, "_LARGE", 1)
    opened = OpenImage.start(MemorySource(TILES.data, profile=DEAR))

    def target(*_):
        assert requested.wait(10)
        return []

    def fetch(ranges):
        requested.set()
        opened.fetch(ranges)

    with forced("walk"), early_decode_of(opened, target) as early:
        query = opened.query(opened.selected(1), early.announce)
        reading = run_steps(plan_read(query, "packets", headers_only=False), early.before(opened.fetch))
        opened.pieces.drop(reading.tiles[TILE_COUNT - 1].packets.ranges())
        assert early.finish(reading, fetch) >= set(range(1, TILE_COUNT - 9))
    assert requested.is_set()


@pytest.mark.parametrize("store", [StoreCosts(latency=0, bandwidth=1e9, connections=8), DEAR], ids=["local", "store"])
def test_only_stores_wait(store, counts):
    with forced("walk"):
        read(1, source=MemorySource(TILES.data, profile=store))
    assert len(counts) == (1 if store.latency else 0)


def test_tiles_at_other_bytes_are_decoded_again(monkeypatch):
    """Resolve the read with packets elsewhere: what was decoded early does not count."""
    source = MemorySource(TILES.data, profile=DEAR)
    opened = OpenImage.start(source)
    selection = opened.selected(1)
    with forced("walk"), early_decode_of(opened, lambda *_: []) as early:
        query = opened.query(selection, early.announce)
        reading = run_steps(plan_read(query, "packets", headers_only=False), early.before(opened.fetch))
        tiles = early.finish(reading, opened.fetch)
        assert tiles
        number = min(tiles)
        tile = reading.tiles[number]
        moved = replace(tile.packets, starts=tile.packets.starts + 1)
        others = {**reading.tiles, number: tile._replace(packets=moved)}
        assert early.finish(replace(reading, tiles=others), opened.fetch) == tiles - {number}
        del others[number]
        assert early.finish(replace(reading, tiles=others), opened.fetch) == tiles - {number}


@pytest.mark.parametrize("problem", ["warning", "error", "bug"])
def test_tiles_that_trouble_the_decoder_do_not_count(problem):
    opened = OpenImage.start(MemorySource(TILES.data, profile=DEAR))
    selection = opened.selected(1)

    def target(codestream, threads):
        if problem == "error":
            raise CorruptImage("", "a problem")
        if problem == "bug":
            raise ValueError
        return ["a warning"]

    with forced("walk"), early_decode_of(opened, target) as early:
        query = opened.query(selection, early.announce)
        reading = run_steps(plan_read(query, "packets", headers_only=False), early.before(opened.fetch))
        assert early.finish(reading, opened.fetch) == set()


def test_a_search_that_fails_leaves_no_thread(monkeypatch):
    class Failing(MemorySource):
        rounds = 0

        def read_many(self, ranges):
            self.rounds += 1
            if self.rounds > 12:
                raise StorageError("memory://", "the store is gone")
            return super().read_many(ranges)

    with forced("walk"), pytest.raises(StorageError):
        read(1, source=Failing(TILES.data, profile=DEAR))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("jp2batch-early")]


@given(st.sets(st.integers(0, TILE_COUNT - 1), min_size=1), st.integers(1, 9))
def test_runs_are_of_these_tiles_and_not_too_long(tiles, most):
    header = OpenImage.start(MemorySource(TILES.data)).image.header
    _, columns = tile_counts(header.siz)
    runs = tile_runs(header, tiles, most)
    assert all(run.rows == 1 and run.columns <= most and run.column + run.columns <= columns for run in runs)
    inside = [run.row * columns + run.column + n for run in runs for n in range(run.columns)]
    assert inside == sorted(tiles)


def test_a_tile_is_begun_once():
    """Announce a tile-part elsewhere after the decoding of its tile has begun."""
    opened = OpenImage.start(MemorySource(TILES.data, profile=DEAR))
    codestreams = []
    with forced("walk"), early_decode_of(opened, lambda codestream, _: codestreams.append(codestream) or []) as early:
        query = opened.query(opened.selected(1), early.announce)
        reading = run_steps(plan_read(query, "packets", headers_only=False), early.before(opened.fetch))
        tiles = early.finish(reading, opened.fetch)
        for tile in tiles:
            early.announce(reading.tiles[tile].parts[0])
        early.begin()
        assert early.finish(reading, opened.fetch) >= tiles
    samples = sum(codestream.area.height * codestream.area.width for codestream in codestreams)
    assert samples <= TILES.oracle.at(1).size


def test_a_snapshot_does_not_change():
    pieces = SparseFile(100)
    pieces.add(10, b"abc")
    copy = pieces.snapshot()
    pieces.add(13, b"def")
    pieces.drop([ByteRange(10, 12)])
    assert copy.read_parts(0, 100) == [(10, b"abc")]
