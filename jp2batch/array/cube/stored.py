"""Cubes in Zarr stores: planned from headers, written plane by plane.

A plane is a band at a time. It is a single object: no two workers write to the same object.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import orjson
import xarray as xr

from jp2batch.array.cube.alignment import place_all
from jp2batch.array.cube.duplicates import check_single
from jp2batch.array.cube.inputs import CubeImage, listed_images, named_image
from jp2batch.array.cube.layout import CubeLayout, cube_layout, sorted_bands
from jp2batch.array.cube.metadata import CubeOptions
from jp2batch.array.cube.scalings import add_metadata
from jp2batch.array.zarr_files import METADATA, regrouped, zarr_files
from jp2batch.compute.parallel import map_concurrently
from jp2batch.core.errors import CubeMismatch, Jp2BatchError
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import Request
from jp2batch.image.header import Head, head_of, read_head
from jp2batch.image.open import OpenImage
from jp2batch.image.read import Pixels
from jp2batch.jpeg2000.geometry.grid import Selection

if TYPE_CHECKING:
    from distributed import Client

CUBE = "cube"
"""Name of the array in the store."""

AXES_FILES = (METADATA, *(f"{name}/{file}" for name in ("time", "band") for file in (METADATA, "c/0")))
"""Names of the files with times and bands."""

_GRID = ("shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs")


@dataclass(frozen=True, slots=True)
class CubeAxes:
    """Times and bands of a stored cube, by names and columns."""

    times: tuple[np.datetime64, ...]
    bands: tuple[str, ...]

    @classmethod
    def of(cls, requests: Iterable[Request]) -> Self:
        """Return the axes of distinct requests; nothing is read.

        Raises
        ------
        CubeMismatch
            A name lacks band or time, or a request has a window.
        """
        images = listed_images(requests, None, None, _no_products)
        return cls(tuple(sorted({image.time for image in images})), tuple(sorted_bands(images)))

    @classmethod
    def read(cls, files: Mapping[str, bytes]) -> Self:
        """Return the axes of a stored cube, by its `AXES_FILES`."""
        found = _opened(files)
        return cls(tuple(found["time"].values.astype("datetime64[ns]")), tuple(map(str, found["band"].values)))

    def position(self, request: Request) -> tuple[int, int]:
        """Return the numbers of time and band of a request."""
        image = named_image(request.url, request)
        return self.times.index(image.time), self.bands.index(image.band)

    def plane_name(self, request: Request) -> str:
        """Return the name of a request's plane in the folder `CUBE`."""
        time, band = self.position(request)
        return f"c.{time}.{band}.0.0"


def distinct_requests(requests: Iterable[Request]) -> list[Request]:
    """Return the first of equal requests, which is read.

    Raises
    ------
    CubeMismatch
        The columns of equal requests have different times or bands.
    """
    first: dict[str, Request] = {}
    for request in requests:
        other = first.setdefault(request.digest, request)
        if other.columns != request.columns:
            one, two = named_image(other.url, other), named_image(request.url, request)
            if (one.time, one.band) != (two.time, two.band):
                raise CubeMismatch(request.path, "is listed with two times or bands", "give it once")
    return list(first.values())


@dataclass(frozen=True, slots=True)
class CubeGrid:
    """Axes and grid of a stored cube; picklable for workers."""

    axes: CubeAxes
    base: Head
    """Header of an image of the largest pixels."""
    rlevel: int
    """Resolution levels to drop of the largest pixels."""
    rows: int
    columns: int
    dtype: np.dtype[np.generic]
    fill: int
    """Value of missing planes."""
    chunk: tuple[int, int]
    """Rows and columns read together."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Numbers of times, bands, rows and columns."""
        return len(self.axes.times), len(self.axes.bands), self.rows, self.columns

    @property
    def storage(self) -> dict[str, Any]:
        """Chunks and codecs of the Zarr array.

        A plane of several chunks is a shard.
        """
        import zarr.codecs

        whole = tuple(-(-length // chunk) * chunk for length, chunk in zip(self.shape[2:], self.chunk, strict=True))
        return {
            "chunks": (1, 1, *self.chunk),
            "shards": None if whole == self.chunk else (1, 1, *whole),
            "compressors": [zarr.codecs.ZstdCodec()],
            "fill_value": self.fill,
            "chunk_key_encoding": {"name": "default", "separator": "."},  # planes in a single folder
        }

    def select(self, request: Request, opened: OpenImage) -> Selection:
        """Select the samples of a plane.

        Raises
        ------
        CubeMismatch
            The image does not fit into the cube.
        """
        base, own = place_all([self.base, head_of(opened, request.url)], self.rlevel)
        if base.shape != self.shape[2:] or not np.can_cast(opened.dtype, self.dtype) or len(opened.channels) != 1:
            problem = "has larger pixels, wider numbers or more bands than the cube"
            raise CubeMismatch(request.shown_path, problem, "write another cube with overwrite=True")
        return opened.checked(own.selection)

    def plane(self, pixels: Pixels, request: Request) -> bytes:
        """Return an encoded plane: an object of the Zarr array."""
        stored: dict[str, Any] = {}
        self.create(stored)[self.axes.position(request)] = pixels.values[0]
        (data,) = (buffer for name, buffer in stored.items() if name.startswith("c."))
        found: bytes = data.to_bytes()
        return found

    def create(self, store: dict[str, Any]) -> Any:
        """Return the Zarr array in a new store, without any plane."""
        import zarr

        return zarr.create_array(
            store,
            shape=self.shape,
            dtype=self.dtype,
            config={"write_empty_chunks": True},  # or a plane of no data would be no object
            **self.storage,
        )

    def files(self, array: xr.DataArray) -> dict[str, bytes]:
        """Return the files of a cube with its coordinates, without planes."""
        files = zarr_files(array.to_dataset(name=CUBE))
        own: dict[str, Any] = {}
        self.create(own)
        described = orjson.loads(files[f"{CUBE}/{METADATA}"])  # xarray may ignore a part of the encoding
        described |= {name: value for name, value in orjson.loads(own[METADATA].to_bytes()).items() if name in _GRID}
        return regrouped(files | {f"{CUBE}/{METADATA}": orjson.dumps(described)})


def plan_stored_cube(
    requests: Sequence[Request], client: "Client | None", storage_options: StorageOptions
) -> tuple[CubeGrid, dict[str, bytes]]:
    """Plan a cube: return its grid, and the files without planes.

    Only headers and metadata are read. An image without readable header leaves its plane empty.

    Raises
    ------
    CubeMismatch
        The images do not fit into a single cube, or no image of a band can be read.
    """
    each = partial(map_concurrently, client=client, storage_options=storage_options)
    levels = {request.rlevel for request in requests}
    if len(levels) > 1:
        problem = f"a cube has a single rlevel, but items have {', '.join(map(str, sorted(levels)))}"
        raise CubeMismatch("", problem, "give the same rlevel to all")
    images = listed_images(requests, None, None, each)
    add_metadata(images, False, each, fixed_times=True)
    heads = each(_head_or_error, [image.url for image in images])
    _check_readable(images, heads)
    members = [(image, head) for image, head in zip(images, heads, strict=True) if isinstance(head, Head)]
    unread = [image for image, head in zip(images, heads, strict=True) if not isinstance(head, Head)]
    check_single(images)
    options = CubeOptions(levels.pop(), None, None, "snap", "fill", False, storage_options)
    layout = cube_layout(members, options, unread)
    return _stored(layout)


def _stored(layout: CubeLayout) -> tuple[CubeGrid, dict[str, bytes]]:
    import dask.array

    rows, columns = layout.grid.shape
    base = next(one for _, one in layout.members if one.head.place == layout.grid.place)
    grid = CubeGrid(
        CubeAxes(tuple(layout.times), tuple(layout.bands)),
        replace(base.head, index=None),
        base.selection.rlevel,
        rows,
        columns,
        np.result_type(*(one.head.dtype for _, one in layout.members)),
        layout.fill,
        (max(layout.chunks["y"]), max(layout.chunks["x"])),
    )
    array = layout.array(dask.array.zeros(grid.shape, dtype=grid.dtype))
    return grid, grid.files(array)


def _no_products(_function: object, products: Sequence[str]) -> list[Any]:
    """List the images of no products.

    Raises
    ------
    CubeMismatch
        An item is a product.
    """
    for product in products:
        raise CubeMismatch(
            product, "is a product, but an item is an image", "list its images with jp2batch.list_requests"
        )
    return []


def _head_or_error(url: str, *, storage_options: StorageOptions) -> Head | Jp2BatchError:
    try:
        return read_head(url, storage_options=storage_options)
    except Jp2BatchError as error:
        return error.with_traceback(None)


def _check_readable(images: Sequence[CubeImage], heads: Sequence[Head | Jp2BatchError]) -> None:
    """Refuse several tiles, and a band without any readable header.

    Raises
    ------
    Jp2BatchError
        The error of the first image of this band.
    """
    known = {image.band for image, head in zip(images, heads, strict=True) if isinstance(head, Head)}
    tiles = sorted({image.name.tile or "" for image in images})
    if len(tiles) > 1:
        raise CubeMismatch("", f"images of {len(tiles)} tiles ({', '.join(tiles[:5])})", "write a cube of each tile")
    for image, head in zip(images, heads, strict=True):
        if isinstance(head, Jp2BatchError) and image.band not in known:
            raise head


def is_same_cube(files: Mapping[str, bytes], others: Mapping[str, bytes]) -> bool:
    """Return whether two cubes without planes have the same grid."""
    ours, theirs = (orjson.loads(found[f"{CUBE}/{METADATA}"]) for found in (files, others))
    if any(ours[name] != theirs.get(name) for name in _GRID):
        return False
    one, other = (_opened(found) for found in (files, others))
    return all(one[name].equals(other[name]) for name in ("y", "x"))


def is_readable(array: Path, name: str) -> bool:
    """Return whether a plane of a local Zarr array can be decoded."""
    import zarr

    time, band = map(int, name.split(".")[1:3])
    try:
        zarr.open_array(str(array), mode="r")[time, band]
    except Exception:  # noqa: BLE001  # each codec has its own errors
        return False
    return True


def _opened(files: Mapping[str, bytes]) -> xr.Dataset:
    """Open a cube, or some of its coordinates."""
    from zarr.core.buffer import default_buffer_prototype

    buffer = default_buffer_prototype().buffer
    store: Any = {name: buffer.from_bytes(data) for name, data in files.items()}
    return xr.open_dataset(store, engine="zarr", consolidated=False)
