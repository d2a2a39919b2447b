"""tileInfo.json, the facts of a tile in the buckets of AWS."""

import json
import re
from dataclasses import dataclass
from typing import Self

from jp2batch.core.errors import InvalidPath, MetadataError
from jp2batch.core.location import Location
from jp2batch.core.mission import ImageName
from jp2batch.core.request import Request
from jp2batch.sentinel2 import names as sentinel2

TILE_INFO = "tileInfo.json"
"""Name of the file, beside the images."""
HINT = "check that the product's folder is complete, or use scaled=False for the numbers as stored"
"""Advice about missing metadata."""

_FOLDER = re.compile(r"(?:.*/)?tiles/\d{1,2}/[C-X]/[A-Z]{2}/\d{4}/\d{1,2}/\d{1,2}/\d+/")


@dataclass(frozen=True, slots=True)
class TileInfo:
    """Facts of a tile."""

    product: str
    """Name of its product, without .SAFE; empty if unknown."""
    path: str
    """Its folder in the bucket, as "tiles/33/U/UP/2015/7/11/0"; empty if unknown."""
    product_path: str
    """Folder of its product in the bucket."""

    @classmethod
    def parse(cls, document: bytes, place: str) -> Self:
        """Parse the file at a place.

        Raises
        ------
        MetadataError
            The file is damaged.
        """
        try:
            facts = json.loads(document)
            return cls(str(facts.get("productName", "")), str(facts.get("path", "")), str(facts["productPath"]))
        except (ValueError, LookupError, TypeError, AttributeError):
            raise MetadataError(place, "has no path of its product", HINT) from None

    def metadata(self, place: str) -> str:
        """Return the location of the product's metadata.

        They are in the product's folder of the same bucket or, elsewhere, in productInfo beside the file at `place`.

        Raises
        ------
        MetadataError
            The path of the product is none.
        """
        location = Location.of(place)
        root, tiles, _ = location.path.rpartition("tiles/")
        if not tiles:
            return location.with_path(location.path.removesuffix(TILE_INFO) + "productInfo/metadata.xml").text
        key = f"{self.product_path}/metadata.xml"
        try:
            return location.with_path(Request(key, root=root.rstrip("/")).url if root else Request(key).url).text
        except InvalidPath:
            raise MetadataError(place, "has no path of its product", HINT) from None

    def parse_name(self, path: str) -> ImageName | None:
        """Return facts of an image, from its path in the tile's folder."""
        return sentinel2.parse_name(f"/{self.product}.SAFE/{self.path}/{path}")


def tile_folder(path: str) -> str | None:
    """Return the folder of a tile around a path, or None."""
    found = _FOLDER.match(path)
    return None if found is None else found[0]
