"""Sentinel-2 products: find their metadata, and list their images."""

import re
from pathlib import Path

from jp2batch.core.errors import MetadataError, PermissionDenied, StorageError, StoreUnavailable
from jp2batch.core.location import Location
from jp2batch.core.mission import ListedImage
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import Request
from jp2batch.sentinel2 import names as sentinel2
from jp2batch.sentinel2.metadata import Sentinel2Metadata, product_place, read_metadata


def list_product(
    product: str, *, storage_options: StorageOptions = None
) -> tuple[Sentinel2Metadata, list[ListedImage]]:
    """Return the metadata of a product and all its images.

    Raises
    ------
    StorageError, MetadataError
        The metadata cannot be read.
    """
    location, metadata = _find_metadata(product, storage_options)
    return metadata, [listed for path in metadata.images if (listed := _listed(location, path)) is not None]


def is_product(path: str) -> bool:
    """Return whether a path names a product, not an image."""
    return Location.of(path).plain_path.rstrip("/\\").lower().endswith((".safe", ".xml"))


def _find_metadata(product: str, storage_options: StorageOptions) -> tuple[str, Sentinel2Metadata]:
    """Return the location of the metadata, and the metadata."""
    faults: list[StorageError] = []
    for place in product_place(product):
        try:
            return place, read_metadata(place, storage_options=storage_options)
        except StorageError as error:
            if isinstance(error, PermissionDenied | StoreUnavailable):
                raise
            faults.append(error)
    problem = f"this is not a product of Sentinel-2: {faults[0].path} {faults[0].problem}"  # likeliest location
    raise MetadataError(product, problem, what_to_give(product) or "give its SAFE folder")


def _listed(place: str, path: str) -> ListedImage | None:
    """Return a listed image; None for other files."""
    location = Location.of(place)
    folder, slash, _ = location.path.rpartition("/")
    url = location.with_path(Request(path, root=folder).url if slash else path).text
    name = sentinel2.parse_name(url)
    metres = None if name is None else name.resolution or sentinel2.METRES.get(name.band or "")
    return None if name is None or metres is None else ListedImage(url, name, metres)


def what_to_give(path: str) -> str | None:
    """Return a hint for a path other than a product.

    It names the product around the path, or the products in it.
    """
    location = Location.of(path)
    around = re.match(r"(.+?\.SAFE)[/\\]", location.path, re.IGNORECASE)
    if around is not None:
        return f"its product is {location.with_path(around[1])}"
    if "*" in path:
        return "the pattern matches nothing, or was not expanded (use glob.glob)"
    if location.is_local and any(Path(path).glob("*.SAFE")):
        return f"give the products in it: {Path(path) / '*.SAFE'}"
    return None
