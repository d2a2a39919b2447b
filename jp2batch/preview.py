"""Stretched pictures of images, for people to look at."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_DARKEST, _BRIGHTEST = 2, 98  # percentiles that become black and white


def stretch(values: NDArray[Any], *, nodata: int | None = None) -> NDArray[np.uint8]:
    """Stretch samples to 1…255, band by band, between their 2nd and 98th percentile; no data becomes 0, black.

    Parameters
    ----------
    values : ndarray, shape (bands, rows, columns)
        The samples. Three bands of bytes are a picture already, and stay as they are.
    nodata : int, optional
        The value that stands for no data.
    """
    if values.dtype == np.uint8 and len(values) == 3:
        return values
    return np.stack([_stretch_band(band, nodata) for band in values])


def to_png(values: NDArray[Any], *, nodata: int | None = None) -> bytes:
    """Return a picture as PNG: grey, or the first three bands as colours.

    Parameters
    ----------
    values : ndarray, shape (bands, rows, columns)
        The samples.
    nodata : int, optional
        The value that stands for no data; it is painted black.
    """
    stretched = stretch(values[:3] if len(values) >= 3 else values[:1], nodata=nodata)
    picture = stretched[0] if len(stretched) == 1 else np.moveaxis(stretched, 0, 2)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "PNG")
    return buffer.getvalue()


def _stretch_band(band: NDArray[Any], nodata: int | None) -> NDArray[np.uint8]:
    valid = np.full(band.shape, True) if nodata is None else band != nodata
    if not valid.any():
        return np.zeros(band.shape, np.uint8)
    low, high = np.percentile(band[valid], (_DARKEST, _BRIGHTEST))
    if low == high:  # nearly all the same: what differs is what there is to see
        low, high = band[valid].min(), band[valid].max()
    scaled = (band.astype(np.float32) - low) / max(float(high) - float(low), 1) * 254 + 1
    return np.where(valid, scaled.clip(1, 255), 0).astype(np.uint8)
