"""Header of an image: size, bands, georeference."""

from dataclasses import dataclass

import numpy as np

from jp2batch.core.options import StorageOptions
from jp2batch.image.georeference import Georeference
from jp2batch.image.open import OpenImage, with_image
from jp2batch.image.place import place_of
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.jpeg2000.syntax.headers import MainHeader
from jp2batch.storage.source import open_source


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


def head_of(opened: OpenImage, url: str) -> Head:
    """Return the header of an open image, at a path or URL."""
    place = place_of(opened)
    bands = len(opened.channels)
    index = opened.learned_index()
    return Head(url, opened.source.path, opened.image.header, place, bands, opened.dtype, index)
