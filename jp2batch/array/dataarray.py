"""Make DataArrays of images, with coordinates and CRS by CF."""

from typing import Any

import numpy as np
import xarray as xr
from xarray.core import indexing

from jp2batch.array import cf
from jp2batch.array.chunk_lengths import grouped
from jp2batch.array.chunks import chunked, with_chunks
from jp2batch.array.facts import ImageFacts
from jp2batch.array.lazy import ImageArray
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.map_area import MapArea
from jp2batch.core.options import SecretDict, StorageOptions
from jp2batch.core.request import LOWEST, Request, validate_rlevel
from jp2batch.core.window import Window, WindowLike
from jp2batch.image import georeference
from jp2batch.image.georeference import Georeference, Transform
from jp2batch.image.map_area import mask_of, select_samples
from jp2batch.image.open import OpenImage, with_image
from jp2batch.image.place import place_of
from jp2batch.image.read import Pixels, read_pixels
from jp2batch.jpeg2000.geometry.grid import Selection, tile_bounds
from jp2batch.storage.source import open_source

_PIXELS: Transform = (1.0, 0.0, -0.5, 0.0, 1.0, -0.5)  # coordinates are the numbers of rows and columns


def read(
    path: str,
    rlevel: int = LOWEST,
    window: WindowLike | None = None,
    *,
    bbox: object = None,
    geometry: object = None,
    crs: object = None,
    resolution: object = None,
    mask: bool = True,
    scaled: bool = False,
    root: str | None = None,
    storage_options: StorageOptions = None,
) -> xr.DataArray:
    """Read an image, or a part of it, immediately.

    Parameters
    ----------
    path : str
        Path or URL; with `root`, a key below it.
    rlevel : int
        Resolution levels to drop: 0 = full, -1 = the lowest, which is the cheapest.
    window : ((row_start, row_stop), (col_start, col_stop)), "r0:r1,c0:c1" or Window, optional
        The part to read, in pixels of the full image.
    bbox : sequence of float, optional
        The part to read on the map: smallest x, smallest y, largest x, largest y. It holds every pixel that the box
        touches.
    geometry : GeoJSON, WKT or object with `__geo_interface__`, optional
        The part to read on the map. Samples with centres outside become no data, or 0 in images without.
    crs : str, int or CRS, optional
        Reference system of bbox and geometry: "EPSG:32629", 32629, … Longitude and latitude by default.
    resolution : float, optional
        Largest distance between samples in metres, in place of rlevel. The coarsest level that is not coarser is
        read; nothing is resampled.
    mask : bool
        False to keep samples outside the geometry.
    scaled : bool
        True to convert spectral bands to reflectance (float32, no data is NaN), with the offset and quantification
        from the metadata of their Sentinel-2 product. SCL, AOT, WVP, TCI and masks are not converted.
    root : str, optional
        Base folder or bucket; `path` is relative to it.
    storage_options : mapping, optional
        fsspec's options for the store.

    Returns
    -------
    DataArray
        Dims (y, x), or (band, y, x) for several bands. x and y are coordinates of the sample centres, correct at every
        rlevel; `spatial_ref` holds the CRS. Without georeferencing, x and y are numbers of columns and rows of the full
        image. Facts of the image are scalar coordinates, as far as known: `time`, `source`, `tile`, `platform`,
        `processing_baseline`; and for unscaled bands of a local product `radiometric_offset` and
        `quantification_value`: reflectance is (number + offset) / quantification. For remote products these two would
        cost a request.

    Raises
    ------
    Jp2BatchError
        Always one of its subclasses, naming the path and what to do.
    """
    request = Request(path, rlevel, window, root, area=MapArea.of(bbox, geometry, crs, resolution, mask=mask))
    facts = ImageFacts.of(request.url, scaled=scaled, storage_options=storage_options)
    return to_dataarray(read_pixels(request, storage_options=storage_options), facts)


def open(  # noqa: A001  # jp2batch.open, as xarray and rasterio have it
    path: str,
    rlevel: int = 0,
    chunks: Any = {},  # noqa: B006  # as xarray has it; never changed
    *,
    window: WindowLike | None = None,
    bbox: object = None,
    geometry: object = None,
    crs: object = None,
    resolution: object = None,
    mask: bool = True,
    scaled: bool = False,
    root: str | None = None,
    storage_options: StorageOptions = None,
) -> xr.DataArray:
    """Open an image lazily: read the header now, and pixels on access.

    Parameters
    ----------
    path, window, bbox, geometry, crs, resolution, mask, scaled, root, storage_options
        As for `read`.
    rlevel : int
        Resolution levels to drop: 0 = full, -1 = the lowest.
    chunks : optional
        As for `xarray.open_dataset`. {}: groups of whole tiles. None: no dask; an indexed part is read when its values
        are accessed.

    Returns
    -------
    DataArray
        As `read` returns it.

    Raises
    ------
    Jp2BatchError
        Always one of its subclasses, naming the path and what to do.

    Warns
    -----
    UserWarning
        Chunks cut tiles, which are then read and decoded more than once.
    """
    area = MapArea.of(bbox, geometry, crs, resolution, mask=mask)
    request = Request(path, lazy_rlevel(path, rlevel, area), window, root, area=area)
    url, level, part = request.url, request.rlevel, request.window
    facts = ImageFacts.of(url, scaled=scaled, storage_options=storage_options)
    array = open_lazily(url, level, part, area=area, facts=facts, storage_options=storage_options)
    return chunked(array, chunks)


def lazy_rlevel(path: str, rlevel: int, area: MapArea | None) -> int:
    """Return the valid level of a lazy array; resolution replaces 0.

    Raises
    ------
    InvalidRequest
        The level is invalid, or contradicts a resolution.
    """
    level = validate_rlevel(path, rlevel)
    if area is None or area.resolution is None:
        return level
    if level > 0:
        raise InvalidRequest(path, "rlevel= and resolution= exclude each other", "leave out either")
    return LOWEST


def open_lazily(
    url: str,
    rlevel: int,
    window: Window | None = None,
    *,
    facts: ImageFacts,
    area: MapArea | None = None,
    storage_options: StorageOptions = None,
) -> xr.DataArray:
    """Return a lazy array of an image, without dask.

    If its facts say so, its values are scaled to reflectance.
    """
    options = SecretDict.of(storage_options)
    source = open_source(url, storage_options=options)

    def act(opened: OpenImage) -> tuple[OpenImage, Selection]:
        opened.confirm()
        return opened, opened.checked(select_samples(opened, rlevel, window, area))

    opened, selection = with_image(source, act)
    bands, part, mask = len(opened.channels), selection.area, mask_of(opened, area)
    shape = (part.height, part.width) if bands == 1 else (bands, part.height, part.width)
    dtype = opened.dtype if facts.applied is None else np.dtype(np.float32)
    lazy = ImageArray(url, selection.rlevel, part, shape, dtype, options, facts.applied, mask, opened.learned_index())
    array = _georeferenced(indexing.LazilyIndexedArray(lazy), opened, selection, facts, opened.source.path)
    others = {} if bands == 1 else {"band": bands}
    edges = dict(zip("yx", tile_bounds(opened.image.header.siz, selection), strict=True))
    return with_chunks(array, others | {dim: grouped(bounds) for dim, bounds in edges.items()}, edges, others)


def to_dataarray(pixels: Pixels, facts: ImageFacts | None = None) -> xr.DataArray:
    """Return pixels as a DataArray, scaled as their facts say.

    Without facts, these are taken from path and columns.
    """
    path = pixels.opened.source.path
    facts = facts or ImageFacts.of(path, columns=pixels.columns)
    values = pixels.values[0] if len(pixels.values) == 1 else pixels.values
    values = values if facts.applied is None else facts.applied.apply(values)
    return _georeferenced(values, pixels.opened, pixels.selection, facts, pixels.name or path)


def _georeferenced(
    values: Any, opened: OpenImage, selection: Selection, facts: ImageFacts, source: str
) -> xr.DataArray:
    """Return a DataArray of samples, scaled as their facts say."""
    dims = ("y", "x") if len(values.shape) == 2 else ("band", "y", "x")
    place = place_of(opened)
    coords: dict[str, object] = axes(place, selection) | spatial_ref(place, selection)
    if dims[0] == "band":
        coords["band"] = ("band", np.arange(1, values.shape[0] + 1), {"long_name": "band"})
    coords |= facts.coordinates(source)
    array = xr.DataArray(values, coords=coords, dims=dims, name=(facts.name and facts.name.band) or "image")
    array.attrs = {"rlevel": selection.rlevel} | facts.attributes
    if facts.applied is not None:
        array.encoding["_FillValue"] = np.float32(np.nan)
    if "spatial_ref" in coords:
        array.encoding["grid_mapping"] = "spatial_ref"
    return array


def axes(place: Georeference | None, selection: Selection) -> dict[str, object]:
    """Return the coordinates of rows and columns.

    A rotated grid has none, only its transform.
    """
    shape = selection.area.height, selection.area.width
    transform = _PIXELS if place is None else place.transform
    centres = georeference.coordinates(transform, *selection.first, selection.step, shape)
    if centres is None:
        return {}
    return {dim: (dim, axis, attrs) for dim, axis, attrs in zip("xy", centres, cf.axis_attributes(place), strict=True)}


def spatial_ref(place: Georeference | None, selection: Selection) -> dict[str, object]:
    """Return the CF grid mapping as a coordinate, if georeferenced."""
    if place is None:
        return {}
    transform = georeference.level_transform(place.transform, *selection.first, selection.step)
    return {"spatial_ref": ((), 0, cf.grid_mapping(place, transform))}
