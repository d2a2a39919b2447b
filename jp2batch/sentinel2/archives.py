"""Products in archives: find the folder of the product in it."""

import posixpath
import re

from jp2batch.core.errors import MetadataError
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions
from jp2batch.storage.archive_directory import ARCHIVES
from jp2batch.storage.listing import list_files

_SAFE = re.compile(r"(.*?\.SAFE)/", re.IGNORECASE)
_INSIDE = re.compile(r"/?\b(?:GRANULE|IMG_DATA|R[126]0m)\b")
_OF_A_MAC = re.compile(r"(?:^|/)(?:__MACOSX/|\.DS_Store$)")


def is_archive(path: str) -> bool:
    """Return whether a path names an archive as a whole."""
    location = Location.of(path)
    if location.is_chained and location.scheme in ARCHIVES:
        return not location.path.strip("/")
    return location.scheme not in ARCHIVES and location.suffix.removeprefix(".") in ARCHIVES


def in_archive(product: str, storage_options: StorageOptions) -> str:
    """Return the location of the product's folder in an archive.

    It is the only SAFE folder, at any depth, or else the folder around all files.

    Raises
    ------
    StorageError
        The archive cannot be read.
    MetadataError
        The archive has several products.
    """
    location = Location.of(product)
    root = product if location.scheme in ARCHIVES else f"{location.suffix.removeprefix('.')}://::{product}"
    files = [file for file in list_files(root, storage_options=storage_options) if not _OF_A_MAC.search(file)]
    products = sorted({found[1] for file in files if (found := _SAFE.match(file)) is not None})
    if len(products) > 1:
        inside = Location.of(root).with_path(products[0])
        raise MetadataError(product, f"the archive has {len(products)} products", f"give one, as {inside}")
    (folder,) = products or [_folder_around(files)]
    return Location.of(root).with_path(folder).text


def _folder_around(files: list[str]) -> str:
    """Return the innermost folder around all files of a product."""
    around = posixpath.commonpath([posixpath.dirname(file) for file in files]) if files else ""
    return _INSIDE.split(around)[0]
