"""Many small tiles are decoded together, from the whole file: each alone would cost more than its pixels."""

import functools
from dataclasses import replace
from itertools import islice

import dask
import numpy as np
import pytest

from jp2batch.core.errors import CorruptImage
from jp2batch.core.request import Request
from jp2batch.core.store_settings import store_costs
from jp2batch.core.window import Window
from jp2batch.image import index
from jp2batch.image.fetch import run_steps
from jp2batch.image.inspect import plan_from
from jp2batch.image.open import OpenImage, memory_needed
from jp2batch.image.read import Pixels, read_from
from jp2batch.jpeg2000.geometry.grid import select
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.jpeg2000.plan.estimates import SMALL_TILES, favors_whole_file
from jp2batch.jpeg2000.syntax.markers import SOT_SIZE, Marker, Sot
from jp2batch.sample.coding import Coding
from jp2batch.sample.encode import encode
from jp2batch.storage.source import MemorySource
from support.whole_decode import whole_decode

TILES = 32
"""A side: just above a thousand in all."""
LOCAL, S3 = store_costs("file"), store_costs("s3")


@functools.cache
def pixels(side: int) -> np.ndarray:
    y, x = np.ogrid[:side, :side]
    return (y * 7 + x * 3 + np.random.default_rng(0).integers(0, 40, (side, side))).astype(np.uint16)


@functools.cache
def image(tile: int = 16) -> bytes:
    return encode(pixels(TILES * tile), Coding(tile=(tile, tile), bits=15, levels=2, precincts=None))


def read(data: bytes, rlevel: int, window: Window | None = None, store=LOCAL) -> Pixels:
    with dask.config.set({"jp2batch.index.enabled": False}):
        return read_from(MemorySource(data, profile=store), lambda opened: opened.selected(rlevel, window))


@pytest.mark.parametrize("store", [LOCAL, S3], ids=["local", "s3"])
@pytest.mark.parametrize("rlevel", [0, 1, 2])
def test_a_whole_image_of_small_tiles_is_decoded_at_once(rlevel, store):
    found = read(image(), rlevel, store=store)
    assert (found.stats.located_by, found.stats.precision, found.stats.reasons) == ("whole", "file", (SMALL_TILES,))
    assert found.stats.bytes_read == len(image())
    np.testing.assert_array_equal(found.values, next(islice(whole_decode(image()), rlevel, None)).array)


def test_a_window_is_decoded_from_its_tiles_alone():
    found = read(image(), 0, Window((100, 120), (60, 90)))
    assert found.stats.reasons == ()
    np.testing.assert_array_equal(found.values[0], pixels(TILES * 16)[100:120, 60:90])


def test_large_tiles_are_read_one_by_one():
    assert read(image(64), 0).stats.reasons == ()


def test_an_overview_of_large_tiles_fetches_little_of_a_distant_file():
    opened = OpenImage.start(MemorySource(image(64), profile=S3))
    header, codestream = opened.image.header, opened.image.container.codestream
    assert favors_whole_file(header, codestream, select(header, 2), LOCAL)
    far = codestream._replace(stop=1000 * codestream.stop)  # as if its tiles had a thousand times the bytes
    assert not favors_whole_file(header, far, select(header, 2), S3)


def test_without_memory_for_the_whole_image_tiles_are_read_one_by_one():
    with dask.config.set({"jp2batch.max-result": "2 MiB"}):
        found = read(image(), 0)
    assert found.stats.reasons == ()
    np.testing.assert_array_equal(found.values[0], pixels(TILES * 16))


def test_a_file_above_the_limit_of_whole_files_is_read_tile_by_tile():
    with dask.config.set({"jp2batch.max-whole-file": len(image()) - 1}):
        assert read(image(), 1).stats.reasons == ()


def test_a_missing_tile_is_an_error():
    data = bytearray(image())
    start = data.index(Marker.SOT.code + b"\0\x0a")
    second = start + Sot.parse(bytes(data[start : start + SOT_SIZE])).length
    data[second : second + SOT_SIZE] = replace_tile(bytes(data[second : second + SOT_SIZE]), 0)
    with pytest.raises(CorruptImage, match="tile 1"):
        read(bytes(data), 0)


def replace_tile(sot: bytes, tile: int) -> bytes:
    return Sot.parse(sot)._replace(tile=tile).encode()


@pytest.mark.parametrize("store", [LOCAL, S3], ids=["local", "s3"])
def test_the_plan_tells_the_bytes_of_the_whole_file(store):
    plan = plan_from(MemorySource(image(), profile=store), Request("x.jp2", 1))
    assert (plan.bytes, plan.located_by, plan.precision) == (len(image()), "whole", "file")
    assert plan.reasons == (SMALL_TILES,)


def test_the_memory_needed_includes_the_file():
    opened = OpenImage.start(MemorySource(image(), profile=S3))
    assert memory_needed(opened, select(opened.image.header, 1)) > len(image())


def learned() -> ImageIndex:
    opened = OpenImage.start(MemorySource(image(), profile=S3, etag='"1"'))
    reading = run_steps(opened.steps(select(opened.image.header, 2), headers_only=True), opened.fetch)
    return opened.learned_index(reading)


def test_an_index_has_all_tiles():
    assert len(learned().tile_parts) == TILES**2


@pytest.mark.parametrize("unverified", [False, True])
def test_a_shared_table_gives_no_byte_of_a_file_read_whole(unverified, monkeypatch):
    known = replace(learned(), unverified=unverified)
    forged = (known.header_bytes[0], *((at, data[:-1] + b"?") for at, data in known.header_bytes[1:]))
    told = replace(known, header_bytes=forged) if unverified else known
    monkeypatch.setattr(index, "recall", lambda _source: told)
    found = read_from(MemorySource(image(), profile=S3, etag='"1"'), lambda opened: opened.selected(0))
    assert found.stats.precision == "file"
    np.testing.assert_array_equal(found.values[0], pixels(TILES * 16))


def test_a_window_of_all_tiles_but_not_all_pixels_is_cut_out():
    side = TILES * 16
    found = read(image(), 0, Window((1, side - 2), (3, side)))
    assert found.stats.reasons == (SMALL_TILES,)
    np.testing.assert_array_equal(found.values[0], pixels(side)[1:-2, 3:])
