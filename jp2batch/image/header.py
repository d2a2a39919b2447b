"""Header of one image: size, bands, georeference."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jp2batch.core.options import StorageOptions
from jp2batch.image import georeference
from jp2batch.image.georeference import Georeference
from jp2batch.image.open import OpenImage, with_image
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.jpeg2000.syntax.headers import MainHeader
from jp2batch.storage.source import open_source


@dataclass(frozen=True, slots=True)
class Head:
    """What the header of an image tells; it travels between processes."""

    url: str
    """Where the image lies."""
    path: str
    """The same without credentials, for messages."""
    header: MainHeader
    """The main header of its codestream."""
    place: Georeference | None
    """Where its pixels lie on the Earth."""
    channels: int
    """Number of its bands."""
    dtype: np.dtype[Any]
    """Type of its samples."""
    known: ImageIndex | None
    """What spares reads of it a round."""


def read_head(url: str, *, storage_options: StorageOptions = None) -> Head:
    """Read the header of an image.

    Raises
    ------
    Jp2BatchError
        It cannot be read, or its pixels could not.
    """
    source = open_source(url, storage_options=storage_options)

    def act(opened: OpenImage) -> Head:
        opened.confirm()
        opened.check()
        place = georeference.from_boxes(opened.image.container.boxes)
        bands = len(opened.channels)
        return Head(url, source.path, opened.image.header, place, bands, opened.dtype, opened.known())

    return with_image(source, act)
