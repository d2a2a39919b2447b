"""Which images a cube is made of, and what makes reflectance of the numbers of each."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Any

import numpy as np

from jp2batch import sentinel2
from jp2batch.errors import CubeMismatch, MetadataError, StorageError
from jp2batch.metadata import ProductMetadata, metadata_place, read_metadata, told_scaling
from jp2batch.product import is_product, product_images
from jp2batch.radiometry import Scaling
from jp2batch.reader import StorageOptions
from jp2batch.request import Request
from jp2batch.sentinel2 import ImageName
from jp2batch.urls import without_credentials


@dataclass(slots=True)
class CubeImage:
    """An image that is asked for, and what has become known of it."""

    url: str
    name: ImageName
    metadata: ProductMetadata | None = None
    scaling: Scaling | None = None

    @property
    def time(self) -> np.datetime64:
        """Start of sensing; the day where the path tells no more."""
        when: datetime | date | None = self.name.time or self.name.day
        return np.datetime64(when.replace(tzinfo=None) if isinstance(when, datetime) else when, "ns")

    @property
    def band(self) -> str:
        """Its band."""
        return self.name.band or ""


def listed_images(
    images: Iterable[str | os.PathLike[str] | Request], bands: Sequence[str] | None, metres: int | None, each: Any
) -> list[CubeImage]:
    """Return the images that are meant, products replaced by what their metadata list."""
    if isinstance(images, str | os.PathLike | Request):
        images = [images]
    given = list(images)
    for one in given:
        if isinstance(one, Request) and one.window is not None:
            raise CubeMismatch(one.path, "has a window, and a cube is opened whole", "leave it out, and slice the cube")
    paths = [one.url if isinstance(one, Request) else os.fspath(one) for one in given]
    products = [path for path in paths if is_product(path)]
    if products and bands is None:
        raise CubeMismatch(without_credentials(products[0]), "of a product, which bands?", 'give bands=["B04", …]')
    found = [_named(path) for path in paths if not is_product(path)]
    found = [image for image in found if bands is None or image.band in bands]
    for metadata, listed in each(partial(product_images, bands=bands, metres=metres, finest=True), products):
        found += [CubeImage(image.path, image.name, metadata) for image in listed]
    lacking = [band for band in bands or () if band not in {image.band for image in found}]
    if lacking or not found:
        raise CubeMismatch("", f"there is no image of {', '.join(lacking) or 'anything'}", "give at least one")
    return found


def _named(path: str) -> CubeImage:
    name = sentinel2.parse_name(path)
    if name is None or name.band is None or (name.time or name.day) is None:
        cure = "give images with names of Sentinel-2; others can be joined by xarray.concat of jp2batch.open"
        raise CubeMismatch(without_credentials(path), "its name does not tell band and time", cure)
    return CubeImage(path, name)


def add_scalings(images: Sequence[CubeImage], scaled: bool, each: Any) -> None:
    """Find what makes reflectance of the numbers of each image; for numbers as stored, only where metadata are."""
    wanting = [one for one in images if one.metadata is None and one.band in sentinel2.BANDS]
    places = {image.url: metadata_place(image.url) for image in wanting}
    known = sorted({place for place in places.values() if place is not None})
    found: Mapping[str, ProductMetadata | MetadataError | StorageError]
    found = dict(zip(known, each(_metadata_or_fault, known), strict=True))
    for image in wanting:
        metadata = found.get(places[image.url] or "")
        if isinstance(metadata, ProductMetadata):
            image.metadata = metadata
        elif scaled:
            problem = (
                "its path does not tell where the metadata of its product lie" if metadata is None else str(metadata)
            )
            raise MetadataError(without_credentials(image.url), problem, "scaled=False gives the numbers as stored")
    for image in images:
        if image.metadata is not None:
            image.scaling = image.metadata.scaling(image.band) if scaled else told_scaling(image.metadata, image.band)


def _metadata_or_fault(
    place: str, *, storage_options: StorageOptions
) -> ProductMetadata | MetadataError | StorageError:
    try:
        return read_metadata(place, storage_options=storage_options)
    except (MetadataError, StorageError) as error:
        return error
