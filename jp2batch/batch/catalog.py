"""List requests for the images of products, STAC items and paths."""

import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from jp2batch.compute.parallel import map_concurrently
from jp2batch.core.bands import check_bands, checked_metres
from jp2batch.core.errors import InvalidRequest, InvalidWindow, ManifestError
from jp2batch.core.location import Location
from jp2batch.core.map_area import MapArea
from jp2batch.core.mission import ListedImage, parse_iso_time
from jp2batch.core.options import SecretDict, StorageOptions
from jp2batch.core.request import LOWEST, Request
from jp2batch.core.window import Window, WindowLike
from jp2batch.image.missions import bands_by_label, what_to_give
from jp2batch.image.source_images import SourceImages
from jp2batch.image.sources import list_sources


def list_requests(
    sources: str | os.PathLike[str] | Mapping[str, Any] | Iterable[Any],
    bands: str | Iterable[str] | None = None,
    *,
    metres: int | None = None,
    rlevel: int = LOWEST,
    window: WindowLike | None = None,
    bbox: object = None,
    geometry: object = None,
    crs: object = None,
    resolution: object = None,
    mask: bool = True,
    alternate: str | None = None,
    storage_options: StorageOptions = None,
) -> list[Request]:
    """Return a request per image of products and STAC items, in order.

    Parameters
    ----------
    sources : str, path, STAC object or mapping, or iterable of these
        Paths or URLs: folders or archives of products, files of STAC items (.json, .geojson, .ndjson, .jsonl,
        .parquet), or images (.jp2). In memory: items and item collections of pystac, searches of pystac-client, items
        and feature collections as mappings. Iterables are read once.
    bands : iterable of str, optional
        Bands to list, e.g. "B04", or common names of STAC, e.g. "red", "nir08"; by default all images. The column
        `band` has the mission's names.
    metres : int, optional
        Pixel size in metres; by default the smallest of each band, or, with `resolution`, the largest up to this.
    rlevel, window
        Level and window of all requests, as for `Request`. A window is refused if images differ in pixel size.
    bbox, geometry, crs, resolution, mask
        Part of the map for all requests, and its resolution, as for `read`. Each image turns them into its own window
        and level, so that bands of different pixel sizes cover the same ground.
    alternate : str, optional
        Name of an alternate location of assets of STAC items, e.g. "s3", "https"; by default the asset's own, unless
        only an alternate can be read here.
    storage_options : mapping, optional
        fsspec's options for the stores.

    Returns
    -------
    list of Request
        Requests with the columns `time`, `band`, `tile`, `item`, `platform`, `processing_baseline`, `datastrip` (its
        start of sensing) and `processing_time`, as far as these are known. Time is the start of sensing of the
        datatake, if a STAC item names its product or datatake, else its `datetime`. What metadata and items say
        replaces facts in paths; `open_cube` takes it from the columns.

    Raises
    ------
    ManifestError
        A source is not a product, STAC item or image, or an item has no JPEG 2000 image.
    InvalidRequest
        No image matches, two names are of one band, or window, level and area contradict each other.
    Jp2BatchError
        A source cannot be read.
    """
    labels, metres = bands_by_label(bands), checked_metres(metres)
    wanted = None if labels is None else list(labels)
    part = None if window is None else Window.parse(window)
    area = MapArea.of(bbox, geometry, crs, resolution, mask=mask)
    each = partial(map_concurrently, client=None, storage_options=SecretDict.of(storage_options))
    listings = list_sources(sources, each, bands=wanted, alternate=alternate)
    if not listings:
        raise InvalidRequest("", "no sources given", "did a glob pattern match nothing?")
    chosen = [_checked(one).of_size(metres, area.resolution if area else None) for one in listings]
    images = {(image.path, _columns(image, one)): image for one in chosen for image in one.images}
    found = {key: image for key, image in images.items() if wanted is None or image.name.band in wanted}
    there: set[str | None] = {image.name.band for image in images.values()}
    check_bands(wanted, there if metres else there.union(*(one.bands for one in listings)), metres)
    if not found:
        raise InvalidRequest("", f"no image at {metres} m", "omit metres= to list the smallest pixels of each band")
    if part is not None:
        _check_sizes(found.values())
    return [Request(path, rlevel, part, columns=columns, area=area) for path, columns in found]


def _checked(listing: SourceImages) -> SourceImages:
    """Refuse paths of other files than images.

    Raises
    ------
    ManifestError
        Its name is of another kind of file.
    """
    path = listing.images[0].path if listing.is_path else ".jp2"
    if not Location.of(path).plain_path.lower().endswith(".jp2"):
        problem, hint = "is not a product, STAC item or image", what_to_give(path) or "give .SAFE, .json or .jp2"
        raise ManifestError(path, problem, hint)
    return listing


def _check_sizes(images: Iterable[ListedImage]) -> None:
    """Refuse a window for images of several pixel sizes."""
    sizes = sorted({one.metres for one in images if one.metres})
    if len(sizes) > 1:
        shown = " and ".join(map(str, sizes))
        problem = f"a window is another place in each of the images with pixels of {shown} m"
        raise InvalidWindow("", problem, "give bbox= or geometry=, or images of one pixel size, as with metres=")


def _columns(image: ListedImage, listing: SourceImages) -> tuple[tuple[str, object], ...]:
    """Return the known facts of an image as columns."""
    name = image.name
    as_written = listing.datetime if parse_iso_time(listing.datetime) in (None, name.time) else None
    columns = {
        "time": as_written or _time_text(name.time),
        "band": name.band,
        "tile": name.tile,
        "item": listing.name,
        "platform": name.platform,
        "processing_baseline": name.baseline,
        "datastrip": _time_text(name.datastrip),
        "processing_time": _time_text(name.processing_time),
    }
    return tuple((key, value) for key, value in columns.items() if value is not None)


def _time_text(time: datetime | None) -> str | None:
    return None if time is None else time.strftime("%Y-%m-%dT%H:%M:%SZ")
