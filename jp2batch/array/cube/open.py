"""Open Sentinel-2 images as a lazy cube."""

import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import xarray as xr
from xarray.core import indexing

from jp2batch.array.cube.alignment import AlignedImage, offset
from jp2batch.array.cube.inputs import CubeImage, add_metadata, heads_of, listed_images
from jp2batch.array.cube.layout import cube_layout
from jp2batch.array.cube.lazy import Cell, CubeArray
from jp2batch.array.cube.metadata import CubeOptions, offsets_change
from jp2batch.array.cube.part import cube_mask, cut, part_of
from jp2batch.array.dataarray import chunked, lazy_rlevel
from jp2batch.array.lazy import ImageArray
from jp2batch.compute.connection import ClientLike
from jp2batch.compute.parallel import map_concurrently
from jp2batch.core.bands import checked_metres
from jp2batch.core.errors import CubeMismatch
from jp2batch.core.map_area import MapArea
from jp2batch.core.options import SecretDict, StorageOptions
from jp2batch.core.request import Request
from jp2batch.image.header import Head
from jp2batch.image.missions import bands_by_label

_SHOWN = 5  # tiles in a message


def open_cube(
    images: str | os.PathLike[str] | Request | Mapping[str, Any] | Iterable[Any],
    rlevel: int = 0,
    chunks: Any = {},  # noqa: B006  # as xarray has it; never changed
    *,
    bands: str | Iterable[str] | None = None,
    metres: int | None = None,
    bbox: object = None,
    geometry: object = None,
    crs: object = None,
    resolution: object = None,
    mask: bool = True,
    align: Literal["snap", "linear"] = "snap",
    missing: Literal["raise", "fill"] = "raise",
    scaled: bool = False,
    by_tile: bool = False,
    alternate: str | None = None,
    client: ClientLike | None = None,
    storage_options: StorageOptions = None,
) -> Any:
    """Open Sentinel-2 images as a lazy cube, reading headers and metadata only.

    Times, bands and tiles are taken from the metadata of products if these are read, else from the columns of Requests,
    such as those of STAC items, else from the names and folders of the images. Bands of different pixel sizes are
    brought to a common grid by their resolution levels, such as 10 m at rlevel 1 and 20 m at rlevel 0. Their samples
    then are a fraction of a sample apart (see `align`).

    Parameters
    ----------
    images : str, path, Request, STAC object or mapping, or iterable of these
        Paths or URLs of images of a band, and of products and files of STAC items, of which all `bands` are taken; STAC
        in memory as for `list_requests`, such as an item collection of pystac. Of a Request, path and root are used,
        and the columns `time`, `band`, `tile`, `platform` and `processing_baseline`; windows and areas are refused, as
        a cube has a single grid.
    rlevel : int
        Resolution levels to drop of the images with the largest pixels; the others drop more. -1: as many as possible.
    chunks : optional
        As for `open`; by default a chunk has one time, one band, and a group of whole tiles, or the whole area, if it
        is not large.
    bands : iterable of str, optional
        Names of the bands, in order, e.g. "B04", or common names of STAC, e.g. "red": the coordinate `band` has these
        names. By default all bands of the images. Required for products and STAC items.
    metres : int, optional
        Pixel size of the images to take from products and items; by default the smallest of each band.
    bbox, geometry, crs, mask
        The part of the map to open, as for `read`: all largest pixels that it touches, and their samples of all bands.
        Positions outside a geometry are no data in all bands: the number of the band (0 for classes), or NaN in
        reflectance.
    resolution : float, optional
        Largest distance between samples in metres, in place of rlevel. Of each band of a product, the image with the
        nearest pixel size not above it is taken, such as B04_20m at 20 m; nothing is resampled. If bands have only
        larger pixels, these determine the grid.
    align : {"snap", "linear"}
        "snap" leaves samples unchanged, and assigns them to the positions of the largest pixels; the true offset of
        each band is in its coordinates `offset_x` and `offset_y`. "linear" interpolates samples to these positions;
        integers are rounded, and a value interpolated from no data becomes no data.
    missing : {"raise", "fill"}
        "raise" refuses a band that is missing at some time; "fill" fills it with no data: 0, or NaN in reflectance.
    scaled : bool
        True to convert spectral bands to reflectance (float32, no data is NaN), each with the offset and quantification
        of its own product; the coordinates `quantity` and `scaling` have quantity and formula of each band. Otherwise
        offset and quantification, if metadata are found, are the coordinates `radiometric_offset` and
        `quantification_value` of (time, band): reflectance is (cube + cube.radiometric_offset) /
        cube.quantification_value.
    by_tile : bool
        True to open a cube for each tile. Otherwise images of several tiles are refused: mosaics are not built.
    alternate : str, optional
        Name of an alternate location of assets of STAC items, as for `list_requests`.
    client : distributed.Client, cluster, str or path, optional
        The cluster on which to read the headers, as for `run`; by default they are read in threads of this process.
    storage_options : mapping, optional
        fsspec's options for the store.

    Returns
    -------
    DataArray or DataTree
        Dims (time, band, y, x); x and y are the centres of the largest pixels; `rlevel` is a coordinate of each band,
        `tile` of the cube, `platform` and `processing_baseline` of each time, `source` of each time and band.
        With `by_tile`, a node for each tile, with the variable `cube`.

    Raises
    ------
    CubeMismatch
        The images do not fit into a single cube, or do not fill it.
    OutsideImage
        The area does not meet the images of a tile.
    MetadataError
        `scaled` is True, and metadata are missing or incomplete.
    Jp2BatchError
        An image cannot be read.

    Warns
    -----
    UserWarning
        The numbers of different times have different offsets, and are not scaled.
    """
    _check_choice("align", align, ("snap", "linear"))
    _check_choice("missing", missing, ("raise", "fill"))
    secret = SecretDict.of(storage_options)
    each = partial(map_concurrently, client=client, storage_options=secret)
    labels, metres = bands_by_label(bands), checked_metres(metres)
    wanted = None if labels is None else list(labels)
    area = MapArea.of(bbox, geometry, crs, resolution, mask=mask)
    options = CubeOptions(lazy_rlevel("", rlevel, area), chunks, wanted, align, missing, scaled, secret, area)
    resolution = area.resolution if area else None
    found = listed_images(images, wanted, metres, each, resolution=resolution, alternate=alternate)
    add_metadata(found, scaled, each)
    tiles = _by_tile(found, heads_of(found, each))
    if by_tile:
        cubes = {
            tile: _cube(members, options, labels).to_dataset(name="cube") for tile, members in sorted(tiles.items())
        }
        return xr.DataTree.from_dict(cubes)
    if len(tiles) > 1:
        some = ", ".join(sorted(tiles)[:_SHOWN])
        hint = "mosaics are not built: open a cube for each tile, with by_tile=True"
        raise CubeMismatch("", f"images of {len(tiles)} tiles ({some}), but a cube has one grid", hint)
    return _cube(next(iter(tiles.values())), options, labels)


def _check_choice(name: str, value: str, choices: tuple[str, str]) -> None:
    if value not in choices:
        hint = " or ".join(f'"{choice}"' for choice in choices)
        raise CubeMismatch("", f"{name} has an invalid value", f"give {hint}")


def _by_tile(images: Sequence[CubeImage], heads: Sequence[Head]) -> dict[str, list[tuple[CubeImage, Head]]]:
    """Return images and their headers by tile."""
    tiles: dict[str, list[tuple[CubeImage, Head]]] = defaultdict(list)
    for image, head in zip(images, heads, strict=True):
        tiles[image.name.tile or ""].append((image, head))
    return tiles


def _cube(
    members: Sequence[tuple[CubeImage, Head]], options: CubeOptions, labels: Mapping[str, str] | None
) -> xr.DataArray:
    """Return the cube of a tile, with labels of bands."""
    layout = cube_layout(members, options)
    part, mask = part_of(layout, options.area), cube_mask(layout, options.area)
    cells = tuple(
        tuple(
            _cell(*layout.by_cell[time, band], layout.base, options) if (time, band) in layout.by_cell else None
            for band in layout.bands
        )
        for time in layout.times
    )
    dtype = np.result_type(*(cell.image.dtype for row in cells for cell in row if cell is not None))
    fill = np.nan if dtype.kind == "f" else layout.fill
    values = CubeArray(cells, layout.shape, dtype, fill, mask)
    array = cut(layout.array(indexing.LazilyIndexedArray(values)), layout, part)
    if labels is not None:
        array = array.assign_coords(band=array.band.copy(data=np.array([*labels.values()], object)))
    if offsets_change(array):
        text = "numbers of different times have different offsets: compare reflectance (scaled=True) instead"
        warnings.warn(text, stacklevel=3)
    if dtype.kind == "f":
        array.encoding["_FillValue"] = dtype.type(np.nan)
    return chunked(array, options.chunks)


def _cell(image: CubeImage, one: AlignedImage, base: AlignedImage, options: CubeOptions) -> Cell:
    scaling = image.scaling if options.scaled else None
    dtype = one.head.dtype if scaling is None else np.dtype(np.float32)
    selection = one.selection
    lazy = ImageArray(
        one.head.url,
        selection.rlevel,
        selection.area,
        one.shape,
        dtype,
        options.storage_options,
        scaling,
        index=one.head.index,
    )
    outside = np.nan if scaling is not None else image.nodata or 0
    if options.align == "snap" or one.first == base.first:
        return Cell(lazy, outside=outside)
    if image.band in image.mission.classes:
        raise CubeMismatch(one.head.path, "classes cannot be interpolated", 'give align="snap"')
    (y, x), (a, e) = offset(one, base), (one.place.transform[0], one.place.transform[4])
    return Cell(lazy, (-y / (e * selection.step), -x / (a * selection.step)), image.nodata, outside)
