"""Metadata of Sentinel-2 products: location, listed images, scaling to reflectance."""

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jp2batch.core.content import HEAD, foreign_content
from jp2batch.core.errors import MetadataError
from jp2batch.core.location import Location
from jp2batch.core.scaling import Scaling
from jp2batch.sentinel2 import names as sentinel2
from jp2batch.sentinel2.tile_info import HINT, TILE_INFO, TileInfo, tile_folder
from jp2batch.storage.files import read_bytes

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_LARGEST = 32 << 20  # ESA's takes 55 kB; before December 2016 it lists all tiles of a datatake
_BAND_IDS = dict(enumerate(sentinel2.BANDS))  # bandId and physicalBand of Spectral_Information
_QUANTIFICATION = {
    "L1C": ("QUANTIFICATION_VALUE",),
    "L2A": ("BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE"),  # the latter before baseline 02.07
}
_OFFSET = {"L1C": "RADIO_ADD_OFFSET", "L2A": "BOA_ADD_OFFSET"}
_GRANULES = ("Granule", "Granules")
QUANTITY = {"L1C": "top-of-atmosphere reflectance", "L2A": "surface reflectance"}
"""Reflectance by processing level."""


@dataclass(frozen=True, slots=True)
class Sentinel2Metadata:
    """Metadata of a product."""

    name: str | None
    """PRODUCT_URI, the name of the product's folder."""
    level: sentinel2.Level
    """Processing level."""
    baseline: str | None
    """Processing baseline, such as "04.00"."""
    time: datetime | None
    """Start of sensing of the datatake, in whole seconds as in names."""
    platform: str | None
    """Name of the satellite, such as "S2A"."""
    datastrip: datetime | None
    """Start of sensing of the datastrip; None for granules of several."""
    processing_time: datetime | None
    """Time of processing in the name, else of generation."""
    images: tuple[str, ...]
    """Paths of the images, relative to the product's folder."""
    quantification: float | None
    """Quantification: factor from reflectance to stored numbers."""
    offsets: Mapping[str, float]
    """Radiometric offsets by band; empty before baseline 04.00."""
    nodata: int
    """No-data value."""

    def scaling(self, band: str | None) -> Scaling | None:
        """Return the scaling of a band to reflectance.

        None for bands other than reflectance, such as SCL and AOT.

        Raises
        ------
        MetadataError
            The metadata have no quantification, or no offset for the band.
        """
        if band not in sentinel2.BANDS:
            return None
        offset = self.offsets.get(band, 0.0) if not self.offsets else self.offsets.get(band)
        if self.quantification is None or offset is None:
            raise MetadataError(self.name or "", f"its metadata have no quantification or offset for {band}", HINT)
        return Scaling(offset, self.quantification, QUANTITY[self.level], self.nodata)


def metadata_url(path: str) -> str | None:
    """Return the location of the metadata of an image's product, or None.

    It is derived from the path: the metadata file in the product's folder, which contains GRANULE; or, in the buckets
    of AWS, the file beside the image that names the product.

    Parameters
    ----------
    path : str
        Path or URL of an image, which may be chained.
    """
    location = Location.of(path)
    inside = re.match(r"(.*[/\\]|)GRANULE[/\\]", location.plain_path, re.DOTALL)
    if inside is not None:
        name = _file_name(inside[1] or location.chain, path)
        return None if name is None else location.with_path(f"{inside[1]}{name}").text
    tile = tile_folder(location.plain_path)
    return None if tile is None else location.with_path(f"{tile}{TILE_INFO}").text


def product_place(product: str) -> list[str]:
    """Return possible locations of a product's metadata, likeliest first.

    Parameters
    ----------
    product : str
        Path or URL of the folder or of the metadata file, which may be chained.
    """
    location = Location.of(product)
    folder = location.path
    if folder.lower().endswith(".xml"):
        return [product]
    folder = folder if folder.endswith(("/", "\\")) or not folder else f"{folder}/"
    likely = _file_name(folder, f"{folder}GRANULE/x.jp2")
    names = dict.fromkeys([likely, "MTD_MSIL2A.xml", "MTD_MSIL1C.xml"])
    return [location.with_path(f"{folder}{name}").text for name in names if name]


def read_metadata(place: str, *, storage_options: Mapping[str, object] | None = None) -> Sentinel2Metadata:
    """Read the metadata of a product.

    Parameters
    ----------
    place : str
        Location of the metadata, from `metadata_url` or `product_place`.
    storage_options : mapping, optional
        fsspec's options for the store.

    Raises
    ------
    StorageError
        The metadata cannot be read.
    MetadataError
        The metadata are damaged, or another kind of file.
    """
    if Location.of(place).path.endswith(TILE_INFO):
        info = TileInfo.parse(read_bytes(place, storage_options=storage_options, limit=_LARGEST), place)
        place = info.metadata(place)
    return parse_metadata(read_bytes(place, storage_options=storage_options, limit=_LARGEST), place)


@functools.lru_cache(maxsize=64)
def parse_metadata(document: bytes, place: str = "") -> Sentinel2Metadata:
    """Parse the metadata of a product.

    Parameters
    ----------
    document : bytes
        MTD_MSIL1C.xml or MTD_MSIL2A.xml, which had other names before December 2016.
    place : str, optional
        Location of the metadata, for messages.

    Raises
    ------
    MetadataError
        The metadata are damaged, or another kind of file.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        root = fromstring(document)
        texts = _texts(root)
        level = re.search(r"(1C|2A)", texts.get("PROCESSING_LEVEL", ""))
        if level is None:
            raise _not_metadata(place, document, "this is not the metadata of a product of level 1C or 2A")
        return _metadata(root, texts, f"L{level[1]}")  # type: ignore[arg-type]  # L1C or L2A
    except (SyntaxError, ValueError, LookupError, DefusedXmlException) as error:
        if isinstance(error, MetadataError):
            raise
        raise _not_metadata(place, document, f"its metadata are damaged: {type(error).__name__}") from None


def _not_metadata(place: str, document: bytes, problem: str) -> MetadataError:
    """Return the error of a document, with the name of its kind."""
    found = foreign_content(document[:HEAD], "xml")
    return MetadataError(place, f"this is {found.name}, not metadata of a product" if found else problem, HINT)


def _metadata(root: "Element", texts: Mapping[str, str], level: sentinel2.Level) -> Sentinel2Metadata:
    found = next((texts[name] for name in _QUANTIFICATION[level] if name in texts), None)
    quantification = None if found is None else float(found)
    if quantification is not None and not 0 < quantification < float("inf"):
        raise ValueError(quantification)
    offsets = {_BAND_IDS[int(one.attrib["band_id"])]: float(one.text or "") for one in _named(root, _OFFSET[level])}
    special = {
        _text(one, "SPECIAL_VALUE_TEXT"): _text(one, "SPECIAL_VALUE_INDEX") for one in _named(root, "Special_Values")
    }
    time = texts.get("DATATAKE_SENSING_START") or texts.get("PRODUCT_START_TIME")
    name = texts.get("PRODUCT_URI") or texts.get("PRODUCT_URI_2A") or texts.get("PRODUCT_URI_1C")
    spacecraft = re.match(r"(?:Sentinel-|S)(2[A-D])", texts.get("SPACECRAFT_NAME") or name or "")
    return Sentinel2Metadata(
        name=name,
        level=level,
        baseline=texts.get("PROCESSING_BASELINE"),
        time=_whole_seconds(time) if time else None,
        platform=None if spacecraft is None else f"S{spacecraft[1]}",
        datastrip=_datastrip(root),
        processing_time=_processing_time(name, texts.get("GENERATION_TIME")),
        images=tuple(_images(root)),
        quantification=quantification,
        offsets=offsets,
        nodata=int(special.get("NODATA", "0")),
    )


def _processing_time(name: str | None, made: str | None) -> datetime | None:
    """Return the time in a product's name, else of generation.

    Parts of an overpass may differ only in their names.
    """
    facts = sentinel2.parse_product(name) if name else None
    return (facts.processing_time if facts else None) or (_whole_seconds(made) if made else None)


def _whole_seconds(text: str) -> datetime:
    when = datetime.fromisoformat(text)
    return (when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)).replace(microsecond=0)


def _datastrip(root: "Element") -> datetime | None:
    """Return the start of sensing of the only datastrip."""
    found = {sentinel2.datastrip_time(one.attrib.get("datastripIdentifier", "")) for one in _named(root, *_GRANULES)}
    return found.pop() if len(found) == 1 else None


def _images(root: "Element") -> Iterator[str]:
    """Iterate over the paths of images in all granules.

    Before December 2016, metadata have only the names, from which paths are made.
    """
    for granule in _named(root, *_GRANULES):
        for image in granule:
            text, kind = (image.text or "").strip(), _local_name(image)
            if kind in ("IMAGE_FILE", "IMAGE_FILE_2A"):
                yield f"{text}.jp2"
            elif kind in ("IMAGE_ID", "IMAGE_ID_2A"):
                metres = re.search(r"_(\d\dm)$", text)
                folder = f"GRANULE/{granule.attrib['granuleIdentifier']}/IMG_DATA"
                yield f"{folder}/R{metres[1]}/{text}.jp2" if metres else f"{folder}/{text}.jp2"


def _local_name(element: "Element") -> str:
    return element.tag.rpartition("}")[2]


def _named(root: "Element", *names: str) -> Iterator["Element"]:
    return (element for element in root.iter() if _local_name(element) in names)


def _texts(root: "Element") -> dict[str, str]:
    """Return the text of elements by name, the first for each name."""
    found: dict[str, str] = {}
    for element in root.iter():
        found.setdefault(_local_name(element), (element.text or "").strip())
    return found


def _text(element: "Element", name: str) -> str:
    return next(((child.text or "").strip() for child in element if _local_name(child) == name), "")


def _file_name(folder: str, image: str) -> str | None:
    """Return the file name of the metadata in a product's folder."""
    old = re.search(r"(S2[A-D]_(?:OPER|USER))_PRD_MSI(L1C|L2A)_(\w+)\.SAFE[/\\]*$", folder)
    if old is not None:  # S2A_OPER_PRD_MSIL1C_PDMC_…: S2A_OPER_MTD_SAFL1C_PDMC_….xml
        return f"{old[1]}_MTD_SAF{old[2]}_{old[3]}.xml"
    level = sentinel2.level_of(image)
    return None if level is None else f"MTD_MSI{level}.xml"
