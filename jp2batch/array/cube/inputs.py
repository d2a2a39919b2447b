"""List the images of a cube, with their headers and scalings."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

import numpy as np

from jp2batch.array.facts import facts_in, time_of
from jp2batch.core.bands import check_bands
from jp2batch.core.errors import CubeMismatch, ImageNotFound, PermissionDenied
from jp2batch.core.mission import ImageName, Mission, ProductMetadata
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import Request
from jp2batch.core.scaling import Scaling, ScalingClaim
from jp2batch.image.header import Head, Likeness, indexed_head, read_head
from jp2batch.image.missions import identify, product_mission, titles, what_to_give
from jp2batch.image.products import product_images
from jp2batch.image.source_images import SourceImages, advised
from jp2batch.image.sources import Each, list_sources


@dataclass(slots=True)
class CubeImage:
    """An image of a cube, with its metadata and scaling, if known."""

    url: str
    name: ImageName
    mission: Mission
    metadata: ProductMetadata | None = None
    product: str | None = None
    scaling: Scaling | None = None
    claim: ScalingClaim | None = None
    """Scaling by its STAC item."""
    access: str = ""
    """Advice of its STAC item, if the store refuses it."""
    metres: int | None = None
    """Size of its pixels, by name, item or metadata."""

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
    images: object,
    bands: Sequence[str] | None,
    metres: int | None,
    each: Each,
    *,
    sizes: bool = False,
    alternate: str | None = None,
) -> list[CubeImage]:
    """List the images of a cube, also of products and items.

    With `sizes`, images of all pixel sizes are listed; otherwise, of products and items, the smallest of each band.
    """
    listings = list_sources(images, each, bands=bands, product_bands=bands, metres=metres, alternate=alternate)
    _check_listings(listings, bands)
    if not sizes or metres is not None:
        listings = [one if one.is_path else one.of_size(metres) for one in listings]
    named = _without_repeats(listings)
    there = {image.band for image in named}
    check_bands(bands, there if metres else there.union(*(one.bands for one in listings)), metres)
    if len(found := {image.mission.title for image in named}) > 1:
        raise CubeMismatch("", f"images of {' and '.join(sorted(found))} have different bands", "open a cube of each")
    return [image for image in named if bands is None or image.band in bands]


def _without_repeats(listings: Sequence[SourceImages]) -> list[CubeImage]:
    """Return images, without repetitions by items.

    Pages of a search may overlap.
    """
    images = [(one.is_item, image) for one in listings for image in _cube_images(one)]
    of_items = {image.url for is_item, image in images if is_item}
    first = {image.url: image for _, image in reversed(images) if image.url in of_items}
    return [image for _, image in images if first.get(image.url, image) is image]


def _check_listings(listings: Sequence[SourceImages], bands: Sequence[str] | None) -> None:
    if not listings:
        raise CubeMismatch("", "no images given", "did a glob pattern match nothing?")
    for request in (one.request for one in listings):
        if request is not None and (request.window is not None or request.area is not None):
            kind = "a window" if request.area is None else "an area"
            hint = "leave it out; open_cube takes bbox= and geometry="
            raise CubeMismatch(request.path, f"has {kind}, but a cube has a single grid", hint)
    _check_once([one.product or one.images[0].path for one in listings if not one.is_item])
    many = next((one for one in listings if not one.is_path), None)
    if many is not None and bands is None:
        kind = "a STAC item" if many.is_item else "a product"
        hint = 'give bands=["B04", …]'
        raise CubeMismatch(many.product or many.name or "", f"bands are required when opening {kind}", hint)


def _cube_images(listing: SourceImages) -> list[CubeImage]:
    """Return the images of a listing, with their facts.

    Raises
    ------
    CubeMismatch
        The time or band of an image is unknown.
    """
    if listing.is_path:
        return [named_image(listing.images[0].path, listing.request)]
    if any((image.name.time or image.name.day) is None for image in listing.images):
        if listing.is_item:
            raise CubeMismatch(listing.name or "", "the STAC item has no time", "add its datetime")
        raise CubeMismatch(
            listing.product or "", "its files do not tell the time", "give its folder the name of the product"
        )
    mission = None if listing.product is None else product_mission(listing.product)
    return [
        CubeImage(
            one.path,
            one.name,
            mission or identify(one.path)[0],
            listing.metadata,
            listing.product,
            claim=one.claim,
            access=one.access,
            metres=one.metres or None,
        )
        for one in listing.images
    ]


def _check_once(paths: Sequence[str]) -> None:
    seen: set[str] = set()
    for path in paths:
        if (plain := path.rstrip("/\\")) in seen:
            raise CubeMismatch(path, "is given twice", "give it once")
        seen.add(plain)


def heads_of(images: Sequence[CubeImage], each: Each, *, alike: bool = False) -> list[Head]:
    """Return the headers of all images.

    With `alike`, those in the index, and of the others one for each coding, as far as names tell.

    Raises
    ------
    ImageNotFound
        An image is missing. If it is of a product, the hint names the sizes that exist.
    """
    return _heads_alike(images, each) if alike else _heads(images, images, each)


def _heads_alike(images: Sequence[CubeImage], each: Each) -> list[Head]:
    """Return the headers of all images, most of them taken from another.

    The first image of a coding is read, and those in the index are known. Others take the header of the first, if the
    file alone tells all of it.
    """
    groups: dict[object, list[CubeImage]] = defaultdict(list)
    for image in images:
        groups[_coding(image)].append(image)
    firsts = dict(zip(groups, _heads([group[0] for group in groups.values()], images, each), strict=True))
    heads = {id(groups[key][0]): head for key, head in firsts.items()}
    others = [(image, firsts[key]) for key, group in groups.items() for image in group[1:]]
    indexed = each(indexed_head, [image.url for image, _ in others])
    heads |= {id(image): head for (image, _), head in zip(others, indexed, strict=True) if head is not None}
    apart = [image for image, first in others if id(image) not in heads and not first.is_whole]
    heads |= {id(image): head for image, head in zip(apart, _heads(apart, images, each), strict=True)}
    likenesses = {id(first): Likeness.of(first) for first in firsts.values()}
    heads |= {
        id(image): first.taken_for(image.url, likenesses[id(first)])
        for image, first in others
        if id(image) not in heads
    }
    return [heads[id(image)] for image in images]


def _coding(image: CubeImage) -> object:
    """Return the coding of an image, as far as names tell."""
    name, url = image.name, urlsplit(image.url)
    if name.tile is None:
        return image.url
    suffix = url.path.rpartition(".")[2]
    return image.mission.title, image.band, name.tile, image.metres, name.level, name.baseline, url[:2], suffix


def _heads(some: Sequence[CubeImage], images: Sequence[CubeImage], each: Each) -> list[Head]:
    """Return the headers of some images of a cube."""
    heads: list[Head] = []
    try:
        found = each(partial(_head_or_absence, confirm=False), [image.url for image in some])
    except PermissionDenied as error:
        raise advised(error, {image.url: image.access for image in images}) from None
    for image, head in zip(some, found, strict=True):
        if isinstance(head, ImageNotFound):
            raise head if image.product is None else _absence(image, image.product, images, each)
        heads.append(head)
    return heads


def _head_or_absence(url: str, *, confirm: bool, storage_options: StorageOptions) -> Head | ImageNotFound:
    try:
        return read_head(url, storage_options=storage_options, confirm=confirm)
    except ImageNotFound as error:
        return error


def _absence(image: CubeImage, product: str, images: Sequence[CubeImage], each: Each) -> ImageNotFound:
    """Return the error for a missing image of a product.

    The hint names the pixel sizes at which all bands exist, now and not only in the index.
    """
    bands = {other.band for other in images if other.product == product}
    ((_, listed),) = each(partial(product_images, bands=bands), [product])
    heads = each(partial(_head_or_absence, confirm=True), [one.path for one in listed])
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
    return CubeImage(path, name, mission, metres=name.resolution or mission.metres(name.band))
