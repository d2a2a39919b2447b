"""Makes small products that look, and are named and coded, like Sentinel-2's: for the demo, the notebooks, the tests.

A landscape is painted with numpy: sea, beaches, rivers, woods and fields, each with its own spectrum; over it, on each
date, other clouds and their shadows. It is cut into bands of 10, 20 and 60 m and written as ESA writes them: folders,
names, boxes, coding parameters, and the metadata that a reader of pixels needs. Only the size is not ESA's.
"""

import re
import struct
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from jp2batch.encode import ESA_60M, Coding, encode
from jp2batch.errors import InvalidRequest

Image = NDArray[Any]
Floats = NDArray[np.float32]

DATE = datetime(2022, 10, 5, 11, 54, 11, tzinfo=UTC)
"""When the real product was taken that the samples are modelled on."""
TILE = "T29UNU"
"""Its tile."""
BANDS = ("B02", "B03", "B04", "B08", "B8A", "B11")
"""The bands that a sample has unless others are asked for."""
_TRUE_COLOUR = ("B04", "B03", "B02")
_NAMES = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
_METRES = dict(zip(_NAMES, (60, 10, 10, 10, 20, 20, 20, 10, 20, 60, 20, 20), strict=True))
_CODINGS = {
    10: Coding(tile=(1024, 1024), code_block=(64, 64), precincts=(256, 256)),
    20: Coding(tile=(640, 640), code_block=(8, 8), precincts=(128, 128)),
    60: ESA_60M,
    320: Coding(tile=(8, 8), levels=3, code_block=(16, 16), precincts=(128, 128)),  # preview; ESA's has 4 levels
}
_COLOUR_60M = Coding(tile=(256, 256), code_block=(16, 16), precincts=(128, 128))
_SPECTRA = {  # reflectance in per cent
    "deep water": (4.5, 5.4, 4.0, 2.0, 1.5, 1.2, 1.2, 1.0, 1.0, 0.8, 0.5, 0.4),
    "shallows": (8.0, 11.5, 12.5, 6.0, 5.0, 3.0, 2.5, 2.0, 2.0, 1.5, 1.0, 0.8),
    "sand": (15.0, 19.0, 24.0, 28.0, 29.0, 30.0, 31.0, 33.0, 34.0, 34.0, 38.0, 34.0),
    "wood": (2.2, 3.2, 5.8, 3.6, 6.5, 18.0, 23.0, 25.0, 27.0, 27.0, 13.0, 6.0),
    "crop": (3.6, 5.2, 11.0, 7.0, 12.0, 32.0, 40.0, 43.0, 45.0, 45.0, 21.0, 10.0),
    "soil": (7.5, 9.5, 14.0, 17.5, 19.0, 21.0, 23.0, 25.0, 27.0, 28.0, 34.0, 28.0),
    "cloud": (62.0, 60.0, 58.0, 58.0, 59.0, 60.0, 60.0, 61.0, 61.0, 50.0, 45.0, 38.0),
}
_GML = """<?xml version='1.0' encoding='UTF-8' standalone='no'?>
<gml:FeatureCollection xmlns:gml="http://www.opengis.net/gml">
<gml:boundedBy><gml:Null>withheld</gml:Null></gml:boundedBy>
<gml:featureMember><gml:FeatureCollection><gml:featureMember>
<gml:RectifiedGridCoverage dimension="2" gml:id="RGC0001">
<gml:rectifiedGridDomain><gml:RectifiedGrid dimension="2">
<gml:limits><gml:GridEnvelope>
<gml:low>1 1</gml:low><gml:high>{width} {height}</gml:high>
</gml:GridEnvelope></gml:limits>
<gml:axisName>x</gml:axisName><gml:axisName>y</gml:axisName>
<gml:origin>
<gml:Point gml:id="P0001" srsName="urn:ogc:def:crs:EPSG::{epsg}"><gml:pos>{x} {y}</gml:pos></gml:Point>
</gml:origin>
<gml:offsetVector srsName="urn:ogc:def:crs:EPSG::{epsg}">{metres} 0</gml:offsetVector>
<gml:offsetVector srsName="urn:ogc:def:crs:EPSG::{epsg}">0 -{metres}</gml:offsetVector>
</gml:RectifiedGrid></gml:rectifiedGridDomain>
<gml:rangeSet><gml:File><gml:rangeParameters/><gml:fileName>gmljp2://codestream/0</gml:fileName>
<gml:fileStructure>Record Interleaved</gml:fileStructure></gml:File></gml:rangeSet>
</gml:RectifiedGridCoverage></gml:featureMember></gml:FeatureCollection></gml:featureMember></gml:FeatureCollection>
"""
_PRODUCT_XML = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{n}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-{n}.xsd"><n1:General_Info>
<Product_Info>
<PRODUCT_START_TIME>{time}</PRODUCT_START_TIME><PRODUCT_STOP_TIME>{time}</PRODUCT_STOP_TIME>
<PRODUCT_URI>{name}</PRODUCT_URI><PROCESSING_LEVEL>Level-{n}</PROCESSING_LEVEL><PRODUCT_TYPE>S2MSI{n}</PRODUCT_TYPE>
<PROCESSING_BASELINE>04.00</PROCESSING_BASELINE>
<Product_Organisation><Granule_List><Granule imageFormat="JPEG2000">
{files}
</Granule></Granule_List></Product_Organisation>
</Product_Info>
<Product_Image_Characteristics>
<Special_Values><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>
<SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX></Special_Values>
<Special_Values><SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT>
<SPECIAL_VALUE_INDEX>65535</SPECIAL_VALUE_INDEX></Special_Values>
{radiometry}
</Product_Image_Characteristics>
</n1:General_Info></n1:Level-{n}_User_Product>
"""
_TILE_XML = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{n}_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-{n}_Tile_Metadata.xsd">
<n1:General_Info><SENSING_TIME metadataLevel="Standard">{time}</SENSING_TIME></n1:General_Info>
<n1:Geometric_Info><Tile_Geocoding metadataLevel="Brief">
<HORIZONTAL_CS_NAME>WGS84 / UTM zone {zone}</HORIZONTAL_CS_NAME><HORIZONTAL_CS_CODE>EPSG:{epsg}</HORIZONTAL_CS_CODE>
{grids}
</Tile_Geocoding></n1:Geometric_Info></n1:Level-{n}_Tile_ID>
"""


def make_product(  # noqa: PLR0913  (by keyword only)
    folder: str | Path,
    *,
    date: datetime = DATE,
    tile: str = TILE,
    bands: Iterable[str] = BANDS,
    size: int = 1098,
    seed: int = 0,
    level: Literal["L2A", "L1C"] = "L2A",
    tlm: bool = False,
) -> Path:
    """Make a small product: the same arguments, the same bytes.

    Parameters
    ----------
    folder : path
        Where to put it.
    date : datetime
        When it was taken; decides on the clouds. Without a time zone, UTC is meant.
    tile : str
        Which tile; decides on the coordinates.
    bands : iterable of str
        Of "B01" to "B12", without "B10". Each is written at its own and, for level 2A, all coarser resolutions.
    size : int
        Pixels a side at 10 m, a multiple of 6, at least 60; ESA's have 10980.
    seed : int
        Which landscape.
    level : {"L2A", "L1C"}
        Level 2A has folders for each resolution, classes (SCL) and the aerosol thickness (AOT) besides.
    tlm : bool
        Whether images have a TLM marker segment, as ESA's have since 2026-02-05.

    Returns
    -------
    Path
        The SAFE folder.
    """
    date = _utc(date)
    product = _Product(level, tile, date, tuple(bands), size)
    root = Path(folder, product.name)
    images = dict(product.images(scene(size, seed=seed, date=date, bands={*product.bands, *_TRUE_COLOUR})))

    def write(place: str) -> None:
        pixels, metres = images[place]
        make_image(root / f"{place}.jp2", pixels, metres, tile=tile, tlm=tlm)

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, images))
    for place, text in product.metadata(images):
        root.joinpath(place).write_text(text, encoding="utf-8", newline="\n")
    return root


def make_image(path: str | Path, pixels: Image, metres: int, *, tile: str = TILE, tlm: bool = False) -> Path:
    """Write one image as ESA codes it, with its georeference.

    Parameters
    ----------
    path : path
        The file; its folder is made if need be.
    pixels : ndarray of uint8 or uint16, shape (height, width) or (3, height, width)
        uint8 is coded with 8 bits; uint16 with 15, and must not exceed 32767.
    metres : {10, 20, 60, 320}
        Size of a pixel; decides on tiles, code-blocks and precincts.
    tile : str
        The tile in whose upper left corner the image lies.
    tlm : bool
        Whether it has a TLM marker segment.

    Returns
    -------
    Path
        The file.
    """
    if metres not in _CODINGS:
        raise InvalidRequest("", f"pixels of {metres} m", f"take one of {', '.join(map(str, _CODINGS))}")
    coding = _COLOUR_60M if pixels.ndim == 3 and metres == 60 else _CODINGS[metres]
    coding = replace(coding, bits=8 if pixels.dtype == np.uint8 else 15, mct=pixels.ndim == 3, tlm=tlm)
    epsg, x, y = tile_corner(tile)
    centre = {"x": x + metres // 2, "y": y - metres // 2}
    gml = _GML.format(width=pixels.shape[-1], height=pixels.shape[-2], epsg=epsg, metres=metres, **centre)
    instance = _box(b"asoc", _box(b"lbl ", b"gml.root-instance") + _box(b"xml ", gml.encode()))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(pixels, coding, boxes=_box(b"asoc", _box(b"lbl ", b"gml.data") + instance)))
    return path


def scene(size: int = 1098, *, seed: int = 0, date: datetime = DATE, bands: Iterable[str] = BANDS) -> dict[str, Image]:
    """Paint a scene at 10 m: what a satellite would have seen of a landscape on a date.

    Parameters
    ----------
    size : int
        Pixels a side.
    seed : int
        Which landscape.
    date : datetime
        Which clouds.
    bands : iterable of str
        Which bands.

    Returns
    -------
    dict of str to ndarray, shape (size, size)
        The bands in digital numbers (uint16; reflectance times 10000, plus 1000), the aerosol thickness times 1000
        ("AOT", uint16) and the classes of level 2A ("SCL", uint8). All are 0 in the corner that the swath left out.
    """
    land = _land(seed, size)
    random = np.random.default_rng([seed, int(_utc(date).timestamp())])
    clouds = _fractal(random, size, 1.75, coarsest=5)
    cloud = _step(clouds, *np.quantile(clouds, [0.86, 0.985]))
    shadow = np.roll(cloud, (-30, -14), (0, 1))
    rows, columns = np.indices((size, size)) / size
    seen = columns <= 1 - 0.28 * (rows - 0.5)
    classes = [cloud > 0.7, cloud > 0.2, shadow > 0.4, land.water > 0.5, land.vegetation > 0.4]
    images: dict[str, Image] = {
        "AOT": (seen * (90 + 12 * _fractal(random, size, 2.5)).clip(1)).astype(np.uint16),
        "SCL": (seen * np.select(classes, [9, 8, 3, 6, 4], 5)).astype(np.uint8),
    }
    for band in bands:
        column = _NAMES.index(band)
        reflectance = land.reflectance(column) * (1 - 0.5 * shadow)
        reflectance += cloud * (_SPECTRA["cloud"][column] / 100 * (0.84 + 0.22 * cloud + 0.04 * clouds) - reflectance)
        noise = np.random.default_rng([seed, column]).standard_normal((size, size), np.float32)
        numbers = np.rint(1000 + 10_000 * reflectance + 15 * noise).clip(1, 32767)
        images[band] = (seen * numbers).astype(np.uint16)
    return images


def tile_corner(tile: str) -> tuple[int, int, int]:
    """Return the EPSG code of a tile's UTM zone, and easting and northing of its upper left corner.

    A tile begins with a square of the military grid (MGRS), widened to multiples of 60 m, which count from the equator.
    """
    found = re.fullmatch(r"T(0[1-9]|[1-5]\d|60)([C-HJ-NP-X])([A-HJ-NP-Z])([A-HJ-NP-V])", tile)
    if found is None:
        raise InvalidRequest("", f"{tile!r} is no tile of Sentinel-2", 'give one like "T29UNU"')
    zone, letters = int(found[1]), "ABCDEFGHJKLMNPQRSTUVWXYZ"
    band, column, row = (letters.index(letter) for letter in found.groups()[1:])
    latitude = 8 * band - 92  # the middle of the band
    below = (row - 5 * (zone % 2 == 0)) % 20 * 100_000  # from the equator; the rows' letters recur every 2000 km
    below += round((latitude * 110_700 - below) / 2_000_000) * 2_000_000
    easting = (column % 8 + 1) * 100_000 // 60 * 60
    northing = -(-(below + 100_000) // 60) * 60
    return (32600 + zone, easting, northing) if latitude > 0 else (32700 + zone, easting, 10_000_000 + northing)


@dataclass(frozen=True, slots=True)
class _Product:
    """Names and metadata of a product."""

    level: str
    tile: str
    date: datetime
    bands: tuple[str, ...]
    size: int

    def __post_init__(self) -> None:
        if self.size % 6 or self.size < 60:
            raise InvalidRequest("", f"a size of {self.size}", "give a multiple of 6, at least 60")
        if self.level not in ("L2A", "L1C"):
            raise InvalidRequest("", f"no such level: {self.level}", "take L2A or L1C")
        if unknown := set(self.bands) - set(_METRES):
            raise InvalidRequest("", f"no such band: {', '.join(sorted(unknown))}", f"take of {', '.join(_METRES)}")

    @property
    def name(self) -> str:
        made = self.date + timedelta(hours=4, minutes=50, seconds=43)
        return f"S2A_MSI{self.level}_{_stamp(self.date)}_N0400_R023_{self.tile}_{_stamp(made)}.SAFE"

    @property
    def granule(self) -> str:
        orbit = 38058 + round((self.date - DATE) / timedelta(days=10) * 143)
        return f"GRANULE/{self.level}_{self.tile}_A{orbit:06}_{_stamp(self.date - timedelta(seconds=4))}"

    def images(self, pixels: dict[str, Image]) -> Iterator[tuple[str, tuple[Image, int]]]:
        """Iterate over the images: name without suffix, pixels, resolution."""
        stem = f"{self.tile}_{_stamp(self.date)}"
        for metres in (10, 20, 60):
            for name in self._names(metres):
                place = f"R{metres}m/{stem}_{name}_{metres}m" if self.level == "L2A" else f"{stem}_{name}"
                yield f"{self.granule}/IMG_DATA/{place}", (_at(pixels, name, metres), metres)
        yield f"{self.granule}/QI_DATA/{stem}_PVI", (_at(pixels, "TCI", 320), 320)

    def _names(self, metres: int) -> list[str]:
        if self.level == "L1C":
            return [band for band in self.bands if _METRES[band] == metres] + ["TCI"] * (metres == 10)
        bands = [band for band in self.bands if _METRES[band] <= metres and (band != "B08" or metres == 10)]
        return [*bands, "TCI", "AOT", *["SCL"] * (metres > 10)]

    def metadata(self, images: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Iterate over the metadata files: name, text."""
        epsg, x, y = tile_corner(self.tile)
        grids = "\n".join(
            f'<Size resolution="{m}"><NROWS>{self.size * 10 // m}</NROWS><NCOLS>{self.size * 10 // m}</NCOLS></Size>'
            f'<Geoposition resolution="{m}"><ULX>{x}</ULX><ULY>{y}</ULY><XDIM>{m}</XDIM><YDIM>-{m}</YDIM></Geoposition>'
            for m in (10, 20, 60)
        )
        common = {"n": self.level[1:], "time": f"{self.date:%Y-%m-%dT%H:%M:%S}.000Z"}
        zone = f"{epsg % 100}{'N' if epsg < 32700 else 'S'}"
        yield f"{self.granule}/MTD_TL.xml", _TILE_XML.format(**common, epsg=epsg, zone=zone, grids=grids)
        files = "\n".join(f"<IMAGE_FILE>{place}</IMAGE_FILE>" for place in images if "/IMG_DATA/" in place)
        text = _PRODUCT_XML.format(**common, name=self.name, files=files, radiometry=self._radiometry())
        yield f"MTD_MSI{self.level}.xml", text

    def _radiometry(self) -> str:
        if self.level == "L1C":
            offsets = "".join(f'<RADIO_ADD_OFFSET band_id="{band}">-1000</RADIO_ADD_OFFSET>' for band in range(13))
            return (
                '<QUANTIFICATION_VALUE unit="none">10000</QUANTIFICATION_VALUE>\n'
                f"<Radiometric_Offset_List>{offsets}</Radiometric_Offset_List>"
            )
        offsets = "".join(f'<BOA_ADD_OFFSET band_id="{band}">-1000</BOA_ADD_OFFSET>' for band in range(13))
        return (
            '<QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>'
            '<AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>\n'
            f"<BOA_ADD_OFFSET_VALUES_LIST>{offsets}</BOA_ADD_OFFSET_VALUES_LIST>"
        )


@dataclass(frozen=True, slots=True)
class _Land:
    """A landscape: fields between bare and green, and what covers them, in the order of painting."""

    green: Floats
    brightness: Floats
    covers: tuple[tuple[str, Floats], ...]
    water: Floats
    vegetation: Floats
    light: Floats

    def reflectance(self, column: int) -> Floats:
        spectrum = {name: values[column] / 100 for name, values in _SPECTRA.items()}
        painted: Floats = (spectrum["soil"] + self.green * (spectrum["crop"] - spectrum["soil"])) * self.brightness
        for name, opacity in self.covers:
            painted += opacity * (spectrum[name] - painted)
        return painted * self.light


def _land(seed: int, size: int) -> _Land:
    random = np.random.default_rng(seed)
    rows, columns = np.indices((size, size), np.float32) / size
    height = _fractal(random, size, 2.1) + 3.4 * columns - 2.6 * rows + 0.75
    green, brightness, hedge = _fields(random, size)
    course = _fractal(random, size, 2.3)
    river = 1 - _step(np.abs(course) / np.maximum(np.hypot(*np.gradient(course)), 1e-4), 2, 4.5)
    wood = _step(_fractal(random, size, 1.7) + 0.45 * height, 1.5, 1.75)
    sand = 1 - _step(height, 0.01, 0.06)
    sea = 1 - _step(height, -0.012, 0.012)
    depth = 1 - _step(height, -0.45, -0.02)
    water = np.maximum(sea, river)
    slope = sum(np.gradient(height)) * size / 220
    light = 1 + (slope.clip(-0.28, 0.3) + 0.035 * _fractal(random, size, 0.6)) * (1 - water)
    dark = np.maximum(0.75 * hedge, wood)
    covers = (("wood", dark), ("sand", sand), ("shallows", water), ("deep water", np.maximum(depth, 0.6 * river)))
    return _Land(green, brightness, covers, water, np.maximum(green, dark) * (1 - sand), light)


def _fields(random: np.random.Generator, size: int) -> tuple[Floats, Floats, Floats]:
    """Lay out fields, in parishes that each have their own direction; return their greenness, brightness and hedges."""
    rows, columns = np.indices((size, size), np.float32)
    borders = _fractal(random, size, 2.2) * 0.45
    parish = (np.floor(rows / 170 + borders) * 31 + np.floor(columns / 190 - borders)).astype(np.int64) % 997
    spans = ((0, np.pi), (14, 26), (22, 60))
    angle, width, length = (random.uniform(low, high, 997)[parish] for low, high in spans)
    across = (columns * np.cos(angle) + rows * np.sin(angle) + 6 * borders) / width
    strip = np.floor(across)
    along = (rows * np.cos(angle) - columns * np.sin(angle) + 6 * borders) / length + strip * 0.618
    field = (strip * 7919 + np.floor(along) * 104729 + parish * 1299709).astype(np.int64) % 4093
    edge = np.minimum((0.5 - np.abs(across % 1 - 0.5)) * width, (0.5 - np.abs(along % 1 - 0.5)) * length)
    green, brightness = random.beta(1.3, 0.6, 4093)[field], random.uniform(0.8, 1.2, 4093)[field]
    return green.astype(np.float32), brightness.astype(np.float32), 1 - _step(edge, 0.4, 1.6)


def _fractal(random: np.random.Generator, size: int, roughness: float, coarsest: int = 1) -> Floats:
    """Make noise whose waves of frequency f have the amplitude f^-roughness; `coarsest`: waves a side to begin with."""
    waves = np.fft.rfft2(random.standard_normal((size, size)))
    frequency = np.hypot(np.fft.fftfreq(size)[:, np.newaxis], np.fft.rfftfreq(size)).clip(coarsest / size)
    waves *= frequency**-roughness
    waves[0, 0] = 0
    field = np.fft.irfft2(waves, s=(size, size))
    normal: Floats = (field / field.std()).astype(np.float32)
    return normal


def _step(values: Image, low: float, high: float) -> Floats:
    """Go smoothly from 0 at `low` to 1 at `high`."""
    t = ((values - low) / (high - low)).clip(0, 1).astype(np.float32)
    smooth: Floats = t * t * (3 - 2 * t)
    return smooth


def _at(pixels: dict[str, Image], name: str, metres: int) -> Image:
    """Return an image at a resolution."""
    if name != "TCI":
        return _coarser(pixels[name], metres // 10, classes=name == "SCL")
    colours = np.stack([_at(pixels, band, metres) for band in _TRUE_COLOUR])
    seen = colours.min(axis=0) > 0
    stretched = np.rint((colours - 1000.0) * 255 / 3525).clip(1, 255)  # white is a reflectance of 0.3525, as ESA has it
    return np.where(seen, stretched, 0).astype(np.uint8)


def _coarser(pixels: Image, factor: int, *, classes: bool) -> Image:
    """Average blocks of pixels, or take the class in the middle; a block that is not seen as a whole is 0."""
    side = len(pixels) // factor
    blocks = pixels[: side * factor, : side * factor].reshape(side, factor, side, factor)
    values = blocks[:, factor // 2, :, factor // 2] if classes else np.rint(blocks.mean(axis=(1, 3)))
    return np.where(blocks.min(axis=(1, 3)) > 0, values, 0).astype(pixels.dtype)


def _utc(date: datetime) -> datetime:
    return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)


def _stamp(date: datetime) -> str:
    return f"{date:%Y%m%dT%H%M%S}"


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content
