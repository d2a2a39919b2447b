"""Open a product as a DataTree of lazy arrays."""

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import xarray as xr

from jp2batch.array.cautions import warn_user
from jp2batch.array.chunks import chunked
from jp2batch.array.dataarray import lazy_rlevel, open_lazily
from jp2batch.array.facts import ImageFacts, in_dataset
from jp2batch.compute.parallel import map_concurrently
from jp2batch.core.errors import ImageNotFound, OutsideImage, PermissionDenied
from jp2batch.core.location import Location
from jp2batch.core.map_area import MapArea
from jp2batch.core.mission import ImageName, ListedImage, Mission, ProductMetadata
from jp2batch.core.options import StorageOptions
from jp2batch.image.missions import bands_by_label
from jp2batch.image.product_source import source_of_product
from jp2batch.image.source_images import advised
from jp2batch.image.stac.metadata import contradiction


def open_product(
    path: str | os.PathLike[str] | Mapping[str, Any] | Any,
    bands: str | Iterable[str] | None = None,
    rlevel: int = 0,
    chunks: Any = {},  # noqa: B006  # as xarray has it; never changed
    *,
    bbox: object = None,
    geometry: object = None,
    crs: object = None,
    resolution: object = None,
    mask: bool = True,
    scaled: bool = False,
    alternate: str | None = None,
    storage_options: StorageOptions = None,
) -> xr.DataTree:
    """Open a Sentinel-2 product lazily, reading metadata and headers only.

    Parameters
    ----------
    path : str, path, STAC item or mapping
        Path or URL of the product's folder, of the metadata in it, or of its archive (.zip, .tar). Either may be
        chained, as `zip://NAME.SAFE::s3://bucket/NAMES.zip`. Or a STAC item: its file, an item of pystac, or a mapping.
    bands : iterable of str, optional
        Names of bands, such as "B04", "SCL", "TCI", or common names of STAC, such as "red": the variables have these
        names. By default all.
    rlevel : int
        Resolution levels to drop of each image: 0 = full, -1 = the lowest.
    chunks : optional
        As for `open`.
    bbox, geometry, crs, resolution, mask
        The part of the map to open, as for `read`: all images are cut to the same ground, each to the pixels of its own
        size. Tiles that the area does not meet are left out.
    scaled : bool
        True to convert spectral bands to reflectance, as for `read`. Otherwise the coordinates `radiometric_offset` and
        `quantification_value` apply to them: reflectance is (number + offset) / quantification.
    alternate : str, optional
        Name of an alternate location of assets of a STAC item, as for `list_requests`.
    storage_options : mapping, optional
        fsspec's options for the store.

    Returns
    -------
    DataTree
        A dataset for each pixel size: "R10m", "R20m", "R60m". Products of several tiles, made before December 2016,
        have a node for each tile above these. Each dataset has the coordinates of `read`, with the path of the product
        as `source`; a fact in which its bands differ has their names appended, as `radiometric_offset_B04`. Images that
        are listed in the product but absent from its folder are left out and named in the attribute `missing`; each of
        `bands` must exist in at least one size.

    Raises
    ------
    Jp2BatchError
        Always one of its subclasses, naming the path and what to do.

    Warns
    -----
    UserWarning
        `scaled` is True, and a STAC item has another scaling than the metadata of its product.

    Warns
    -----
    UserWarning
        Chunks cut tiles, which are then read and decoded more than once.
    """
    labels, area = bands_by_label(bands), MapArea.of(bbox, geometry, crs, resolution, mask=mask)
    source = source_of_product(path, labels, alternate, storage_options=storage_options)
    product, metadata, images = source.path, source.metadata, source.images
    rlevel = lazy_rlevel(product, rlevel, area)
    if scaled:
        claims = ((one.path, one.claim, metadata.scaling(one.name.band)) for one in images if one.claim)
        if text := contradiction(claims):
            warn_user(text)
    opener = partial(_open, source.mission, metadata, rlevel=rlevel, area=area, scaled=scaled)
    try:
        arrays = map_concurrently(opener, images, client=None, storage_options=storage_options)
    except PermissionDenied as error:
        raise advised(error, {image.path: image.access for image in images}) from None
    opened = list(zip(images, arrays, strict=True))
    found = [(image, array) for image, array in opened if isinstance(array, xr.DataArray)]
    found = [(image, chunked(_labelled(array, labels), chunks)) for image, array in found]
    if not found and (elsewhere := [array for array in arrays if isinstance(array, OutsideImage)]):
        raise elsewhere[0]
    missing = [image for image, array in opened if array is None]
    lacking = {image.name.band for image in missing} - {image.name.band for image, _ in found}
    if lacking and (bands is not None or not found):
        raise ImageNotFound(
            product,
            f"{', '.join(sorted(map(str, lacking)))} is listed in the product, but missing",
            "fetch it again",
        )
    by_tile = len({image.name.tile for image in images}) > 1
    return _tree(found, by_tile, Location.of(product).redacted, _attributes(metadata, found[0][0].name, missing))


def _open(
    mission: Mission,
    metadata: ProductMetadata,
    image: ListedImage,
    *,
    rlevel: int,
    area: MapArea | None,
    scaled: bool,
    storage_options: StorageOptions,
) -> xr.DataArray | OutsideImage | None:
    """Open an image; return None if it does not exist.

    If the area does not meet it, return the error.
    """
    facts = ImageFacts.of_product(mission, image.name, metadata, scaled=scaled)
    try:
        return open_lazily(image.path, rlevel, area=area, facts=facts, storage_options=storage_options)
    except ImageNotFound:
        return None
    except OutsideImage as error:
        return error


def _labelled(array: xr.DataArray, labels: Mapping[str, str] | None) -> xr.DataArray:
    """Return an array with the label of its band."""
    return array.rename((labels or {}).get(str(array.name), array.name))


def _tree(
    images: Sequence[tuple[ListedImage, xr.DataArray]], by_tile: bool, source: str, attributes: dict[str, object]
) -> xr.DataTree:
    """Return a tree with a dataset for each pixel size.

    With `by_tile`, the datasets are below a node for each tile.
    """
    groups: dict[str, list[xr.DataArray]] = {}
    for image, array in images:
        node = f"{image.name.tile}/R{image.metres}m" if by_tile else f"R{image.metres}m"
        groups.setdefault(node, []).append(array)
    datasets = {node: _dataset(in_dataset(arrays, source)) for node, arrays in groups.items()}
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attributes), **datasets})


def _dataset(arrays: list[xr.DataArray]) -> xr.Dataset:
    merged = xr.merge(arrays, join="exact", compat="equals", combine_attrs="drop_conflicts")
    merged.attrs = {}  # attributes common to all arrays stay with the arrays
    return merged


def _attributes(metadata: ProductMetadata, name: ImageName, missing: list[ListedImage]) -> dict[str, object]:
    told = {
        "product": metadata.name,
        "platform": name.platform,
        "level": metadata.level,
        "processing_baseline": metadata.baseline,
        "relative_orbit": name.relative_orbit,
        "tile": name.tile,
        "time": None if metadata.time is None else metadata.time.isoformat(),
        "missing": [Location.of(image.path).path.rpartition("/")[2] for image in missing],
    }
    return {key: value for key, value in told.items() if value not in (None, [])}
