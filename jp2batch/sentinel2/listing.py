"""Images of a product, from the listing of its folder."""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from jp2batch.core.errors import Jp2BatchError, MetadataError
from jp2batch.core.location import Location
from jp2batch.core.mission import ImageName, ListedImage
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import Request
from jp2batch.core.scaling import Scaling
from jp2batch.sentinel2 import names as sentinel2
from jp2batch.sentinel2.tile_info import HINT
from jp2batch.storage.listing import list_files

_BANDS = frozenset({*sentinel2.BANDS, "TCI", "SCL", "AOT", "WVP"})  # masks and previews are left out
_FOLDERS = ("GRANULE", "IMG_DATA", "R10m", "R20m", "R60m")


@dataclass(frozen=True, slots=True)
class AbsentMetadata:
    """Facts of a product from its paths, without metadata."""

    name: str | None
    """Name of its folder."""
    level: str | None
    """Processing level."""
    baseline: str | None
    """Processing baseline."""
    time: datetime | None
    """Start of sensing."""
    platform: str | None
    """Name of the satellite."""
    datastrip: datetime | None
    """Start of sensing of the datastrip."""
    processing_time: datetime | None
    """Time of processing."""
    place: str
    """Location of its metadata."""
    problem: str
    """Why these cannot be read."""

    @classmethod
    def of(cls, folder: str, images: list[ListedImage], fault: Jp2BatchError) -> Self:
        """Return the facts of a product that has these images."""
        name = images[0].name if images else ImageName()
        title = re.split(r"[/\\]", Location.of(folder).plain_path)[-1] or None
        datastrips = {image.name.datastrip for image in images}
        return cls(
            title,
            name.level,
            name.baseline,
            name.time,
            name.platform,
            datastrips.pop() if len(datastrips) == 1 else None,
            name.processing_time,
            fault.path,
            fault.problem,
        )

    def scaling(self, band: str | None) -> Scaling | None:
        """Return None for bands other than reflectance.

        Raises
        ------
        MetadataError
            The band is reflectance: its scaling is in the metadata.
        """
        if band not in sentinel2.BANDS:
            return None
        raise MetadataError(self.place, self.problem, HINT)


def find_images(
    folder: str,
    names: Collection[str],
    name_of: Callable[[str], ImageName | None] = lambda _: None,
    *,
    storage_options: StorageOptions,
) -> list[ListedImage]:
    """Return the images in a product's folder, by their names.

    Parameters
    ----------
    folder : str
        Path or URL of the folder.
    names : collection of str
        Names of the files and folders in it.
    name_of : callable, optional
        Returns facts of an image from its path in the folder. Without them, the path is parsed.
    storage_options : mapping, optional
        fsspec's options for the store.

    Raises
    ------
    StorageError
        A folder cannot be listed.
    MetadataError
        It has images of several times, and hence is not a product.
    """
    files = [name for name in names if name.endswith(".jp2")]
    for name in set(names).intersection(_FOLDERS):
        below = list_files(join(folder, name), storage_options=storage_options)
        files += [f"{name}/{file}" for file in below if file.endswith(".jp2")]
    found = (listed_image(folder, file, name_of(file)) for file in sorted(files))
    images = [image for image in found if image is not None and image.name.band in _BANDS]
    if len({image.name.time or image.name.day for image in images}) > 1:
        raise MetadataError(folder, "has images of several times, hence is not a product", "give the images")
    return images


def listed_image(folder: str, path: str, name: ImageName | None = None) -> ListedImage | None:
    """Return an image in a folder; None for other files."""
    url = join(folder, path)
    name = name or sentinel2.parse_name(url)
    metres = None if name is None else name.resolution or sentinel2.METRES.get(name.band or "")
    return None if name is None or metres is None else ListedImage(url, name, metres)


def join(folder: str, path: str) -> str:
    """Return the location of a relative path in a folder."""
    location = Location.of(folder)
    return location.with_path(Request(path, root=location.path).url if location.path else path).text
