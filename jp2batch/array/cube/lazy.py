"""Lazy values of a cube, read image by image when indexed.

Plain values only: they are pickled for workers.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xarray.core import indexing

from jp2batch.array.cube.grid import AxisSpan
from jp2batch.array.cube.resample import interpolate, is_no_data, needed, resample
from jp2batch.array.lazy import ConcurrentArray, ImageArray, bounds
from jp2batch.image.map_area import GeometryMask
from jp2batch.jpeg2000.geometry.grid import Rect, Selection

_THREADS = 16  # images read concurrently, if several are indexed together


@dataclass(frozen=True, slots=True)
class Layer:
    """An image on the grid of a cube."""

    image: ImageArray
    """Samples of shape (rows, columns)."""
    rows: AxisSpan
    columns: AxisSpan
    shift: tuple[float, float] = (0.0, 0.0)
    """Rows and columns from samples to interpolated values, 0 to below 1.

    If both are 0, samples are not interpolated.
    """
    method: str = "nearest"
    """How larger pixels than the grid's are resampled."""
    nodata: int | None = None
    """No-data value of integers."""

    @property
    def covered(self) -> Rect:
        """Rows and columns of its positions."""
        return Rect(self.rows.start, self.columns.start, self.rows.stop, self.columns.stop)

    def read(self, part: Rect) -> NDArray[np.generic]:
        """Read a rectangle inside the image."""
        if any(self.shift):
            return self._between(part)
        spans, at = (self.rows, self.columns), (slice(part.y0, part.y1), slice(part.x0, part.x1))
        around = [
            needed(span, axis.start, axis.stop, self.method, size)
            for span, axis, size in zip(spans, at, self.image.shape, strict=True)
        ]
        values: NDArray[np.generic] = self.image[indexing.BasicIndexer((around[0], around[1]))]
        if all(span.repeat == span.step == 1 for span in spans):
            return values
        return resample(values, spans, at, (around[0].start, around[1].start), method=self.method, nodata=self.nodata)

    def _between(self, part: Rect) -> NDArray[np.generic]:
        """Read values between the samples."""
        dy, dx = self.shift
        rows, columns = self.image.shape
        y0, x0, y1, x1 = (
            edge - start for edge, start in zip(part, (self.rows.start, self.columns.start) * 2, strict=True)
        )
        more = slice(y0, min(rows, y1 + (dy > 0))), slice(x0, min(columns, x1 + (dx > 0)))
        values: NDArray[np.generic] = self.image[indexing.BasicIndexer(more)]
        padded = np.pad(values, [(0, y1 + 1 - more[0].stop), (0, x1 + 1 - more[1].stop)], mode="edge")
        return interpolate(padded, (dy, dx), self.nodata)


@dataclass(frozen=True, slots=True)
class Cell:
    """Images of a band at a time; the first data count."""

    layers: tuple[Layer, ...]
    fill: float = 0
    """Value of no data."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the values."""
        return np.result_type(*(layer.image.dtype for layer in self.layers))

    def read(self, part: Rect) -> NDArray[np.generic]:
        """Read a rectangle of values.

        Of an image, only a rectangle with all positions without data in those before it is read.
        """
        met = [(layer, overlap) for layer in self.layers if not (overlap := layer.covered.intersection(part)).empty]
        if met and met[0][1] == part and len(met) == 1:
            return met[0][0].read(part)
        values: NDArray[Any] = np.full((part.height, part.width), self.fill, self.dtype)
        lacking = np.ones(values.shape, bool)
        for layer, overlap in met:
            if (lack := _bounds_of(lacking, part, overlap)) is None:
                continue
            found = layer.read(lack)
            at = _slices(lack, part)
            taken = lacking[at] & ~is_no_data(found, layer.nodata)
            values[at][taken] = found[taken]
            lacking[at] &= ~taken
        return values


def _slices(rect: Rect, part: Rect) -> tuple[slice, slice]:
    return slice(rect.y0 - part.y0, rect.y1 - part.y0), slice(rect.x0 - part.x0, rect.x1 - part.x0)


def _bounds_of(lacking: NDArray[np.bool_], part: Rect, overlap: Rect) -> Rect | None:
    """Return the bounds of lacking values in an overlap, or None."""
    here = lacking[_slices(overlap, part)]
    rows, columns = (np.flatnonzero(here.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return None
    y, x = overlap.y0, overlap.x0
    return Rect(y + int(rows[0]), x + int(columns[0]), y + int(rows[-1]) + 1, x + int(columns[-1]) + 1)


@dataclass(frozen=True, eq=False)
class CubeArray(ConcurrentArray):
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
    classes: tuple[Cell, ...] = ()
    """Classes by time, if some are masked."""
    masked: tuple[int, ...] = ()
    """Classes to turn into no data."""

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
        if values.size:
            self._fill(values, [[self.cells[time][band] for band in bands] for time in times], times, (y0, x0, y1, x1))
        return values[take_times, take_bands, take_rows, take_columns]

    def _fill(
        self, values: NDArray[Any], cells: list[list[Cell | None]], times: range, part: tuple[int, int, int, int]
    ) -> None:
        """Read cells into an array of (time, band, y, x); mask them."""
        rect = Rect(*part)
        hidden = np.zeros(values.shape[2:], bool)
        if self.mask is not None:
            hidden = ~self.mask.inside(Selection(0, rect, (), part[:2]))
        classes: dict[int, NDArray[np.generic]] = {}

        def read(job: tuple[int, int, Cell]) -> None:
            row, column, cell = job
            found = cell.read(rect)
            if column >= 0:
                values[row, column] = found
            if self.classes and cell is self.classes[times[row]]:
                classes[row] = found

        jobs = [(row, column, cell) for row, of in enumerate(cells) for column, cell in enumerate(of) if cell]
        for row, time in enumerate(times) if self.classes else ():
            if any(cells[row]) and not any(cell is self.classes[time] for cell in cells[row]):
                jobs.append((row, -1, self.classes[time]))
        _for_each(read, jobs)
        for row, column, cell in jobs:
            outside = hidden | np.isin(classes[row], self.masked) if row in classes else hidden
            if column >= 0 and outside.any():
                values[row, column][outside] = cell.fill


def _numbers(index: int | slice, length: int) -> tuple[range, int | slice]:
    """Return the indexed positions along an axis, and an index into them."""
    if isinstance(index, slice):
        return range(length)[index], slice(None)
    place = range(length)[index]
    return range(place, place + 1), 0


def _for_each(function: Callable[[Any], None], jobs: Sequence[Any]) -> None:
    if len(jobs) <= 1:
        for job in jobs:
            function(job)
        return
    pool = ThreadPoolExecutor(min(_THREADS, len(jobs)), thread_name_prefix="jp2batch-cube")
    try:
        list(pool.map(function, jobs))
    finally:
        pool.shutdown(cancel_futures=True)
