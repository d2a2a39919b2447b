"""Stretched pictures of images, for people to look at."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from jp2batch.core.errors import InvalidRequest

_DARKEST, _BRIGHTEST = 2, 98  # percentiles that become black and white
_CLOUDY = 90  # percentile that becomes white on a contact sheet: land is visible among clouds
_PAPER, _INK = (250, 250, 248), (35, 35, 40)  # of a contact sheet
_MARGIN, _CAPTION, _TEXT = 14, 26, 15  # of a contact sheet: around cells, height below pictures, size of the type


def stretch(
    values: NDArray[np.generic], *, nodata: int | None = None, brightest: float = _BRIGHTEST
) -> NDArray[np.uint8]:
    """Stretch each band between two percentiles to 1…255.

    No data becomes 0, black.

    Parameters
    ----------
    values : ndarray, shape (bands, rows, columns)
        The samples; NaN counts as no data. Three bands of bytes are already a picture, and returned unchanged.
    nodata : int, optional
        The value that stands for no data.
    brightest : float
        The percentile that becomes white.
    """
    if values.dtype == np.uint8 and len(values) == 3:
        return values.astype(np.uint8, copy=False)
    return np.stack([_stretch_band(band, nodata, brightest) for band in values])


def to_png(values: NDArray[np.generic], *, nodata: int | None = None) -> bytes:
    """Return samples as a PNG picture.

    Three or more bands are shown in colour, by the first three; fewer in grey, by the first.

    Parameters
    ----------
    values : ndarray, shape (bands, rows, columns)
        The samples.
    nodata : int, optional
        The value that stands for no data; it is painted black.
    """
    return as_png(_picture(values, nodata, _BRIGHTEST))


def stretched_picture(values: NDArray[np.generic], side: int, *, nodata: int | None = None) -> Image.Image:
    """Return the picture of `to_png`, its sides at most `side` pixels."""
    picture = _picture(values, nodata, _BRIGHTEST)
    picture.thumbnail((side, side), Image.Resampling.BOX)
    return picture


def thumbnail(value: object, side: int = 132) -> bytes | None:
    """Return a small PNG of a result's pixels; None without pixels.

    Parameters
    ----------
    value : object
        A DataArray or ndarray of (rows, columns) or (bands, rows, columns), or the dict of the web service. A lazy
        DataArray has no pixels.
    side : int
        Maximum length of the longer side in pixels.
    """
    pixels = _pixels_of(value)
    if pixels is None or pixels.ndim not in (2, 3) or not pixels.size or pixels.dtype.kind not in "buif":
        return None
    values = pixels if pixels.ndim == 3 else pixels[None]
    step = max(1, -(-max(values.shape[1:]) // (2 * side)))
    return as_png(stretched_picture(values[:, ::step, ::step], side, nodata=nodata_of(value)))


def contact_sheet(
    images: Sequence[NDArray[np.generic]],
    titles: Sequence[str],
    *,
    columns: int | None = None,
    side: int = 260,
    nodata: int | None = None,
) -> Image.Image:
    """Return a grid of small pictures with captions.

    Parameters
    ----------
    images : sequence of ndarray, shape (bands, rows, columns)
        At least one image. Each is stretched separately; the grid is filled row by row.
    titles : sequence of str
        Caption of each image, cut to the width of its cell.
    columns : int, optional
        Pictures in a row; by default about as many as there are rows.
    side : int
        Length of the longer side of each picture in pixels; images are scaled to it.
    nodata : int, optional
        The value that stands for no data; it is painted black.
    """
    if not images or len(images) != len(titles):
        problem = f"a contact sheet of {len(images)} images and {len(titles)} titles"
        raise InvalidRequest("", problem, "give at least one image, and a title for each")
    across = columns or int(np.ceil(len(images) ** 0.5))
    wide, high = side + _MARGIN, side + _CAPTION + _MARGIN
    down = -(-len(images) // across)
    sheet = Image.new("RGB", (across * wide + _MARGIN, down * high + _MARGIN), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT)
    for place, (values, title) in enumerate(zip(images, titles, strict=True)):
        left, top = _MARGIN + place % across * wide, _MARGIN + place // across * high
        small = ImageOps.contain(_picture(values, nodata, _CLOUDY), (side, side), Image.Resampling.LANCZOS)
        sheet.paste(small, (left + (side - small.width) // 2, top + (side - small.height) // 2))
        text = _cut(title, font, side)
        draw.text((left + side / 2, top + side + _CAPTION / 2), text, fill=_INK, font=font, anchor="mm")
    return sheet


def _picture(values: NDArray[np.generic], nodata: int | None, brightest: float) -> Image.Image:
    stretched = stretch(values[:3] if len(values) >= 3 else values[:1], nodata=nodata, brightest=brightest)
    return Image.fromarray(np.ascontiguousarray(stretched[0] if len(stretched) == 1 else np.moveaxis(stretched, 0, 2)))


def _pixels_of(value: Any) -> NDArray[np.generic] | None:
    if isinstance(value, Mapping):
        image = np.asarray(value.get("img_data", ()))
        return np.moveaxis(image, 2, 0) if image.ndim == 3 else image
    if hasattr(value, "dims"):  # a DataArray; this module needs no xarray
        value = None if value.chunks is not None else value.values
    return value if isinstance(value, np.ndarray) else None


def nodata_of(value: Any) -> int | None:
    """Return the no-data value of an array of integers, from its attributes.

    None for floats, where NaN is no data: arithmetic keeps attributes, hence reflectance computed by hand still has the
    number among them, which may be a valid value.
    """
    found = getattr(value, "attrs", {}).get("nodata")
    return None if found is None or value.dtype.kind not in "iu" else int(found)


def as_png(picture: Image.Image) -> bytes:
    """Return a picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Return a text on a single line of at most `width` pixels."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def _stretch_band(band: NDArray[np.generic], nodata: int | None, brightest: float) -> NDArray[np.uint8]:
    valid = np.isfinite(band) if nodata is None else np.isfinite(band) & (band != nodata)
    if not valid.any():
        return np.zeros(band.shape, np.uint8)
    low, high = np.percentile(band[valid], (_DARKEST, brightest))
    if low == high:  # nearly constant: show the few differing values
        low, high = band[valid].min(), band[valid].max()
    least = 1 if band.dtype.kind in "biu" else np.finfo(np.float32).tiny
    scaled = (np.where(valid, band, low).astype(np.float32) - low) / max(float(high) - float(low), least) * 254 + 1
    return np.where(valid, scaled.clip(1, 255), 0).astype(np.uint8)
