"""Make small products with the names, coding and metadata of Sentinel-2.

A painted landscape is cut into bands of 10, 20 and 60 m and written with ESA's folders, names, boxes and coding
parameters, and the metadata needed by a reader of pixels. Only the size differs from ESA's.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np

from jp2batch.core.bands import named
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.location import Location, described
from jp2batch.sample import landscape
from jp2batch.sample.coding import ESA_60M, Coding
from jp2batch.sample.encode import encode
from jp2batch.sample.georeference import gmljp2, tile_corner
from jp2batch.sample.landscape import DATE, Image, in_utc, scene
from jp2batch.sentinel2 import names as sentinel2

TILE = "T29UNU"
"""Default tile of samples."""
BANDS = ("B02", "B03", "B04", "B08", "B8A", "B11")
"""Default bands of samples."""
_TRUE_COLOUR = ("B04", "B03", "B02")
_METRES = {band: sentinel2.METRES[band] for band in landscape.BANDS}
_CODINGS = {
    10: Coding(tile=(1024, 1024), code_block=(64, 64), precincts=(256, 256)),
    20: Coding(tile=(640, 640), code_block=(8, 8), precincts=(128, 128)),
    60: ESA_60M,
    320: Coding(tile=(8, 8), levels=3, code_block=(16, 16), precincts=(128, 128)),  # preview; ESA's has 4 levels
}
_COLOUR_60M = Coding(tile=(256, 256), code_block=(16, 16), precincts=(128, 128))
_PRODUCT_XML = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{n}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-{n}.xsd"><n1:General_Info>
<Product_Info>
<PRODUCT_START_TIME>{time}</PRODUCT_START_TIME><PRODUCT_STOP_TIME>{time}</PRODUCT_STOP_TIME>
<PRODUCT_URI>{name}</PRODUCT_URI><PROCESSING_LEVEL>Level-{n}</PROCESSING_LEVEL><PRODUCT_TYPE>S2MSI{n}</PRODUCT_TYPE>
<PROCESSING_BASELINE>04.00</PROCESSING_BASELINE><GENERATION_TIME>{made:%Y-%m-%dT%H:%M:%S}.000000Z</GENERATION_TIME>
<Product_Organisation><Granule_List><Granule datastripIdentifier="{datastrip}" imageFormat="JPEG2000">
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


def make_product(
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
    """Make a small product; the same arguments give the same bytes.

    Parameters
    ----------
    folder : path
        Folder in which to create the product.
    date : datetime
        Start of sensing, which selects the clouds; UTC, if it has no time zone.
    tile : str
        MGRS tile, which determines the coordinates.
    bands : iterable of str
        Of "B01" to "B12", without "B10". Each is written at its own and, for level 2A, at all coarser resolutions.
    size : int
        Length of each side in pixels at 10 m, a multiple of 6, at least 60; ESA's products have 10980.
    seed : int
        Selects the landscape.
    level : {"L2A", "L1C"}
        Processing level; 2A has folders for each resolution, and also classes (SCL) and aerosol thickness (AOT).
    tlm : bool
        True to write a TLM marker segment into images, as ESA does since 2026-02-05.

    Returns
    -------
    Path
        The SAFE folder.
    """
    date = in_utc(date)
    product = _Product(level, tile, date, tuple(bands), size)
    root = Path(Location.of(folder).expanded.text, product.name)
    images = dict(product.images(scene(size, seed=seed, date=date, bands={*product.bands, *_TRUE_COLOUR})))

    def write(place: str) -> None:
        pixels, metres = images[place]
        make_image(root / f"{place}.jp2", pixels, metres, tile=tile, tlm=tlm)

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, images))
    for place, text in product.metadata(images):
        root.joinpath(place).write_text(text, encoding="utf-8", newline="\n")
    return root


def make_series(
    folder: str | Path,
    dates: int,
    *,
    days: int = 5,
    bands: Iterable[str] = BANDS,
    size: int = 1098,
    tlm: bool = False,
) -> Iterator[Path]:
    """Make small products of the same tile on several dates.

    Parameters
    ----------
    folder : path
        Folder in which to create the products.
    dates : int
        Number of products; each has its own clouds.
    days : int
        Days from a product to the next.
    bands, size, tlm
        As for `make_product`.

    Yields
    ------
    Path
        The SAFE folder of each product, as soon as it is made.
    """
    bands = tuple(bands)
    for number in range(dates):
        yield make_product(folder, date=DATE + timedelta(days=days * number), bands=bands, size=size, tlm=tlm)


def make_image(path: str | Path, pixels: Image, metres: int, *, tile: str = TILE, tlm: bool = False) -> Path:
    """Write an image with ESA's coding and a georeference.

    Parameters
    ----------
    path : path
        The file; its folder is created if missing.
    pixels : ndarray of uint8 or uint16, shape (height, width) or (3, height, width)
        uint8 is coded with 8 bits; uint16 with 15, and must not exceed 32767.
    metres : {10, 20, 60, 320}
        Size of a pixel, which determines tiles, code-blocks and precincts.
    tile : str
        MGRS tile; the image is in its upper left corner.
    tlm : bool
        True to write a TLM marker segment.

    Returns
    -------
    Path
        The file.
    """
    if metres not in _CODINGS:
        raise InvalidRequest("", f"no pixels of {described(metres)} m", f"take one of {', '.join(map(str, _CODINGS))}")
    coding = _COLOUR_60M if pixels.ndim == 3 and metres == 60 else _CODINGS[metres]
    coding = replace(coding, bits=8 if pixels.dtype == np.uint8 else 15, mct=pixels.ndim == 3, tlm=tlm)
    epsg, x, y = tile_corner(tile)
    georeference = gmljp2(pixels.shape[-1], pixels.shape[-2], epsg, (x, y), metres)
    path = Path(Location.of(path).expanded.text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(pixels, coding, boxes=georeference))
    return path


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
            raise InvalidRequest("", f"size={self.size} is not possible", "give a multiple of 6, at least 60")
        if self.level not in ("L2A", "L1C"):
            raise InvalidRequest("", "unknown processing level", "take L2A or L1C")
        if unknown := set(self.bands) - set(_METRES):
            raise InvalidRequest("", f"samples have no {named(sorted(unknown))}", f"take of {', '.join(_METRES)}")

    @property
    def made(self) -> datetime:
        """Time of processing."""
        return self.date + timedelta(hours=4, minutes=50, seconds=43)

    @property
    def datastrip(self) -> str:
        """Time of the datastrip, as in names."""
        return _stamp(self.date - timedelta(seconds=4))

    @property
    def name(self) -> str:
        return f"S2A_MSI{self.level}_{_stamp(self.date)}_N0400_R023_{self.tile}_{_stamp(self.made)}.SAFE"

    @property
    def granule(self) -> str:
        orbit = 38058 + round((self.date - DATE) / timedelta(days=10) * 143)
        return f"GRANULE/{self.level}_{self.tile}_A{orbit:06}_{self.datastrip}"

    def images(self, pixels: dict[str, Image]) -> Iterator[tuple[str, tuple[Image, int]]]:
        """Iterate over images: path without suffix, pixels, metres."""
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
        """Iterate over metadata files: path, text."""
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
        datastrip = f"S2A_OPER_MSI_{self.level}_DS_ATOS_{_stamp(self.made)}_S{self.datastrip}_N04.00"
        told = {"name": self.name, "made": self.made, "datastrip": datastrip}
        text = _PRODUCT_XML.format(**common, **told, files=files, radiometry=self._radiometry())
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


def _at(pixels: dict[str, Image], name: str, metres: int) -> Image:
    """Return an image at a resolution."""
    if name != "TCI":
        return _coarser(pixels[name], metres // 10, classes=name == "SCL")
    colours = np.stack([_at(pixels, band, metres) for band in _TRUE_COLOUR])
    seen = colours.min(axis=0) > 0
    stretched = np.rint((colours - 1000.0) * 255 / 3525).clip(1, 255)  # white is a reflectance of 0.3525, as ESA has it
    return np.where(seen, stretched, 0).astype(np.uint8)


def _coarser(pixels: Image, factor: int, *, classes: bool) -> Image:
    """Average blocks of pixels, or take the class in the middle.

    A block with any pixel outside of the swath is 0.
    """
    side = len(pixels) // factor
    blocks = pixels[: side * factor, : side * factor].reshape(side, factor, side, factor)
    values = blocks[:, factor // 2, :, factor // 2] if classes else np.rint(blocks.mean(axis=(1, 3)))
    return np.where(blocks.min(axis=(1, 3)) > 0, values, 0).astype(pixels.dtype)


def _stamp(date: datetime) -> str:
    return f"{date:%Y%m%dT%H%M%S}"
