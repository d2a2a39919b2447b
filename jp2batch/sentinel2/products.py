"""Sentinel-2 products: find their metadata, and list their images."""

import os
import re
from pathlib import Path

from jp2batch.core.errors import MetadataError, PermissionDenied, StorageError, StoreUnavailable
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions
from jp2batch.sentinel2 import names as sentinel2
from jp2batch.sentinel2.archives import in_archive, is_archive
from jp2batch.sentinel2.layouts import Product, layout_of
from jp2batch.sentinel2.listing import AbsentMetadata, find_images, listed_image
from jp2batch.sentinel2.metadata import Sentinel2Metadata, product_place, read_metadata
from jp2batch.storage.listing import list_names
from jp2batch.storage.store_options import locate


def list_product(product: str, *, storage_options: StorageOptions = None) -> Product:
    """Return the metadata of a product and all its images.

    Images are found by listing if the metadata are missing, damaged or list none.

    Raises
    ------
    InvalidPath
        The path is not written as jp2batch reads it.
    StorageError, MetadataError
        Neither metadata nor images can be read.
    """
    locate(product, storage_options)  # refuses a path that is written wrongly
    if is_archive(product):
        product = in_archive(product, storage_options)
    folder = _folder_of(product)
    layout = layout_of(folder)
    if layout is not None:
        return layout.read(folder, list_names(folder, storage_options=storage_options), storage_options)
    metadata = _metadata_or_fault(product, storage_options)
    if not isinstance(metadata, Sentinel2Metadata):
        return _list_folder(product, folder, metadata, storage_options)
    images = [image for path in metadata.images if (image := listed_image(folder, path)) is not None]
    if not images:
        names = list_names(folder, storage_options=storage_options)
        images = find_images(folder, names, storage_options=storage_options)
    return metadata, images


def _list_folder(
    product: str, folder: str, fault: StorageError | MetadataError, storage_options: StorageOptions
) -> Product:
    """Read a product from the listing of its folder."""
    problem = f"this is not a product of Sentinel-2: {fault.path} {fault.problem}"
    hint = what_to_give(folder)
    if hint is not None:
        raise MetadataError(product, problem, hint)
    try:
        names = list_names(folder, storage_options=storage_options)
        if (layout := layout_of(folder, names)) is not None:
            return layout.read(folder, names, storage_options)
        images = find_images(folder, names, storage_options=storage_options)
    except StorageError as error:
        if isinstance(error, StoreUnavailable):
            raise
        raise MetadataError(product, f"{problem}; its folder cannot be listed", "give its SAFE folder") from None
    if not images:
        raise MetadataError(product, problem, "give its SAFE folder")
    return AbsentMetadata.of(folder, images, fault), images


def is_product(path: str) -> bool:
    """Return whether a path names a product, or is a local folder.

    A folder in a store is recognised by a name without suffix.
    """
    location = Location.of(path)
    name = re.split(r"[/\\]", location.plain_path.rstrip("/\\"))[-1]
    if name.lower().endswith((".safe", ".xml")) or is_archive(path):
        return True
    if what_to_give(path) is not None or sentinel2.parse_name(path) is not None:
        return False
    return _is_folder(location.path) if location.is_local else "." not in name


def _folder_of(product: str) -> str:
    location = Location.of(product)
    path = location.path.rstrip("/\\") or location.path
    if path.lower().endswith(".xml"):
        path = re.sub(r"[^/\\]+$", "", path).rstrip("/\\")
        path = path if path or not location.is_local else "."
    return location.with_path(path).text


def _metadata_or_fault(
    product: str, storage_options: StorageOptions
) -> Sentinel2Metadata | StorageError | MetadataError:
    """Return the metadata, or why they cannot be read.

    The fault is of damaged metadata, or else of the likeliest location.
    """
    faults: list[StorageError] = []
    for place in product_place(product):
        try:
            return read_metadata(place, storage_options=storage_options)
        except MetadataError as error:
            return error
        except StorageError as error:
            if isinstance(error, PermissionDenied | StoreUnavailable):
                raise
            faults.append(error)
    return faults[0]


def what_to_give(path: str) -> str | None:
    """Return a hint for a path other than a product.

    It names the product around the path, or the products in it.
    """
    location = Location.of(path)
    around = re.match(r"(.+?\.SAFE)[/\\]", location.path, re.IGNORECASE)
    if around is not None:
        return f"its product is {location.with_path(around[1])}"
    if location.plain_path.lower().endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar")):
        return "unpack it: such an archive cannot be read in parts"
    if "*" in path:
        return "the pattern matches nothing, or was not expanded (use glob.glob)"
    if location.is_local and _is_folder(path) and any(Path(path).glob("*.SAFE")):
        return f"give the products in it: {Path(path) / '*.SAFE'}"
    return None


def _is_folder(path: str) -> bool:
    return os.path.isdir(path)  # noqa: PTH112  # Path.is_dir() raises OSError
