"""Reads of many small parts: exactly the samples of OpenJPEG's decode, and only the bytes around them."""

import functools
import itertools
import tracemalloc
from pathlib import Path

import dask
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jp2batch.core.costs import StoreCosts
from jp2batch.image import inspect
from jp2batch.image.open import OpenImage
from jp2batch.image.read import Pixels, read_from
from jp2batch.jpeg2000.geometry.grid import Rect, image_area, samples
from jp2batch.jpeg2000.geometry.runs import Runs
from jp2batch.jpeg2000.geometry.sparse import select_runs
from jp2batch.jpeg2000.plan.tile_packets import TileResolver
from jp2batch.sample.encode import Coding, encode
from jp2batch.sample.landscape import scene
from jp2batch.storage.source import MemorySource, open_source
from support.images import CHANGES, PLAIN, REAL, Made, choice_id, made, pairwise_choices
from support.oracle import Oracle, verify_fetched_once
from support.reads import FREE, REMOTE

pytestmark = pytest.mark.system_openjpeg


def random_runs(rng: np.random.Generator, area: Rect) -> Runs:
    """Return runs of all lengths, some of which overlap; few or many."""
    count = int(rng.choice([1, 2, 7, 40]))
    y, x0 = rng.integers(area.y0, area.y1, count), rng.integers(area.x0, area.x1, count)
    longest = int(rng.choice([1, 5, area.width]))
    return Runs.of(y, x0, np.minimum(area.x1, x0 + rng.integers(1, longest + 1, count)))


def expected(whole: np.ndarray, runs: Runs, area: Rect) -> np.ndarray:
    parts = [whole[:, y - area.y0, a - area.x0 : b - area.x0] for y, a, b in zip(runs.y, runs.x0, runs.x1, strict=True)]
    return np.concatenate(parts, axis=1)


def read_runs(data: bytes, rlevel: int, runs: Runs, store: StoreCosts, *, whole: bool = False) -> Pixels:
    source = MemorySource(data, profile=store)
    limit = "1 GiB" if whole else 0
    with dask.config.set({"jp2batch.max-whole-file": limit, "jp2batch.first-read": 300}):
        pixels = read_from(source, lambda opened: opened.checked(select_runs(opened.image.header, rlevel, runs)))
    verify_fetched_once(source)
    return pixels


def check_exact(
    image: Made, *, stores: tuple[StoreCosts, ...] = (FREE, REMOTE), times: int = 2, whole: bool = False
) -> list[Pixels]:
    rng, results = np.random.default_rng(len(image.data)), []
    header = OpenImage.start(MemorySource(image.data)).image.header
    for rlevel, store in itertools.product(range(image.coding.levels + 1), stores):
        area = samples(header.siz, image_area(header.siz), rlevel)
        for _ in range(times):
            runs = random_runs(rng, area)
            pixels = read_runs(image.data, rlevel, runs, store, whole=whole)
            assert pixels.values.dtype == image.oracle.dtype
            np.testing.assert_array_equal(pixels.values, expected(image.oracle.at(rlevel), runs, area))
            results.append(pixels)
    return results


@pytest.mark.parametrize("choice", pairwise_choices(), ids=choice_id)
def test_any_coding_is_read_exactly(choice):
    check_exact(made(**choice))


@pytest.mark.parametrize("order", ["LRCP", "RLCP", "RPCL", "PCRL", "CPRL"])
@pytest.mark.parametrize("reversible", [True, False])
def test_parts_of_tiles_without_plt_take_their_code_blocks(monkeypatch, order, reversible):
    monkeypatch.setattr(TileResolver, "_worthwhile", lambda _, queries, packets: bool(queries))
    coding = Coding(
        tile=None, precincts=None, code_block=(8, 8), layers=2, progression=order, reversible=reversible, plt=False
    )
    found = check_exact(Made(coding, components=2), times=3)
    assert "packets" in {pixels.stats.precision for pixels in found}


@pytest.mark.parametrize("change", CHANGES)
def test_any_layout_of_the_file_is_read_exactly(change):
    coding = Coding(tile=(64, 64), precincts=(32, 32), code_block=(16, 16), layers=2)
    for pixels in check_exact(Made(coding, changed=(change,))):
        if "TLM" in change:
            assert pixels.stats.located_by == "tlm"


@pytest.mark.parametrize(("sampling", "offset"), [((2, 2), (5, 9)), ((1, 3), (5, 9)), ((4, 1), (7, 9))])
def test_equally_subsampled_components_are_read_exactly(sampling, offset):
    check_exact(Made(Coding(tile=(64, 64), subsampling=(sampling,) * 3, image_offset=offset), components=3))


@pytest.mark.parametrize("changed", [(), ("PLM",)])
def test_a_store_where_requests_are_dear_is_read_whole(changed):
    found = check_exact(Made(PLAIN.coding, changed=changed), stores=(REMOTE,), whole=True)
    assert ("whole", "file") in {(pixels.stats.located_by, pixels.stats.precision) for pixels in found}


@pytest.mark.skipif(not REAL, reason="no real images beside the repository")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_real_images_are_read_exactly(path: Path):
    info, rng = inspect.inspect(str(path)), np.random.default_rng(3)
    oracle = Oracle(path.read_bytes(), (0, 0), (info.bands, *info.shape), info.dtype)
    for rlevel in range(len(info.levels)):
        area = Rect(0, 0, *oracle.at(rlevel).shape[1:])
        for _ in range(3):
            runs = random_runs(rng, area)
            source = open_source(str(path))
            pixels = read_from(source, lambda opened, r=rlevel, s=runs: select_runs(opened.image.header, r, s))
            np.testing.assert_array_equal(pixels.values, expected(oracle.at(rlevel), runs, area))


def corners(size: int, side: int) -> Runs:
    """Return a square in each of two opposite corners."""
    y = np.concatenate([np.arange(side), np.arange(size - side, size)])
    x0 = np.repeat([0, size - side], side)
    return Runs.of(y, x0, x0 + side)


def test_two_fields_in_opposite_corners_take_only_their_tiles():
    data = encode(scene(704, bands=("B04",))["B04"], Coding(tile=(64, 64), precincts=(32, 32), tlm=True))
    pixels = read_runs(data, 0, corners(704, 10), FREE)
    one = read_runs(data, 0, Runs.of(*(np.array([value]) for value in (0, 0, 10))), FREE)
    assert pixels.selection.tiles == (0, 120)
    assert pixels.values.shape == (1, 200)
    assert pixels.stats.bytes_read < 0.05 * len(data)
    assert pixels.stats.bytes_read < 3 * one.stats.bytes_read


def test_a_tile_is_read_around_its_samples_only():
    data = encode(scene(1098, bands=("B04",))["B04"][:512, :512], Coding(tile=(512, 512), precincts=(64, 64)))
    two, all_of_it = (read_runs(data, 0, runs, FREE) for runs in (corners(512, 4), corners(512, 512)))
    assert two.selection.tiles == (0,)
    assert two.stats.precision == "packets"
    assert two.stats.bytes_read < 0.3 * all_of_it.stats.bytes_read


def test_equal_rectangles_of_other_runs_use_the_same_plan_and_give_their_own_values():
    image = Made(Coding(tile=(64, 64), precincts=(32, 32), code_block=(16, 16)))
    cross = Runs.of(*(np.array(values) for values in ([0, 9], [0, 9], [1, 10])))
    other = Runs.of(*(np.array(values) for values in ([0, 9], [9, 0], [10, 1])))
    area = Rect(0, 0, *image.oracle.at(0).shape[1:])
    for runs in (cross, other, cross):
        pixels = read_runs(image.data, 0, runs, REMOTE)
        np.testing.assert_array_equal(pixels.values, expected(image.oracle.at(0), runs, area))


@given(st.data())
def test_cut_runs_have_the_same_samples(data):
    edges = np.array(sorted(data.draw(st.sets(st.integers(0, 50), min_size=2, max_size=9))))
    bounds = st.tuples(st.integers(0, 5), *[st.integers(int(edges[0]), int(edges[-1]))] * 2)
    drawn = [(y, min(a, b), max(a, b)) for y, a, b in data.draw(st.lists(bounds, max_size=9)) if a != b]
    runs = Runs.of(*(np.array([one[k] for one in drawn], np.int64) for k in range(3)))
    pieces, interval = runs.cut(edges)
    assert sorted(zip(*pieces.positions(), strict=True)) == sorted(zip(*runs.positions(), strict=True))
    assert (edges[interval] <= pieces.x0).all()
    assert (pieces.x1 <= edges[interval + 1]).all()


STORE = StoreCosts(latency=0.03, bandwidth=60e6, connections=128, line=125e6)


@functools.cache
def quarter(tlm: bool) -> bytes:
    """Return an image of 16 tiles, a quarter of the size of those of a 10 m band."""
    pixels = np.tile(scene(1098, bands=("B04",))["B04"], (2, 2))[:2048, :2048]
    return encode(pixels, Coding(tile=(512, 512), code_block=(32, 32), precincts=(128, 128), tlm=tlm))


def spread(count: int, side: int, size: int = 2048) -> Runs:
    """Return squares all over an image."""
    corners = np.random.default_rng(count).integers(0, size - side, (count, 2))
    y = (corners[:, :1] + np.arange(side)).ravel()
    x0 = np.repeat(corners[:, 1], side)
    return Runs.of(y, x0, x0 + side)


@pytest.mark.parametrize("runs", [spread(1400, 1), spread(150, 6)], ids=["points", "polygons"])
@pytest.mark.parametrize("tlm", [True, False])
def test_dense_fields_take_hardly_more_requests_than_tiles(tlm, runs):
    data = quarter(tlm)
    pixels = read_runs(data, 0, runs, STORE)
    assert len(pixels.selection.tiles) == 16
    assert pixels.stats.requests <= 1.5 * 16
    assert pixels.stats.bytes_read <= len(data)


def test_few_fields_take_few_bytes():
    data = quarter(tlm=True)
    stats = read_runs(data, 0, spread(2, 12), STORE).stats
    assert stats.precision == "packets"
    assert stats.bytes_read < 0.2 * len(data)


def test_memory_is_of_the_fields_not_of_the_image():
    size = 6000
    data = encode(np.zeros((size, size), np.uint16), Coding(tile=(512, 512), precincts=(256, 256)))
    tracemalloc.start()
    try:
        pixels = read_runs(data, 0, corners(size, 50), STORE)
        everywhere = read_runs(data, 0, spread(2000, 3, size), STORE)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (pixels.values.shape, everywhere.values.shape) == ((1, 5000), (1, 18000))
    assert peak < 0.2 * 2 * size**2
