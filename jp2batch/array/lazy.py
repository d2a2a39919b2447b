"""Lazy arrays for xarray."""

import asyncio
import contextvars
from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from dask.base import normalize_token
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

import jp2batch.array.accessor  # noqa: F401  # registers the accessor
from jp2batch.core.options import StorageOptions
from jp2batch.core.runtime import process_state
from jp2batch.core.scaling import Scaling
from jp2batch.image.header import Likeness
from jp2batch.image.map_area import GeometryMask
from jp2batch.image.read import read_area
from jp2batch.jpeg2000.geometry.grid import Rect
from jp2batch.jpeg2000.locate.image_index import ImageIndex

_READERS = 12  # threads: enough to hide latency, few enough to leave the interpreter to the event loop


class ConcurrentArray(BackendArray):
    """An array read without blocking an event loop, by `load_async`."""

    @abstractmethod
    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """Read the indexed values."""

    async def async_getitem(self, key: indexing.ExplicitIndexer) -> Any:
        """Read in another thread."""
        await asyncio.sleep(0)  # a `gather` prepares all its reads before threads compete for the interpreter
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(_readers(), context.run, self.__getitem__, key)


@dataclass(frozen=True, eq=False)
class ImageArray(ConcurrentArray):
    """An image, read when indexed; picklable for workers."""

    url: str
    """Path or URL of the image."""
    rlevel: int
    """Resolution levels dropped."""
    area: Rect
    """Area of its samples, in coordinates of the resolution level."""
    shape: tuple[int, ...]
    """(rows, columns), or (bands, rows, columns)."""
    dtype: np.dtype[np.generic]
    """Type of the samples."""
    storage_options: StorageOptions = None
    """fsspec's options for the store."""
    scaling: Scaling | None = None
    """Scaling of samples to reflectance; None: samples as stored."""
    mask: GeometryMask | None = None
    """Geometry outside which samples become no data, if any."""
    index: ImageIndex | None = None
    """Index of the file at opening, to spare workers reading its headers."""
    likeness: Likeness | None = None
    """Properties its header must have, if another was taken for it."""

    def __dask_tokenize__(self) -> tuple[object, ...]:
        told = (self.url, self.rlevel, self.area, str(self.dtype), self.scaling, self.mask, self.likeness)
        return (type(self).__qualname__, *told, normalize_token(self.storage_options), normalize_token(self.index))

    def __repr__(self) -> str:
        return f"ImageArray(rlevel={self.rlevel}, shape={self.shape}, dtype={self.dtype})"  # nothing secret

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[int | slice, ...]) -> NDArray[np.generic]:
        """Read the rectangle around the indexed samples, and index it."""
        *bands, rows, columns = key
        (y0, y1, take_rows), (x0, x1, take_columns) = (
            bounds(index, length) for index, length in zip((rows, columns), self.shape[-2:], strict=True)
        )
        if y0 == y1 or x0 == x1:
            return np.empty(self.shape, self.dtype)[key]
        area = Rect(self.area.y0 + y0, self.area.x0 + x0, self.area.y0 + y1, self.area.x0 + x1)
        pixels = read_area(
            self.url,
            self.rlevel,
            area,
            storage_options=self.storage_options,
            image_index=self.index,
            likeness=self.likeness,
        )
        values = pixels.values if self.mask is None else self.mask.apply(pixels.values, pixels.selection)
        values = values if self.scaling is None else self.scaling.apply(values)
        return (values if len(self.shape) == 3 else values[0])[(*bands, take_rows, take_columns)]


@process_state()
def _readers() -> ThreadPoolExecutor:
    """Return the threads of asynchronous reads."""
    return ThreadPoolExecutor(_READERS, thread_name_prefix="jp2batch-async")


def _nothing_to_close() -> None:
    """Close nothing: no file is held open between reads."""


def bounds(index: int | slice, length: int) -> tuple[int, int, int | slice]:
    """Return start and stop of the samples to read along an axis.

    The third value is the index into the samples read.
    """
    if not isinstance(index, slice):
        position = index + length if index < 0 else index
        return position, position + 1, 0
    positions = range(length)[index]
    if not positions:
        return 0, 0, slice(0, 0)
    start, stop = min(positions[0], positions[-1]), max(positions[0], positions[-1]) + 1
    return start, stop, slice(None, None, positions.step)
