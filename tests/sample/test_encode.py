import struct
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from jp2batch.core.errors import EncodingError
from jp2batch.image import openjpeg
from jp2batch.sample.encode import Coding, Progression, encode
from support import rewrite
from support.rewrite import COC, COD, PLM, PLT, POC, QCC, SIZ, TLM, Codestream, packet_lengths

ORDERS = ("LRCP", "RLCP", "RPCL", "PCRL", "CPRL")
SMALL = Coding(tile=(64, 48), code_block=(16, 16), precincts=(32, 32), levels=3, bits=8)
HEIGHT, WIDTH = 101, 130


def noise(coding, components=1):
    """Pixels of the full range, so that every subband of every tile has something to say."""
    random = np.random.default_rng(7)
    lowest = -(1 << coding.bits - 1) if coding.signed else 0
    return random.integers(lowest, lowest + (1 << coding.bits), (components, HEIGHT, WIDTH), dtype=np.int64)


def decoded(data, shape):
    out = np.empty(shape, np.int64)
    assert openjpeg.decode(data, out) == []
    return out


def check_lossless(coding, components=1):
    pixels = noise(coding, components)
    data = encode(pixels, coding)
    np.testing.assert_array_equal(decoded(data, pixels.shape), pixels)
    return data


def siz(data):
    return struct.unpack_from(">H8I", Codestream.parse(data).find(SIZ))


@pytest.mark.parametrize("components", [1, 3, 4])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("markers", [False, True])
@pytest.mark.parametrize("order", ORDERS)
def test_lossless_in_every_order(order, markers, layers, components):
    coding = replace(SMALL, progression=order, layers=layers, sop=markers, eph=markers, mct=components == 3)
    data = check_lossless(coding, components)
    cod = Codestream.parse(data).find(COD)
    assert cod[:5] == struct.pack(">BBHB", 7 if markers else 1, ORDERS.index(order), layers, components == 3)
    assert (b"\xff\x91\x00\x04" in data) is markers


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 8, 12, 15, 16, 20])
def test_exact_precision(bits, signed):
    data = check_lossless(replace(SMALL, bits=bits, signed=signed))
    assert Codestream.parse(data).find(SIZ)[36] == bits - 1 | signed << 7


@pytest.mark.parametrize("components", [1, 3])
def test_irreversible_is_close(components):
    coding = replace(SMALL, bits=12, reversible=False, mct=components == 3)
    pixels = noise(coding, components)
    data = encode(pixels, coding)
    np.testing.assert_allclose(decoded(data, pixels.shape), pixels, atol=2)
    assert Codestream.parse(data).find(COD)[9] == 0


@pytest.mark.parametrize("layers", [2, 3, 7])
def test_layers_refine(layers):
    pixels = noise(replace(SMALL, bits=12))
    data = Codestream.parse(encode(pixels, replace(SMALL, bits=12, layers=layers, precincts=None)))
    lengths = packet_lengths(data.parts[0])
    assert len(lengths) == layers * 4
    assert sum(lengths[4:]) > sum(lengths[:4]) > 0


@pytest.mark.parametrize("tile", [None, (64, 48), (8, 8), (500, 500)])
def test_tiles(tile):
    data = check_lossless(replace(SMALL, tile=tile, code_block=(4, 4)))
    width, height = tile or (WIDTH, HEIGHT)
    assert len(Codestream.parse(data).parts) == -(-WIDTH // width) * -(-HEIGHT // height)


def test_offsets():
    data = check_lossless(replace(SMALL, image_offset=(17, 9), tile_offset=(5, 3)))
    assert siz(data)[1:] == (WIDTH + 17, HEIGHT + 9, 17, 9, 64, 48, 5, 3)


@pytest.mark.parametrize("offset", [(0, 0), (3, 5)])
@pytest.mark.parametrize("steps", [(2, 2), (4, 1), (1, 3)])
def test_subsampled_components_take_the_samples_on_their_grid(steps, offset):
    coding = replace(SMALL, subsampling=(steps,), image_offset=offset)
    pixels = noise(coding)[0]
    columns, rows = (np.arange(start, start + size) for start, size in zip(offset, (WIDTH, HEIGHT), strict=True))
    expected = pixels[np.ix_(rows % steps[1] == 0, columns % steps[0] == 0)]
    np.testing.assert_array_equal(decoded(encode(pixels, coding), (1, *expected.shape))[0], expected)


def test_every_component_has_its_subsampling():
    data = encode(noise(SMALL, 3), replace(SMALL, subsampling=((1, 1), (2, 2), (4, 1))))
    assert Codestream.parse(data).find(SIZ)[36:] == bytes([7, 1, 1, 7, 2, 2, 7, 4, 1])


@pytest.mark.parametrize(
    ("precincts", "lowest_first"),
    [
        ((32, 32), "55 55 55 55"),
        (((64, 32), (16, 32)), "32 43 54 56"),
        (((128, 128), (64, 64), (32, 16), (8, 8)), "33 45 66 77"),
        (None, ""),
    ],
)
def test_precincts_are_given_highest_first(precincts, lowest_first):
    data = check_lossless(replace(SMALL, precincts=precincts, code_block=(4, 4)))
    cod = Codestream.parse(data).find(COD)
    assert cod[0] == (precincts is not None)
    assert cod[10:] == bytes.fromhex(lowest_first)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("letter", "parts"), [("R", 4), ("L", 2), ("C", 3)])
def test_tile_parts(order, letter, parts):
    coding = replace(SMALL, progression=order, tile_parts=letter, layers=2, precincts=None)
    parsed = Codestream.parse(check_lossless(coding, 3))
    assert len(parsed.parts) > len({part.tile for part in parsed.parts})
    if letter == order[0]:
        assert parsed.parts[0].total == parts


@pytest.mark.parametrize("order", ["RPCL", "CPRL"])
def test_tile_parts_of_several_precincts_at_the_first_letter(order):
    check_lossless(replace(SMALL, progression=order, tile_parts=order[0], layers=2), 3)


def test_progression_order_changes():
    changes = (
        Progression("CPRL", (0, 2), (0, 1)),
        Progression("PCRL", (2, 4), (0, 1)),
        Progression("RLCP", (0, 4), (1, 3)),
    )
    data = check_lossless(replace(SMALL, progression="CPRL", changes=changes, layers=2), 3)
    assert [marker for marker, _ in Codestream.parse(data).parts[0].segments] == [POC, PLT]


@pytest.mark.parametrize("raw", [False, True])
def test_plt_and_tlm_are_true(raw):
    data = encode(noise(SMALL), replace(SMALL, tlm=True, raw=raw))
    parsed = Codestream.parse(data)
    for part in parsed.parts:
        assert sum(packet_lengths(part)) == len(part.data)
    tlm = parsed.find(TLM)
    layout = ">BI" if tlm[1] >> 4 & 3 == 1 else ">HI"
    assert list(struct.iter_unpack(layout, tlm[2:])) == [(part.tile, len(part.to_bytes())) for part in parsed.parts]
    assert data.startswith(b"\xff\x4f\xff\x51") is raw


def test_without_plt():
    parsed = Codestream.parse(check_lossless(replace(SMALL, plt=False)))
    assert not any(part.segments for part in parsed.parts)


@pytest.mark.parametrize("style", [1, 2, 4, 8, 16, 32, 5, 42, 63])
def test_code_block_styles(style):
    one = replace(SMALL, tile=None, levels=1, code_block=(128, 32), precincts=None)
    data = check_lossless(replace(one, style=style, layers=2, plt=False))
    assert Codestream.parse(data).find(COD)[8] == style


def test_rates_bound_each_layer():
    coding = replace(SMALL, tile=None, bits=12, reversible=False, layers=3, rates=(10, 6, 3), precincts=None)
    pixels = noise(coding)
    parsed = Codestream.parse(encode(pixels, coding))
    of_layers = np.reshape(packet_lengths(parsed.parts[0]), (3, 4)).sum(axis=1)  # of progression LRCP
    np.testing.assert_allclose(of_layers.cumsum(), pixels.size * 12 / 8 / np.array(coding.rates), rtol=0.1)
    rest = replace(coding, reversible=True, layers=2, rates=(10, 1))
    np.testing.assert_array_equal(decoded(encode(pixels, rest), pixels.shape), pixels)


def test_jp2_boxes_stand_before_an_open_codestream():
    box = struct.pack(">I4s", 12, b"xml ") + b"<a/>"
    data = encode(noise(SMALL), SMALL, boxes=box)
    position = data.index(box)
    assert data[position + 12 : position + 24] == b"\0\0\0\0jp2c\xff\x4f\xff\x51"
    assert data[:32] == bytes.fromhex("0000000c6a5020200d0a870a00000014667479706a703220000000006a703220")
    np.testing.assert_array_equal(decoded(data, (1, HEIGHT, WIDTH)), noise(SMALL))


def test_default_is_a_60_m_band_of_esa():
    parsed = Codestream.parse(encode(np.zeros((400, 400), np.uint16)))
    assert parsed.find(COD) == bytes.fromhex("01 00 0001 00 04 00 00 00 01 66 66 66 66 66".replace(" ", ""))
    assert parsed.find(SIZ)[-3:] == bytes([14, 1, 1])


def test_same_pixels_same_bytes():
    assert encode(noise(SMALL)) == encode(noise(SMALL))
    assert b"OpenJPEG" not in encode(noise(SMALL))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"bits": 7}, "outside 0 … 127"),
        ({"bits": 8, "signed": True}, "outside -128 … 127"),
        ({"code_block": (128, 128)}, "cblockw_init"),
        ({"levels": 33}, "33 levels"),
        ({"layers": 0}, "0 layers"),
        ({"style": 64}, "no code-block style 64"),
        ({"style": -1}, "no code-block style -1"),
        ({"layers": 2, "rates": (20,)}, "1 rates, 2 layers"),
        ({"layers": 2, "rates": (20, 20)}, "not decreasing"),
        ({"layers": 2, "rates": (20, 0)}, "not decreasing"),
        ({"layers": 2, "rates": (float("nan"), 4)}, "not decreasing"),
        ({"progression": "LCRP"}, "progression order"),
        ({"subsampling": ((1, 1), (2, 2))}, "2 subsamplings"),
        ({"subsampling": ((200, 200),), "image_offset": (1, 1)}, "no sample"),
        ({"subsampling": ((256, 1),)}, "between 1 and 255"),
        ({"subsampling": ((0, 1),)}, "between 1 and 255"),
        ({"bits": 0}, "0 bits"),
        ({"bits": 32}, "32 bits"),
        ({"precincts": ()}, "0 sizes of precincts"),
        ({"precincts": ((64, 64),) * 34}, "34 sizes of precincts"),
        ({"changes": (Progression("RLCP", (0, 4), (0, 1)),) * 33}, "33 progression order changes"),
        ({"subsampling": ((64, 1),), "image_offset": (1, 0), "tile": (20, 20)}, "first tile is empty"),
        ({"subsampling": ((4, 1),), "image_offset": (1, 0)}, "cannot subsample tiles by 4"),
        ({"tile_offset": (5, 0)}, "first tile"),
        ({"image_offset": (64, 0)}, "first tile"),
        ({"tile_parts": "R"}, "cannot make these tile-parts"),
        ({"changes": (Progression("RLCP", (0, 3), (0, 1)), Progression("RLCP", (2, 4), (0, 1)))}, "overlap"),
    ],
)
def test_refused(changed, reason):
    with pytest.raises(EncodingError, match=reason):
        encode(noise(SMALL), replace(SMALL, **changed))


@pytest.mark.parametrize(
    "pixels", [np.zeros((2, 2)), np.zeros(5, int), np.zeros((0, 5), int), np.zeros((1, 1, 2, 2), int)]
)
def test_what_is_no_image(pixels):
    with pytest.raises(EncodingError, match="no image"):
        encode(pixels)


# What OpenJPEG 2.5 dies of


def one_sided(offset, levels, reversible):
    return Coding(tile=None, image_offset=offset, levels=levels, precincts=None, bits=8, reversible=reversible)


@pytest.mark.parametrize(
    ("coding", "shape"),
    [
        (one_sided((27, 16), 2, reversible=False), (3, 1)),  # columns 27 … 28, 14 … 14
        (one_sided((25, 16), 2, reversible=True), (3, 1)),  # columns 25 … 26, 13 … 13: an odd one
        (one_sided((36, 17), 2, reversible=True), (1, 1)),  # rows 17 … 18, 9 … 9; columns 36 … 37, 18 … 19
    ],
)
def test_a_resolution_without_samples_that_openjpeg_cannot_transform_is_refused(coding, shape):
    with pytest.raises(EncodingError, match="cannot transform an empty resolution"):
        encode(np.ones(shape, int), coding)


@pytest.mark.parametrize(
    ("coding", "shape"),
    [
        (one_sided((27, 16), 1, reversible=False), (3, 1)),
        (one_sided((27, 16), 2, reversible=True), (3, 1)),  # the columns are even
        (one_sided((16, 27), 2, reversible=False), (1, 3)),
        (one_sided((36, 17), 2, reversible=True), (1, 2)),  # there are two columns
    ],
)
def test_other_resolutions_without_samples_are_coded(coding, shape):
    pixels = np.full(shape, 100)
    far = 0 if coding.reversible else 20  # its 9/7 transform is wrong about single samples at odd places
    np.testing.assert_allclose(decoded(encode(pixels, coding), (1, *shape))[0], pixels, atol=far)


@pytest.mark.parametrize(("bits", "reversible"), [(20, True), (16, False)])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 65), (2, 17)])
def test_small_code_blocks_are_not_terminated_at_each_pass(bits, reversible, shape):
    coding = Coding(tile=None, levels=0, precincts=None, code_block=(64, 64), bits=bits, style=4, reversible=reversible)
    with pytest.raises(EncodingError, match="so small code-blocks"):
        encode(np.ones(shape, int), coding)
    assert encode(np.ones((64, 64), int), coding)


RANDOM = """
import random, sys
import numpy as np
from jp2batch.image import openjpeg
from jp2batch.core.errors import EncodingError
from jp2batch.sample.encode import Coding, encode


def coding(chance, height, width):
    offset = (chance.randrange(70), chance.randrange(70))
    tile = (chance.randint(1, 80), chance.randint(1, 80))
    first = tuple(max(0, start - chance.randrange(size)) for start, size in zip(offset, tile))
    sizes = tile if chance.random() < 0.6 else tuple(o + n - f for o, n, f in zip(offset, (width, height), first))
    return Coding(
        tile=sizes, tile_offset=first, image_offset=offset, levels=chance.randrange(min(sizes).bit_length()),
        code_block=chance.choice([(4, 4), (16, 16), (64, 64), (4, 1024), (1024, 4)]),
        precincts=chance.choice([None, (64, 64), (256, 32)]), layers=chance.choice([1, 1, 3]),
        progression=chance.choice(["LRCP", "RLCP", "RPCL", "PCRL", "CPRL"]), reversible=chance.random() < 0.5,
        subsampling=chance.choice([None, ((chance.randint(1, 5), chance.randint(1, 5)),)]),
        bits=chance.choice([1, 8, 15, 20]), style=chance.choice([0, 0, chance.randrange(64)]),
        sop=chance.random() < 0.2, tlm=chance.random() < 0.3,
    )


for seed in range(int(sys.argv[1]), int(sys.argv[2])):
    chance = random.Random(seed)
    height, width = (chance.choice([1, 2, 3, chance.randint(1, 60)]) for _ in range(2))
    how = coding(chance, height, width)
    pixels = np.random.default_rng(seed).integers(0, 1 << how.bits, (height, width))
    print(seed, end=" ", flush=True)
    try:
        data = encode(pixels, how)
    except EncodingError as error:
        print("refused:", error)
        continue
    (dx, dy), (x, y) = (how.subsampling or [(1, 1)])[0], how.image_offset
    expected = pixels[-y % dy :: dy, -x % dx :: dx]
    found = np.zeros((1, *expected.shape), int)
    openjpeg.decode(data, found)
    print("coded" if not how.reversible or np.array_equal(found[0], expected) else f"damaged: {how}")
"""


@pytest.mark.parametrize(
    "start", [0, 1000, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in range(2000, 20000, 1000))]
)
def test_random_codings_are_coded_or_refused(start):
    command = [sys.executable, "-c", RANDOM, str(start), str(start + 1000)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, (lines[-1:], done.stderr[-1000:])
    assert [line for line in lines if "damaged" in line] == []
    told = [line.partition(" ")[2] for line in lines]
    assert told.count("coded") > 400
    assert sum("cannot transform" in line for line in told) > 5
    assert sum("cannot subsample" in line for line in told) > 5


# tests/support/rewrite.py


@pytest.mark.parametrize("st", [0, 1, 2])
@pytest.mark.parametrize("sp", [2, 4])
def test_rewritten_tlm(st, sp):
    data = rewrite.with_tlm(encode(noise(SMALL), SMALL), st=st, sp=sp, entries=4, backwards=True)
    found = [content for marker, content in Codestream.parse(data).segments if marker == TLM]
    assert [content[0] for content in found] == [2, 1, 0]
    assert {len(content[2:]) for content in found} == {4 * (st + sp), (st + sp)}
    assert rewrite.without(data, TLM) == encode(noise(SMALL), SMALL)


@pytest.mark.parametrize(
    "change",
    [
        rewrite.with_coc_and_qcc,
        rewrite.with_plm,
        rewrite.with_last_length_zero,
        lambda data: rewrite.with_plt_pieces(data, largest=7),
        lambda data: rewrite.with_tile_parts(data, packets=3),
        lambda data: rewrite.with_tile_parts(data, packets=5, interleaved=True, total_known=False),
        lambda data: rewrite.with_tile_order(data, [8, 0, 7, 1, 6, 2, 5, 3, 4]),
        lambda data: rewrite.with_box_length(data, "short", behind=b"\0\0\0\x0cxml <a/>"),
        lambda data: rewrite.with_box_length(data, "long"),
        lambda data: rewrite.without(data, PLT),
    ],
)
def test_rewriting_keeps_the_pixels(change):
    pixels = noise(SMALL, 3)
    data = encode(pixels, replace(SMALL, layers=2, mct=True))
    changed = change(data)
    assert changed != data
    np.testing.assert_array_equal(decoded(changed, pixels.shape), pixels)


def test_rewriting_adds_what_it_says():
    data = encode(noise(SMALL, 3), SMALL)
    parsed = Codestream.parse(rewrite.with_plm(rewrite.with_coc_and_qcc(data)))
    markers = [marker for marker, _ in parsed.segments]
    assert (markers.count(COC), markers.count(QCC), markers.count(PLM) > 0) == (3, 3, True)
    assert not any(part.segments for part in parsed.parts)
    assert rewrite.with_box_length(rewrite.with_box_length(data, "long"), "open") == data
