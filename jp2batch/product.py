"""Sentinel-2 products: which images they have, and all of them as one lazy tree."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import xarray as xr

from jp2batch import sentinel2
from jp2batch.asked import band_names, checked_metres, named, path_of, what_to_give
from jp2batch.batch.heads import at_once
from jp2batch.dataarray import chunked, open_lazily
from jp2batch.errors import (
    ImageNotFound,
    InvalidRequest,
    MetadataError,
    PermissionDenied,
    StorageError,
    StoreUnavailable,
)
from jp2batch.metadata import ProductMetadata, product_place, read_metadata, told_scaling
from jp2batch.reader import StorageOptions
from jp2batch.request import Request, checked_rlevel
from jp2batch.sentinel2 import ImageName
from jp2batch.urls import without_credentials


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image that the metadata of a product list."""

    path: str
    """Path or URL."""
    name: ImageName
    """What that tells."""
    metres: int
    """Size of its pixels."""


def open_product(
    path: str | os.PathLike[str],
    bands: str | Iterable[str] | None = None,
    rlevel: int = 0,
    chunks: Any = {},  # noqa: B006  # as xarray has it; never changed
    *,
    scaled: bool = False,
    storage_options: StorageOptions = None,
) -> xr.DataTree:
    """Open a Sentinel-2 product lazily: its metadata and the headers of its images are read now, and nothing else.

    Parameters
    ----------
    path : str or path
        Path or URL of the SAFE folder, or of the metadata in it; both may be chained, as
        `zip://NAME.SAFE::s3://bucket/NAME.zip`.
    bands : iterable of str, optional
        Which images, as "B04", "SCL", "TCI"; by default all.
    rlevel : int
        Resolution levels to drop of each image: 0 = full, -1 = the lowest there is.
    chunks : optional
        As for `open`.
    scaled : bool
        Whether spectral bands become reflectance, as for `read`. Otherwise their attributes `radiometric_offset` and
        `quantification_value` tell how: (number + offset) / quantification.
    storage_options : mapping, optional
        fsspec's options for the store.

    Returns
    -------
    DataTree
        A dataset for each size of pixels: "R10m", "R20m", "R60m"; of products of several tiles, as there were before
        December 2016, below a node for each tile. Images that the product lists and its folder lacks are left out
        and named in the attribute `missing`; a band that was asked for must be there in one size at least.

    Raises
    ------
    Jp2BatchError
        Always one of its subclasses, naming the path and what to do.
    """
    product, rlevel = path_of(path), checked_rlevel(without_credentials(path_of(path)), rlevel)
    metadata, images = product_images(product, bands, storage_options=storage_options)
    opener = partial(_open, metadata, rlevel=rlevel, chunks=chunks, scaled=scaled)
    arrays = at_once(opener, images, client=None, storage_options=storage_options)
    opened = list(zip(images, arrays, strict=True))
    found = [(image, array) for image, array in opened if array is not None]
    missing = [image for image, array in opened if array is None]
    lacking = {image.name.band for image in missing} - {image.name.band for image, _ in found}
    if lacking and (bands is not None or not found):
        raise ImageNotFound(
            without_credentials(product),
            f"{', '.join(sorted(map(str, lacking)))} is listed, but not there",
            "fetch it again",
        )
    return _tree(found, _attributes(metadata, found[0][0].name, missing))


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
        raise InvalidRequest(without_credentials(product), problem, f"it has {known or 'none'}")
    if finest:  # sorted by the size of pixels, and the last of a key stays
        chosen = list({(image.name.band, image.name.tile): image for image in reversed(chosen)}.values())[::-1]
    return metadata, chosen


def is_product(path: str) -> bool:
    """Tell by its name whether a path is that of a product and not of an image."""
    first = path.partition("::")[0].partition("?")[0].rstrip("/\\").lower()
    return first.endswith((".safe", ".xml"))


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
    raise MetadataError(without_credentials(product), problem, what_to_give(product) or "give its SAFE folder")


def _listed(place: str, path: str) -> ListedImage | None:
    """Return an image that metadata list; None for what is none."""
    first, chain, rest = place.partition("::")
    folder = first.rpartition("/")[0]
    url = f"{Request(path, root=folder).url if folder else path}{chain}{rest}"
    name = sentinel2.parse_name(url)
    metres = None if name is None else name.resolution or sentinel2.METRES.get(name.band or "")
    return None if name is None or metres is None else ListedImage(url, name, metres)


def _open(
    metadata: ProductMetadata,
    image: ListedImage,
    *,
    rlevel: int,
    chunks: Any,
    scaled: bool,
    storage_options: StorageOptions,
) -> xr.DataArray | None:
    """Open an image; return None where it is not there."""
    scaling = metadata.scaling(image.name.band) if scaled else told_scaling(metadata, image.name.band)
    try:
        array = open_lazily(
            image.path, rlevel, None, scaling=scaling if scaled else None, storage_options=storage_options
        )
    except ImageNotFound:
        return None
    array.attrs |= {} if scaled or scaling is None else scaling.attributes
    return chunked(array, chunks)


def _tree(found: Sequence[tuple[ListedImage, xr.DataArray]], attributes: dict[str, Any]) -> xr.DataTree:
    """Return images in a dataset for each size of pixels, below a node for each tile where there are several."""
    tiles = {image.name.tile for image, _ in found}
    groups: dict[str, list[xr.DataArray]] = {}
    for image, array in found:
        node = f"R{image.metres}m" if len(tiles) == 1 else f"{image.name.tile}/R{image.metres}m"
        groups.setdefault(node, []).append(array)
    datasets = {node: _dataset(arrays) for node, arrays in groups.items()}
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attributes), **datasets})


def _dataset(arrays: list[xr.DataArray]) -> xr.Dataset:
    merged = xr.merge(arrays, join="exact", compat="equals", combine_attrs="drop_conflicts")
    merged.attrs = {}  # those that all arrays have are no less theirs
    return merged


def _attributes(metadata: ProductMetadata, name: ImageName, missing: list[ListedImage]) -> dict[str, Any]:
    told = {
        "product": metadata.name,
        "platform": name.platform,
        "level": metadata.level,
        "processing_baseline": metadata.baseline,
        "relative_orbit": name.relative_orbit,
        "tile": name.tile,
        "time": None if metadata.time is None else metadata.time.isoformat(),
        "missing": [image.path.partition("::")[0].rpartition("/")[2] for image in missing],
    }
    return {key: value for key, value in told.items() if value not in (None, [])}
