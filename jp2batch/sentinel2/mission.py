"""Sentinel-2 as a mission: see `jp2batch.core.mission`."""

from collections.abc import Mapping
from typing import Any

from jp2batch.core.mission import ImageName, ListedImage, Mission
from jp2batch.core.options import StorageOptions
from jp2batch.core.scaling import ScalingClaim
from jp2batch.sentinel2 import metadata, names, products
from jp2batch.sentinel2.listing import AbsentMetadata
from jp2batch.sentinel2.stac import claim_of, parse_properties
from jp2batch.sentinel2.tile_metadata import Grid, read_grid


class Sentinel2(Mission):
    """Reads names, metadata and products of Sentinel-2."""

    title = "Sentinel-2"
    bands = names.BANDS
    classes = frozenset({"SCL"})
    common_names = names.COMMON_NAMES
    scene_classes = names.SCENE_CLASSES

    def parse_name(self, path: str) -> ImageName | None:
        """Return facts from a path; see `names.parse_name`."""
        return names.parse_name(path)

    def parse_properties(self, properties: Mapping[str, object]) -> ImageName | None:
        """Return facts from the properties of a STAC item."""
        return parse_properties(properties)

    def find_band(self, text: str) -> str | None:
        """Return the band name in a text."""
        return names.find_band(text)

    def claim_of(self, name: ImageName, scale: float, offset: float) -> ScalingClaim | None:
        """Return the scaling of an image by its STAC item."""
        return claim_of(name, scale, offset)

    def nodata(self, name: ImageName | None) -> int | None:
        """Return the no-data value."""
        return names.nodata(name)

    def units(self, name: ImageName | None) -> str | None:
        """Return the unit of the numbers as stored."""
        return names.units(name)

    def metres(self, band: str | None) -> int | None:
        """Return the pixel size of a spectral band."""
        return names.METRES.get(band or "")

    def metadata_url(self, path: str) -> str | None:
        """Return the location of the metadata of an image's product."""
        return metadata.metadata_url(path)

    def read_metadata(self, location: str, *, storage_options: Mapping[str, Any] | None) -> metadata.Sentinel2Metadata:
        """Read the metadata of a product."""
        return metadata.read_metadata(location, storage_options=storage_options)

    def read_grid(self, path: str, shape: tuple[int, int], *, storage_options: StorageOptions) -> Grid | None:
        """Return EPSG code and transform of an image, from its tile's metadata."""
        return read_grid(path, shape, storage_options=storage_options)

    def is_product(self, path: str) -> bool:
        """Return whether a path names a product, or is a local folder."""
        return products.is_product(path)

    def list_product(
        self, product: str, *, storage_options: StorageOptions
    ) -> tuple[metadata.Sentinel2Metadata | AbsentMetadata, list[ListedImage]]:
        """Return the metadata of a product and all its images."""
        return products.list_product(product, storage_options=storage_options)

    def what_to_give(self, path: str) -> str | None:
        """Return a hint for a path other than a product."""
        return products.what_to_give(path)
