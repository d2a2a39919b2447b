"""Open Sentinel-2 images as a lazy cube."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import xarray as xr
from xarray.core import indexing

from jp2batch.array.cautions import warn_user
from jp2batch.array.chunks import chunked
from jp2batch.array.cube.classes import MaskedClasses, masked_classes
from jp2batch.array.cube.duplicates import without_duplicates
from jp2batch.array.cube.inputs import CubeImage, heads_of, listed_images
from jp2batch.array.cube.layout import check_levels, cube_layout
from jp2batch.array.cube.metadata import CubeOptions, offsets_change
from jp2batch.array.cube.part import cut, part_of
from jp2batch.array.cube.resample import METHODS
from jp2batch.array.cube.scalings import add_metadata
from jp2batch.array.cube.sizes import of_resolution
from jp2batch.array.cube.values import cube_values
from jp2batch.array.dataarray import lazy_rlevel
from jp2batch.compute.connection import ClientLike
from jp2batch.compute.parallel import map_concurrently
from jp2batch.core.bands import checked_metres
from jp2batch.core.errors import CubeMismatch, InvalidRequest
from jp2batch.core.location import Location
from jp2batch.core.map_area import MapArea
from jp2batch.core.options import SecretDict, StorageOptions
from jp2batch.core.request import Request
from jp2batch.image.header import Head
from jp2batch.image.missions import bands_by_label, scene_classes


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
    mask: bool | str | Sequence[str | int] = True,
    align: Literal["snap", "linear"] = "snap",
    resampling: Literal["nearest", "bilinear", "cubic"] = "nearest",
    duplicates: Literal["latest", "error"] = "latest",
    groupby: Literal["time", "solar_day"] = "time",
    missing: Literal["raise", "fill"] = "raise",
    scaled: bool = False,
    by_tile: bool = False,
    alternate: str | None = None,
    headers: Literal["all", "alike"] = "all",
    client: ClientLike | None = None,
    storage_options: StorageOptions = None,
) -> Any:
    """Open Sentinel-2 images as a lazy cube, reading headers and metadata only.

    Images in the index are opened without a request; reads check that they are still the same.

    Times, bands and tiles are taken from the metadata of products if these are read, else from the columns of Requests,
    such as those of STAC items, else from the names and folders of the images.

    With a `resolution` of 10, 20 or 60, the grid of the cube is that of Sentinel-2's pixels of this size. Each band has
    ESA's own image of this size where there is one; larger pixels are repeated, or interpolated by `resampling`; of
    smaller ones, resolution levels are dropped. Otherwise bands of different pixel sizes are brought to a common grid
    by their resolution levels, such as 10 m at rlevel 1 and 20 m at rlevel 0; their samples then are a fraction of a
    sample apart (see `align`).

    Parameters
    ----------
    images : str, path, Request, STAC object or mapping, or iterable of these
        Paths or URLs of images of a band, and of products and files of STAC items, of which all `bands` are taken; STAC
        in memory as for `list_requests`, such as an item collection of pystac. Of a Request, path and root are used,
        and the columns `time`, `band`, `tile`, `platform`, `processing_baseline`, `datastrip` and `processing_time`;
        windows and areas are refused, as a cube has a single grid.
    rlevel : int
        Resolution levels to drop of the images with the largest pixels; the others drop more. -1: as many as possible.
    chunks : optional
        As for `open`. By default a chunk has one time, one band, and a group of whole tiles of all bands; of an area,
        be it of `bbox` or `geometry`, or cut from the cube by `sel` or `isel`, several images, unless it is large. If
        classes are masked in an area, a chunk has all bands: the classes are then read once.
    bands : iterable of str, optional
        Names of the bands, in order, e.g. "B04", or common names of STAC, e.g. "red": the coordinate `band` has these
        names. By default all bands of the images. Required for products and STAC items.
    metres : int, optional
        Pixel size of the images to take from products and items; by default the smallest of each band.
    bbox, geometry, crs
        The part of the map to open, as for `read`: all pixels of the grid that it touches. Times and tiles that it does
        not meet are left out. Positions outside a geometry are no data in all bands: the number of the band (0 for
        classes), or NaN in reflectance.
    resolution : float, optional
        Distance between samples in metres. 10, 20 or 60: exactly. Others: the largest distance not above it, in place
        of rlevel; of each band of a product, the image with the nearest pixel size not above it is taken, and nothing
        is resampled; if bands have only larger pixels, these determine the grid.
    mask : bool, str or sequence
        False to keep samples outside a geometry. "clouds", names such as "cloud_shadow", "snow" and "water", or values
        of the classes of level 2A (SCL): their pixels are no data in all bands, too. "clouds" are the classes 3, 8, 9
        and 10: shadows, medium and high probability, and cirrus. SCL is read with the bands; it need not be in `bands`.
    align : {"snap", "linear"}
        For grids by rlevel. "snap" leaves samples unchanged, and assigns them to the positions of the largest pixels;
        the true offset of each band is in its coordinates `offset_x` and `offset_y`. "linear" interpolates samples to
        these positions; integers are rounded, and a value interpolated from no data becomes no data.
    resampling : {"nearest", "bilinear", "cubic"}
        For a resolution of 10, 20 or 60: how bands with larger pixels are interpolated. Integers are rounded; no data
        stays where it is, and has no weight beside. Classes are always "nearest".
    duplicates : {"latest", "error"}
        Of images of the same tile, time, band and datastrip, "latest" takes the one of the latest baseline, and then
        time of processing; the attribute `dropped` names the others. "error" refuses them. Datastrips of an overpass
        are put together: where the first has no data, the next is taken.
    groupby : {"time", "solar_day"}
        "time" for the start of sensing of each overpass. "solar_day" puts overpasses of a day together, as odc-stac
        does: the earliest with data is taken. Days are those of the solar time at the middle of the cube.
    missing : {"raise", "fill"}
        "raise" refuses a band that is missing at some time; "fill" fills it with no data: 0, or NaN in reflectance.
    scaled : bool
        True to convert spectral bands to reflectance (float32, no data is NaN), each with the offset and quantification
        of its own product; the coordinates `quantity` and `scaling` have quantity and formula of each band. Otherwise
        offset and quantification, if metadata are found, are the coordinates `radiometric_offset` and
        `quantification_value` of (time, band): reflectance is (cube + cube.radiometric_offset) /
        cube.quantification_value.
    by_tile : bool
        True to open a cube for each tile. Otherwise tiles of one zone whose grids join exactly are put together: where
        they overlap, the first by name is taken, unless it has no data. Zones are not joined, and nothing is
        reprojected: use `odc.stac.load(items, crs=…, resolution=…)`.
    alternate : str, optional
        Name of an alternate location of assets of STAC items, as for `list_requests`.
    headers : {"all", "alike"}
        "all" reads the headers of all images that are not in the index. "alike" reads one for each coding: of images of
        the same band, tile, pixel size, level, baseline and store. The others are checked when they are read: an image
        that differs is then a CubeMismatch, one that is missing an ImageNotFound, and one that was replaced since
        opening is not noticed.
    client : distributed.Client, cluster, str or path, optional
        The cluster on which to read the headers, as for `run`; by default they are read in threads of this process.
    storage_options : mapping, optional
        fsspec's options for the store.

    Returns
    -------
    DataArray or DataTree
        Dims (time, band, y, x); x and y are the centres of the pixels of the grid; `rlevel` is a coordinate of each
        band, `tile` of the cube, `platform` and `processing_baseline` of each time, `source` of each time and band; of
        several images, texts are joined by commas. With `by_tile`, a node for each tile, with the variable `cube`.

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
        The numbers of different times have different offsets, and are not scaled; chunks cut tiles; or `scaled` is
        True, and a STAC item has another scaling than the metadata of its product, which are used.
    """
    _check_choice("align", align, ("snap", "linear"))
    _check_choice("resampling", resampling, METHODS)
    _check_choice("duplicates", duplicates, ("latest", "error"))
    _check_choice("groupby", groupby, ("time", "solar_day"))
    _check_choice("missing", missing, ("raise", "fill"))
    _check_choice("headers", headers, ("all", "alike"))
    secret = SecretDict.of(storage_options)
    each = partial(map_concurrently, client=client, storage_options=secret)
    labels, metres = bands_by_label(bands), checked_metres(metres)
    wanted = None if labels is None else list(labels)
    area = MapArea.of(bbox, geometry, crs, resolution, mask=mask is not False)
    level, classes = lazy_rlevel("", rlevel, area), masked_classes(mask, scene_classes())
    metric = area.resolution if area is not None else None
    list_images = partial(listed_images, each=each, sizes=metric is not None, alternate=alternate)
    found = _listed(list_images, images, wanted, metres, classes)
    native = _native(found, area)
    _check_ways(native, align, resampling)
    if metric is not None:
        found = of_resolution(found, metric, native=native is not None)
    add_metadata(found, scaled, each)
    check_levels(found)
    found, dropped = without_duplicates(found, duplicates)
    options = CubeOptions(
        level,
        chunks,
        wanted,
        align,
        missing,
        scaled,
        secret,
        area,
        native,
        resampling,
        groupby,
        classes,
        tuple(sorted(Location.of(image.url).redacted for image in dropped)),
    )
    members = list(zip(found, heads_of(found, each, alike=headers == "alike"), strict=True))
    return (_tree if by_tile else _cube)(members, options, labels)


def _tree(
    members: Sequence[tuple[CubeImage, Head]], options: CubeOptions, labels: Mapping[str, str] | None
) -> xr.DataTree:
    """Return the cubes of all tiles, by tile."""
    tiles = sorted({image.name.tile or "" for image, _ in members})
    of_tile = {tile: [one for one in members if (one[0].name.tile or "") == tile] for tile in tiles}
    cubes = {tile: _cube(own, options, labels).to_dataset(name="cube") for tile, own in of_tile.items()}
    return xr.DataTree.from_dict(cubes)


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        hint = " or ".join(f'"{choice}"' for choice in choices)
        raise CubeMismatch("", f"{name} has an invalid value", f"give {hint}")


def _check_ways(native: float | None, align: str, resampling: str) -> None:
    """Refuse options of the other kind of grid."""
    if native is not None and align != "snap":
        hint = 'larger pixels are interpolated by resampling="bilinear"'
        raise CubeMismatch("", f"align= means nothing on the grid of {native:g} m", hint)
    if native is None and resampling != "nearest":
        raise CubeMismatch("", "resampling= needs the grid of a pixel size", "give resolution=10, 20 or 60")


def _listed(
    list_images: Callable[..., list[CubeImage]],
    images: object,
    bands: Sequence[str] | None,
    metres: int | None,
    classes: MaskedClasses | None,
) -> list[CubeImage]:
    """List the images of a cube and of masked classes."""
    if classes is None or bands is None or classes.band in bands:
        return list_images(images, bands, metres)
    given = list(images) if isinstance(images, Iterator) else images
    try:
        if metres is None:
            return list_images(given, [*bands, classes.band], None)
        return list_images(given, bands, metres) + list_images(given, [classes.band], None)
    except InvalidRequest as error:
        if classes.band not in error.problem:
            raise
        hint = "only level 2A has classes: give mask=True, or products of level 2A"
        raise CubeMismatch(error.path, f"has no {classes.band}, which mask= needs", hint) from None


def _native(images: Sequence[CubeImage], area: MapArea | None) -> float | None:
    """Return the resolution if it is a size of the mission's pixels."""
    mission = images[0].mission
    sizes = {mission.metres(band) for band in mission.bands}
    return area.resolution if area is not None and area.resolution in sizes else None


def _cube(
    members: Sequence[tuple[CubeImage, Head]], options: CubeOptions, labels: Mapping[str, str] | None
) -> xr.DataArray:
    """Return the cube of images with their headers, with labels of bands."""
    layout = cube_layout(members, options)
    part = part_of(layout, options.area)
    layout = layout.near(part.rect)
    values = cube_values(layout, part.mask)
    array = cut(layout.array(indexing.LazilyIndexedArray(values)), layout, part.rect)
    if labels is not None:
        array = array.assign_coords(band=array.band.copy(data=np.array([*labels.values()], object)))
    if offsets_change(array):
        warn_user("numbers of different times have different offsets: compare reflectance (scaled=True) instead")
    if array.dtype.kind == "f":
        array.encoding["_FillValue"] = array.dtype.type("nan")
    return chunked(array, options.chunks)
