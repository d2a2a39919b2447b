"""Sentinel-2 products: which images they have, and all of them as one lazy tree."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jp2batch.core.errors import InvalidRequest, MetadataError, PermissionDenied, StorageError, StoreUnavailable
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import Request
from jp2batch.sentinel2 import names as sentinel2
from jp2batch.sentinel2.bands import band_names, checked_metres, named
from jp2batch.sentinel2.metadata import ProductMetadata, product_place, read_metadata
from jp2batch.sentinel2.names import ImageName


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image that the metadata of a product list."""

    path: str
    """Path or URL."""
    name: ImageName
    """What that tells."""
    metres: int
    """Size of its pixels."""


def product_images(
    product: str,
    bands: str | Iterable[str] | None = None,
    *,
    metres: int | None = None,
    finest: bool = False,
    storage_options: StorageOptions = None,
) -> tuple[ProductMetadata, list[ListedImage]]:
    """Return the metadata of a product, and the images that they list.

    Parameters
    ----------
    product : str
        Path or URL, as for `open_product`.
    bands : iterable of str, optional
        Which images, in any order; by default all.
    metres : int, optional
        Only those with pixels of this size.
    finest : bool
        Whether of each band only the image with the smallest pixels is wanted.
    storage_options : mapping, optional
        fsspec's options for the store.

    Raises
    ------
    StorageError, MetadataError
        The metadata cannot be read.
    InvalidRequest
        It has no such images.
    """
    place, metadata = _find_metadata(product, storage_options)
    images = [listed for path in metadata.images if (listed := _listed(place, path)) is not None]
    wanted, metres = band_names(bands), checked_metres(metres)
    chosen = [
        image
        for image in sorted(images, key=lambda image: image.metres)
        if (wanted is None or image.name.band in wanted) and metres in (None, image.metres)
    ]
    lacking = sorted({*(wanted or ())} - {image.name.band for image in chosen})
    if lacking or not chosen:
        what = f"{named(lacking) or 'no image'}{f' at {metres} m' if metres else ''}"
        sizes = sorted({image.metres for image in images})
        of_size = {size: " ".join(image.name.band or "" for image in images if image.metres == size) for size in sizes}
        known = "; ".join(f"at {size} m {names}" for size, names in of_size.items())
        problem = f"the product does not list {what}" if lacking else "the product lists no such image"
        raise InvalidRequest(product, problem, f"it has {known or 'none'}")
    if finest:  # sorted by the size of pixels, and the last of a key stays
        chosen = list({(image.name.band, image.name.tile): image for image in reversed(chosen)}.values())[::-1]
    return metadata, chosen


def is_product(path: str) -> bool:
    """Tell by its name whether a path is that of a product and not of an image."""
    return Location.of(path).plain_path.rstrip("/\\").lower().endswith((".safe", ".xml"))


def _find_metadata(product: str, storage_options: StorageOptions) -> tuple[str, ProductMetadata]:
    """Return where the metadata lie, and what they tell."""
    faults: list[StorageError] = []
    for place in product_place(product):
        try:
            return place, read_metadata(place, storage_options=storage_options)
        except StorageError as error:
            if isinstance(error, PermissionDenied | StoreUnavailable):
                raise
            faults.append(error)
    problem = f"this is no product of Sentinel-2: {faults[0].path} {faults[0].problem}"  # where it likeliest is
    raise MetadataError(product, problem, what_to_give(product) or "give its SAFE folder")


def _listed(place: str, path: str) -> ListedImage | None:
    """Return an image that metadata list; None for what is none."""
    location = Location.of(place)
    folder, slash, _ = location.path.rpartition("/")
    url = location.with_path(Request(path, root=folder).url if slash else path).text
    name = sentinel2.parse_name(url)
    metres = None if name is None else name.resolution or sentinel2.METRES.get(name.band or "")
    return None if name is None or metres is None else ListedImage(url, name, metres)


def what_to_give(path: str) -> str | None:
    """Return what to give instead of a path that is no product: the product around it, or those in it."""
    location = Location.of(path)
    around = re.match(r"(.+?\.SAFE)[/\\]", location.path, re.IGNORECASE)
    if around is not None:
        return f"its product is {location.with_path(around[1])}"
    if "*" in path:
        return "a pattern that nothing matches, or that nobody has expanded, as glob.glob does"
    if location.is_local and any(Path(path).glob("*.SAFE")):
        return f"give the products in it: {Path(path) / '*.SAFE'}"
    return None
