"""Parse names of Sentinel-2 images: band, time, tile, level, baseline.

Only strings are parsed; no file is read.
"""

import re
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Literal, cast

from jp2batch.core.location import Location
from jp2batch.core.mission import ImageName, SceneClasses

Level = Literal["L1C", "L2A"]
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""Spectral bands by number in metadata; only these are reflectance."""
METRES = dict(zip(BANDS, (60, 10, 10, 10, 20, 20, 20, 10, 20, 60, 60, 20, 20), strict=True)) | {"TCI": 10}
"""Original pixel size in metres of spectral bands and true colours."""

_COMMON = {  # STAC EO extension 1.1 and 2.0, and keys of Earth Search
    "B01": ("coastal",),
    "B02": ("blue",),
    "B03": ("green",),
    "B04": ("red",),
    "B05": ("rededge1", "rededge071"),
    "B06": ("rededge2", "rededge075"),
    "B07": ("rededge3", "rededge078"),
    "B08": ("nir",),
    "B8A": ("nir08",),
    "B09": ("nir09",),
    "B10": ("cirrus",),
    "B11": ("swir16",),
    "B12": ("swir22",),
    "TCI": ("visual",),
    "SCL": ("scl",),
    "AOT": ("aot",),
    "WVP": ("wvp",),
    "CLD": ("cloud",),
    "SNW": ("snow",),
    "PVI": ("preview",),
}
COMMON_NAMES = {name: band for band, others in _COMMON.items() for name in others}
"""Names in STAC items, in lower case, and the bands."""

SCENE_CLASSES = SceneClasses(
    "SCL",
    {
        "no_data": 0,
        "saturated_or_defective": 1,
        "dark_area": 2,  # cast shadows since baseline 04.00
        "cloud_shadow": 3,
        "vegetation": 4,
        "not_vegetated": 5,
        "water": 6,
        "unclassified": 7,
        "cloud_medium_probability": 8,
        "cloud_high_probability": 9,
        "thin_cirrus": 10,
        "snow": 11,
    },
    clouds=("cloud_shadow", "cloud_medium_probability", "cloud_high_probability", "thin_cirrus"),
)
"""Classes of Sen2Cor's scene classification."""

_BAND = r"B(?:0[1-9]|1[0-2]|8A)"
_TILE = r"T\d\d[A-Z]{3}"
_TIME = r"\d{8}T\d{6}"
_MADE = rf"(?P<processing_time>{_TIME})"
_DERIVED = "TCI|SCL|AOT|WVP|PVI|CLD|SNW|DDV|VIS"
_MASK = rf"CLASSI_B00|(?:DETFOO|QUALIT)_{_BAND}|CLDPRB|SNWPRB"
_RESOLUTION = r"(?:_(?P<resolution>\d{2,3})m)?"

# T29UNU_20221005T115411_B8A_60m, L2A_T32TNR_20170703T101021_CLD_20m
_COMPACT_FILE = re.compile(
    rf"(?:(?P<level>L2A)_)?(?P<tile>{_TILE})_(?P<time>{_TIME})_(?P<band>{_BAND}|{_DERIVED}){_RESOLUTION}"
)
# S2A_OPER_MSI_L1C_TL_EPA__20160811T174848_A000262_T33UUP_B8A; its time is the time of processing.
_OLD_FILE = re.compile(
    rf"(?P<platform>S2[A-D])_(?:OPER|USER)_(?:MSI|(?P<kind>{_DERIVED}))_(?P<level>L1C|L2A)_TL_\w{{4}}_{_MADE}_A\d{{6}}"
    rf"_(?P<tile>{_TILE})(?:_(?P<band>{_BAND}|{_DERIVED}))?{_RESOLUTION}"
)
_MASK_FILE = re.compile(rf"MSK_(?P<band>{_MASK}){_RESOLUTION}")
# Sinergise's names in the buckets of AWS are recognised only in a folder of Sentinel-2.
_SHORT_FILE = re.compile(rf"(?:(?P<level>L1C|L2A)_)?(?P<band>{_BAND}|{_DERIVED}|{_MASK}|preview){_RESOLUTION}")

_WITH_NODATA = re.compile(rf"{_BAND}|TCI|PVI|SCL|AOT|WVP")
_OF_A_LEVEL = re.compile(rf"{_BAND}|TCI")  # previews and masks have the same names in both
_IN_TEXT = re.compile(rf"(?<![A-Za-z0-9])({_BAND}|TCI|SCL|AOT|WVP|PVI)(?![A-Za-z0-9])", re.IGNORECASE)

_FOLDERS = (
    # S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454.SAFE, or .zip, or an object with this name
    re.compile(
        rf"/(?P<platform>S2[A-D])_MSI(?P<level>L1C|L2A)_(?P<time>{_TIME})_N(?P<baseline>\d{{4}})"
        rf"_R(?P<orbit>\d{{3}})_(?P<tile>{_TILE})_{_MADE}[./]"
    ),
    # S2A_OPER_PRD_MSIL1C_PDMC_20160811T174848_R022_V20150711T100006_20150711T100006.SAFE: V is for validity
    re.compile(
        rf"/(?P<platform>S2[A-D])_(?:OPER|USER)_PRD_MSI(?P<level>L1C|L2A)_\w{{4}}_{_MADE}_R(?P<orbit>\d{{3}})"
        rf"_V(?P<time>{_TIME})_{_TIME}[./]"
    ),
    # GRANULE/S2A_OPER_MSI_L1C_TL_EPA__20160811T174848_A000262_T33UUP_N02.04
    re.compile(
        rf"/(?P<platform>S2[A-D])_(?:OPER|USER)_MSI_(?P<level>L1C|L2A)_TL_\w{{4}}_{_MADE}_A\d{{6}}_(?P<tile>{_TILE})"
        r"_N(?P<baseline>\d\d\.\d\d)/"
    ),
    # GRANULE/L2A_T29UNU_A038058_20221005T115407, whose time is that of the datastrip
    re.compile(rf"/(?P<level>L1C|L2A)_(?P<tile>{_TILE})_A\d{{6}}_(?P<datastrip>{_TIME})/"),
    # tiles/29/U/NU/2022/10/5/0 on AWS, tiles/29/U/NU on Google Cloud
    re.compile(
        r"/tiles/(?P<zone>\d{1,2})/(?P<row>[C-X])/(?P<square>[A-Z]{2})(?:/(?P<day>\d{4}/\d{1,2}/\d{1,2})/\d+)?/"
    ),
    re.compile(r"/sentinel-s2-(?P<level>l1c|l2a)(?=[./])", re.IGNORECASE),
    re.compile(r"/R(?P<resolution>10|20|60)m/"),
)


def parse_name(path: str) -> ImageName | None:
    """Parse the name of an image and of the folders around it.

    Names of all generations are understood: compact names, names from before December 2016, Sen2Cor's names, and names
    in the open data buckets on AWS and Google Cloud.

    Parameters
    ----------
    path : str
        A key, path or URL, which may be chained, such as `zip://inside.jp2::s3://bucket/product.zip`.

    Returns
    -------
    ImageName or None
        None if the name is not of Sentinel-2.
    """
    folders, stem = _split(path)
    around = _read_folders(folders)
    match = _COMPACT_FILE.fullmatch(stem) or _OLD_FILE.fullmatch(stem) or _MASK_FILE.fullmatch(stem)
    if match is None and around:
        match = _SHORT_FILE.fullmatch(stem)
    return None if match is None else _assemble(_told(match), around, on_aws="day" in around)


def parse_product(name: str) -> ImageName | None:
    """Return facts from the name of a product, with or without .SAFE."""
    found = parse_name(f"/{name.removesuffix('.SAFE')}.SAFE/{BANDS[0]}.jp2")
    return None if found is None else replace(found, band=None)


def level_of(path: str) -> Level | None:
    """Return the processing level from the folders of a file."""
    told = _read_folders(_split(path)[0]).get("level")
    return None if told is None else cast(Level, told.upper())


def find_band(text: str) -> str | None:
    """Return the first band name in a text, e.g. "B04" in "b04-10m"."""
    match = _IN_TEXT.search(text.replace("_", " "))
    return None if match is None else match[1].upper()


def nodata(name: ImageName | None) -> int | None:
    """Return the no-data value, 0; None for masks and probabilities.

    In these, 0 is a valid value.
    """
    if name is None or name.band is None:
        return None
    return 0 if _WITH_NODATA.fullmatch(name.band) else None


def units(name: ImageName | None) -> str | None:
    """Return the unit of the numbers as stored.

    It is "percent" for probabilities, "1" for counts, colours and classes.
    """
    if name is None or name.band is None:
        return None
    return "percent" if name.band in {"CLDPRB", "SNWPRB", "CLD", "SNW"} else "1"


def _split(path: str) -> tuple[str, str]:
    """Return the folders, outermost first, and the name without extension."""
    without_query = path.partition("?")[0]
    ascii_path = without_query.encode("ascii", "replace").decode()  # \d would match the digits of every script
    outward = Location.of(ascii_path.replace("\\", "/")).links
    folders, _, name = "/".join(["", *reversed(outward)]).rpartition("/")
    return f"{folders}/", name.partition(".")[0]


def _read_folders(folders: str) -> dict[str, str]:
    """Parse the folders; the first of `_FOLDERS` takes precedence."""
    told: dict[str, str] = {}
    for pattern in _FOLDERS:
        for match in pattern.finditer(folders):
            told = {**_told(match), **told}
    return told


def _told(match: re.Match[str]) -> dict[str, str]:
    return {key: value for key, value in match.groupdict().items() if value is not None}


def _assemble(own: dict[str, str], around: dict[str, str], on_aws: bool) -> ImageName:
    """Merge properties from file name and folders; the file name takes precedence."""
    told = {**around, **own}
    band = told.get("band") or told.get("kind")
    time = parse_time(told.get("time", ""))
    baseline = told.get("baseline")
    return ImageName(
        band="PVI" if band == "preview" else band,
        time=time,
        day=_parse_day(told.get("day", "")) if time is None else time.date(),
        tile=told.get("tile") or _join_tile(told),
        level=_find_level(told, own, band, on_aws),
        resolution=int(told["resolution"]) if "resolution" in told else None,
        baseline=baseline if baseline is None or "." in baseline else f"{baseline[:2]}.{baseline[2:]}",
        relative_orbit=int(told["orbit"]) if "orbit" in told else None,
        platform=told.get("platform"),
        datastrip=parse_time(told.get("datastrip", "")),
        processing_time=parse_time(told.get("processing_time", "")),
    )


def _find_level(parts: dict[str, str], own: dict[str, str], band: str | None, on_aws: bool) -> Level | None:
    """Return the processing level, from the names or by their form.

    Only names of L2A images have a resolution.
    """
    if "level" in parts:
        return cast(Level, parts["level"].upper())
    if "resolution" in parts:
        return "L2A"
    is_image = _OF_A_LEVEL.fullmatch(band or "") is not None
    return "L1C" if is_image and (on_aws or "time" in own) else None


def _join_tile(parts: dict[str, str]) -> str | None:
    return f"T{parts['zone']:0>2}{parts['row']}{parts['square']}" if "zone" in parts else None


def parse_time(text: str) -> datetime | None:
    """Return a time as in names, such as 20221005T115411."""
    day, mark, clock = text[:8], text[8:9], text[9:]
    if mark != "T" or len(clock) != 6 or not (day + clock).isdecimal():
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        return None


def datastrip_time(identifier: str) -> datetime | None:
    """Return the start of sensing in the identifier of a datastrip.

    As S2A_OPER_MSI_L2A_DS_ATOS_20221005T164454_S20221005T115407_N04.00.
    """
    found = re.search(rf"_S({_TIME})(?:_|$)", identifier)
    return None if found is None else parse_time(found[1])


def _parse_day(text: str) -> date | None:
    try:
        return date(*map(int, text.split("/")))
    except (ValueError, TypeError):
        return None
