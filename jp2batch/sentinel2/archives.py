"""Products in archives: find the folder of the product in it."""

import re

from jp2batch.core.errors import MetadataError
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions
from jp2batch.storage.archive_directory import ARCHIVES
from jp2batch.storage.listing import list_names


def is_archive(path: str) -> bool:
    """Return whether a path names an archive, by its suffix."""
    location = Location.of(path)
    return location.scheme not in ARCHIVES and location.suffix.removeprefix(".") in ARCHIVES


def in_archive(product: str, storage_options: StorageOptions) -> str:
    """Return the location of the product's folder in an archive.

    It is the only SAFE folder, the only folder, or else the archive itself.

    Raises
    ------
    StorageError
        The archive cannot be read.
    MetadataError
        The archive has several products.
    """
    location = Location.of(product)
    root = f"{location.suffix.removeprefix('.')}://::{product}"
    names = sorted(list_names(root, storage_options=storage_options) - {"__MACOSX", ".DS_Store"})
    products = [name for name in names if re.search(r"\.SAFE$", name, re.IGNORECASE)]
    if len(products) > 1:
        inside = Location.of(root).with_path(products[0])
        raise MetadataError(product, f"the archive has {len(products)} products", f"give one, as {inside}")
    (folder,) = products or (names if len(names) == 1 else [""])
    return Location.of(root).with_path(folder).text
