"""Layouts of products other than SAFE: how to recognise and read them."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from jp2batch.core.errors import MetadataError, PermissionDenied, StorageError, StoreUnavailable
from jp2batch.core.location import Location
from jp2batch.core.mission import ListedImage
from jp2batch.core.options import StorageOptions
from jp2batch.sentinel2.listing import AbsentMetadata, find_images, join
from jp2batch.sentinel2.metadata import Sentinel2Metadata, read_metadata
from jp2batch.sentinel2.tile_info import TILE_INFO, TileInfo, tile_folder
from jp2batch.storage.files import read_bytes

Product = tuple[Sentinel2Metadata | AbsentMetadata, list[ListedImage]]
"""Metadata and images of a product."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout of the files of a product."""

    file: str
    """Name of a file that only this layout has."""
    is_path: Callable[[str], bool]
    """Whether a folder is named as in this layout."""
    read: Callable[[str, Collection[str], StorageOptions], Product]
    """Reads a product, from its folder and the names in it."""


def layout_of(folder: str, names: Collection[str] = ()) -> Layout | None:
    """Return the layout of a folder with these names; None for SAFE."""
    path = f"{Location.of(folder).plain_path}/"
    return next((one for one in LAYOUTS if one.file in names or one.is_path(path)), None)


def _read_tile(folder: str, names: Collection[str], storage_options: StorageOptions) -> Product:
    """Read the folder of a tile in the buckets of AWS."""
    place = join(folder, TILE_INFO)
    try:
        info = TileInfo.parse(read_bytes(place, storage_options=storage_options), place)
    except (StorageError, MetadataError) as error:
        _raise_if_refused(error)
        images = find_images(folder, names, storage_options=storage_options)
        return AbsentMetadata.of(folder, images, error), images
    images = find_images(folder, names, info.parse_name, storage_options=storage_options)
    try:
        beside = join(folder, "productInfo/metadata.xml") if "productInfo" in names else None
        return read_metadata(beside or info.metadata(place), storage_options=storage_options), images
    except (StorageError, MetadataError) as error:
        _raise_if_refused(error)
        return AbsentMetadata.of(info.product or folder, images, error), images


def _raise_if_refused(error: StorageError | MetadataError) -> None:
    """Raise an error that says nothing about the product."""
    if isinstance(error, PermissionDenied | StoreUnavailable):
        raise error


LAYOUTS = (Layout(TILE_INFO, lambda path: tile_folder(path) == path, _read_tile),)
"""All layouts except SAFE; the first that fits is taken."""
