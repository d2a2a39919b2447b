import shutil
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

import jp2batch
from jp2batch.core.mission import ImageName
from jp2batch.sentinel2.names import datastrip_time, level_of, nodata, parse_name, units

OLD_L1C = "S2A_OPER_PRD_MSIL1C_PDMC_20160112T203346_R051_V20160112T110648_20160112T110648.SAFE"
OLD_GRANULE = "GRANULE/S2A_OPER_MSI_L1C_TL_SGS__20160112T162938_A002908_T31TCE_N02.01"
NEW_L2A = "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454.SAFE/GRANULE/L2A_T29UNU_A038058_20221005T115407"
FACTS_29UNU = {
    "time": "2022-10-05 11:54:11",
    "tile": "T29UNU",
    "level": "L2A",
    "baseline": "04.00",
    "relative_orbit": 23,
    "platform": "S2A",
}


def facts(time: str | None = None, day: str | None = None, **others: object) -> ImageName:
    when = None if time is None else datetime.fromisoformat(time).replace(tzinfo=UTC)
    on = when.date() if when is not None else None if day is None else date.fromisoformat(day)
    return ImageName(time=when, day=on, **others)


# Names as public products and buckets have them. What they mean is told in ESA's "Sentinel-2 Products Specification
# Document" (S2-PDGS-TAS-DI-PSD) and "Level-2A Product Definition Document" (S2-PDGS-MPC-L2A-PDD), for the buckets in
# https://roda.sentinel-hub.com/sentinel-s2-l1c/readme.html (AWS) and
# https://cloud.google.com/storage/docs/public-datasets/sentinel-2 (Google Cloud).
NAMES = [
    # file names alone
    (
        "T29UNU_20221005T115411_B8A_60m.jp2",
        facts("2022-10-05 11:54:11", band="B8A", tile="T29UNU", level="L2A", resolution=60),
    ),
    (
        "T29UNU_20221005T115411_SCL_20m.jp2",
        facts("2022-10-05 11:54:11", band="SCL", tile="T29UNU", level="L2A", resolution=20),
    ),
    (
        "T29UNU_20221005T115411_AOT_10m.jp2",
        facts("2022-10-05 11:54:11", band="AOT", tile="T29UNU", level="L2A", resolution=10),
    ),
    ("T33UUP_20190101T100411_B8A.jp2", facts("2019-01-01 10:04:11", band="B8A", tile="T33UUP", level="L1C")),
    ("T52SEB_20220516T015649_TCI.jp2", facts("2022-05-16 01:56:49", band="TCI", tile="T52SEB", level="L1C")),
    ("T36JTT_20160914T074612_PVI.jp2", facts("2016-09-14 07:46:12", band="PVI", tile="T36JTT")),
    (
        "L2A_T32UNA_20170706T102021_AOT_10m.jp2",
        facts("2017-07-06 10:20:21", band="AOT", tile="T32UNA", level="L2A", resolution=10),
    ),
    (
        "L2A_T39LUG_20170312T070231_CLD_20m.jp2",
        facts("2017-03-12 07:02:31", band="CLD", tile="T39LUG", level="L2A", resolution=20),
    ),
    (
        "S2A_OPER_MSI_L1C_TL_EPA__20160811T174848_A000262_T33UUP_B8A.jp2",
        facts(band="B8A", tile="T33UUP", level="L1C", platform="S2A"),
    ),
    (
        "S2A_OPER_MSI_L1C_TL_SGS__20150621T042634_A005374_T17UPU_B01.jp2",
        facts(band="B01", tile="T17UPU", level="L1C", platform="S2A"),
    ),
    (
        "S2A_OPER_PVI_L1C_TL_EPA__20160704T162718_A000700_T52JFR.jp2",
        facts(band="PVI", tile="T52JFR", level="L1C", platform="S2A"),
    ),
    (
        "S2A_USER_MSI_L2A_TL_MPS__20150210T180608_A000069_T14RMQ_B03_20m.jp2",
        facts(band="B03", tile="T14RMQ", level="L2A", resolution=20, platform="S2A"),
    ),
    (
        "S2A_USER_SCL_L2A_TL_MTI__20160721T202530_A005642_T22WEC_20m.jp2",
        facts(band="SCL", tile="T22WEC", level="L2A", resolution=20, platform="S2A"),
    ),
    ("MSK_DETFOO_B02.jp2", facts(band="DETFOO_B02")),
    ("MSK_QUALIT_B8A.jp2", facts(band="QUALIT_B8A")),
    ("MSK_CLASSI_B00.jp2", facts(band="CLASSI_B00")),
    ("MSK_CLDPRB_20m.jp2", facts(band="CLDPRB", level="L2A", resolution=20)),
    ("MSK_SNWPRB_60m.jp2", facts(band="SNWPRB", level="L2A", resolution=60)),
    # whole products
    (
        f"{NEW_L2A}/IMG_DATA/R60m/T29UNU_20221005T115411_B8A_60m.jp2",
        facts(**FACTS_29UNU, band="B8A", resolution=60),
    ),
    (f"{NEW_L2A}/QI_DATA/MSK_DETFOO_B02.jp2", facts(**FACTS_29UNU, band="DETFOO_B02")),
    (f"{NEW_L2A}/QI_DATA/T29UNU_20221005T115411_PVI.jp2", facts(**FACTS_29UNU, band="PVI")),
    (
        "s3://eodata/Sentinel-2/MSI/L2A/2022/10/05/" + NEW_L2A + "/QI_DATA/MSK_CLDPRB_20m.jp2",
        facts(**FACTS_29UNU, band="CLDPRB", resolution=20),
    ),
    (
        "GRANULE\\L1C_T52SEB_A027113_20220516T020809\\QI_DATA\\MSK_CLASSI_B00.jp2",
        facts(band="CLASSI_B00", tile="T52SEB", level="L1C"),
    ),
    (
        "S2A_MSIL2A_20170712T142041_N0205_R010_T21NUE_20170712T142037.SAFE/GRANULE/L2A_T21NUE_A010732_20170712T142037/"
        "IMG_DATA/R20m/L2A_T21NUE_20170712T142041_B11_20m.jp2",
        facts(
            "2017-07-12 14:20:41",
            band="B11",
            tile="T21NUE",
            level="L2A",
            resolution=20,
            baseline="02.05",
            relative_orbit=10,
            platform="S2A",
        ),
    ),
    (
        "/home/me/Downloads/S2C_MSIL1C_20251201T102411_N0511_R065_T32UPB_20251201T121939.SAFE/GRANULE/"
        "L1C_T32UPB_A006470_20251201T102413/IMG_DATA/T32UPB_20251201T102411_B01.jp2",
        facts(
            "2025-12-01 10:24:11",
            band="B01",
            tile="T32UPB",
            level="L1C",
            baseline="05.11",
            relative_orbit=65,
            platform="S2C",
        ),
    ),
    (
        f"{OLD_L1C}/{OLD_GRANULE}/IMG_DATA/S2A_OPER_MSI_L1C_TL_SGS__20160112T162938_A002908_T31TCE_B12.jp2",
        facts(
            "2016-01-12 11:06:48",
            band="B12",
            tile="T31TCE",
            level="L1C",
            baseline="02.01",
            relative_orbit=51,
            platform="S2A",
        ),
    ),
    (
        f"{OLD_GRANULE}/IMG_DATA/S2A_OPER_MSI_L1C_TL_SGS__20160112T162938_A002908_T31TCE_B12.jp2",
        facts(band="B12", tile="T31TCE", level="L1C", baseline="02.01", platform="S2A"),
    ),
    (
        "S2A_USER_PRD_MSIL2A_PDMC_20160120T071902_R016_V20160120T003331_20160120T003331.SAFE/GRANULE/"
        "S2A_USER_MSI_L2A_TL_SGS__20160120T053143_A003016_T55KBQ_N02.01/IMG_DATA/R10m/"
        "S2A_USER_MSI_L2A_TL_SGS__20160120T053143_A003016_T55KBQ_B04_10m.jp2",
        facts(
            "2016-01-20 00:33:31",
            band="B04",
            tile="T55KBQ",
            level="L2A",
            resolution=10,
            baseline="02.01",
            relative_orbit=16,
            platform="S2A",
        ),
    ),
    # Google Cloud, where a compact product may hold old names
    (
        "gs://gcp-public-data-sentinel-2/tiles/01/K/AB/S2A_MSIL1C_20160519T222025_N0202_R029_T01KAB_20160520T024950"
        ".SAFE/GRANULE/S2A_OPER_MSI_L1C_TL_SGS__20160519T234326_A004745_T01KAB_N02.02/IMG_DATA/"
        "S2A_OPER_MSI_L1C_TL_SGS__20160519T234326_A004745_T01KAB_B05.jp2",
        facts(
            "2016-05-19 22:20:25",
            band="B05",
            tile="T01KAB",
            level="L1C",
            baseline="02.02",
            relative_orbit=29,
            platform="S2A",
        ),
    ),
    (
        "https://storage.cloud.google.com/gcp-public-data-sentinel-2/tiles/49/S/GV/"
        "S2B_MSIL1C_20220527T030539_N0400_R075_T49SGV_20220527T051042.SAFE/GRANULE/L1C_T49SGV_A027271_20220527T031740/"
        "IMG_DATA/T49SGV_20220527T030539_B02.jp2",
        facts(
            "2022-05-27 03:05:39",
            band="B02",
            tile="T49SGV",
            level="L1C",
            baseline="04.00",
            relative_orbit=75,
            platform="S2B",
        ),
    ),
    (
        "tiles/33/U/UP/S2A_MSIL1C_20150711T100006_N0204_R122_T33UUP_20160812T055924.SAFE/GRANULE/"
        "S2A_OPER_MSI_L1C_TL_EPA__20160811T174848_A000262_T33UUP_N02.04/IMG_DATA/"
        "S2A_OPER_MSI_L1C_TL_EPA__20160811T174848_A000262_T33UUP_B8A.jp2",
        facts(
            "2015-07-11 10:00:06",
            band="B8A",
            tile="T33UUP",
            level="L1C",
            baseline="02.04",
            relative_orbit=122,
            platform="S2A",
        ),
    ),
    # AWS
    ("tiles/33/U/UP/2016/8/12/0/B8A.jp2", facts(day="2016-08-12", band="B8A", tile="T33UUP", level="L1C")),
    (
        "tiles/33/U/UP/2018/10/21/0/R60m/B8A.jp2",
        facts(day="2018-10-21", band="B8A", tile="T33UUP", level="L2A", resolution=60),
    ),
    (
        "s3://sentinel-s2-l1c/tiles/60/C/WT/2022/1/30/0/B08.jp2",
        facts(day="2022-01-30", band="B08", tile="T60CWT", level="L1C"),
    ),
    (
        "https://sentinel-s2-l1c.s3.amazonaws.com/tiles/43/P/GQ/2018/1/14/0/TCI.jp2",
        facts(day="2018-01-14", band="TCI", tile="T43PGQ", level="L1C"),
    ),
    (
        "https://roda.sentinel-hub.com/sentinel-s2-l1c/tiles/31/T/DJ/2020/6/4/0/preview.jp2",
        facts(day="2020-06-04", band="PVI", tile="T31TDJ", level="L1C"),
    ),
    (
        "s3://sentinel-s2-l1c/tiles/1/C/DL/2019/12/30/1/preview/B04.jp2",
        facts(day="2019-12-30", band="B04", tile="T01CDL", level="L1C"),
    ),
    (
        "s3://sentinel-s2-l2a/tiles/33/P/WM/2018/1/24/0/B02.jp2",
        facts(day="2018-01-24", band="B02", tile="T33PWM", level="L2A"),
    ),
    (
        "s3://sentinel-s2-l2a/tiles/18/N/WM/2021/10/10/0/R20m/SCL.jp2",
        facts(day="2021-10-10", band="SCL", tile="T18NWM", level="L2A", resolution=20),
    ),
    (
        "s3://sentinel-s2-l2a/tiles/51/K/XR/2022/6/6/0/qi/DETFOO_B01.jp2",
        facts(day="2022-06-06", band="DETFOO_B01", tile="T51KXR", level="L2A"),
    ),
    (
        "s3://sentinel-s2-l2a/tiles/51/K/XR/2020/7/31/0/qi/CLD_20m.jp2",
        facts(day="2020-07-31", band="CLD", tile="T51KXR", level="L2A", resolution=20),
    ),
    (
        "tiles/33/S/VB/2021/2/21/0/qi/L2A_PVI.jp2",
        facts(day="2021-02-21", band="PVI", tile="T33SVB", level="L2A"),
    ),
    ("tiles/51/K/XR/2022/6/6/0/qi/QUALIT_B8A.jp2", facts(day="2022-06-06", band="QUALIT_B8A", tile="T51KXR")),
    # as a user may write them
    (
        "https://eodata.example/sentinel-s2-l1c/tiles/33/U/UP/2016/8/12/0/B8A.jp2?X-Amz-Credential=a/b.c&versionId=1",
        facts(day="2016-08-12", band="B8A", tile="T33UUP", level="L1C"),
    ),
    (
        "zip://GRANULE/L1C_T50MKD_A005597_20251001T023452/IMG_DATA/T50MKD_20251001T022551_B04.jp2"
        "::s3://bucket/S2C_MSIL1C_20251001T022551_N0511_R046_T50MKD_20251001T051811.zip",
        facts(
            "2025-10-01 02:25:51",
            band="B04",
            tile="T50MKD",
            level="L1C",
            baseline="05.11",
            relative_orbit=46,
            platform="S2C",
        ),
    ),
]


@pytest.mark.parametrize(("path", "expected"), NAMES, ids=[path.rpartition("/")[2][:60] for path, _ in NAMES])
def test_names_of_all_generations(path, expected):
    name = parse_name(path)
    assert replace(name, datastrip=None, processing_time=None) == expected  # these have a table of their own


@pytest.mark.parametrize(
    ("path", "datastrip", "made"),
    [
        ("T29UNU_20221005T115411_B8A_60m.jp2", None, None),
        ("tiles/33/U/UP/2016/8/12/0/B8A.jp2", None, None),
        (f"{NEW_L2A}/QI_DATA/MSK_DETFOO_B02.jp2", "2022-10-05 11:54:07", "2022-10-05 16:44:54"),
        ("GRANULE/L1C_T52SEB_A027113_20220516T020809/QI_DATA/MSK_CLASSI_B00.jp2", "2022-05-16 02:08:09", None),
        (
            f"{OLD_L1C}/{OLD_GRANULE}/IMG_DATA/S2A_OPER_MSI_L1C_TL_SGS__20160112T162938_A002908_T31TCE_B12.jp2",
            None,
            "2016-01-12 16:29:38",
        ),
        (f"{OLD_L1C}/T31TCE_20160112T110648_B12.jp2", None, "2016-01-12 20:33:46"),
        (
            "zip://GRANULE/L1C_T50MKD_A005597_20251001T023452/IMG_DATA/T50MKD_20251001T022551_B04.jp2"
            "::s3://bucket/S2C_MSIL1C_20251001T022551_N0511_R046_T50MKD_20251001T051811.zip",
            "2025-10-01 02:34:52",
            "2025-10-01 05:18:11",
        ),
    ],
)
def test_folders_give_datastrip_and_time_of_processing(path, datastrip, made):
    name = parse_name(path)
    expected = [text and datetime.fromisoformat(f"{text}+00:00") for text in (datastrip, made)]
    assert [name.datastrip, name.processing_time] == expected


@pytest.mark.parametrize(
    ("identifier", "time"),
    [
        ("S2A_OPER_MSI_L2A_DS_ATOS_20221005T164454_S20221005T115407_N04.00", "2022-10-05 11:54:07"),
        ("S2A_OPER_MSI_L1C_DS_SGS__20160112T162938_S20160112T110648", "2016-01-12 11:06:48"),
        ("S2A_OPER_MSI_L1C_DS_SGS__20160112T162938_S20161312T110648", None),
        ("", None),
    ],
)
def test_identifiers_of_datastrips_have_a_time(identifier, time):
    assert datastrip_time(identifier) == (time and datetime.fromisoformat(f"{time}+00:00"))


def test_the_table_is_worth_its_name():
    assert len(NAMES) >= 40
    assert len({path for path, _ in NAMES}) == len(NAMES)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "image.jp2",
        "B04.jp2",
        "landsat/B8A.jp2",
        "LC08_L1TP_090084_20160121_20170405_01_T1_B4.jp2",
        "T29UNU_20221005T115411.jp2",
        "T29UNU_20221005T115411_B13.jp2",
        "T29UNU_20221005T115411_B8A_60m_copy.jp2",
        "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454.SAFE",
        "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454.SAFE/MTD_MSIL2A.xml",
        "tiles/33/U/UP/2016/8/12/0/tileInfo.json",
        "MSK_CLOUDS_B00.gml",
        "::",
        "?",
    ],
)
def test_what_is_no_image_of_sentinel_2_is_none(path):
    assert parse_name(path) is None


@pytest.mark.parametrize("name", ["image.jp2", "B04.jp2", "T29UNU_20221335T115411_B04.jp2", "Sentinel-2.jp2"])
def test_an_image_of_any_name_can_be_read_without_time(name, tmp_path, band):
    path = str(shutil.copy(band, tmp_path / name))
    image = jp2batch.read(path)
    assert "time" not in image.coords
    assert image.dims == ("y", "x")


@pytest.mark.parametrize(
    ("path", "level"),
    [
        (f"s3://b/{NEW_L2A}/QI_DATA/x.xml", "L2A"),
        (f"{OLD_L1C}/{OLD_GRANULE}/x", "L1C"),
        ("s3://sentinel-s2-l2a/tiles/x", "L2A"),
        ("T29UNU_20221005T115411_B8A_60m.jp2", None),
    ],
)
def test_the_level_is_told_by_folders(path, level):
    assert level_of(path) == level


def test_impossible_times_are_not_told():
    assert parse_name("T29UNU_20221335T115411_B8A.jp2") == facts(band="B8A", tile="T29UNU", level="L1C")
    assert parse_name("tiles/33/U/UP/2016/8/32/0/B8A.jp2") == facts(band="B8A", tile="T33UUP", level="L1C")
    assert parse_name("T29UNU_２０２２１００５T115411_B8A.jp2") is None


@pytest.mark.parametrize(
    ("bands", "value", "unit"),
    [
        (["B01", "B8A", "B12", "TCI", "PVI", "SCL", "AOT", "WVP"], 0, "1"),
        (["DETFOO_B02", "QUALIT_B8A", "CLASSI_B00", "DDV"], None, "1"),
        (["CLDPRB", "SNWPRB", "CLD", "SNW"], None, "percent"),
    ],
)
def test_nodata_and_units(bands, value, unit):
    for band in bands:
        assert nodata(ImageName(band=band)) == value
        assert units(ImageName(band=band)) == unit


def test_nothing_known_has_neither_nodata_nor_units():
    for name in (None, ImageName()):
        assert nodata(name) is None
        assert units(name) is None


def verify_facts_are_sane(name: ImageName) -> None:
    assert name != ImageName()
    assert name.level in {None, "L1C", "L2A"}
    assert name.time is None or (name.time.tzinfo is UTC and name.day == name.time.date())
    assert name.tile is None or (len(name.tile) == 6 and name.tile.isascii())
    assert name.baseline is None or float(name.baseline) >= 0
    assert name.resolution is None or isinstance(name.resolution, int)


@given(st.text())
def test_any_text_is_read_without_error(text):
    name = parse_name(text)
    if name is not None:
        verify_facts_are_sane(name)


@given(st.sampled_from([path for path, _ in NAMES]), st.data())
def test_damaged_names_are_read_without_error(path, data):
    start = data.draw(st.integers(0, len(path)))
    stop = data.draw(st.integers(start, len(path)))
    name = parse_name(path[:start] + data.draw(st.text(max_size=3)) + path[stop:])
    if name is not None:
        verify_facts_are_sane(name)
