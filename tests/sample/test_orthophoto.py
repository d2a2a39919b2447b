from dataclasses import replace

import numpy as np
import pytest

import jp2batch
from benchmarks.orthophotos import make_single_tile
from jp2batch.core.errors import InvalidRequest
from jp2batch.sample.orthophoto import ORTHOPHOTO, make_orthophoto, paint
from support.rewrite import COD, Codestream


def test_a_single_tile_without_packet_lengths(tmp_path):
    path = make_orthophoto(tmp_path / "new" / "o.jp2", 300)
    parsed = Codestream.parse(path.read_bytes())
    assert [part.segments for part in parsed.parts] == [()]
    assert parsed.find(COD)[:5] == bytes([0, 2, 0, 1, 1])  # RPCL, one layer, MCT
    read = jp2batch.read(str(path), 0)
    np.testing.assert_array_equal(read.values, paint(300, 3, 8))
    assert (float(read.x[0]), float(read.y[0])) == (499981, 5900039)


@pytest.mark.parametrize(
    ("changed", "bands", "bits"),
    [
        ({"progression": "LRCP", "precincts": (128, 128), "sop": True, "eph": True}, 3, 8),
        ({"reversible": False, "layers": 3, "rates": (80, 40, 20)}, 3, 8),
        ({"style": 63, "tlm": True}, 1, 12),
        ({"tile_parts": "R"}, 4, 15),
    ],
)
def test_other_codings(tmp_path, changed, bands, bits):
    coding = replace(ORTHOPHOTO, bits=bits, mct=bands == 3, **changed)
    path = make_orthophoto(tmp_path / "o.jp2", 200, bands=bands, coding=coding)
    read = jp2batch.read(str(path), 0).values.reshape(bands, 200, 200)
    if coding.reversible:
        np.testing.assert_array_equal(read, paint(200, bands, bits))
    assert read.max() > 1 << bits - 2


def test_large_images_repeat_the_landscape():
    pixels = paint(2100, 1, 15)
    assert pixels.shape == (1, 2100, 2100)
    np.testing.assert_array_equal(pixels[0, :, 2048:], pixels[0, :, 2047:1995:-1])


@pytest.mark.parametrize(("size", "bands"), [(59, 1), (100, 0), (100, 5)])
def test_impossible_images(tmp_path, size, bands):
    with pytest.raises(InvalidRequest, match=f"size {size}, {bands} bands"):
        make_orthophoto(tmp_path / "o.jp2", size, bands=bands)


def test_of_benchmarks_are_made_once(tmp_path):
    paths = [make_single_tile(tmp_path, 120, progression=order, precincts=size) for order, size in FILES]
    written = [path.stat().st_mtime_ns for path in paths]
    assert [path.name for path in paths] == ["orthophoto_120_RPCL_none.jp2", "orthophoto_120_LRCP_256.jp2"]
    assert [make_single_tile(tmp_path, 120, progression=o, precincts=s) for o, s in FILES] == paths
    assert [path.stat().st_mtime_ns for path in paths] == written


FILES = [("RPCL", None), ("LRCP", 256)]
