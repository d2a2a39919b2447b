"""A tile is complete where that is proven: TNsot may tell too few tile-parts, too many, or nothing."""

from collections.abc import Sequence
from dataclasses import replace

import dask
import numpy as np
import pytest

from jp2batch.core.costs import StoreCosts
from jp2batch.core.errors import CorruptImage
from jp2batch.core.window import Window
from jp2batch.image import openjpeg
from jp2batch.image.read import Pixels, read_from
from jp2batch.jpeg2000.locate.strategies import Cost, WalkStrategy
from jp2batch.jpeg2000.plan import planner
from jp2batch.sample.encode import Coding
from jp2batch.storage.source import MemorySource
from support import rewrite
from support.images import Made
from support.oracle import random_window
from support.rewrite import COC, COD, PLT, POC, QCD, Codestream, Part

TILES = Made(Coding(tile=(30, 26), precincts=(32, 32), code_block=(8, 8), levels=2, layers=2, raw=True))
ONE = Made(Coding(tile=None, precincts=(32, 32), code_block=(8, 8), levels=2, raw=True))
LOCAL = StoreCosts(latency=0, bandwidth=1e9, connections=8)
REMOTE = StoreCosts(latency=0.03, bandwidth=60e6, connections=128)
FREE, DEAR = Cost(0, 0, 0.0, 0.0), Cost(0, 0, 1e9, 0.0)


def divided(made: Made, parts: int, *, interleaved: bool = False, plt: bool = True) -> Codestream:
    """Divide each tile into so many tile-parts."""
    packets = len(rewrite.packet_lengths(Codestream.parse(made.data).parts[0]))
    data = rewrite.with_tile_parts(made.data, packets=-(-packets // parts), interleaved=interleaved)
    return Codestream.parse(data if plt else rewrite.without(data, PLT))


def telling(codestream: Codestream, total: int) -> bytes:
    """Let TNsot tell so many tile-parts more than there are."""
    parts = tuple(replace(part, total=part.total + total) for part in codestream.parts)
    return replace(codestream, parts=parts).to_bytes()


@pytest.fixture(params=["walk", "stretches", "interpolation", "by cost"])
def way(request, monkeypatch) -> str:
    """Find tile-parts in one way, by force."""
    pace, interpolated = {
        "walk": (WalkStrategy(1, 100, FREE), DEAR),
        "stretches": (WalkStrategy(5, 8, FREE), DEAR),
        "interpolation": (WalkStrategy(1, 100, DEAR), FREE),
        "by cost": (None, None),
    }[request.param]
    if pace is not None:
        monkeypatch.setattr(planner, "_walks", lambda *_: (pace, interpolated))
        monkeypatch.setattr(planner, "rank_strategies", lambda *_, **__: ["walk", "whole"])
    return str(request.param)


def read(data: bytes, rlevel: int, window: Window | None = None, store: StoreCosts = LOCAL) -> Pixels:
    settings = {"jp2batch.index.enabled": False, "jp2batch.first-read": 300}
    with dask.config.set(settings):
        return read_from(MemorySource(data, profile=store), lambda opened: opened.selected(rlevel, window))


def verify(data: bytes, made: Made, *, windows: int = 6) -> Pixels:
    """Check that all levels and some windows are read as OpenJPEG decodes the image; return the last."""
    rng = np.random.default_rng(8)
    for rlevel in range(made.coding.levels + 1):
        for store in (LOCAL, REMOTE):
            np.testing.assert_array_equal(read(data, rlevel, None, store).values, made.oracle.at(rlevel))
    for _ in range(windows):
        window = random_window(rng, made.oracle.shape[1:])
        pixels = read(data, 0, window, REMOTE)
        np.testing.assert_array_equal(pixels.values, made.oracle.window(0, window))
    return pixels


def verify_like_openjpeg(data: bytes, made: Made) -> None:
    """Check that a file is read as OpenJPEG decodes it, or refused as well."""
    expected = np.zeros_like(made.oracle.at(0))
    try:
        openjpeg.decode(data, expected)
    except CorruptImage:
        for store in (LOCAL, REMOTE):
            with pytest.raises(CorruptImage):
                read(data, 0, None, store)
    else:
        for store in (LOCAL, REMOTE):
            np.testing.assert_array_equal(read(data, 0, None, store).values, expected)


@pytest.mark.parametrize("plt", [True, False], ids=["PLT", "no PLT"])
@pytest.mark.parametrize("interleaved", [False, True], ids=["contiguous", "interleaved"])
@pytest.mark.parametrize(("parts", "total"), [(3, -1), (2, 0), (3, 0), (2, 1), (3, 1), (2, 3)])
def test_tnsot_ends_no_search(way, parts, total, interleaved, plt):
    verify(telling(divided(TILES, parts, interleaved=interleaved, plt=plt), total), TILES)


@pytest.mark.parametrize("interleaved", [False, True], ids=["contiguous", "interleaved"])
@pytest.mark.parametrize("made", [TILES, ONE], ids=["16 tiles", "1 tile"])
def test_where_tnsot_is_1_and_too_low_openjpeg_decides(way, made, interleaved):
    """Its versions differ: since 2.5.1 it looks for no more tile-parts, and decodes the first ones, or refuses."""
    data = telling(divided(made, 2, interleaved=interleaved), -1)
    verify_like_openjpeg(data, made)


@pytest.mark.parametrize("total", [-1, 2])
def test_tnsot_ends_no_search_in_an_image_of_one_tile(way, total):
    verify(telling(divided(ONE, 4), total), ONE)


def test_some_tiles_may_tell_one_too_few_and_others_nothing(way):
    old = divided(TILES, 3)
    parts = tuple(replace(part, total=0 if part.tile % 3 == 1 else part.total - 1) for part in old.parts)
    verify(replace(old, parts=parts).to_bytes(), TILES)


@pytest.mark.parametrize("total", [0, None])
def test_tlm_that_names_no_tiles_is_believed_only_for_one_tile_part_a_tile(total):
    old = divided(TILES, 3, interleaved=True)
    parts = tuple(replace(part, total=part.total if total is None else total) for part in old.parts)
    verify(rewrite.with_tlm(replace(old, parts=parts).to_bytes(), st=0), TILES)


@pytest.mark.parametrize("own", [QCD, COC, POC], ids=["QCD", "COC", "POC"])
def test_a_tile_part_that_nobody_tells_of_may_still_change_how_its_tile_is_coded(way, own):
    """It has no packets, and TPsot = TNsot: PLT of the others lists all there are."""
    old = divided(ONE, 2)
    cod, qcd = old.find(COD), old.find(QCD)
    content = {
        QCD: bytes([qcd[0] ^ 0x20]) + qcd[1:],
        COC: bytes([0, cod[0] & 1, cod[5], cod[6], cod[7], cod[8] ^ 8]) + cod[9:],
        POC: bytes([0, 0, 0, 1, 1, 1, cod[1]]),
    }[own]
    data = replace(old, parts=(*old.parts, Part(0, 2, 2, ((own, content),), b""))).to_bytes()
    verify_like_openjpeg(data, ONE)


def test_only_the_last_tile_part_may_have_no_length():
    """OpenJPEG lets it reach to the end, and fills all tiles behind it with zeros."""
    data = rewrite.with_tlm(TILES.data)
    at = data.index(b"\xff\x90\0\x0a", len(data) // 2)
    with pytest.raises(CorruptImage):
        read(data[: at + 6] + bytes(4) + data[at + 10 :], 0)


def repeated(data: bytes, tiles: Sequence[int]) -> bytes:
    """Append some tiles once more, which are other tiles' packets."""
    old = Codestream.parse(data)
    own = {part.tile: part for part in old.parts}
    again = tuple(replace(own[(tile + 1) % len(own)], tile=tile) for tile in tiles)
    return replace(old, parts=(*old.parts, *again)).to_bytes()


@pytest.mark.parametrize("plt", [True, False], ids=["PLT", "no PLT"])
@pytest.mark.parametrize("tiles", [range(16), range(10, 16), [15], [0]], ids=["all", "last", "the last", "first"])
def test_tiles_that_come_once_more_change_nothing(way, tiles, plt):
    data = repeated(TILES.data, tiles)
    verify(data if plt else rewrite.without(data, PLT), TILES)


def test_what_follows_the_codestream_changes_nothing(way):
    other = rewrite.with_tile_order(TILES.data, range(15, -1, -1))
    for behind in (other, other[:5000], bytes(100), b"\xff\xd9", TILES.data[-4000:]):
        verify(TILES.data + behind, TILES, windows=2)


def cut(codestream: Codestream, *, parts: int, eoc: bool) -> bytes:
    data = replace(codestream, parts=codestream.parts[:parts]).to_bytes()
    return data if eoc else data[:-2]


def test_a_file_without_eoc_is_read_where_all_tiles_are_proven_to_be_there():
    data = TILES.data[:-2]
    verify(data, TILES)
    assert read(data, 1).stats.reasons == ("EOC is missing",)
    assert read(data, 1).stats.precision == "packets"
    assert read(data, 1, Window((0, 5), (0, 5))).stats.reasons == ()  # nobody has looked


def test_a_file_whose_tnsot_is_0_is_read_without_eoc_where_openjpeg_reads_it():
    """As files of SPOT 6 are."""
    old = Codestream.parse(TILES.data)
    verify(cut(replace(old, parts=tuple(replace(part, total=0) for part in old.parts)), parts=16, eoc=False), TILES)


@pytest.mark.parametrize("total", [-1, 0])
@pytest.mark.parametrize("share", [1 / 3, 0.7, 0.99])
def test_a_file_that_is_cut_short_is_refused(way, total, share):
    data = telling(divided(TILES, 3), total)
    for rlevel in (0, 2):
        with pytest.raises(CorruptImage):
            read(data[: int(len(data) * share)], rlevel)


def test_a_file_that_is_cut_between_tile_parts_is_refused(way):
    for total in (-1, 0):
        with pytest.raises(CorruptImage):
            read(cut(Codestream.parse(telling(divided(TILES, 3), total)), parts=20, eoc=False), 0)


def test_missing_tiles_are_refused_though_openjpeg_fills_them_with_zeros(way):
    with pytest.raises(CorruptImage, match=r"parts of 3 tiles are missing \(tile 13, 14, 15\)"):
        read(cut(Codestream.parse(TILES.data), parts=13, eoc=True), 0)


def test_a_last_tile_part_without_length_may_be_followed_by_anything(way):
    for data in (rewrite.with_last_length_zero(TILES.data), rewrite.with_last_length_zero(TILES.data) + bytes(50)):
        verify(data, TILES)


def test_eoc_in_the_middle_ends_the_search_at_once():
    """Interpolation once went on for ever. The packets are zeros: only headers matter here."""
    many = Made(Coding(tile=(8, 8), levels=1, precincts=(8, 8), code_block=(4, 4), raw=True))
    old, size = Codestream.parse(many.data), 600_000
    parts = [Part(tile, 0, 1, (), bytes(size)) for tile in range(60)]
    data = replace(old, parts=tuple(parts)).to_bytes() + bytes(100 * size)
    source = MemorySource(data, profile=replace(REMOTE, line=125e6))
    with pytest.raises(CorruptImage, match="tile 60"):  # of 15 in a row
        read_from(source, lambda opened: opened.selected(0, Window((32, 40), (0, 8))))
