"""Readers of rio-tiler: tiles, parts, previews and points of JPEG 2000 images.

rio-tiler resamples and masks; it gets the samples that it needs, of the level that fits, as a dataset of GDAL.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import attr
import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.io import DatasetReader, MemoryFile
from rasterio.warp import transform, transform_bounds
from rasterio.windows import Window, from_bounds
from rio_tiler.constants import WEB_MERCATOR_TMS, WGS84_CRS
from rio_tiler.io import AsyncBaseReader, Reader
from rio_tiler.utils import get_vrt_transform, output_size

from jp2batch.core.options import SecretDict
from jp2batch.image.open import OpenImage, with_image
from jp2batch.image.read import read_opened
from jp2batch.jpeg2000.geometry.grid import ceil_div
from jp2batch.plugins.level_grid import LevelGrid
from jp2batch.storage.source import open_source

_AROUND = 8  # samples beside a position that resampling looks at, at most
_CURVED = 256  # samples whose row is bent by less than one in another map
_BLOCK = 512
Bounds = tuple[float, float, float, float]
"""Left, bottom, right, top."""


@attr.s
class TilerReader(Reader):
    """Reader of rio-tiler for a JPEG 2000 image in any store.

    Its methods are those of `rio_tiler.io.Reader`, and so are their parameters and results. Small pictures of large
    parts are made of the resolution level that fits, whose samples lie where T.800 has them.

    Parameters
    ----------
    input : str
        Path or URL.
    storage_options : mapping, optional
        fsspec's options for the store.
    tms, colormap, options
        As for `rio_tiler.io.Reader`.

    Raises
    ------
    Jp2BatchError
        The image cannot be read, or has no georeference.
    """

    storage_options: Mapping[str, object] | None = attr.ib(default=None, kw_only=True, repr=False)

    def __attrs_post_init__(self) -> None:
        """Read the header."""
        self.storage_options = SecretDict.of(self.storage_options)

        def act(opened: OpenImage) -> tuple[int, DatasetReader]:
            dataset = _dataset(LevelGrid.of(opened, 0), len(opened.channels), opened.dtype)
            return opened.image.header.levels, self._ctx_stack.enter_context(dataset)

        self._levels, self.dataset = with_image(open_source(self.input, storage_options=self.storage_options), act)
        _describe(self)

    def info(self) -> Any:
        """Return rio-tiler's description of the image."""
        overviews = [2**rlevel for rlevel in range(1, self._levels + 1)]
        return super().info().model_copy(update={"driver": "jp2batch", "overviews": overviews})

    def part(
        self,
        bbox: Bounds,
        dst_crs: CRS | None = None,
        bounds_crs: CRS = WGS84_CRS,
        *,
        max_size: int | None = None,
        height: int | None = None,
        width: int | None = None,
        **options: Any,
    ) -> Any:
        """Read a part within bounds; see `rio_tiler.io.Reader.part`."""
        dst_crs = dst_crs or bounds_crs
        around = bbox if bounds_crs == dst_crs else transform_bounds(bounds_crs, dst_crs, *bbox, densify_pts=21)
        _, columns, rows = get_vrt_transform(self.dataset, around, dst_crs=dst_crs)
        size = _Size(rows, columns, max_size, height, width)
        rlevel = self._rlevel(size)
        margin = max(rows / size.rows, columns / size.columns) * (options.get("buffer") or 0)
        margin += (options.get("padding") or 0) + _AROUND
        own = transform_bounds(dst_crs, self.crs, *around, densify_pts=21)
        with self._level(rlevel, own, margin) as level:
            found = level.part(bbox, dst_crs, bounds_crs, **size.limits(rlevel), **options)
        return self._named(found)

    def read(self, indexes: Any = None, expression: str | None = None, **options: Any) -> Any:
        """Read the whole image, or a window; see `rio_tiler.io.Reader.read`."""
        limits = {name: options.pop(name, None) for name in ("max_size", "height", "width")}
        whole = self.bounds
        size, rlevel = _Size(self.height, self.width, **limits), 0
        if options.get("window") is None and options.get("dst_crs") in (None, self.crs):
            rlevel = self._rlevel(size)
        elif options.get("dst_crs") in (None, self.crs):
            whole = _bounds_of(options["window"], self.transform)
        with self._level(rlevel, whole, _AROUND) as level:
            return self._named(level.read(indexes, expression, **size.limits(rlevel), **options))

    def point(self, lon: float, lat: float, coord_crs: CRS = WGS84_CRS, **options: Any) -> Any:
        """Read the pixel at a point; see `rio_tiler.io.Reader.point`."""
        (x,), (y,) = transform(coord_crs, self.crs, [lon], [lat])
        with self._level(0, (x, y, x, y), 2) as level:
            return self._named(level.point(lon, lat, coord_crs, **options))

    def _rlevel(self, size: "_Size") -> int:
        """Return the lowest level with as many rows and columns."""
        full, least = (size.full_rows, size.full_columns), (size.rows, size.columns)
        levels = range(1, self._levels + 1)
        fits = (all(ceil_div(a, 1 << r) >= b for a, b in zip(full, least, strict=True)) for r in levels)
        return sum(itertools.takewhile(bool, fits))

    def _named(self, image: Any) -> Any:
        image.assets = [self.input]
        return image

    @contextlib.contextmanager
    def _level(self, rlevel: int, bounds: Bounds, margin: float) -> Iterator[Reader]:
        """Read samples around bounds; yield a reader of these."""

        def act(opened: OpenImage) -> tuple[LevelGrid, Window | None, NDArray[Any]]:
            grid = LevelGrid.of(opened, rlevel)
            window = _window(grid, bounds, margin)
            if window is None:
                return grid, None, np.empty((len(opened.channels), 0, 0), opened.dtype)
            rows, columns = window.toslices()
            return grid, window, read_opened(opened, grid.selection(opened, rows, columns)).values

        grid, window, values = with_image(open_source(self.input, storage_options=self.storage_options), act)
        with _dataset(grid, len(values), values.dtype, window, values) as dataset:
            yield _LevelReader(self.input, dataset, self.tms, self.colormap, self.options)


class _LevelReader(Reader):
    """rio-tiler's reader of a dataset without overviews."""

    def __attrs_post_init__(self) -> None:
        _describe(self)


@attr.s(frozen=True)
class _Size:
    """Rows and columns of a result."""

    full_rows: int = attr.ib()
    full_columns: int = attr.ib()
    max_size: int | None = attr.ib()
    height: int | None = attr.ib()
    width: int | None = attr.ib()

    def _limited(self) -> tuple[int, int]:
        limits = {"output_height": self.height, "output_width": self.width, "max_size": self.max_size}
        rows, columns = output_size(dataset_height=self.full_rows, dataset_width=self.full_columns, **limits)
        return rows, columns

    @property
    def rows(self) -> int:
        """Rows of the result."""
        return self._limited()[0]

    @property
    def columns(self) -> int:
        """Columns of the result."""
        return self._limited()[1]

    def limits(self, rlevel: int) -> dict[str, int | None]:
        """Return the arguments by which a level gives this size."""
        if rlevel:
            return {"height": self.rows, "width": self.columns}
        return {"max_size": self.max_size, "height": self.height, "width": self.width}


def _describe(reader: Reader) -> None:
    """Copy the attributes of a dataset to its reader."""
    dataset = reader.dataset
    reader.bounds, reader.crs, reader.transform = tuple(dataset.bounds), dataset.crs, dataset.transform
    reader.height, reader.width = dataset.height, dataset.width
    reader.colormap = reader.colormap or {}


def _window(grid: LevelGrid, bounds: Bounds, margin: float) -> Window | None:
    """Return the samples of a level around bounds, if any."""
    if not all(map(np.isfinite, bounds)):  # a part of the map that has no place in the image's
        return Window(0, 0, *grid.shape[::-1])
    exact = from_bounds(*bounds, transform=grid.transform)
    (top, bottom), (left, right) = exact.toranges()
    more = [margin + (stop - start) // _CURVED + 1 for start, stop in ((top, bottom), (left, right))]
    rows, columns = (
        (int(max(0, start - around)), int(min(size, stop + around)))
        for start, stop, around, size in zip((top, left), (bottom, right), more, grid.shape, strict=True)
    )
    if rows[0] >= rows[1] or columns[0] >= columns[1]:
        return None
    return Window.from_slices(rows, columns)


def _bounds_of(window: Any, at: Affine) -> Bounds:
    """Return the bounds of a window of rio-tiler."""
    (top, bottom), (left, right) = window if isinstance(window, tuple) else window.toranges()
    (x0, y0), (x1, y1) = at * (left, bottom), at * (right, top)
    return x0, y0, x1, y1


@contextlib.contextmanager
def _dataset(
    grid: LevelGrid,
    bands: int,
    dtype: np.dtype[Any],
    window: Window | None = None,
    values: NDArray[Any] | None = None,
) -> Iterator[DatasetReader]:
    """Make a dataset of a level, which stores only a window."""
    rows, columns = grid.shape
    profile = {"driver": "GTiff", "tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK, "SPARSE_OK": True}
    place = {"transform": grid.transform, "crs": grid.crs_wkt}
    with MemoryFile() as file:
        with file.open(height=rows, width=columns, count=bands, dtype=dtype, **profile, **place) as target:
            if window is not None:
                target.write(values, window=window)
        with file.open() as dataset:
            yield dataset


@attr.s
class AsyncTilerReader(AsyncBaseReader):
    """Asynchronous `TilerReader`: it reads in threads; begin with `async with`.

    Parameters
    ----------
    input, storage_options, tms, options
        As for `TilerReader`.
    """

    tms: Any = attr.ib(default=WEB_MERCATOR_TMS)
    options: Mapping[str, object] = attr.ib(factory=dict)
    storage_options: Mapping[str, object] | None = attr.ib(default=None, kw_only=True, repr=False)

    async def __aenter__(self) -> Self:
        """Read the header."""
        for name, value in (await self._call(_place)).items():
            setattr(self, name, value)
        return self

    async def _call(self, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call a method of a new reader in a thread."""

        def call() -> Any:
            names = ("input", "tms", "options", "storage_options")
            with TilerReader(**{name: getattr(self, name) for name in names}) as reader:
                return method(reader, *args, **options)

        return await asyncio.to_thread(call)

    async def info(self) -> Any:
        """See `TilerReader.info`."""
        return await self._call(TilerReader.info)

    async def statistics(self, *args: Any, **options: Any) -> Any:
        """See `TilerReader.statistics`."""
        return await self._call(TilerReader.statistics, *args, **options)

    async def tile(self, *args: Any, **options: Any) -> Any:
        """See `TilerReader.tile`."""
        return await self._call(TilerReader.tile, *args, **options)

    async def part(self, *args: Any, **options: Any) -> Any:
        """See `TilerReader.part`."""
        return await self._call(TilerReader.part, *args, **options)

    async def preview(self, *args: Any, **options: Any) -> Any:
        """See `TilerReader.preview`."""
        return await self._call(TilerReader.preview, *args, **options)

    async def point(self, *args: Any, **options: Any) -> Any:
        """See `TilerReader.point`."""
        return await self._call(TilerReader.point, *args, **options)

    async def feature(self, *args: Any, **options: Any) -> Any:
        """See `TilerReader.feature`."""
        return await self._call(TilerReader.feature, *args, **options)


def _place(reader: TilerReader) -> dict[str, Any]:
    """Return the attributes of an image in rio-tiler."""
    return {name: getattr(reader, name) for name in ("bounds", "crs", "transform", "height", "width")}
