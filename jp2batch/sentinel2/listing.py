"""Images of a product, from the listing of its folder."""

from dataclasses import dataclass
from datetime import datetime

from jp2batch.core.errors import MetadataError
from jp2batch.core.location import Location
from jp2batch.core.mission import ListedImage
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import Request
from jp2batch.core.scaling import Scaling
from jp2batch.sentinel2 import names as sentinel2
from jp2batch.sentinel2.metadata import HINT
from jp2batch.storage.listing import list_files, list_names

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
    place: str
    """Location of its metadata."""
    problem: str
    """Why these cannot be read."""

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


def find_images(folder: str, *, storage_options: StorageOptions) -> list[ListedImage]:
    """Return the images in a product's folder, by their names.

    Raises
    ------
    StorageError
        The folder cannot be listed.
    MetadataError
        It has images of several times, and hence is not a product.
    """
    names = list_names(folder, storage_options=storage_options)
    files = [name for name in names if name.endswith(".jp2")]
    for name in names.intersection(_FOLDERS):
        below = list_files(_join(folder, name), storage_options=storage_options)
        files += [f"{name}/{file}" for file in below if file.endswith(".jp2")]
    images = [image for file in sorted(files) if (image := listed_image(folder, file)) is not None]
    images = [image for image in images if image.name.band in _BANDS]
    if len({image.name.time or image.name.day for image in images}) > 1:
        raise MetadataError(folder, "has images of several times, hence is not a product", "give the images")
    return images


def listed_image(folder: str, path: str) -> ListedImage | None:
    """Return an image in a folder; None for other files."""
    url = _join(folder, path)
    name = sentinel2.parse_name(url)
    metres = None if name is None else name.resolution or sentinel2.METRES.get(name.band or "")
    return None if name is None or metres is None else ListedImage(url, name, metres)


def _join(folder: str, path: str) -> str:
    location = Location.of(folder)
    return location.with_path(Request(path, root=location.path).url if location.path else path).text
