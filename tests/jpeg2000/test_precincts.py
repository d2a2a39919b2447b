"""Of a window only the precincts are read that it is made of, and only its own area is decoded: exactly."""

from dataclasses import replace

import dask
import numpy as np
import pytest

from jp2batch.core.window import Window, WindowLike
from jp2batch.image import openjpeg
from jp2batch.image.read import OpenImage, Pixels, read_from
from jp2batch.jpeg2000 import assemble
from jp2batch.jpeg2000.geometry.grid import select
from jp2batch.jpeg2000.geometry.precinct_grids import tile_precincts
from jp2batch.jpeg2000.geometry.precincts import is_partial, wanted_area, wanted_precincts
from jp2batch.sample.encode import Coding
from jp2batch.storage.source import MemorySource
from support import rewrite
from support.images import SIZE, Made, choice_id, made, pairwise_choices
from support.oracle import random_window, verify_fetched_once
from support.reads import FREE, REMOTE

MANY = Made(Coding(tile=(128, 128), precincts=(16, 16), code_block=(4, 4), levels=3, tlm=True))
"""One tile of 101 x 118 samples, in 7 x 8 precincts, and as many in each subband below."""


def read(data: bytes, rlevel: int, window: WindowLike | None, store=FREE) -> Pixels:
    source = MemorySource(data, profile=store)
    with dask.config.set({"jp2batch.max-whole-file": 0, "jp2batch.first-read": 300}):
        pixels = read_from(source, lambda opened: opened.selected(rlevel, window and Window.parse(window)), threads=1)
    verify_fetched_once(source)
    return pixels


def edge_windows() -> list[WindowLike]:
    """Return single pixels and slivers in the corners, at the edges and about the middle."""
    rows, columns = SIZE
    starts = [(y, x) for y in (0, 47, rows - 1) for x in (0, 63, columns - 1)]
    pixels = [((y, y + 1), (x, x + 1)) for y, x in starts]
    return [*pixels, ((0, rows), (60, 61)), ((31, 33), (0, columns)), ((0, 9), (0, 9)), ((92, rows), (110, columns))]


def small(choice: dict) -> dict:
    """Let a choice of codings have small precincts, and PLT to tell their packets apart."""
    return choice | {"plt": True, "precincts": ((32, 16), (16, 8)) if choice["layers"] == 1 else (16, 16)}


@pytest.mark.parametrize("part", [0.0, 2.0], ids=["decoded whole", "decoded in part"])
@pytest.mark.parametrize("choice", [small(choice) for choice in pairwise_choices()], ids=choice_id)
def test_windows_of_any_coding_are_exact(choice, part, monkeypatch):
    monkeypatch.setattr(assemble, "_PART", part)
    image, rng = made(**choice), np.random.default_rng(5)
    rows, columns = image.oracle.shape[1:]
    for rlevel in range(image.coding.levels + 1):
        windows = [((0, rows), (0, 1)), ((rows - 1, rows), (columns - 1, columns))]
        for _ in range(3):
            windows.append(random_window(rng, (rows, columns)))
            (y0, y1), (x0, x1) = random_window(rng, (rows, columns))
            windows.append(((y0, min(y0 + 5, y1)), (x0, min(x0 + 5, x1))))
        for window in windows:
            expected = image.oracle.window(rlevel, window)
            if expected.size:
                np.testing.assert_array_equal(read(image.data, rlevel, window).values, expected)


@pytest.mark.parametrize("reversible", [True, False], ids=["5/3", "9/7"])
@pytest.mark.parametrize("progression", ["LRCP", "RLCP", "RPCL", "PCRL", "CPRL"])
@pytest.mark.parametrize("store", [FREE, REMOTE], ids=["free", "remote"])
def test_pixels_edges_and_slivers_are_exact_and_take_packets_alone(reversible, progression, store):
    image = Made(replace(MANY.coding, reversible=reversible, progression=progression))
    for rlevel in range(image.coding.levels + 1):
        for window in edge_windows():
            expected = image.oracle.window(rlevel, window)
            if expected.size:
                pixels = read(image.data, rlevel, window, store)
                np.testing.assert_array_equal(pixels.values, expected)
                assert (pixels.stats.precision, pixels.stats.reasons) == ("packets", ())


def test_smaller_windows_never_take_more_bytes():
    sizes = [
        read(MANY.data, 0, ((50 - n, 50 + n), (60 - n, 60 + n))).stats.bytes_read for n in (1, 4, 10, 20, 30, 40, 50)
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] < 0.3 * sizes[-1]
    assert sizes[-1] < len(MANY.data)


@pytest.mark.parametrize("rlevel", range(4))
def test_a_window_of_everything_wants_all_precincts(rlevel):
    header = OpenImage.start(MemorySource(MANY.data)).image.header
    everything = select(header, rlevel)
    assert not is_partial(header, everything, 0)
    wanted = wanted_precincts(header, everything, 0, tile_precincts(header, 0))
    assert all(precincts.all for precincts in wanted.values())
    assert sorted({resolution for _, resolution in wanted}) == list(range(4 - rlevel))
    assert wanted_area(header, everything) == everything.area.height * everything.area.width


def test_what_a_pixel_wants_is_around_it():
    header = OpenImage.start(MemorySource(MANY.data)).image.header
    wanted = wanted_precincts(header, select(header, 0, Window((40, 41), (72, 73))), 0, tile_precincts(header, 0))
    rows, columns = tile_precincts(header, 0)[0][3]
    assert (rows.count, columns.count) == (7, 8)
    highest = wanted[0, 3]
    assert (highest.rows, highest.columns) == (range(2, 3), range(4, 5))  # its own: 16 pixels each way
    assert 2 * 8 + 4 in highest
    assert 2 * 8 + 5 not in highest
    assert 3 * 8 + 4 not in highest
    assert wanted[0, 0].all


def test_precincts_of_the_largest_size_take_whole_tile_parts():
    image = Made(replace(MANY.coding, precincts=None))
    assert read(image.data, 0, ((3, 5), (7, 9))).stats.precision == "tile-parts"


def test_without_plt_a_window_takes_whole_tile_parts():
    stats = read(rewrite.without(MANY.data, rewrite.PLT, rewrite.TLM), 0, ((3, 5), (7, 9))).stats
    assert (stats.precision, stats.reasons) == ("tile-parts", ("no usable PLT",))


@pytest.mark.parametrize("step", [-1, 1])
@pytest.mark.parametrize("progression", ["LRCP", "PCRL"])
def test_a_plt_that_lies_about_a_window_is_found_out(step, progression):
    image = Made(replace(MANY.coding, progression=progression, tlm=False, precincts=(64, 32), code_block=(8, 8)))
    window = ((40, 50), (60, 70))
    for index in range(len(rewrite.packet_lengths(rewrite.Codestream.parse(image.data).parts[0])) - 1):

        def moved(lengths: list[int], index: int = index) -> list[int]:
            return [max(1, n + step * ((i == index) - (i == index + 1))) for i, n in enumerate(lengths)]

        lie = rewrite.with_lengths(image.data, moved)
        for rlevel in (0, 1):
            np.testing.assert_array_equal(read(lie, rlevel, window).values, image.oracle.window(rlevel, window))


@pytest.mark.parametrize("reversible", [True, False], ids=["5/3", "9/7"])
@pytest.mark.parametrize("reduce", [0, 1, 2])
def test_an_area_can_be_decoded_alone(reversible, reduce):
    image = Made(replace(MANY.coding, reversible=reversible))
    whole, rng = image.oracle.at(reduce), np.random.default_rng(1)
    border = 0 if reversible else 1 << 3 - reduce
    rows, columns = whole.shape[1:]
    for _ in range(30):
        (y0, y1), (x0, x1) = random_window(rng, (rows, columns))
        left, top = max(0, x0 - border), max(0, y0 - border)
        right, bottom = min(columns, x1 + border), min(rows, y1 + border)
        out = np.zeros((1, y1 - y0, x1 - x0), whole.dtype)
        area = left << reduce, top << reduce, ((right - 1) << reduce) + 1, ((bottom - 1) << reduce) + 1
        openjpeg.decode(image.data, out, reduce=reduce, area=area, origin=(y0 - top, x0 - left))
        np.testing.assert_array_equal(out, whole[:, y0:y1, x0:x1])
