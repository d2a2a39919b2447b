"""Images of one tile without PLT: small parts fetch few bytes in few rounds; an index saves the rounds."""

import functools
from dataclasses import replace

import dask
import numpy as np
import pytest

from jp2batch.core.costs import StoreCosts
from jp2batch.core.request import Request
from jp2batch.core.store_settings import store_costs
from jp2batch.core.window import Window
from jp2batch.image.fetch import fetcher, run_steps
from jp2batch.image.inspect import plan_from
from jp2batch.image.open import OpenImage
from jp2batch.image.read import Pixels, read_from
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.jpeg2000.plan.tile_packets import TOO_SLOW, all_packet_headers
from jp2batch.sample.encode import encode
from jp2batch.sample.orthophoto import ORTHOPHOTO, paint
from jp2batch.storage.source import MemorySource
from support import rewrite

SIZE, LEVELS = 1536, 5
CODING = replace(ORTHOPHOTO, bits=15, code_block=(16, 16), mct=False)
"""As an image of 6144 pixels a side with code-blocks of 64, in which a window of 48 is as one of 192."""
WINDOW = Window((700, 748), (900, 948))
STORE = replace(store_costs("s3"), bandwidth=1.5e6, line=4e6)
"""What a store is to an image of forty times the size."""


class Rounds(MemorySource):
    """A source that counts its rounds of requests."""

    def __init__(self, data: bytes, store: StoreCosts = STORE) -> None:
        super().__init__(data, profile=store, etag='"1"')
        self.rounds = 0

    def read_many(self, ranges):
        self.rounds += 1
        return super().read_many(ranges)


@functools.cache
def image(progression: str = "RPCL", precincts: int | None = None, layers: int = 1) -> bytes:
    sizes = None if precincts is None else (precincts, precincts)
    return encode(pixels(), replace(CODING, progression=progression, precincts=sizes, layers=layers))


@functools.cache
def pixels() -> np.ndarray:
    return paint(SIZE, 1, CODING.bits)


def read(data: bytes, rlevel: int, window: Window | None, index: ImageIndex | None = None) -> tuple[Pixels, Rounds]:
    source = Rounds(data)
    with dask.config.set({"jp2batch.index.enabled": False}):
        found = read_from(source, lambda opened: opened.selected(rlevel, window), image_index=index)
    if rlevel == 0 and window is not None:
        np.testing.assert_array_equal(found.values, pixels()[:, slice(*window.rows), slice(*window.columns)])
    return found, source


@pytest.mark.parametrize("progression", ["LRCP", "RLCP", "RPCL", "PCRL", "CPRL"])
def test_a_window_fetches_headers_and_its_code_blocks(progression):
    data = image(progression)
    found, source = read(data, 0, WINDOW)
    assert (found.stats.precision, found.stats.reasons) == ("packets", ())
    assert found.stats.bytes_read <= 0.05 * len(data)  # of which packet headers of 9216 code-blocks are two thirds
    assert source.rounds <= LEVELS + 8


def test_an_overview_fetches_the_beginning_of_the_tile():
    data = image()
    found, source = read(data, LEVELS, None)
    assert found.stats.bytes_read <= 0.012 * len(data)
    assert source.rounds <= 3


def test_layers_are_chained_through():
    found, source = read(image("LRCP", layers=3), 0, WINDOW)
    assert found.stats.precision == "packets"
    assert source.rounds <= 3 * (LEVELS + 1) + 3


@pytest.mark.parametrize("marker", ["PPT", "PPM"])
def test_a_window_with_packet_headers_elsewhere_fetches_its_code_blocks(marker):
    coding = replace(CODING, eph=True, plt=True, code_block=(64, 64))
    data = rewrite.with_packed_headers(encode(pixels(), coding), in_parts=marker == "PPT")
    (part,) = rewrite.Codestream.parse(data).parts
    assert rewrite.PLT not in dict(part.segments)
    found, source = read(data, 0, WINDOW)
    assert (found.stats.precision, found.stats.reasons) == ("packets", ())
    assert found.stats.bytes_read <= 0.06 * len(data)  # code-blocks of 64 x 64 around a window of 48 x 48
    assert source.rounds <= 4


def test_a_second_window_takes_a_round():
    data = image()
    first, _ = read(data, 0, WINDOW)
    learned = first.opened.learned_index(
        run_steps(first.opened.steps(first.selection), fetcher(first.opened.source, first.opened.pieces))
    )
    found, source = read(data, 0, Window((100, 148), (1200, 1248)), learned)
    assert found.stats.located_by == "index"
    assert source.rounds == 1
    assert found.stats.bytes_read <= 0.02 * len(data)


def test_an_archive_is_indexed_by_its_packet_headers():
    data = image()
    opened = OpenImage.start(Rounds(data))
    reading = run_steps(opened.steps(opened.selected(0, None), headers_only=True), opened.fetch)
    steps = all_packet_headers(opened.pieces, opened.image.header, reading.tiles, opened.source.profile)
    tiles = run_steps(steps, opened.fetch)
    assert sum(span.size for tile in tiles.values() for span in tile.packet_headers) > 2 * SIZE**2 // 16**2
    index = opened.learned_index(replace(reading, tiles=tiles))
    assert index is not None
    found, source = read(data, 0, WINDOW, index)
    assert (found.stats.located_by, source.rounds) == ("index", 1)


def test_headers_of_another_file_are_not_believed():
    data = image()
    first, _ = read(data, 0, WINDOW)
    learned = first.opened.learned_index(
        run_steps(first.opened.steps(first.selection), fetcher(first.opened.source, first.opened.pieces))
    )
    assert learned is not None
    header_bytes = [(start, bytes(part)) for start, part in learned.header_bytes]
    start, part = max(header_bytes, key=lambda one: len(one[1]))
    header_bytes[header_bytes.index((start, part))] = (start, part[:200] + bytes([part[200] ^ 0x10]) + part[201:])
    wrong = replace(learned, header_bytes=tuple(header_bytes), unverified=True)
    read(data, 0, WINDOW, wrong)  # its pixels are checked


def test_many_small_precincts_are_not_chained_and_the_plan_says_so():
    data = image(precincts=32)
    corner = Window((SIZE - 48, SIZE), (SIZE - 48, SIZE))
    found, _ = read(data, 0, corner)
    assert (found.stats.precision, found.stats.reasons) == ("tile-parts", ("no usable PLT",))
    with dask.config.set({"jp2batch.index.enabled": False}):
        plan = plan_from(Rounds(data), Request("memory://a", 0, corner))
    assert plan.reasons == (TOO_SLOW,)
    assert "because" in str(plan)


def test_a_plan_of_a_window_is_near_its_cost():
    data = image()
    with dask.config.set({"jp2batch.index.enabled": False}):
        plan = plan_from(Rounds(data), Request("memory://a", 0, WINDOW))
    found, _ = read(data, 0, WINDOW)
    assert (plan.precision, plan.exact) == ("packets", False)
    assert 0.4 < plan.bytes / found.stats.bytes_read < 2.5
