"""Stretched pictures of images, for people to look at."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_DARKEST, _BRIGHTEST = 2, 98  # percentiles that become black and white


def stretch(values: NDArray[Any], *, nodata: int | None = 0) -> NDArray[np.uint8]:
    """Stretch samples to 0…255, band by band, between their 2nd and 98th percentile; no data stays black.

    Parameters
    ----------
    values : ndarray, shape (bands, rows, columns)
        The samples.
    nodata : int, optional
        The value that stands for no data.
    """
    if values.dtype == np.uint8 and len(values) == 3:
        return values  # a picture already
    return np.stack([_stretch_band(band, nodata) for band in values])


def to_png(values: NDArray[Any]) -> bytes:
    """Return a picture of samples of shape (bands, rows, columns) as PNG: grey, or the first three bands as colours."""
    stretched = stretch(values[:3] if len(values) >= 3 else values[:1])
    picture = stretched[0] if len(stretched) == 1 else np.moveaxis(stretched, 0, 2)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "PNG")
    return buffer.getvalue()


def _stretch_band(band: NDArray[Any], nodata: int | None) -> NDArray[np.uint8]:
    valid = band[band != nodata] if nodata is not None else band
    if not valid.size:
        return np.zeros(band.shape, np.uint8)
    low, high = np.percentile(valid, (_DARKEST, _BRIGHTEST))
    scaled = (band.astype(np.float32) - low) / max(high - low, 1) * 254 + 1
    return np.where(band == nodata, 0, np.clip(scaled, 1, 255)).astype(np.uint8)
