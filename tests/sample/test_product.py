import re
import struct
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from defusedxml import ElementTree

from jp2batch.core.errors import InvalidRequest
from jp2batch.image import openjpeg
from jp2batch.sample.georeference import tile_corner
from jp2batch.sample.product import BANDS, DATE, make_image, make_product, scene
from support.rewrite import COD, PLT, QCD, SIZ, TLM, Codestream, packet_lengths

SIZE = 252
SAFE = r"S2A_MSIL(2A|1C)_\d{8}T\d{6}_N0400_R023_T\d\d[A-Z]{3}_\d{8}T\d{6}\.SAFE"
STEM = r"T29UNU_20221005T115411"
GRANULE = r"GRANULE/L2A_T29UNU_A038058_20221005T115407"
LAYOUT = rf"""MTD_MSIL2A\.xml
|{GRANULE}/MTD_TL\.xml
|{GRANULE}/QI_DATA/{STEM}_PVI\.jp2
|{GRANULE}/IMG_DATA/R(?P<r>10|20|60)m/{STEM}_(B(0[1-9]|8A|1[12])|TCI|AOT|SCL)_(?P=r)m\.jp2"""


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    return make_product(tmp_path_factory.mktemp("product"), size=SIZE)


def files(root):
    return {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}


def image(root, name):
    return next(root.rglob(f"*_{name}.jp2"))


def parsed(path):
    return Codestream.parse(path.read_bytes())


def decoded(path):
    data = path.read_bytes()
    stream = Codestream.parse(data)
    width, height = struct.unpack_from(">2I", stream.find(SIZ), 2)
    components = int.from_bytes(stream.find(SIZ)[34:36])
    out = np.empty((components, height, width), np.uint16)
    assert openjpeg.decode(data, out) == []
    return out


def test_is_named_and_laid_out_as_the_real_one(product):
    assert product.name == "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454.SAFE"
    names = files(product)
    assert all(re.fullmatch(LAYOUT, name, re.VERBOSE) for name in names)
    endings = sorted(re.search(r"_(\w{3}(_\d\dm)?)\.jp2$", name)[1] for name in names if name.endswith("jp2"))
    assert endings == sorted(
        [
            *("PVI", "B08_10m", "SCL_20m", "SCL_60m", "B8A_20m", "B8A_60m", "B11_20m", "B11_60m"),
            *(f"{name}_{metres}m" for name in ("B02", "B03", "B04", "TCI", "AOT") for metres in (10, 20, 60)),
        ]
    )


def test_level_1c(tmp_path):
    root = make_product(tmp_path, size=120, level="L1C", bands=("B01", "B02", "B11"))
    assert re.fullmatch(SAFE, root.name)
    granule = "GRANULE/L1C_T29UNU_A038058_20221005T115407"
    images = {f"{granule}/IMG_DATA/{STEM}_{name}.jp2" for name in ("B01", "B02", "B11", "TCI")}
    others = {"MTD_MSIL1C.xml", f"{granule}/MTD_TL.xml", f"{granule}/QI_DATA/{STEM}_PVI.jp2"}
    assert set(files(root)) == images | others
    assert decoded(image(root, "B01")).shape == (1, 20, 20)
    metadata = ElementTree.parse(root / "MTD_MSIL1C.xml")
    assert [node.text for node in metadata.iter("QUANTIFICATION_VALUE")] == ["10000"]
    assert {node.text for node in metadata.iter("RADIO_ADD_OFFSET")} == {"-1000"}


@pytest.mark.parametrize(
    ("name", "side", "bits", "colours", "tile_and_style"),
    [
        ("B04_10m", 252, 15, 1, "1024: 04 04 00 01 88 88 88 88 88"),
        ("TCI_10m", 252, 8, 3, "1024: 04 04 00 01 88 88 88 88 88"),
        ("B8A_20m", 126, 15, 1, "640: 01 01 00 01 77 77 77 77 77"),
        ("SCL_20m", 126, 8, 1, "640: 01 01 00 01 77 77 77 77 77"),
        ("B11_60m", 42, 15, 1, "192: 00 00 00 01 66 66 66 66 66"),
        ("AOT_60m", 42, 15, 1, "192: 00 00 00 01 66 66 66 66 66"),
        ("TCI_60m", 42, 8, 3, "256: 02 02 00 01 77 77 77 77 77"),
        ("PVI", 7, 8, 3, "8: 02 02 00 01 77 77 77 77"),
    ],
)
def test_is_coded_as_esa_codes(product, name, side, bits, colours, tile_and_style):  # noqa: PLR0917
    stream = parsed(image(product, name))
    tile, style = int(tile_and_style.partition(":")[0]), bytes.fromhex(tile_and_style.partition(":")[2])
    levels = len(style) - 5
    assert stream.find(SIZ) == struct.pack(">HIIIIIIIIH", 0, side, side, 0, 0, tile, tile, 0, 0, colours) + (
        bytes([bits - 1, 1, 1]) * colours
    )
    assert stream.find(COD) == struct.pack(">BBHBB", 1, 0, 1, colours == 3, levels) + style
    assert stream.find(QCD)[0] & 31 == 0
    assert TLM not in dict(stream.segments)
    assert len(stream.parts) == (-(-side // tile)) ** 2
    for part in stream.parts:
        assert [marker for marker, _ in part.segments] == [PLT]
        assert sum(packet_lengths(part)) == len(part.data)


def test_boxes_are_those_of_esa(product):
    for path in product.rglob("*.jp2"):
        boxes, position, data = [], 0, parsed(path).boxes
        while position < len(data):
            length, kind = struct.unpack_from(">I4s", data, position)
            boxes.append((kind, length))
            position += length or len(data)
        assert [kind for kind, _ in boxes] == [b"jP  ", b"ftyp", b"jp2h", b"asoc", b"jp2c"]
        assert boxes[-1][1] == 0


@pytest.mark.parametrize(
    ("name", "side", "position", "metres"),
    [
        ("B02_10m", 252, "499985 5900035", 10),
        ("B02_20m", 126, "499990 5900030", 20),
        ("B02_60m", 42, "500010 5900010", 60),
        ("PVI", 7, "500140 5899880", 320),
    ],
)
def test_georeference_is_the_centre_of_the_upper_left_pixel(product, name, side, position, metres):
    boxes = parsed(image(product, name)).boxes
    start = boxes.index(b"<?xml")
    root = ElementTree.fromstring(boxes[start : boxes.rindex(b">") + 1])
    gml = "{http://www.opengis.net/gml}"
    assert [node.text for node in root.iter(f"{gml}pos")] == [position]
    assert [node.text for node in root.iter(f"{gml}high")] == [f"{side} {side}"]
    assert [node.text for node in root.iter(f"{gml}offsetVector")] == [f"{metres} 0", f"0 -{metres}"]
    assert {node.get("srsName") for node in root.iter(f"{gml}Point")} == {"urn:ogc:def:crs:EPSG::32629"}


def test_metadata(product):
    metadata = ElementTree.parse(product / "MTD_MSIL2A.xml")
    texts = {node.tag: node.text for node in metadata.iter()}
    assert texts["PRODUCT_URI"] == product.name
    assert texts["PROCESSING_BASELINE"] == "04.00"
    assert texts["BOA_QUANTIFICATION_VALUE"] == "10000"
    assert texts["PRODUCT_START_TIME"] == "2022-10-05T11:54:11.000Z"
    offsets = {node.get("band_id"): node.text for node in metadata.iter("BOA_ADD_OFFSET")}
    assert offsets == {str(band): "-1000" for band in range(13)}
    listed = {f"{node.text}.jp2" for node in metadata.iter("IMAGE_FILE")}
    assert listed == {name for name in files(product) if "IMG_DATA" in name}
    tile = ElementTree.parse(next(product.rglob("MTD_TL.xml")))
    assert [node.text for node in tile.iter("NROWS")] == ["252", "126", "42"]
    assert {node.text for node in tile.iter("ULY")} == {"5900040"}


def test_pixels_are_those_of_the_scene(product):
    painted = scene(SIZE)
    for band in ("B02", "B03", "B04", "B08", "AOT"):
        np.testing.assert_array_equal(decoded(image(product, f"{band}_10m"))[0], painted[band])


def test_the_corner_without_data_is_the_same_everywhere(product):
    painted = scene(SIZE)
    missing = painted["B02"] == 0
    assert missing[-1, -1]
    assert 0.01 < missing.mean() < 0.1
    for name in (*BANDS, "AOT", "SCL"):
        np.testing.assert_array_equal(painted[name] == 0, missing)
    for metres in (20, 60):
        blocks = missing.reshape(SIZE * 10 // metres, metres // 10, -1, metres // 10).any(axis=(1, 3))
        for name in ("B8A", "SCL", "TCI"):
            np.testing.assert_array_equal((decoded(image(product, f"{name}_{metres}m")) == 0).all(axis=0), blocks)


def test_coarser_bands_are_averages(product):
    fine, coarse = scene(SIZE)["B04"], decoded(image(product, "B04_60m"))[0]
    blocks = fine.reshape(42, 6, 42, 6)
    seen = blocks.min(axis=(1, 3)) > 0
    np.testing.assert_allclose(coarse[seen], blocks.mean(axis=(1, 3))[seen], atol=0.5)


def test_classes_agree_with_the_reflectances():
    painted = scene(600, bands=("B03", "B04", "B08"))
    green, red, infrared = (painted[band].astype(float) - 1000 for band in ("B03", "B04", "B08"))
    vegetation, classes = (infrared - red) / (infrared + red), painted["SCL"]
    assert set(np.unique(classes)) == {0, 3, 4, 5, 6, 8, 9}
    assert np.median(vegetation[classes == 4]) > 0.6
    assert np.median(vegetation[classes == 5]) < 0.45
    assert np.median(infrared[classes == 6]) < np.median(green[classes == 6]) < 1000
    assert red[classes == 9].min() > 3000
    assert np.median(infrared[classes == 3]) < np.median(infrared[classes == 4])


def test_true_colour_is_stretched_as_esa_stretches(product):
    red, colour = scene(SIZE)["B04"], decoded(image(product, "TCI_10m"))[0]
    seen = red > 0
    expected = ((red[seen].astype(float) - 1000) / 3525 * 255).clip(1, 255)
    np.testing.assert_allclose(colour[seen], expected, atol=0.51)


def test_same_arguments_same_bytes(product, tmp_path):
    again = make_product(tmp_path, size=SIZE)
    assert {name: path.read_bytes() for name, path in files(again).items()} == {
        name: path.read_bytes() for name, path in files(product).items()
    }


def test_a_band_is_the_same_whatever_others_there_are():
    np.testing.assert_array_equal(scene(96, bands=("B12", "B08"))["B08"], scene(96)["B08"])


def test_dates_differ_in_clouds_and_seeds_in_the_land():
    first, second = (scene(240, date=DATE + timedelta(days=days)) for days in (0, 5))
    clear = np.isin(first["SCL"], [4, 5, 6]) & np.isin(second["SCL"], [4, 5, 6])
    assert clear.mean() > 0.4
    assert (first["SCL"] != second["SCL"]).mean() > 0.1
    np.testing.assert_array_equal(first["SCL"][clear], second["SCL"][clear])
    assert np.median(np.abs(first["B04"][clear].astype(int) - second["B04"][clear])) == 0
    assert (scene(240, seed=1)["SCL"] != first["SCL"]).mean() > 0.3


def test_other_dates_and_tiles(tmp_path):
    date = datetime(2022, 10, 15, 13, 54, 11, tzinfo=timezone(timedelta(hours=2)))
    root = make_product(tmp_path, date=date, tile="T22HBD", size=60, bands=["B03"])
    assert root.name == "S2A_MSIL2A_20221015T115411_N0400_R023_T22HBD_20221015T164454.SAFE"
    assert next(root.glob("GRANULE/*")).name == "L2A_T22HBD_A038201_20221015T115407"
    assert make_product(tmp_path, date=datetime(2022, 10, 15, 11, 54, 11), tile="T22HBD", size=60) == root  # noqa: DTZ001
    text = next(root.rglob("MTD_TL.xml")).read_text("utf-8")
    assert "UTM zone 22S" in text
    assert "EPSG:32722" in text


def test_tlm(tmp_path):
    root = make_product(tmp_path, size=60, bands=["B03"], tlm=True)
    assert all(TLM in dict(parsed(path).segments) for path in root.rglob("*.jp2"))


@pytest.mark.parametrize(
    ("tile", "corner"),
    [
        ("T29UNU", (32629, 499980, 5900040)),  # the real product in hand
        ("T22HBD", (32722, 199980, 5900020)),  # stac-utils/stactools#88
        ("T31TCJ", (32631, 300000, 4900020)),
    ],
)
def test_corner_of_a_tile(tile, corner):
    assert tile_corner(tile) == corner


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"size": 100}, "size=100"),
        ({"size": 54}, "size=54"),
        ({"bands": ("B02", "B10")}, "samples have no B10"),
        ({"tile": "29UNU"}, "not a tile"),
        ({"tile": "T61UNU"}, "not a tile"),
        ({"level": "L3"}, "unknown processing level"),
    ],
)
def test_refused(arguments, reason, tmp_path):
    with pytest.raises(InvalidRequest, match=reason):
        make_product(tmp_path, **{"size": 60, **arguments})


def test_make_image(tmp_path):
    pixels = np.arange(900, dtype=np.uint16).reshape(30, 30)
    path = make_image(tmp_path / "deep" / "image.jp2", pixels, 60)
    np.testing.assert_array_equal(decoded(path)[0], pixels)
    with pytest.raises(InvalidRequest, match="30 m"):
        make_image(path, pixels, 30)
