"""Georeference of an image, and coordinates of sample centres at each rlevel."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Transform = tuple[float, float, float, float, float, float]
"""Coefficients a to f, as in rasterio and affine.

x = a*col + b*row + c, y = d*col + e*row + f. (col, row) = (0, 0) is the upper left corner of the upper left pixel,
(0.5, 0.5) its centre.
"""


@dataclass(frozen=True, slots=True)
class Georeference:
    """Transform and coordinate reference system of an image."""

    transform: Transform
    """Transform of pixel corners in the full image to coordinates.

    The x axis is easting or longitude.
    """
    crs_wkt: str | None
    """Coordinate reference system as WKT 2, for CF's `crs_wkt`; None if unknown."""
    epsg: int | None
    """EPSG code of the coordinate reference system, if any."""


def corner_transform(
    centre: tuple[float, float], along_row: tuple[float, float], along_column: tuple[float, float]
) -> Transform:
    """Return the transform of pixel corners from the first pixel and steps.

    `centre` is the centre of the first pixel, `along_row` the step to the next column, `along_column` the step to the
    next row.
    """
    a, d = along_row
    b, e = along_column
    return (a, b, centre[0] - (a + b) / 2, d, e, centre[1] - (d + e) / 2)


def is_invertible(transform: Transform) -> bool:
    """Return whether a transform is finite and has an inverse."""
    a, b, _, d, e, _ = transform
    return all(map(math.isfinite, transform)) and 0 < abs(a * e - b * d) < math.inf


def coordinates(
    transform: Transform, first_row: int, first_col: int, step: int, shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return coordinates of sample centres of an image, window or reduced image.

    The wavelet transform keeps each sample at the centre of its pixel in the full image, and the samples exactly `step`
    pixels apart. Spreading a reduced image over the full extent would shift it by up to half a sample.

    Parameters
    ----------
    transform : Transform
        Transform of the full image.
    first_row, first_col : int
        Position of the first sample in the full image.
    step : int
        Pixels of the full image from sample to sample, 2**rlevel.
    shape : tuple of int
        Rows and columns of samples.

    Returns
    -------
    tuple of ndarray or None
        x of each column and y of each row. None for a rotated or sheared grid, in which x depends on the row as well;
        such an image has only its transform.
    """
    a, b, c, d, e, f = transform
    if b != 0 or d != 0:
        return None
    rows, columns = shape
    x = c + a * (first_col + 0.5 + step * np.arange(columns, dtype=np.float64))
    y = f + e * (first_row + 0.5 + step * np.arange(rows, dtype=np.float64))
    return x, y


def level_transform(transform: Transform, first_row: int, first_col: int, step: int) -> Transform:
    """Return the transform of an image, window or reduced image.

    It follows rioxarray and GDAL's `GeoTransform`: the centre of sample (i, j) is at (row, col) = (i + 0.5, j + 0.5),
    and has the coordinates returned by `coordinates`, which explains the parameters.
    """
    a, b, c, d, e, f = transform
    left, top = first_col + (1 - step) / 2, first_row + (1 - step) / 2
    return (a * step, b * step, a * left + b * top + c, d * step, e * step, d * left + e * top + f)


def image_bounds(transform: Transform, shape: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the bounds of a full image, smallest x and y first."""
    a, b, c, d, e, f = transform
    corners = [(0, 0), (0, shape[1]), (shape[0], 0), shape]
    xs, ys = zip(*((a * x + b * y + c, d * x + e * y + f) for y, x in corners), strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def lon_lat_bounds(place: Georeference, shape: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """Return the bounds of a full image in degrees, for `bbox=`.

    The largest longitude is below the smallest if the image crosses the antimeridian (RFC 7946, section 5.2). None
    without a known reference system.
    """
    from pyproj import Transformer
    from pyproj.exceptions import ProjError

    if place.crs_wkt is None:
        return None
    try:
        there = Transformer.from_crs(place.crs_wkt, "OGC:CRS84", always_xy=True)
        bounds = there.transform_bounds(*image_bounds(place.transform, shape))
    except ProjError:
        return None
    return bounds if all(map(math.isfinite, bounds)) else None
