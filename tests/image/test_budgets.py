"""Bytes and requests are counted at the source: a read takes no more than it needs, and just what its plan says."""

import functools
import itertools
import struct
from dataclasses import replace
from pathlib import Path

import dask
import numpy as np
import pytest

from jp2batch.core.costs import StoreCosts
from jp2batch.core.request import Request
from jp2batch.core.store_settings import store_costs
from jp2batch.core.window import Window
from jp2batch.image import inspect
from jp2batch.image.fetch import fetcher, run_steps
from jp2batch.image.inspect import plan_from
from jp2batch.image.open import OpenImage
from jp2batch.image.read import Pixels, read_from
from jp2batch.jpeg2000.geometry.precinct_grids import tile_precincts
from jp2batch.jpeg2000.geometry.progression import packet_order
from jp2batch.jpeg2000.plan.decode_batches import batches, read_batch
from jp2batch.sample.encode import Coding, encode
from jp2batch.sample.landscape import scene
from jp2batch.storage.source import MemorySource
from support import rewrite
from support.images import PLAIN, REAL, WITH_TLM
from support.oracle import verify_fetched_once
from support.reads import Timed

FREE = StoreCosts(latency=0, bandwidth=1e9, connections=8)
REMOTE = store_costs("s3")
LIKE_REMOTE = replace(REMOTE, bandwidth=REMOTE.bandwidth / 140)
"""What REMOTE is to a 10 m band, for an image of a 140th of its size."""
SLOW = StoreCosts(latency=0.1, bandwidth=1e5, connections=8)


@functools.cache
def twin(tlm: bool) -> bytes:
    """Return a 10 m band as ESA codes it, of 9 tiles instead of 121."""
    pixels = np.tile(scene(1098, bands=("B04",))["B04"], (3, 3))[:2600, :2600]
    return encode(pixels, Coding(tile=(1024, 1024), code_block=(64, 64), precincts=(256, 256), tlm=tlm))


@functools.cache
def mosaic(tlm: bool) -> bytes:
    """Return an image of as many tiles as a 10 m band has, each a 140th of its size."""
    pixels = scene(704, bands=("B04",))["B04"]
    return encode(pixels, Coding(tile=(64, 64), code_block=(4, 4), precincts=(16, 16), tlm=tlm))


def read(data: bytes, store: StoreCosts, rlevel: int, window=None) -> Pixels:
    source = MemorySource(data, profile=store)
    pixels = read_from(source, lambda opened: opened.selected(rlevel, window))
    verify_fetched_once(source)
    assert pixels.stats.bytes_read == sum(stop - start for start, stop in source.ranges)
    assert pixels.stats.requests == len(source.ranges)
    return pixels


def needed(data: bytes, rlevel: int, window=None) -> int:
    """Return the bytes of headers and packets that a read cannot do without."""
    source = MemorySource(data, profile=FREE)
    with dask.config.set({"jp2batch.first-read": 16}):
        return read_from(source, lambda opened: opened.selected(rlevel, window)).stats.bytes_read


@pytest.mark.skipif(not REAL, reason="no real images beside the repository")
def test_an_overview_of_a_real_band_takes_a_hundredth_of_it():
    (path,) = (path for path in REAL if path.stem.endswith("B8A_60m"))
    stats = read(path.read_bytes(), FREE, 4).stats
    assert stats.bytes_read <= 60_000
    assert stats.precision == "packets"


def test_an_overview_with_tlm_takes_one_request_a_tile():
    data = twin(tlm=True)
    stats = read(data, REMOTE, 4).stats
    assert stats.located_by == "tlm"
    assert stats.requests <= 9 + 4
    assert stats.bytes_read <= len(data) * 1.4 / 84 + 8192  # the share of the full scene's budget, and the first read


def test_an_overview_without_tlm_follows_the_chain_where_requests_are_free():
    data = twin(tlm=False)
    stats = read(data, FREE, 4).stats
    assert stats.located_by == "walk"
    assert stats.bytes_read <= needed(data, 4) + 8192


def test_an_overview_without_tlm_reads_the_whole_where_requests_are_dear():
    stats = read(twin(tlm=False), StoreCosts(0.1, 1e9, 128), 4).stats
    assert (stats.located_by, stats.bytes_read) == ("whole", len(twin(tlm=False)))


def test_an_overview_without_tlm_walks_from_many_places_at_once():
    data, source = mosaic(tlm=False), Timed(mosaic(tlm=False), profile=LIKE_REMOTE)
    stats = read_from(source, lambda opened: opened.selected(4)).stats
    verify_fetched_once(source)
    assert stats.located_by == "walk"
    assert stats.bytes_read <= 0.17 * len(data)
    assert stats.requests <= 1.2 * 121
    assert source.rounds <= 11


@functools.cache
def full_size(seed: int = 5) -> bytes:
    """Return what has the headers of a 10 m band of 10980 x 10980, and noise for packets."""
    model, rng = replace(rewrite.Codestream.parse(twin(tlm=False)), boxes=b""), np.random.default_rng(seed)
    siz = bytearray(model.find(rewrite.SIZ))
    siz[2:10] = struct.pack(">II", 10980, 10980)
    segments = tuple((marker, bytes(siz) if marker == rewrite.SIZ else body) for marker, body in model.segments)
    empty = replace(model, segments=segments, parts=(rewrite.Part(0, 0, 1, (), bytes(99_999)),)).to_bytes()
    header = OpenImage.start(MemorySource(empty)).image.header
    noise = rng.integers(0, 256, 3_000_000, np.uint8)
    noise[1:][noise[:-1] == 0xFF] &= 0x7F  # as in packets
    parts = []
    for tile in range(121):
        of_tile = rng.normal(1, 0.15) * (1 + 0.4 * np.sin(tile / 17))  # sea and land
        lengths = [
            max(1, int(of_tile * 560 * 2.9**p.resolution)) for p in packet_order(header, tile_precincts(header, tile))
        ]
        start = int(rng.integers(0, 100_000))
        data = noise[start : start + sum(lengths)].tobytes()
        parts.append(rewrite.Part(tile, 0, 1, (rewrite.plt_segment(lengths),), data))
    return replace(model, segments=segments, parts=tuple(parts)).to_bytes()


def test_a_window_without_tlm_is_found_near_where_it_should_be():
    taken = []
    for row, column in itertools.product(range(0, 10980, 1900), repeat=2):
        source = Timed(full_size(), profile=REMOTE)
        opened = OpenImage.start(source)
        selection = opened.selected(0, Window((row, row + 500), (column, column + 500)))
        reading = run_steps(opened.steps(selection), fetcher(source, opened.pieces))
        for batch in batches(opened.image, reading, 2, opened.decoder.most_tiles(opened.image.header)):
            run_steps(read_batch(opened.pieces, batch), fetcher(source, opened.pieces))
        verify_fetched_once(source)
        assert (reading.located_by, reading.precision, reading.reasons) == ("walk", "packets", ())
        assert source.rounds <= 12
        taken.append(source.meter.bytes_read)
    assert np.median(taken) <= 3_000_000
    assert max(taken) <= 8_000_000


@pytest.mark.parametrize("others", [1, 2], ids=["one", "two"])
def test_a_window_is_found_in_the_first_of_several_codestreams(others):
    first = full_size()
    data = first + full_size(6) * others
    for row, column in ((0, 0), (3800, 5700), (5700, 1900), (7600, 7600), (9500, 3800), (10400, 10400)):
        source = MemorySource(data, profile=REMOTE)
        opened = OpenImage.start(source)
        reading = run_steps(
            opened.steps(opened.selected(0, Window((row, row + 500), (column, column + 500)))),
            fetcher(source, opened.pieces),
        )
        assert reading.located_by == "walk"
        assert max(part.stop for tile in reading.tiles.values() for part in tile.parts) <= len(first)


@pytest.mark.parametrize("store", [FREE, REMOTE], ids=["free", "remote"])
def test_a_window_takes_only_the_tiles_that_it_touches(store):
    data = twin(tlm=True)
    source = MemorySource(data, profile=store)
    pixels = read_from(source, lambda opened: opened.selected(0, Window((900, 1400), (100, 600))))
    assert pixels.selection.tiles == (0, 3)
    parts = OpenImage.start(MemorySource(data)).image.header.tile_parts
    assert pixels.stats.bytes_read <= 0.6 * (parts[0][1] + parts[3][1]) + 8192
    assert pixels.stats.requests <= 9


def test_a_window_takes_only_the_precincts_that_it_touches():
    data, rng, sizes = twin(tlm=True), np.random.default_rng(2), {1: [], 100: [], 500: []}
    for side, row, column in itertools.product(sizes, rng.integers(0, 2100, 4), rng.integers(0, 2100, 3)):
        stats = read(data, REMOTE, 0, Window((row, row + side), (column, column + side))).stats
        assert (stats.located_by, stats.precision, stats.reasons) == ("tlm", "packets", ())
        sizes[side].append(stats.bytes_read)
    assert max(sizes[1]) <= 300_000
    assert np.mean(sizes[1]) <= 200_000
    assert np.mean(sizes[100]) <= 350_000
    assert np.mean(sizes[500]) <= 900_000


@pytest.mark.parametrize(
    ("store", "window", "is_whole"),
    [
        (REMOTE, Window((1100, 1600), (1100, 1600)), True),
        (SLOW, Window((1100, 1600), (1100, 1600)), False),
        (REMOTE, Window((1100, 1300), (1100, 1300)), False),
        (REMOTE, Window((900, 1400), (1100, 1600)), False),
    ],
    ids=["most of a tile", "slow store", "little of a tile", "some of two tiles"],
)
def test_a_window_of_most_of_a_tile_takes_it_whole_where_a_round_costs_more(store, window, is_whole):
    data, source = twin(tlm=True), Timed(twin(tlm=True), profile=store)
    pixels = read_from(source, lambda opened: opened.selected(0, window))
    least = needed(data, 0, window)
    if is_whole:
        assert (pixels.stats.requests, source.rounds) == (2, 2)
        assert pixels.stats.bytes_read <= 1.5 * least + 8192
    else:
        assert source.rounds == 3
        assert pixels.stats.bytes_read <= 1.1 * least + 8192


@pytest.mark.parametrize("rlevel", range(5))
def test_fewer_levels_never_take_more_bytes(rlevel):
    data = twin(tlm=True)
    if rlevel:
        assert needed(data, rlevel) < needed(data, rlevel - 1)


@pytest.mark.parametrize("store", [FREE, REMOTE, SLOW], ids=["free", "remote", "slow"])
@pytest.mark.parametrize("rlevel", range(5))
@pytest.mark.parametrize(
    "window",
    [None, Window((900, 1400), (100, 2600)), Window((1100, 1600), (1100, 1600))],
    ids=["whole", "window", "most of a tile"],
)
def test_a_read_takes_just_what_an_exact_plan_says(store, rlevel, window):
    for data in (twin(tlm=True), twin(tlm=False), PLAIN.data, WITH_TLM.data):
        if window and len(data) < 1_000_000:
            continue
        source = MemorySource(data, profile=store)
        plan = plan_from(source, Request("x.jp2", rlevel, window))
        stats = read(data, store, rlevel, window).stats
        if plan.exact:
            assert (plan.requests, plan.bytes) == (stats.requests, stats.bytes_read)
            assert (plan.located_by, plan.precision) == (stats.located_by, stats.precision)
        else:
            assert plan.located_by == "walk"
            assert 0.3 * stats.bytes_read <= plan.bytes <= 3 * stats.bytes_read + 8192


@pytest.mark.parametrize("store", [FREE, REMOTE], ids=["free", "remote"])
def test_a_plan_is_exact_where_tlm_tells_positions_and_fetches_no_pixels(store):
    source = MemorySource(twin(tlm=True), profile=store)
    plan = plan_from(source, Request("x.jp2", 0))
    assert plan.exact
    assert plan.bytes == len(twin(tlm=True)) - 2  # all but EOC
    assert source.meter.bytes_read < 30_000


def test_a_plan_over_a_network_without_tlm_takes_one_request():
    source = MemorySource(twin(tlm=False), profile=SLOW)
    plan = plan_from(source, Request("x.jp2", 4))
    assert not plan.exact
    assert source.meter.requests == 1
    assert plan.bytes < 0.05 * len(twin(tlm=False))


def test_headers_are_read_in_one_request(band):
    assert inspect.inspect(band).shape == (183, 183)
    source = MemorySource(Path(band).read_bytes())
    OpenImage.start(source)
    assert source.meter.requests == 1


CDSE = StoreCosts(latency=0.06, bandwidth=20e6, connections=4, requests_per_minute=2000, name="cdse")


def test_under_a_quota_a_window_takes_few_requests():
    data, selection = twin(tlm=True), Window((900, 1400), (800, 1300))
    free, counted = (read(data, store, 0, selection).stats for store in (REMOTE, CDSE))
    assert counted.requests <= 3
    assert free.requests > 2 * counted.requests
    np.testing.assert_array_equal(read(data, CDSE, 0, selection).values, read(data, REMOTE, 0, selection).values)


def test_under_a_quota_a_search_takes_fewer_requests():
    taken = {}
    for store in (REMOTE, CDSE):
        source = Timed(full_size(), profile=store)
        opened = OpenImage.start(source)
        selection = opened.selected(0, Window((5000, 5500), (6000, 6500)))
        reading = run_steps(opened.steps(selection), fetcher(source, opened.pieces))
        for batch in batches(opened.image, reading, 2, opened.decoder.most_tiles(opened.image.header)):
            run_steps(read_batch(opened.pieces, batch), fetcher(source, opened.pieces))
        taken[store] = source.meter.requests
    assert taken[CDSE] <= 12
    assert taken[CDSE] < 0.7 * taken[REMOTE]


def test_a_plan_tells_what_is_fetched_along_under_a_quota():
    plan = plan_from(MemorySource(twin(tlm=True), profile=CDSE), Request("memory://", 4))
    assert plan.request_worth == 2_400_000
    assert plan.bytes > 10 * plan.bytes_wanted
    assert "a request is worth 2.4 MB" in str(plan)
    assert "quota" not in str(plan_from(MemorySource(twin(tlm=True), profile=REMOTE), Request("memory://", 4)))


def test_a_window_read_before_takes_a_single_request_under_a_quota(tmp_path):
    data, window = twin(tlm=False), Window((900, 1400), (1800, 2300))
    with dask.config.set({"jp2batch.index": {"enabled": True, "folder": str(tmp_path)}}):
        for known in (False, True):
            source = Timed(data, path="https://store.example/x.jp2", profile=CDSE, etag="1")
            stats = read_from(source, lambda opened: opened.selected(0, window)).stats
            if known:
                assert stats.located_by == "index"
                assert (source.rounds, stats.requests) == (1, 1)
