"""The metadata of Sentinel-2 products: where they lie, which images they list, what makes reflectance of numbers."""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jp2batch.core.errors import InvalidPath, MetadataError
from jp2batch.core.location import Location
from jp2batch.core.request import Request
from jp2batch.core.scaling import Scaling
from jp2batch.sentinel2 import names as sentinel2
from jp2batch.storage.files import read_bytes

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

__all__ = [
    "Sentinel2Metadata",
    "metadata_url",
    "parse_metadata",
    "product_place",
    "read_metadata",
]

_LARGEST = 32 << 20  # ESA's takes 55 kB; those of before December 2016 list all tiles of a datatake
_TILE_INFO = "tileInfo.json"  # beside images in the buckets of AWS, it tells where their product lies
_BAND_IDS = dict(enumerate(sentinel2.BANDS))  # as Spectral_Information has bandId and physicalBand
_QUANTIFICATION = {
    "L1C": ("QUANTIFICATION_VALUE",),
    "L2A": ("BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE"),  # the latter before baseline 02.07
}
_OFFSET = {"L1C": "RADIO_ADD_OFFSET", "L2A": "BOA_ADD_OFFSET"}
_QUANTITY = {"L1C": "top-of-atmosphere reflectance", "L2A": "surface reflectance"}
_HINT = "see that the product's folder is whole; scaled=False gives the numbers as stored"


@dataclass(frozen=True, slots=True)
class Sentinel2Metadata:
    """What the metadata of a product tell."""

    name: str | None
    """PRODUCT_URI: the name of its folder."""
    level: sentinel2.Level
    """Level of processing."""
    baseline: str | None
    """Processing baseline, as "04.00"."""
    time: datetime | None
    """Start of sensing."""
    images: tuple[str, ...]
    """Its images, as paths below its folder."""
    quantification: float | None
    """What reflectance was multiplied by."""
    offsets: Mapping[str, float]
    """What was then subtracted, with a minus sign, by band; empty in products of before baseline 04.00."""
    nodata: int
    """The number that stands for no data."""

    def scaling(self, band: str | None) -> Scaling | None:
        """Return what makes reflectance of the numbers of a band; None for what is no reflectance, as SCL and AOT.

        Raises
        ------
        MetadataError
            The metadata do not tell.
        """
        if band not in sentinel2.BANDS:
            return None
        offset = self.offsets.get(band, 0.0) if not self.offsets else self.offsets.get(band)
        if self.quantification is None or offset is None:
            raise MetadataError(self.name or "", f"its metadata have no quantification or offset for {band}", _HINT)
        return Scaling(offset, self.quantification, _QUANTITY[self.level], self.nodata)


def metadata_url(path: str) -> str | None:
    """Return where the metadata of an image's product lie, as far as the image's own path tells.

    That is the file of the product's folder, which has GRANULE in it; or, in the buckets of AWS, the file beside the
    image that names the product.

    Parameters
    ----------
    path : str
        Path or URL of an image; also a chained one.
    """
    location = Location.of(path)
    inside = re.match(r"(.*[/\\]|)GRANULE[/\\]", location.plain_path, re.DOTALL)
    if inside is not None:
        name = _file_name(inside[1] or location.chain, path)
        return None if name is None else location.with_path(f"{inside[1]}{name}").text
    tile = re.match(r"(?:.*/)?tiles/\d{1,2}/[C-X]/[A-Z]{2}/\d{4}/\d{1,2}/\d{1,2}/\d+/", location.plain_path)
    return None if tile is None else location.with_path(f"{tile[0]}{_TILE_INFO}").text


def product_place(product: str) -> list[str]:
    """Return where the metadata of a product may lie, likeliest first.

    Parameters
    ----------
    product : str
        Path or URL of its folder, or of the metadata themselves; also a chained one.
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
        Where they lie, as `metadata_place` has it.
    storage_options : mapping, optional
        fsspec's options for the store.

    Raises
    ------
    StorageError
        They cannot be read.
    MetadataError
        They are damaged, or something else.
    """
    if Location.of(place).path.endswith(_TILE_INFO):
        place = _place_of_product(place, read_bytes(place, storage_options=storage_options, limit=_LARGEST))
    return parse_metadata(read_bytes(place, storage_options=storage_options, limit=_LARGEST), place)


@functools.lru_cache(maxsize=64)
def parse_metadata(document: bytes, place: str = "") -> Sentinel2Metadata:
    """Return what the metadata of a product tell.

    Parameters
    ----------
    document : bytes
        MTD_MSIL1C.xml or MTD_MSIL2A.xml, or what these were called before December 2016.
    place : str, optional
        Where they lie, for messages.

    Raises
    ------
    MetadataError
        They are damaged, or something else.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        root = fromstring(document)
        texts = _texts(root)
        level = re.search(r"(1C|2A)", texts.get("PROCESSING_LEVEL", ""))
        if level is None:
            raise MetadataError(place, "this is no metadata of a product of level 1C or 2A", _HINT)
        return _metadata(root, texts, f"L{level[1]}")  # type: ignore[arg-type]  # one of two
    except (SyntaxError, ValueError, LookupError, DefusedXmlException) as error:
        if isinstance(error, MetadataError):
            raise
        raise MetadataError(place, f"its metadata are damaged: {type(error).__name__}", _HINT) from None


def _metadata(root: "Element", texts: Mapping[str, str], level: sentinel2.Level) -> Sentinel2Metadata:
    found = next((texts[name] for name in _QUANTIFICATION[level] if name in texts), None)
    quantification = None if found is None else float(found)
    if quantification is not None and not 0 < quantification < float("inf"):
        raise ValueError(quantification)
    offsets = {_BAND_IDS[int(one.attrib["band_id"])]: float(one.text or "") for one in _named(root, _OFFSET[level])}
    special = {
        _text(one, "SPECIAL_VALUE_TEXT"): _text(one, "SPECIAL_VALUE_INDEX") for one in _named(root, "Special_Values")
    }
    time = texts.get("PRODUCT_START_TIME")
    return Sentinel2Metadata(
        name=texts.get("PRODUCT_URI") or texts.get("PRODUCT_URI_2A") or texts.get("PRODUCT_URI_1C"),
        level=level,
        baseline=texts.get("PROCESSING_BASELINE"),
        time=None if time is None else datetime.fromisoformat(time).astimezone(UTC),
        images=tuple(_images(root)),
        quantification=quantification,
        offsets=offsets,
        nodata=int(special.get("NODATA", "0")),
    )


def _images(root: "Element") -> Iterator[str]:
    """Iterate over the images of all granules; before December 2016, only their names are told."""
    for granule in _named(root, "Granule", "Granules"):
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
    """Return the text of each element by its name; the first of a name counts."""
    found: dict[str, str] = {}
    for element in root.iter():
        found.setdefault(_local_name(element), (element.text or "").strip())
    return found


def _text(element: "Element", name: str) -> str:
    return next(((child.text or "").strip() for child in element if _local_name(child) == name), "")


def _file_name(folder: str, image: str) -> str | None:
    """Return what the metadata in a product's folder are called."""
    old = re.search(r"(S2[A-D]_(?:OPER|USER))_PRD_MSI(L1C|L2A)_(\w+)\.SAFE[/\\]*$", folder)
    if old is not None:  # S2A_OPER_PRD_MSIL1C_PDMC_…: S2A_OPER_MTD_SAFL1C_PDMC_….xml
        return f"{old[1]}_MTD_SAF{old[2]}_{old[3]}.xml"
    level = sentinel2.level_of(image)
    return None if level is None else f"MTD_MSI{level}.xml"


def _place_of_product(place: str, document: bytes) -> str:
    """Return where the metadata lie of a product that AWS tells of in tileInfo.json."""
    root = place[: place.rindex("tiles/")].rstrip("/")
    try:
        key = f"{json.loads(document)['productPath']}/metadata.xml"
        return Request(key, root=root).url if root else key
    except (ValueError, LookupError, TypeError, InvalidPath):
        raise MetadataError(place, "does not tell where its product lies", _HINT) from None
