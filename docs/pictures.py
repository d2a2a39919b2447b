"""Draw the picture of the README: a read of the product of `jp2batch sample`."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

import jp2batch
from jp2batch.sample.product import make_product

_WINDOW = ((460, 1040), (0, 1098))
"""The coast."""


def coast() -> Image.Image:
    """Return the true colours of the coast, at half resolution."""
    with TemporaryDirectory() as folder:
        path = next(make_product(folder).glob("GRANULE/*/IMG_DATA/R10m/*_TCI_10m.jp2"))
        picture: Image.Image = jp2batch.read(str(path), rlevel=1, window=_WINDOW).jp2.preview(549)
        return picture


def alike(path: Path, picture: Image.Image) -> bool:
    """Tell whether a file shows a picture: versions of libraries may round and compress differently."""
    if not path.exists():
        return False
    with Image.open(path) as kept:
        if (kept.size, kept.mode) != (picture.size, picture.mode):
            return False
        return int(np.abs(np.asarray(kept, int) - np.asarray(picture, int)).max()) <= 2
