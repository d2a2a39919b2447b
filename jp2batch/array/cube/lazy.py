"""Lazy values of a cube, read image by image when indexed.

Plain values only: they are pickled for workers.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from jp2batch.array.lazy import ImageArray, bounds
from jp2batch.image.map_area import GeometryMask
from jp2batch.jpeg2000.geometry.grid import Rect, Selection

_THREADS = 16  # images read concurrently, if several are indexed together


@dataclass(frozen=True, slots=True)
class Cell:
    """A band at a time, with its image."""

    image: ImageArray
    """Samples of shape (rows, columns)."""
    shift: tuple[float, float] = (0.0, 0.0)
    """Rows and columns from samples to interpolated values, 0 to below 1.

    If both are 0, samples are not interpolated.
    """
    nodata: int | None = None
    """No-data value, which is not interpolated."""
    outside: float = 0
    """Value outside the geometry of the cube."""

    def read(self, y0: int, y1: int, x0: int, x1: int) -> NDArray[np.generic]:
        """Read a rectangle of values."""
        dy, dx = self.shift
        rows, columns = self.image.shape
        more = slice(y0, min(rows, y1 + (dy > 0))), slice(x0, min(columns, x1 + (dx > 0)))
        values: NDArray[np.generic] = self.image[indexing.BasicIndexer(more)]
        if not (dy or dx):
            return values
        padded = np.pad(values, [(0, y1 + 1 - more[0].stop), (0, x1 + 1 - more[1].stop)], mode="edge")
        return interpolate(padded, (dy, dx), self.nodata)


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


@dataclass(frozen=True, eq=False)
class CubeArray(BackendArray):
    """Images by time and band, shared by all chunks of a cube."""

    cells: tuple[tuple[Cell | None, ...], ...]
    """Images by time, then by band; None for a missing image."""
    shape: tuple[int, int, int, int]
    """(times, bands, rows, columns)."""
    dtype: np.dtype[np.generic]
    """Type of the values."""
    fill: float = 0
    """Fill value for missing images."""
    mask: GeometryMask | None = None
    """Geometry outside which values become no data, in rows and columns."""

    def __repr__(self) -> str:
        return f"CubeArray(shape={self.shape}, dtype={self.dtype})"

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[int | slice, ...]) -> NDArray[np.generic]:
        """Read the rectangle around indexed samples of each image; index it."""
        (times, take_times), (bands, take_bands) = (
            _numbers(index, length) for index, length in zip(key[:2], self.shape[:2], strict=True)
        )
        (y0, y1, take_rows), (x0, x1, take_columns) = (
            bounds(index, length) for index, length in zip(key[2:], self.shape[2:], strict=True)
        )
        values = np.full((len(times), len(bands), y1 - y0, x1 - x0), self.fill, self.dtype)
        outside = None
        if self.mask is not None and values.size:
            outside = ~self.mask.inside(Selection(0, Rect(y0, x0, y1, x1), (), (y0, x0)))

        def read(at: tuple[int, int]) -> None:
            cell = self.cells[times[at[0]]][bands[at[1]]]
            if cell is not None:
                values[at] = cell.read(y0, y1, x0, x1)
                if outside is not None:
                    values[at][outside] = cell.outside

        if values.size:
            _for_each(read, list(product(range(len(times)), range(len(bands)))))
        return values[take_times, take_bands, take_rows, take_columns]


def _numbers(index: int | slice, length: int) -> tuple[range, int | slice]:
    """Return the indexed positions along an axis, and an index into them."""
    if isinstance(index, slice):
        return range(length)[index], slice(None)
    place = range(length)[index]
    return range(place, place + 1), 0


def _for_each(function: Callable[[tuple[int, int]], None], places: list[tuple[int, int]]) -> None:
    if len(places) == 1:
        function(places[0])
        return
    pool = ThreadPoolExecutor(min(_THREADS, len(places)), thread_name_prefix="jp2batch-cube")
    try:
        list(pool.map(function, places))
    finally:
        pool.shutdown(cancel_futures=True)
