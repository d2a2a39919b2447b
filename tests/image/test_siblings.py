"""Another band or date that was read before says where tiles probably lie: fewer rounds and bytes, the same pixels."""

import functools
import struct
from dataclasses import replace

import dask
import numpy as np
import pytest

from jp2batch.core.store_settings import store_costs
from jp2batch.core.window import Window
from jp2batch.image.fetch import fetcher, run_steps
from jp2batch.image.index import siblings
from jp2batch.image.open import OpenImage
from jp2batch.image.read import read_from
from jp2batch.jpeg2000.geometry.precinct_grids import precinct_counts, tile_precincts
from jp2batch.jpeg2000.plan.decode_batches import batches, read_batch
from jp2batch.sample.encode import Coding, encode
from jp2batch.sample.landscape import scene
from support import rewrite
from support.oracle import verify_fetched_once
from support.reads import Timed, start_anew

REMOTE = store_costs("http")
B02, B03, B08 = (f"https://store.example/T32TNT_20240701T103031_{band}_10m.jp2" for band in ("B02", "B03", "B08"))
OTHER_DATE = "https://store.example/T32TNT_20240711T103031_B02_10m.jp2"
OTHER_TILE = "https://store.example/T32TNS_20240701T103031_B03_10m.jp2"
SIDE = 11
"""Tiles of a row."""


@pytest.fixture(autouse=True)
def empty_index(tmp_path):
    """Begin with an empty index, and end with another."""
    start_anew()
    with dask.config.set({"jp2batch.index": {"enabled": True, "disk": 0, "folder": str(tmp_path)}}):
        yield
    start_anew()


@functools.cache
def model() -> rewrite.Codestream:
    """Return a codestream with the main header of a 10 m band, and one tile-part."""
    pixels = np.tile(scene(1098, bands=("B04",))["B04"], (2, 2))[:1100, :1100]
    made = encode(pixels, Coding(tile=(1024, 1024), code_block=(64, 64), precincts=(256, 256)))
    old = replace(rewrite.Codestream.parse(made), boxes=b"")
    siz = bytearray(old.find(rewrite.SIZ))
    siz[2:10] = struct.pack(">II", 10980, 10980)
    segments = tuple((marker, bytes(siz) if marker == rewrite.SIZ else body) for marker, body in old.segments)
    return replace(old, segments=segments, parts=())


@functools.cache
def lengths(seed: int = 1) -> np.ndarray:
    """Return lengths of tile-parts as uneven as a real swath's: runs without data, sea, land."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:SIDE, :SIDE]
    land = np.where((row + 2 * column + seed) % 7 < 3, 0.6, 1.0) * rng.normal(650_000, 120_000, (SIDE, SIDE))
    return np.where(column + row // 3 >= 9, 0, land).astype(int).ravel()


def image(own: np.ndarray, seed: int = 7) -> bytes:
    """Return a band of 121 tiles of such lengths, with noise for packets."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, 3_000_000, np.uint8)
    noise[1:][noise[:-1] == 0xFF] &= 0x7F  # as in packets
    header = OpenImage.start(Timed(with_parts([rewrite.Part(0, 0, 1, (), bytes(99_999))]))).image.header
    parts = []
    for tile, length in enumerate(own):
        shares = packet_shares(header, tile)
        packets = np.maximum(1, (shares * length).astype(int)).tolist()
        start = int(rng.integers(0, 500_000))
        data = noise[start : start + sum(packets)].tobytes()
        parts.append(rewrite.Part(tile, 0, 1, (rewrite.plt_segment(packets),), data))
    return with_parts(parts)


def with_parts(parts: list[rewrite.Part]) -> bytes:
    return replace(model(), parts=tuple(parts)).to_bytes()


def packet_shares(header, tile: int) -> np.ndarray:
    """Return the share of each packet in a tile's bytes."""
    (counts,) = precinct_counts(tile_precincts(header, tile))
    weights = np.repeat([2.9**level for level in range(len(counts))], counts)
    return weights / weights.sum()


@functools.cache
def sibling_image(deviation: float) -> bytes:
    noise = np.exp(np.random.default_rng(3).normal(0, deviation, SIDE**2))
    return image((1.2 * lengths() * noise).astype(int), seed=8)


@functools.cache
def first_image() -> bytes:
    return image(lengths())


@functools.cache
def elsewhere(seed: int = 9) -> bytes:
    return image(np.random.default_rng(seed).permutation(lengths()), seed=seed)


def located(data: bytes, path: str, rlevel: int = 4, window: Window | None = None) -> Timed:
    """Locate and fetch the tiles of a read, and learn their places; return the source."""
    source = Timed(data, path=path, profile=REMOTE, etag=path)
    opened = OpenImage.start(source)
    selection = opened.selected(rlevel, window)
    reading = run_steps(opened.steps(selection), fetcher(source, opened.pieces))
    assert (reading.located_by, reading.precision, reading.reasons) == ("walk", "packets", ())
    for batch in batches(opened.image, reading, 2, opened.decoder.most_tiles(opened.image.header)):
        run_steps(read_batch(opened.pieces, batch), fetcher(source, opened.pieces))
    verify_fetched_once(source)
    learned = opened.learned_index(reading)
    assert learned is not None
    siblings.remember(source, opened.image.header, learned, reading.passed)
    return source


def windows():
    return [
        Window((row, row + 500), (column, column + 500))
        for row in range(300, 10_000, 2300)
        for column in range(100, 9000, 2100)
    ]


def total(sources: list[Timed]) -> tuple[int, int]:
    return sum(one.rounds for one in sources), sum(one.meter.bytes_read for one in sources)


def test_overviews_of_uneven_scenes_take_few_bytes_and_rounds():
    scenes = [image(lengths(seed), seed) for seed in range(1, 5)]
    rounds, size = total([located(data, B02) for data in scenes])
    assert rounds <= 10.5 * len(scenes)
    assert size <= 0.14 * sum(map(len, scenes))


def test_windows_of_an_uneven_scene_take_few_bytes_and_rounds():
    rounds, size = total([located(first_image(), B02, 0, window) for window in windows()])
    assert rounds <= 8.5 * len(windows())
    assert size <= 2_400_000 * len(windows())


@pytest.mark.parametrize("deviation", [0.01, 0.02])
def test_an_overview_takes_fewer_rounds_and_bytes_once_a_band_of_the_product_is_known(deviation):
    alone = located(sibling_image(deviation), B03)
    start_anew()
    located(first_image(), B02)
    led = located(sibling_image(deviation), B03)
    assert led.rounds <= min(6, 0.75 * alone.rounds)
    assert led.meter.bytes_read <= 0.09 * len(sibling_image(deviation))


def test_windows_take_fewer_rounds_and_bytes_once_a_band_of_the_product_is_known():
    alone = total([located(sibling_image(0.02), B03, 0, window) for window in windows()])
    located(first_image(), B02)
    led = total([located(sibling_image(0.02), B03, 0, window) for window in windows()])
    assert led[0] <= 0.75 * alone[0]
    assert led[1] <= 0.75 * alone[1]


@pytest.mark.parametrize(("path", "rlevel"), [(B03, 4), (B03, 0), (OTHER_DATE, 4), (OTHER_DATE, 0)])
def test_a_sibling_that_does_not_fit_hardly_costs_anything(path, rlevel):
    asked = windows() if rlevel == 0 else [None]
    alone = total([located(elsewhere(), path, rlevel, window) for window in asked])
    start_anew()
    located(first_image(), B02)
    led = total([located(elsewhere(), path, rlevel, window) for window in asked])
    assert led[0] <= 1.08 * alone[0]
    assert led[1] <= (1.25 if rlevel == 0 else 1.45) * alone[1]


@pytest.mark.parametrize("window", [None, *windows()[::4]])
def test_the_first_sibling_of_all_costs_no_time_even_if_it_does_not_fit(window):
    rlevel, alone, led = (0 if window else 4), [], []
    for seed in range(9, 13):
        start_anew()
        alone.append(located(elsewhere(seed), B03, rlevel, window))
        start_anew()
        located(first_image(), B02)
        led.append(located(elsewhere(seed), B03, rlevel, window))
    assert total(led)[0] <= max(1.05 * total(alone)[0], total(alone)[0] + 2)
    assert total(led)[1] <= (1.25 if window is None else 1.5) * total(alone)[1]


def test_how_well_siblings_fit_is_learned():
    located(first_image(), B02)
    before = siblings.sibling_lengths(*opened(sibling_image(0.1), B03))
    located(sibling_image(0.1), B03)
    after = siblings.sibling_lengths(*opened(sibling_image(0.1), B08))
    assert before is not None
    assert after is not None
    assert before.deviation < after.deviation < 0.1
    located(elsewhere(), B08)
    assert siblings.sibling_lengths(*opened(first_image(), OTHER_DATE.replace("20240711", "20240701"))) is None


def opened(data: bytes, path: str):
    source = Timed(data, path=path, profile=REMOTE, etag=path)
    return source, OpenImage.start(source).image.header


@pytest.mark.parametrize("path", [OTHER_TILE, "https://store.example/image.jp2"])
def test_images_of_other_places_are_no_siblings(path):
    located(first_image(), B02)
    assert siblings.sibling_lengths(*opened(sibling_image(0.01), path)) is None


def test_the_same_day_is_nearer_than_the_same_band():
    located(elsewhere(), OTHER_DATE)
    located(first_image(), B08)
    sibling = siblings.sibling_lengths(*opened(first_image(), B02))
    assert sibling is not None
    assert sum(sibling.lengths) < len(first_image())
    assert sibling.lengths == pytest.approx(lengths(), abs=2000)  # their headers, and packets of at least a byte


def test_without_the_index_nothing_is_remembered():
    with dask.config.set({"jp2batch.index.enabled": False}):
        located(first_image(), B02)
    assert siblings.sibling_lengths(*opened(sibling_image(0.01), B03)) is None


def test_of_files_with_free_requests_nothing_is_remembered():
    source = Timed(first_image(), path=B02, profile=replace(REMOTE, latency=0.0), etag=B02)
    opened_image = OpenImage.start(source)
    reading = run_steps(opened_image.steps(opened_image.selected(4)), fetcher(source, opened_image.pieces))
    learned = opened_image.learned_index(reading)
    assert learned is not None
    assert learned.tile_parts
    siblings.remember(source, opened_image.image.header, learned, reading.passed)
    assert siblings.sibling_lengths(*opened(sibling_image(0.01), B03)) is None


def test_pixels_are_exact_with_siblings_that_fit_or_not():
    """Read whole images of 81 tiles with OpenJPEG, each after the others."""
    painted = scene(702, bands=("B02", "B03", "B04"))
    coding = Coding(tile=(78, 78), code_block=(16, 16), precincts=(32, 32))
    names = (B02, B03, OTHER_DATE)
    with dask.config.set({"jp2batch.max-whole-file": 0, "jp2batch.first-read": 600}):
        for _ in range(2):
            for path, pixels in zip(names, (painted[band] for band in ("B02", "B03", "B04")), strict=True):
                data = encode(pixels, coding)
                for rlevel, window in ((0, None), (0, Window((300, 380), (40, 160))), (0, Window((600, 601), (9, 10)))):
                    source = Timed(data, path=path, profile=replace(REMOTE, bandwidth=1e6, line=1e7), etag=path)
                    values = read_from(source, lambda one, r=rlevel, w=window: one.selected(r, w)).values[0]
                    expected = pixels if window is None else pixels[slice(*window.rows), slice(*window.columns)]
                    np.testing.assert_array_equal(values, expected)
