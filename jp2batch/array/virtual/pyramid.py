"""Pyramids of images and their resolution levels, as groups of Zarr."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import zarr
from numcodecs import Blosc
from zarr.codecs import BloscCodec

from jp2batch.array.dataarray import axes, spatial_ref
from jp2batch.compute.parallel import map_concurrently
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions
from jp2batch.image.georeference import Georeference, level_transform
from jp2batch.image.missions import identify
from jp2batch.image.tile_prefixes import TilePrefixes, locate_prefixes
from jp2batch.jpeg2000.geometry.grid import Rect, Selection

_CONVENTIONS = [
    {"name": "multiscales", "uuid": "d35379db-88df-4056-af3a-620245f8e347"},
    {"name": "proj:", "uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f"},
    {"name": "spatial:", "uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4"},
]
"""GeoZarr's conventions for pyramids, reference systems and transforms."""


@dataclass(frozen=True, slots=True)
class Pyramid:
    """Images of a common grid, by band."""

    bands: Mapping[str, TilePrefixes]
    """Tiles of each image, by name of the variable."""

    @property
    def first(self) -> TilePrefixes:
        """The first image, whose grid all have."""
        return next(iter(self.bands.values()))

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the group of all levels."""
        layout: list[dict[str, Any]] = [{"asset": "0"}]
        for rlevel in self.first.rlevels[1:]:
            scale = {"scale": [2.0, 2.0]}
            layout.append({"asset": str(rlevel), "derived_from": str(rlevel - 1), "transform": scale})
        told = {"zarr_conventions": _CONVENTIONS, "multiscales": {"layout": layout}}
        return told | self.level_attributes(0)

    def level_attributes(self, rlevel: int) -> dict[str, Any]:
        """Return the attributes of a level, its place on the map."""
        place, found = self.first.place, {"spatial:dimensions": ["y", "x"]}
        found["spatial:shape"] = [*self.first.level_shape(rlevel)]  # type: ignore[list-item]
        if place is None:
            return found
        transform = level_transform(place.transform, 0, 0, 1 << rlevel)
        return found | {"spatial:transform": [*map(float, transform)]} | _crs(place)

    def coordinates(self, rlevel: int) -> dict[str, Any]:
        """Return x, y and grid mapping of a level for xarray."""
        area = Rect(0, 0, *self.first.level_shape(rlevel))
        selection = Selection(rlevel, area, (), (0, 0))
        return axes(self.first.place, selection) | spatial_ref(self.first.place, selection)

    def chunks(self) -> Iterator[tuple[str, TilePrefixes, int]]:
        """Iterate over arrays: path in the store, image, level."""
        for rlevel in self.first.rlevels:
            yield from ((f"{rlevel}/{name}", band, rlevel) for name, band in self.bands.items())


def _crs(place: Georeference) -> dict[str, Any]:
    if place.epsg is not None:
        return {"proj:code": f"EPSG:{place.epsg}"}
    return {} if place.crs_wkt is None else {"proj:wkt2": place.crs_wkt}


def pyramid_of(paths: Iterable[str], *, storage_options: StorageOptions = None) -> Pyramid:
    """Locate the tiles of images of a common grid, from headers.

    Raises
    ------
    InvalidRequest
        There is no image, two have the same name, or their grids differ.
    Jp2BatchError
        An image cannot be read, or is no virtual Zarr.
    """
    urls = [*paths]
    for url in urls:
        if Location.of(url).redacted != Location.of(url).text:
            raise InvalidRequest(url, "references would store its credentials", "give them as storage_options=")
    found = map_concurrently(locate_prefixes, urls, client=None, storage_options=storage_options)
    bands: dict[str, TilePrefixes] = {}
    for url, image in zip(urls, found, strict=True):
        name = _name(url)
        if name in bands:
            raise InvalidRequest(url, f"two images have the name {name}", "give each product references of its own")
        bands[name] = image
    if not bands:
        raise InvalidRequest("", "there is no image", "give paths of JPEG 2000 files")
    pyramid = Pyramid(bands)
    for image in found:
        if _grid(image) != _grid(pyramid.first):
            problem = f"its grid differs from that of {Location.of(pyramid.first.url).redacted}"
            raise InvalidRequest(image.url, problem, "give images of one pixel size, or references of their own")
    return pyramid


def _name(url: str) -> str:
    _, name = identify(url)
    return (name and name.band) or Location.of(url).stem


def _grid(image: TilePrefixes) -> tuple[object, ...]:
    return image.shape, image.tile, image.rlevels, image.place


def write_metadata(store: Any, pyramid: Pyramid, zarr_format: Any, codec: Callable[[TilePrefixes, int], Any]) -> None:
    """Write groups, coordinates, and arrays without chunks.

    Parameters
    ----------
    store : Store
        An empty store of Zarr.
    zarr_format : {2, 3}
        Format of the metadata.
    codec : callable
        Makes the compressor of a level of an image.
    """
    root = zarr.create_group(store, zarr_format=zarr_format, attributes=pyramid.attributes())
    packed = Blosc("zstd", 9) if zarr_format == 2 else BloscCodec(cname="zstd", clevel=9, shuffle="shuffle", typesize=8)

    def create(group: Any, name: str, dims: tuple[str, ...], attributes: Mapping[str, Any], **options: Any) -> Any:
        if zarr_format == 2:
            attributes = {**attributes, "_ARRAY_DIMENSIONS": [*dims]}
            options["fill_value"] = None  # xarray would take it for no data
        else:
            options["dimension_names"] = dims
        return group.create_array(name, attributes=attributes, config={"write_empty_chunks": True}, **options)

    for rlevel in pyramid.first.rlevels:
        group = root.create_group(str(rlevel), attributes=pyramid.level_attributes(rlevel))
        coordinates = pyramid.coordinates(rlevel)
        for name, (axis, values, attributes) in coordinates.items():
            dims = (axis,) if isinstance(axis, str) else ()
            if not dims:
                create(group, name, dims, attributes, shape=(), dtype="i4", compressors=None)[...] = values
            else:
                whole = {"shape": values.shape, "chunks": values.shape, "dtype": "<f8"}
                create(group, name, dims, attributes, **whole, compressors=packed)[...] = values
        mapping = {"grid_mapping": "spatial_ref"} if "spatial_ref" in coordinates else {}
        for name, band in pyramid.bands.items():
            shapes = {"shape": band.level_shape(rlevel), "chunks": band.chunk_shape(rlevel)}
            dtype = band.dtype.newbyteorder("<")
            compressor = codec(band, rlevel)
            create(group, name, ("y", "x"), mapping, **shapes, dtype=dtype, compressors=compressor)
