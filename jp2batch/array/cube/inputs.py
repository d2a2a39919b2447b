"""List the images of a cube, with their headers and scalings."""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from jp2batch.array.facts import facts_in, time_of
from jp2batch.core.arguments import as_list, as_path
from jp2batch.core.bands import check_bands
from jp2batch.core.errors import CubeMismatch, ImageNotFound, MetadataError, StorageError
from jp2batch.core.mission import ImageName, ListedImage, Mission, ProductMetadata
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import Request
from jp2batch.core.scaling import Scaling
from jp2batch.image.header import Head, read_head
from jp2batch.image.missions import identify, is_product, product_mission, scaling_or_none, titles, what_to_give
from jp2batch.image.products import product_images

Each = Callable[..., list[Any]]
"""Calls a function with each of several values, concurrently; see `map_concurrently`."""


@dataclass(slots=True)
class CubeImage:
    """An image of a cube, with its metadata and scaling, if known."""

    url: str
    name: ImageName
    mission: Mission
    metadata: ProductMetadata | None = None
    product: str | None = None
    scaling: Scaling | None = None

    @property
    def time(self) -> np.datetime64:
        """Start of sensing; only the day, if the time is unknown."""
        when = self.name.time or self.name.day
        return np.datetime64("NaT", "ns") if when is None else time_of(when)

    @property
    def band(self) -> str:
        """Name of the band."""
        return self.name.band or ""

    @property
    def nodata(self) -> int | None:
        """No-data value of the stored numbers."""
        return self.mission.nodata(self.name)


def listed_images(
    images: Iterable[str | os.PathLike[str] | Request],
    bands: Sequence[str] | None,
    metres: int | None,
    each: Each,
    resolution: float | None = None,
) -> list[CubeImage]:
    """List the images of a cube, replacing products by their images.

    With a resolution, these are the images of products whose pixels are the nearest to it, and not larger.
    """
    given = as_list(images)
    if not given:
        raise CubeMismatch("", "no images given", "did a glob pattern match nothing?")
    for one in given:
        if isinstance(one, Request) and (one.window is not None or one.area is not None):
            kind = "a window" if one.area is None else "an area"
            hint = "leave it out; open_cube takes bbox= and geometry="
            raise CubeMismatch(one.path, f"has {kind}, but a cube has a single grid", hint)
    paths = [as_path(one) for one in given]
    _check_once(paths)
    products = [path for path in paths if is_product(path)]
    if products and bands is None:
        raise CubeMismatch(products[0], "bands are required when opening a product", 'give bands=["B04", …]')
    named = [named_image(path, one) for path, one in zip(paths, given, strict=True) if not is_product(path)]
    listings = each(partial(product_images, bands=bands, metres=metres, finest=resolution is None), products)
    if resolution is not None:
        listings = _of_resolution(listings, resolution)
    for product, (metadata, listed) in zip(products, listings, strict=True):
        if any((image.name.time or image.name.day) is None for image in listed):
            raise CubeMismatch(product, "its files do not tell the time", "give its folder the name of the product")
        named += [CubeImage(image.path, image.name, product_mission(product), metadata, product) for image in listed]
    check_bands(bands, (image.band for image in named))
    if len(found := {image.mission.title for image in named}) > 1:
        raise CubeMismatch("", f"images of {' and '.join(sorted(found))} have different bands", "open a cube of each")
    return [image for image in named if bands is None or image.band in bands]


Listing = tuple[ProductMetadata, list[ListedImage]]


def _of_resolution(listings: Sequence[Listing], resolution: float) -> list[Listing]:
    """Choose images of products: the largest pixels not above a resolution.

    If levels cannot join these, such as 60 m with 10 m, smaller ones are chosen.
    """
    images = [image for _, listed in listings for image in listed]
    sizes = sorted({image.metres for image in images if image.metres <= resolution}, reverse=True)
    chosen: list[Listing] = []
    for largest in [*sizes, 0]:
        chosen = [(metadata, _one_each(listed, largest)) for metadata, listed in listings]
        metres = {image.metres for _, listed in chosen for image in listed}
        if all(math.log2(size / min(metres)).is_integer() for size in metres):
            break
    return chosen


def _one_each(images: Sequence[ListedImage], largest: int) -> list[ListedImage]:
    """Return an image of each band and tile.

    Its pixels are the largest up to a size, or else the smallest.
    """
    ordered = sorted(images, key=lambda image: image.metres if image.metres <= largest else -image.metres)
    return list({(image.name.band, image.name.tile): image for image in ordered}.values())


def _check_once(paths: Sequence[str]) -> None:
    seen: set[str] = set()
    for path in paths:
        if (plain := path.rstrip("/\\")) in seen:
            raise CubeMismatch(path, "is given twice", "give it once")
        seen.add(plain)


def heads_of(images: Sequence[CubeImage], each: Each) -> list[Head]:
    """Return the headers of all images.

    Raises
    ------
    ImageNotFound
        An image is missing. If it is of a product, the hint names the sizes that exist.
    """
    heads: list[Head] = []
    for image, head in zip(images, each(_head_or_absence, [image.url for image in images]), strict=True):
        if isinstance(head, ImageNotFound):
            raise head if image.product is None else _absence(image, image.product, images, each)
        heads.append(head)
    return heads


def _head_or_absence(url: str, *, storage_options: StorageOptions) -> Head | ImageNotFound:
    try:
        return read_head(url, storage_options=storage_options)
    except ImageNotFound as error:
        return error


def _absence(image: CubeImage, product: str, images: Sequence[CubeImage], each: Each) -> ImageNotFound:
    """Return the error for a missing image of a product.

    The hint names the pixel sizes at which all bands exist.
    """
    bands = {other.band for other in images if other.product == product}
    ((_, listed),) = each(partial(product_images, bands=bands), [product])
    heads = each(_head_or_absence, [one.path for one in listed])
    there = [(one.metres, one.name.band) for one, head in zip(listed, heads, strict=True) if isinstance(head, Head)]
    sizes = sorted({metres for metres, _ in there})
    whole = [f"metres={metres}" for metres in sizes if {band for size, band in there if size == metres} == bands]
    some = [f"{metres} m" for metres in sizes if (metres, image.band) in there]
    hint = f"{image.band} exists at {', '.join(some)}" if some else "fetch the product again"
    problem = f"{image.band} is listed in the product, but missing"
    return ImageNotFound(image.url, problem, f"give {' or '.join(whole)}" if whole else hint)


def named_image(path: str, request: object = None) -> CubeImage:
    """Return an image with band and time, by its name.

    Facts in the columns of a request, as of a STAC item, replace those in the name.

    Raises
    ------
    CubeMismatch
        Both lack one of them.
    """
    mission, name = identify(path)
    if isinstance(request, Request) and request.columns:
        name = facts_in(dict(request.columns), name or ImageName(), mission)
    if name is None or name.band is None or (name.time or name.day) is None:
        hint = f"give images with names of {titles()}; join others by xarray.concat of jp2batch.open"
        problem = "its name does not contain band and time"
        raise CubeMismatch(path, problem, what_to_give(path) or hint)
    return CubeImage(path, name, mission)


def add_metadata(images: Sequence[CubeImage], scaled: bool, each: Each, *, fixed_times: bool = False) -> None:
    """Complete images by their metadata: scaling and facts.

    Metadata are read where scaling or time are unknown. Without `scaled`, images without metadata are skipped. Fixed
    times are not replaced.
    """
    wanting = [one for one in images if one.metadata is None]
    places = {image.url: image.mission.metadata_url(image.url) for image in wanting}
    unknown = (one for one in wanting if one.band in one.mission.bands or (one.name.time is None and not fixed_times))
    known = sorted({place for one in unknown if (place := places[one.url]) is not None})
    found: Mapping[str, ProductMetadata | MetadataError | StorageError]
    found = dict(zip(known, each(partial(_metadata_or_fault, images[0].mission), known), strict=True))
    for image in wanting:
        metadata = found.get(places[image.url] or "")
        if metadata is not None and not isinstance(metadata, MetadataError | StorageError):
            image.metadata = metadata
        elif scaled and image.band in image.mission.bands:
            problem = (
                "the metadata of its product cannot be located from its path" if metadata is None else str(metadata)
            )
            raise MetadataError(image.url, problem, "use scaled=False for the numbers as stored")
    for image in images:
        if image.metadata is not None:
            facts = image.name.of_product(image.metadata)
            image.name = replace(facts, time=image.name.time, day=image.name.day) if fixed_times else facts
            image.scaling = (
                image.metadata.scaling(image.band) if scaled else scaling_or_none(image.metadata, image.band)
            )


def _metadata_or_fault(
    mission: Mission, place: str, *, storage_options: StorageOptions
) -> ProductMetadata | MetadataError | StorageError:
    try:
        return mission.read_metadata(place, storage_options=storage_options)
    except (MetadataError, StorageError) as error:
        return error
