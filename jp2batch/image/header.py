"""Header of an image: size, bands, georeference."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from jp2batch.core.errors import CubeMismatch
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions
from jp2batch.image import index as image_indexes
from jp2batch.image.geo_boxes import from_boxes
from jp2batch.image.georeference import Georeference
from jp2batch.image.open import OpenImage, with_image
from jp2batch.image.place import place_of
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.jpeg2000.syntax.headers import MainHeader
from jp2batch.jpeg2000.syntax.markers import Siz
from jp2batch.storage.source import open_source


@dataclass(frozen=True, slots=True)
class Likeness:
    """Properties that an image shares with another, checked at its read."""

    path: str
    """The other image, for messages."""
    siz: Siz
    """Size, tiles and bands."""
    levels: int
    """Resolution levels."""
    dtype: np.dtype[np.generic]
    """Type of the samples."""
    place: Georeference | None
    """Georeference in the boxes."""

    @classmethod
    def of(cls, head: "Head") -> Self:
        """Return the properties that others must share with an image."""
        return cls(head.path, head.header.siz, head.header.levels, head.dtype, head.place)

    def check(self, opened: OpenImage) -> None:
        """Refuse an image that differs.

        Raises
        ------
        CubeMismatch
            The image differs.
        """
        header = opened.image.header
        differences = {
            "boxes": bool(opened.image.misplaced),
            "size, tiles or bands": header.siz != self.siz,
            "resolution levels": header.levels != self.levels,
            "place": from_boxes(opened.image.container.boxes) != self.place,
        }
        found = [what for what, differs in differences.items() if differs]
        if not found and opened.dtype != self.dtype:
            found = ["type"]
        if found:
            problem = f"differs from {self.path}, whose header was taken for it, in {', '.join(found)}"
            raise CubeMismatch(opened.source.path, problem, 'give headers="all"')


@dataclass(frozen=True, slots=True)
class Head:
    """Header and georeference of an image; picklable."""

    url: str
    """Path or URL of the image."""
    path: str
    """The same without credentials, for messages."""
    header: MainHeader
    """The main header of its codestream."""
    place: Georeference | None
    """Georeference of the image, if any."""
    channels: int
    """Number of bands."""
    dtype: np.dtype[np.generic]
    """Type of the samples."""
    index: ImageIndex | None
    """Index of the image, to spare later reads a round trip."""
    is_whole: bool = True
    """True if the file alone tells all of it."""
    likeness: Likeness | None = None
    """Properties shared with the other image whose header this is."""

    def taken_for(self, url: str, likeness: Likeness) -> "Head":
        """Return the header for another image, which is checked at its read."""
        return replace(self, url=url, path=Location.of(url).redacted, index=None, likeness=likeness)


def read_head(url: str, *, storage_options: StorageOptions = None, confirm: bool = True) -> Head:
    """Read the header of an image.

    Parameters
    ----------
    confirm : bool
        False: of an image in the index, request nothing. Reads with its header check the version.

    Raises
    ------
    Jp2BatchError
        The header cannot be read, or the pixels could not be.
    """
    source = open_source(url, storage_options=storage_options)

    def act(opened: OpenImage) -> Head:
        if confirm or opened.claims:
            opened.confirm()
        opened.check()
        return head_of(opened, url)

    return with_image(source, act)


def indexed_head(url: str, *, storage_options: StorageOptions = None) -> Head | None:
    """Return the header of an image in the index, else None."""
    if image_indexes.recall(open_source(url, storage_options=storage_options)) is None:
        return None
    return read_head(url, storage_options=storage_options, confirm=False)


def head_of(opened: OpenImage, url: str) -> Head:
    """Return the header of an open image, at a path or URL."""
    place = place_of(opened)
    bands = len(opened.channels)
    index = opened.learned_index()
    whole = not opened.image.misplaced and from_boxes(opened.image.container.boxes) is not None
    return Head(url, opened.source.path, opened.image.header, place, bands, opened.dtype, index, whole)
