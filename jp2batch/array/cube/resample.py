"""Resample larger pixels, and interpolate between samples."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from jp2batch.array.cube.grid import AxisSpan

Method = Literal["nearest", "bilinear", "cubic"]
METHODS = ("nearest", "bilinear", "cubic")
"""Ways to resample larger pixels."""
_TAPS = {"nearest": 1, "bilinear": 2, "cubic": 4}  # samples of a value, along an axis
_SHARPNESS = -0.5  # of Keys' cubic convolution, as in GDAL


def needed(span: AxisSpan, start: int, stop: int, method: str, size: int) -> slice:
    """Return the samples for positions of an axis."""
    numbers = span.samples(start, stop)
    more = _TAPS[method] // 2 if span.repeat > 1 else 0
    return slice(max(0, int(numbers[0]) - more), min(size, int(numbers[-1]) + 1 + more))


def resample(
    values: NDArray[np.generic],
    spans: tuple[AxisSpan, AxisSpan],
    part: tuple[slice, slice],
    first: tuple[int, int],
    *,
    method: str,
    nodata: int | None,
) -> NDArray[np.generic]:
    """Return the values at positions, from samples around them.

    Each value lies in a sample: it is no data if this one is. No data beside it has no weight, nor has what lies
    outside. Integers are rounded, halves up.

    Parameters
    ----------
    values : ndarray, shape (rows, columns)
        The samples.
    spans : (AxisSpan, AxisSpan)
        Position of the samples along both axes.
    part : (slice, slice)
        The positions.
    first : (int, int)
        Numbers of the first row and column in `values`.
    method : {"nearest", "bilinear", "cubic"}
        Weights of the samples.
    nodata : int, optional
        No-data value of integers; NaN of others.
    """
    rows, columns = (
        span.samples(at.start, at.stop) - before for span, at, before in zip(spans, part, first, strict=True)
    )
    nearest: NDArray[np.generic] = values[np.ix_(rows, columns)]
    if method == "nearest" or max(span.repeat for span in spans) == 1:
        return nearest
    ways = [
        _weights(span, at, before, size, method)
        for span, at, before, size in zip(spans, part, first, values.shape, strict=True)
    ]
    missing = is_no_data(values, nodata)
    exact = np.where(missing, 0, values).astype(np.float64)
    total = _weighted(exact, ways)
    if missing.any():
        total /= np.where(is_no_data(nearest, nodata), 1, _weighted((~missing).astype(np.float64), ways))
    if values.dtype.kind in "iu":
        bounds = np.iinfo(values.dtype.name)
        total = np.clip(np.floor(total + 0.5), bounds.min, bounds.max)
    return np.where(is_no_data(nearest, nodata), nearest, total.astype(values.dtype))


def is_no_data(values: NDArray[Any], nodata: int | None) -> NDArray[np.bool_]:
    """Return which values are no data."""
    if values.dtype.kind == "f":
        return np.asarray(np.isnan(values))
    return np.zeros(values.shape, bool) if nodata is None else np.asarray(values == nodata)


Weights = list[tuple[NDArray[np.intp], NDArray[np.float64]]]
"""Sample and weight of each position; a pair for each tap."""


def _weights(span: AxisSpan, at: slice, before: int, size: int, method: str) -> Weights:
    """Return the samples of each position along an axis, and their weights.

    Samples outside have no weight; the others have a sum of 1.
    """
    place = (np.arange(at.start, at.stop) - span.start + 0.5) / span.repeat - 0.5 - before
    low = np.floor(place).astype(np.intp)
    taps = range(1 - _TAPS[method] // 2, _TAPS[method] // 2 + 1)
    found = [(low + tap, _kernel(np.abs(place - low - tap), method)) for tap in taps]
    found = [(numbers, np.where((numbers >= 0) & (numbers < size), weights, 0)) for numbers, weights in found]
    total = sum(weights for _, weights in found)
    return [(np.clip(numbers, 0, size - 1), weights / total) for numbers, weights in found]


def _kernel(distance: NDArray[np.float64], method: str) -> NDArray[np.float64]:
    """Return the weights of samples at a distance."""
    if method == "bilinear":
        return np.maximum(0, 1 - distance)
    a, d = _SHARPNESS, distance
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def _weighted(values: NDArray[np.float64], ways: list[Weights]) -> NDArray[np.float64]:
    rows, columns = ways
    along: Any = sum(weights[:, None] * values[numbers] for numbers, weights in rows)
    both: NDArray[np.float64] = sum(weights * along[:, numbers] for numbers, weights in columns)
    return both


def interpolate(values: NDArray[np.generic], shift: tuple[float, float], nodata: int | None) -> NDArray[np.generic]:
    """Interpolate linearly between four samples; integers are rounded.

    Parameters
    ----------
    values : ndarray, shape (rows + 1, columns + 1)
        The samples. Any value interpolated from NaN, or from `nodata` among integers, is no data as well.
    shift : (float, float)
        Rows and columns from each sample to the value beside it, 0 to below 1.
    nodata : int, optional
        No-data value of integers.
    """
    exact: NDArray[np.floating[Any]] = values.astype(np.float32 if values.dtype == np.float32 else np.float64)
    if nodata is not None and values.dtype.kind != "f":
        exact[values == nodata] = np.nan
    (dy, dx) = shift
    along = exact[:-1] if not dy else (1 - dy) * exact[:-1] + dy * exact[1:]
    both = along[:, :-1] if not dx else (1 - dx) * along[:, :-1] + dx * along[:, 1:]
    if values.dtype.kind == "f":
        return both.astype(values.dtype)
    return np.where(np.isnan(both), nodata or 0, np.rint(both)).astype(values.dtype)
