"""What the metadata of products tell, where they are looked for, and what becomes of numbers by them."""

import json
from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401  # gives arrays their accessor
import xarray as xr

import jp2batch
from jp2batch.core.errors import MetadataError
from jp2batch.core.scaling import Scaling
from jp2batch.image.missions import metadata_of
from jp2batch.sample.product import make_product
from jp2batch.sentinel2.metadata import metadata_url, parse_metadata, product_place, read_metadata
from jp2batch.sentinel2.names import BANDS
from support.images import SHARED

REAL = "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454.SAFE"
OLD = "S2A_OPER_PRD_MSIL1C_PDMC_20160112T203346_R051_V20160112T110648_20160112T110648.SAFE"
OLD_TILE = "S2A_OPER_MSI_L1C_TL_SGS__20160112T162938_A002908_T31TCE"
GCP = "tiles/33/U/UP/S2A_MSIL1C_20150711T100006_N0204_R122_T33UUP_20160812T055924.SAFE"
COMPACT = "GRANULE/L2A_T29UNU_A038058_20221005T115407/IMG_DATA/R60m/T29UNU_20221005T115411_B8A_60m.jp2"

L2A = """<?xml version="1.0"?><n1:Level-2A_User_Product xmlns:n1="x"><PROCESSING_LEVEL>Level-2A</PROCESSING_LEVEL>
<PRODUCT_START_TIME>2022-10-05T11:54:11.024Z</PRODUCT_START_TIME>{body}</n1:Level-2A_User_Product>"""
L1C = L2A.replace("2A", "1C")
QUANTIFIED = "<BOA_QUANTIFICATION_VALUE>10000</BOA_QUANTIFICATION_VALUE>"


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (f"{REAL}/{COMPACT}", f"{REAL}/MTD_MSIL2A.xml"),
        (f"s3://bucket/a/{REAL}/{COMPACT}", f"s3://bucket/a/{REAL}/MTD_MSIL2A.xml"),
        (f"https://host/{REAL}/{COMPACT}?sig=1", f"https://host/{REAL}/MTD_MSIL2A.xml"),
        (f"zip://{REAL}/{COMPACT}::s3://b/x.zip", f"zip://{REAL}/MTD_MSIL2A.xml::s3://b/x.zip"),
        (f"zip://{COMPACT}::s3://b/{REAL}", f"zip://MTD_MSIL2A.xml::s3://b/{REAL}"),
        (f"renamed/{COMPACT}", "renamed/MTD_MSIL2A.xml"),
        (COMPACT, "MTD_MSIL2A.xml"),
        (f"C:\\{REAL}\\{COMPACT}".replace("/", "\\"), f"C:\\{REAL}\\MTD_MSIL2A.xml"),
        (
            f"{OLD}/GRANULE/{OLD_TILE}_N02.01/IMG_DATA/{OLD_TILE}_B12.jp2",
            f"{OLD}/S2A_OPER_MTD_SAFL1C_PDMC_20160112T203346_R051_V20160112T110648_20160112T110648.xml",
        ),
        (
            f"gs://gcp-public-data-sentinel-2/{GCP}/GRANULE/{OLD_TILE}_N02.04/IMG_DATA/{OLD_TILE}_B8A.jp2",
            f"gs://gcp-public-data-sentinel-2/{GCP}/MTD_MSIL1C.xml",
        ),
        ("s3://sentinel-s2-l2a/tiles/33/U/UP/2018/10/21/0/R60m/B8A.jp2", "s3://sentinel-s2-l2a/tiles/33/U/UP/2018/10/21/0/tileInfo.json"),
        ("tiles/1/C/DL/2019/12/30/1/B04.jp2", "tiles/1/C/DL/2019/12/30/1/tileInfo.json"),
        ("T29UNU_20221005T115411_B8A_60m.jp2", None),
        ("tiles/B8A.jp2", None),
        ("GRANULE/x/B8A.jp2", None),
    ],
)  # fmt: skip
def test_metadata_lie_where_the_path_of_an_image_tells(path, place):
    assert metadata_url(path) == place


@pytest.mark.parametrize(
    ("product", "likeliest"),
    [
        (f"s3://b/{REAL}", f"s3://b/{REAL}/MTD_MSIL2A.xml"),
        (f"{REAL}/", f"{REAL}/MTD_MSIL2A.xml"),
        (f"{REAL}/MTD_MSIL2A.xml", f"{REAL}/MTD_MSIL2A.xml"),
        (f"zip://{REAL}::x.zip", f"zip://{REAL}/MTD_MSIL2A.xml::x.zip"),
        (OLD, f"{OLD}/S2A_OPER_MTD_SAFL1C_PDMC_20160112T203346_R051_V20160112T110648_20160112T110648.xml"),
        ("renamed", "renamed/MTD_MSIL2A.xml"),
    ],
)
def test_a_product_has_its_metadata_in_its_folder(product, likeliest):
    assert product_place(product)[0] == likeliest


def test_offsets_are_those_of_the_band():
    body = QUANTIFIED + "".join(f'<BOA_ADD_OFFSET band_id="{i}">{-1000 - i}</BOA_ADD_OFFSET>' for i in range(13))
    metadata = parse_metadata(L2A.format(body=body).encode())
    assert metadata.offsets == {band: -1000.0 - i for i, band in enumerate(BANDS)}
    assert metadata.scaling("B8A") == Scaling(-1008, 10000, "surface reflectance")
    assert [metadata.scaling(name) for name in ("SCL", "AOT", "WVP", "TCI", "CLDPRB", None)] == [None] * 6


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (L2A.format(body=QUANTIFIED), Scaling(0, 10000, "surface reflectance")),
        (
            L2A.format(body=QUANTIFIED.replace("BOA", "L2A_BOA") + QUANTIFIED.replace("BOA", "L1C_TOA")),
            Scaling(0, 10000, "surface reflectance"),
        ),
        (
            L1C.format(body=QUANTIFIED.replace("BOA_", "") + '<RADIO_ADD_OFFSET band_id="3">-5</RADIO_ADD_OFFSET>'),
            Scaling(-5, 10000, "top-of-atmosphere reflectance"),
        ),
    ],
)  # fmt: skip
def test_products_of_all_generations_tell_their_scaling(document, expected):
    assert parse_metadata(document.encode()).scaling("B04") == expected


@pytest.mark.parametrize(
    "document",
    [
        "",
        "<html>not found</html>",
        L2A.format(body=QUANTIFIED.replace("10000", "0")),
        L2A.format(body=QUANTIFIED.replace("10000", "nan")),
        L2A.format(body=QUANTIFIED.replace("10000", "ten thousand")),
        L2A.format(body='<BOA_ADD_OFFSET band_id="13">0</BOA_ADD_OFFSET>'),
        L2A.format(body="<BOA_ADD_OFFSET>0</BOA_ADD_OFFSET>"),
        '<!DOCTYPE a [<!ENTITY b "c">]>' + L2A.format(body="&b;").partition("?>")[2],
    ],
)
def test_damaged_metadata_are_refused(document):
    with pytest.raises(MetadataError, match="metadata"):
        parse_metadata(document.encode(), "MTD_MSIL2A.xml")


@pytest.mark.parametrize("body", ["", QUANTIFIED + '<BOA_ADD_OFFSET band_id="0">-1000</BOA_ADD_OFFSET>'])
def test_what_is_not_told_is_not_guessed(body):
    with pytest.raises(MetadataError, match="no quantification or offset for B04"):
        parse_metadata(L2A.format(body=body).encode()).scaling("B04")


def test_images_of_before_december_2016_are_listed_by_name():
    body = (
        f'<Granules granuleIdentifier="{OLD_TILE}_N02.01"><IMAGE_ID>{OLD_TILE}_B01</IMAGE_ID></Granules>'
        f'<Granules granuleIdentifier="{OLD_TILE}_N02.01"><IMAGE_ID_2A>{OLD_TILE}_B02_10m</IMAGE_ID_2A></Granules>'
        "<Granule><IMAGE_FILE_2A>GRANULE/x/IMG_DATA/R10m/y_10m</IMAGE_FILE_2A></Granule>"
    )
    assert parse_metadata(L1C.format(body=body).encode()).images == (
        f"GRANULE/{OLD_TILE}_N02.01/IMG_DATA/{OLD_TILE}_B01.jp2",
        f"GRANULE/{OLD_TILE}_N02.01/IMG_DATA/R10m/{OLD_TILE}_B02_10m.jp2",
        "GRANULE/x/IMG_DATA/R10m/y_10m.jp2",
    )


def test_amazons_tiles_name_their_product(tmp_path, product):
    tile = tmp_path / "tiles/29/U/NU/2022/10/5/0"
    (tile / "R60m").mkdir(parents=True)
    Path(tile, "R60m/B04.jp2").write_bytes(next(product.glob("**/*_B04_60m.jp2")).read_bytes())
    told = tmp_path / "products/2022/10/5/S2A"
    told.mkdir(parents=True)
    Path(told, "metadata.xml").write_bytes((product / "MTD_MSIL2A.xml").read_bytes())
    Path(tile, "tileInfo.json").write_text(json.dumps({"productPath": "products/2022/10/5/S2A"}))
    image = jp2batch.read(f"{tile}/R60m/B04.jp2", scaled=True)
    assert image.attrs["long_name"] == "surface reflectance"
    for damaged in ("", "[]", "{}", '{"productPath": "../../elsewhere"}', '{"productPath": "s3://elsewhere"}'):
        Path(tile, "tileInfo.json").write_text(damaged)
        with pytest.raises(MetadataError, match="has no path of its product"):
            jp2batch.read(f"{tile}/R60m/B04.jp2", scaled=True)


def reflectance(numbers: xr.DataArray) -> np.ndarray:
    exact = (numbers.values.astype(np.float64) - 1000) / 10000
    return np.where(numbers.values == 0, np.nan, exact).astype(np.float32)


@pytest.mark.parametrize("level", ["L2A", "L1C"])
def test_numbers_become_reflectance(level, tmp_path):
    path = str(next(make_product(tmp_path, size=180, level=level, bands=["B04"]).glob("**/*_B04*.jp2")))
    raw, scaled = jp2batch.read(path, 0), jp2batch.read(path, 0, scaled=True)
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled.values, reflectance(raw))
    assert scaled.isnull().any()
    assert {
        "units": "1",
        "scaling": "(number - 1000) / 10000; NaN where the number is 0",
    }.items() <= scaled.attrs.items()
    assert (raw.radiometric_offset, raw.quantification_value) == (-1000, 10000)
    assert {*scaled.attrs, *scaled.coords}.isdisjoint({"radiometric_offset", "quantification_value", "nodata"})
    for lazy in (
        jp2batch.open(path, scaled=True),
        jp2batch.open(path, chunks=None, scaled=True),
        xr.open_dataset(path, engine="jp2batch", scaled=True).B04,
    ):
        assert lazy.dtype == np.float32
        xr.testing.assert_identical(lazy.load(), scaled)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real product")
@pytest.mark.parametrize("band", ["B02", "B03", "B04", "B8A"])
def test_the_real_product_becomes_reflectance(band):
    path = str(next(SHARED.glob(f"**/*_{band}_60m.jp2")))
    np.testing.assert_array_equal(jp2batch.read(path, 0, scaled=True).values, reflectance(jp2batch.read(path, 0)))


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real product")
def test_the_real_product_has_datastrip_and_time_of_processing():
    metadata = read_metadata(str(next(SHARED.glob("*.SAFE/MTD_MSIL2A.xml"))))
    assert [str(time) for time in (metadata.time, metadata.datastrip, metadata.processing_time)] == [
        "2022-10-05 11:54:11+00:00",
        "2022-10-05 11:54:07+00:00",
        "2022-10-05 16:44:54+00:00",
    ]


@pytest.mark.parametrize(
    ("strips", "expected"),
    [
        (["20221005T115407"], "2022-10-05 11:54:07+00:00"),
        (["20221005T115407"] * 2, "2022-10-05 11:54:07+00:00"),
        (["20221005T115407", "20221005T115822"], "None"),
        ([], "None"),
    ],
)
def test_granules_of_a_product_have_one_datastrip_or_none(strips, expected):
    granules = "".join(f'<Granules datastripIdentifier="S2A_DS_SGS__1_S{strip}_N02.01"/>' for strip in strips)
    metadata = parse_metadata(L2A.format(body=QUANTIFIED + granules).encode())
    assert str(metadata.datastrip) == expected
    assert metadata.processing_time is None


@pytest.mark.parametrize("name", ["SCL_60m", "AOT_60m", "TCI_60m", "PVI"])
def test_what_is_no_reflectance_stays_as_it_is(image_of, name):
    xr.testing.assert_identical(jp2batch.read(image_of(name), scaled=True), jp2batch.read(image_of(name)))


def test_without_metadata_scaling_is_refused_and_reading_is_not(tmp_path, band):
    lonely = tmp_path / Path(band).name
    lonely.write_bytes(Path(band).read_bytes())
    inside = tmp_path / COMPACT
    inside.parent.mkdir(parents=True)
    inside.write_bytes(Path(band).read_bytes())
    nameless = tmp_path / "image.jp2"
    nameless.write_bytes(Path(band).read_bytes())
    for path, problem in [
        (lonely, "cannot be located from its path"),
        (inside, "MTD_MSIL2A.xml: cannot be read: there is no such file"),
        (nameless, "its name is not of Sentinel-2"),
    ]:
        assert "radiometric_offset" not in jp2batch.read(str(path)).coords
        with pytest.raises(MetadataError, match=problem):
            jp2batch.read(str(path), scaled=True)
        with pytest.raises(MetadataError, match=problem):
            jp2batch.open(str(path), scaled=True)


def test_only_what_costs_no_request_is_known_unasked(http_server, product, band):
    name = Path(band).relative_to(product).as_posix()
    http_server.files[f"{product.name}/{name}"] = Path(band).read_bytes()
    http_server.files[f"{product.name}/MTD_MSIL2A.xml"] = (product / "MTD_MSIL2A.xml").read_bytes()
    url = http_server.url(f"{product.name}/{name}")
    plain = jp2batch.read(url)
    assert "quantification_value" not in plain.coords
    before = http_server.requests
    scaled = jp2batch.read(url, scaled=True)
    assert scaled.dtype == np.float32
    asked = http_server.requests - before
    before = http_server.requests
    jp2batch.read(url)
    assert asked == http_server.requests - before + 1
    assert metadata_of(url) == read_metadata(str(product / "MTD_MSIL2A.xml"))


def stored(array: xr.DataArray, place: Path) -> xr.DataArray:
    dataset = array.to_dataset(name="B8A")
    if place.suffix == ".zarr":
        dataset.to_zarr(place, consolidated=False)
        return xr.open_zarr(place, consolidated=False, decode_coords="all").B8A.load()
    dataset.to_netcdf(place, engine="h5netcdf")
    return xr.load_dataset(place, engine="h5netcdf", decode_coords="all").B8A


@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
@pytest.mark.parametrize("suffix", ["zarr", "nc"])
@pytest.mark.parametrize("scaled", [False, True], ids=["raw", "scaled"])
def test_what_is_stored_is_scaled_once_or_not_at_all(band, tmp_path, suffix, scaled):
    array = jp2batch.read(band, 2, scaled=scaled)
    once = stored(array, tmp_path / f"once.{suffix}")
    twice = stored(once, tmp_path / f"twice.{suffix}")
    for again in (once, twice):
        xr.testing.assert_identical(again, array)
        assert again.dtype == array.dtype
        assert again.rio.crs == array.rio.crs
        assert np.array_equal(again.rio.nodata, array.rio.nodata, equal_nan=True)
