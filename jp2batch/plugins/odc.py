"""Driver of odc-loader: `odc.stac.load(items, driver="jp2batch")`.

Grids, mosaics, dask and resampling are odc's; the bytes and the pixels are ours.
"""

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.overlap import ReprojectInfo, compute_reproject_roi
from odc.geo.roi import roi_is_empty, roi_shape
from odc.loader import RasterLoadParams, RasterSource, resolve_dst_dtype, resolve_dst_nodata, resolve_src_nodata
from odc.loader._reader import nodata_mask, resolve_band_query, same_nodata
from rasterio.enums import Resampling
from rasterio.warp import reproject

from jp2batch.core.errors import InvalidRequest, Jp2BatchError
from jp2batch.core.options import SecretDict, StorageOptions
from jp2batch.image.open import OpenImage, with_image
from jp2batch.image.read import read_opened
from jp2batch.plugins.level_grid import LevelGrid
from jp2batch.storage.source import open_source

_log = logging.getLogger(__name__)
_KERNEL = 8  # samples beside a position that GDAL looks at, at most
_CURVED = 256  # samples whose row is bent by less than one in another map
_State = dict[str, Any]
Placed = tuple[tuple[slice, slice], NDArray[Any]]
"""Rows and columns of the requested grid, and their pixels."""


class OdcDriver:
    """Reader driver of odc-loader for JPEG 2000.

    By name, `driver="jp2batch"` is this driver without storage options, and so is "jp2batch.plugins.odc.OdcDriver".

    Parameters
    ----------
    storage_options : mapping, optional
        fsspec's options for the store. They go to the workers with the tasks, and are never printed.

    Examples
    --------
    >>> odc.stac.load(items, driver=OdcDriver({"anon": True}), chunks={})  # doctest: +SKIP
    """

    md_parser = None
    aux_reader = None
    dask_reader = None  # odc has one for any driver

    def __init__(self, storage_options: StorageOptions = None) -> None:
        self._options = SecretDict.of(storage_options)

    def __repr__(self) -> str:
        return "OdcDriver()"

    def new_load(self, geobox: GeoBox, *, chunks: dict[str, int] | None = None) -> _State:  # noqa: ARG002  # odc's
        """Begin a load, of which nothing is kept."""
        return {}  # odc takes None for a mistake

    def finalise_load(self, load_state: _State) -> None:
        """End a load."""

    def capture_env(self) -> dict[str, Any]:
        """Return no environment: the options travel with the driver."""
        return {}

    @contextmanager
    def restore_env(self, env: Mapping[str, Any], load_state: _State) -> Iterator[_State]:  # noqa: ARG002  # odc's
        """Enter the environment of a load."""
        yield load_state

    def open(self, src: RasterSource, ctx: _State) -> "OdcReader":  # noqa: ARG002  # odc's
        """Return a reader of a band; nothing is read yet."""
        return OdcReader(src, self._options)


@dataclass(frozen=True)
class OdcReader:
    """Reader of a band of an image, for odc-loader."""

    src: RasterSource
    """Link and band, by odc-loader."""
    options: SecretDict
    """fsspec's options for the store."""

    def read(
        self,
        cfg: RasterLoadParams,
        dst_geobox: GeoBox,
        *,
        dst: NDArray[Any] | None = None,
        selection: Any = None,
    ) -> Placed:
        """Read the band on a grid.

        Parameters
        ----------
        cfg : RasterLoadParams
            Type, no data and resampling of the load.
        dst_geobox : GeoBox
            The grid.
        dst : ndarray, optional
            Array of the grid, to be filled.
        selection : optional
            Bands to read of a source with all bands.

        Returns
        -------
        (rows, columns), ndarray
            The part of the grid that the image covers, and its pixels.

        Raises
        ------
        Jp2BatchError
            The image cannot be read, and the load is to fail then.
        """

        def act(opened: OpenImage) -> Placed:
            return _OnGrid(opened, self.src, cfg, dst_geobox, selection).read(dst)

        try:
            return with_image(open_source(self.src.uri, storage_options=self.options), act)
        except Jp2BatchError as error:
            if cfg.fail_on_error:
                raise
            _log.warning("left out: %s", error)
        nothing = slice(0, 0), slice(0, 0)
        return nothing, np.empty((0, 0), cfg.dtype) if dst is None else dst[nothing]


@dataclass(frozen=True)
class _OnGrid:
    """An open image, to be read on a grid."""

    opened: OpenImage
    src: RasterSource
    cfg: RasterLoadParams
    geobox: GeoBox
    selection: Any

    def read(self, dst: NDArray[Any] | None) -> Placed:
        """Read a level fine enough, and resample it."""
        grid, overlap = self._overlap(0)
        if self.cfg.use_overviews and overlap.read_shrink > 1:
            coarsest = overlap.read_shrink.bit_length() - 1
            grid, overlap = self._overlap(min(coarsest, self.opened.image.header.levels))
        bands, turned = self._bands(), dst is not None and dst.ndim == 3 and self.src.ydim == 0
        at: tuple[slice, slice] = overlap.roi_dst
        if dst is None:
            shape = () if isinstance(bands, int) else (len(bands),)
            planes = np.empty(shape + roi_shape(at), resolve_dst_dtype(str(self.opened.dtype), self.cfg))
            turned = planes.ndim == 3 and self.src.ydim == 0
        else:
            planes = (dst.transpose(2, 0, 1) if turned else dst)[(..., *at)]
        if not roi_is_empty(at):
            self._fill(planes, bands, grid, overlap)
        return at, planes.transpose(1, 2, 0) if turned else planes

    def _overlap(self, rlevel: int) -> tuple[LevelGrid, ReprojectInfo]:
        grid = LevelGrid.of(self.opened, rlevel)
        near = 0.9 if self.cfg.nearest else 0.05  # as the driver rio: the nearest pixel may be moved
        return grid, compute_reproject_roi(_geobox(grid), self.geobox, ttol=near)

    def _bands(self) -> int | list[int]:
        """Return the band to read, or a list of bands."""
        count = len(self.opened.channels)
        if self.src.band > count:
            raise InvalidRequest("", f"it has no band {self.src.band}", f"it has {count}")
        bands: int | list[int] = resolve_band_query(self.src, count, self.selection)
        return bands

    def _fill(self, planes: NDArray[Any], bands: int | list[int], grid: LevelGrid, overlap: ReprojectInfo) -> None:
        """Fill the part of the grid under the image."""
        nodata = resolve_src_nodata(None, self.cfg)  # JPEG 2000 declares none
        fill = resolve_dst_nodata(planes.dtype, self.cfg, nodata)
        if roi_is_empty(overlap.roi_src):
            if fill is not None:
                planes[:] = fill
            return
        paste = overlap.paste_ok and overlap.read_shrink == 1
        kernel = 0 if self.cfg.nearest else _KERNEL
        rows, columns = overlap.roi_src if paste else _widened(overlap, grid.shape, kernel)
        values = read_opened(self.opened, grid.selection(self.opened, rows, columns)).values
        values = values[bands - 1] if isinstance(bands, int) else values[[band - 1 for band in bands]]
        if paste:
            planes[:] = values
            if fill is not None and not same_nodata(nodata, fill):
                planes[nodata_mask(planes, nodata)] = fill
            return
        to = self.geobox[overlap.roi_dst]
        canvas = np.zeros((*values.shape[:-2], *grid.shape), values.dtype)  # its untouched part takes no memory
        canvas[..., rows, columns] = values  # GDAL's weights depend on the size of the image it sees
        reproject(
            canvas,
            planes,
            src_transform=grid.transform,
            src_crs=grid.crs_wkt,
            src_nodata=nodata,
            dst_transform=to.transform,
            dst_crs=str(to.crs),
            dst_nodata=fill,
            resampling=Resampling[self.cfg.resampling],
        )


def _geobox(grid: LevelGrid) -> GeoBox:
    return GeoBox(grid.shape, grid.transform, grid.crs_wkt)


def _widened(overlap: ReprojectInfo, shape: tuple[int, int], kernel: int) -> tuple[slice, slice]:
    """Return the rows and columns needed by resampling."""
    widest = 1 + kernel * max(1, math.ceil(max(overlap.scale2.xy)))
    rows, columns = (
        slice(max(0, axis.start - around), min(size, axis.stop + around))
        for axis, size in zip(overlap.roi_src, shape, strict=True)
        for around in [widest + (axis.stop - axis.start) // _CURVED]
    )
    return rows, columns
