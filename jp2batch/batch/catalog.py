"""List requests for the images of products, STAC items and paths."""

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import urljoin

from jp2batch.compute.parallel import map_concurrently
from jp2batch.core.arguments import as_list, as_path
from jp2batch.core.bands import band_names, check_bands, checked_metres
from jp2batch.core.content import HEAD, foreign_content
from jp2batch.core.errors import InvalidRequest, InvalidWindow, ManifestError
from jp2batch.core.location import Location
from jp2batch.core.map_area import MapArea
from jp2batch.core.mission import ImageName
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import LOWEST, Request
from jp2batch.core.suffixes import JPEG2000_SUFFIXES
from jp2batch.core.window import Window, WindowLike
from jp2batch.image.missions import find_band, identify, is_product, parse_properties, what_to_give
from jp2batch.image.products import product_images
from jp2batch.storage.files import read_bytes

_JPEG2000 = ("image/jp2", "image/jpx", "image/j2c", "image/x.jp2")
_HINT = "give a STAC Item, an ItemCollection, or an array of items"


@dataclass(frozen=True, slots=True)
class _Found:
    """An image listed by a source."""

    path: str
    band: str | None
    metres: int | None
    columns: tuple[tuple[str, object], ...]


def list_requests(
    sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
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
    storage_options: StorageOptions = None,
) -> list[Request]:
    """Return a request per image of products and STAC items, in order.

    Parameters
    ----------
    sources : str or path, or iterable of these
        Paths or URLs: folders or archives of products, files of STAC items (.json, .geojson), or images (.jp2).
    bands : iterable of str, optional
        Bands to list, e.g. "B04"; by default all images.
    metres : int, optional
        Pixel size in metres; by default the smallest of each band.
    rlevel, window
        Level and window of all requests, as for `Request`. A window is refused if images differ in pixel size.
    bbox, geometry, crs, resolution, mask
        Part of the map for all requests, and its resolution, as for `read`. Each image turns them into its own window
        and level, so that bands of different pixel sizes cover the same ground.
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
        A source is not a product, STAC file or image.
    InvalidRequest
        No image matches, or window, level and area contradict each other.
    Jp2BatchError
        A source cannot be read.
    """
    given = [as_path(source) for source in as_list(sources)]
    if not given:
        raise InvalidRequest("", "no sources given", "did a glob pattern match nothing?")
    wanted, metres = band_names(bands), checked_metres(metres)
    part = None if window is None else Window.parse(window)
    area = MapArea.of(bbox, geometry, crs, resolution, mask=mask)
    lists = map_concurrently(partial(_list, metres=metres), given, client=None, storage_options=storage_options)
    listed = list(dict.fromkeys(one for found in lists for one in found))
    found = [one for one in listed if wanted is None or one.band in wanted]
    check_bands(wanted, (one.band for one in listed), metres)
    if not found:
        raise InvalidRequest("", f"no image at {metres} m", "omit metres= to list the smallest pixels of each band")
    if part is not None:
        _check_sizes(found)
    return [Request(one.path, rlevel, part, columns=one.columns, area=area) for one in found]


def _check_sizes(images: Sequence[_Found]) -> None:
    """Refuse a window for images of several pixel sizes."""
    sizes = sorted({one.metres for one in images if one.metres is not None})
    if len(sizes) > 1:
        shown = " and ".join(map(str, sizes))
        problem = f"a window is another place in each of the images with pixels of {shown} m"
        raise InvalidWindow("", problem, "give bbox= or geometry=, or images of one pixel size, as with metres=")


def _list(source: str, *, metres: int | None, storage_options: StorageOptions) -> list[_Found]:
    """Return the images of a source.

    With `metres`, only images of this pixel size; without, the finest image of each band.
    """
    plain = Location.of(source).plain_path.lower()
    if plain.endswith(".jp2"):
        found = [_image(source)]
    elif is_product(source):
        metadata, images = product_images(source, storage_options=storage_options)
        found = [_image(image.path, metadata.name, name=image.name) for image in images]
    elif plain.endswith((".json", ".geojson")):
        data = read_bytes(source, storage_options=storage_options)
        found = list(_assets(data, source))
    else:
        problem, hint = "is not a product, STAC item or image", what_to_give(source) or "give .SAFE, .json or .jp2"
        raise ManifestError(source, problem, hint)
    return _finest(found) if metres is None else [one for one in found if one.metres == metres]


def _finest(images: Sequence[_Found]) -> list[_Found]:
    """Return the images with the smallest pixels of each band and item."""
    best: dict[object, int] = {}
    for one in images:
        best[one.columns] = min(best.get(one.columns, 1000), one.metres or 1000)
    return [one for one in images if one.band is None or (one.metres or 1000) == best[one.columns]]


def _image(
    path: str,
    item: str | None = None,
    properties: Mapping[str, Any] | None = None,
    *,
    name: ImageName | None = None,
) -> _Found:
    """Return an image with the facts in its name.

    `properties` are of its STAC item: band and metres are used if the name lacks them, others replace those in the
    name. Without `name`, the path is parsed.
    """
    (mission, parsed), properties = identify(path), properties or {}
    name = name or parsed or ImageName()
    band = name.band or properties.get("band")
    metres = name.resolution or properties.get("metres") or mission.metres(band)
    columns = {
        "time": properties.get("time") or _time_text(name.time),
        "band": band,
        "tile": properties.get("tile") or name.tile,
        "item": item,
        "platform": properties.get("platform") or name.platform,
        "processing_baseline": properties.get("processing_baseline") or name.baseline,
        "datastrip": properties.get("datastrip") or _time_text(name.datastrip),
        "processing_time": properties.get("processing_time") or _time_text(name.processing_time),
    }
    return _Found(path, band, metres, tuple((key, value) for key, value in columns.items() if value is not None))


def _time_text(time: datetime | None) -> str | None:
    return None if time is None else time.strftime("%Y-%m-%dT%H:%M:%SZ")


# STAC


def _assets(data: bytes, source: str) -> Iterator[_Found]:
    """Iterate over the JPEG 2000 images of STAC items.

    Formats: STAC 1.0 item-spec, and ItemCollection of the STAC API.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        found = foreign_content(data[:HEAD], "json", "stac")
        raise ManifestError(source, f"this is {found.name}, not JSON" if found else "this is not JSON", _HINT) from None
    items = _items(document)
    if items is None:
        raise ManifestError(source, "this is JSON, but not a STAC item", _HINT)
    images = [image for item in items for image in _images_of(item, source)]
    if not images:
        problem = f"its {len(items)} items have no JPEG 2000 image"
        raise ManifestError(source, problem, "use a collection with .jp2 files: many catalogues offer GeoTIFF")
    yield from images


def _items(document: object) -> list[Mapping[str, object]] | None:
    if isinstance(document, Mapping) and document.get("type") == "Feature":
        document = [document]
    elif isinstance(document, Mapping):
        document = document.get("features")
    if not isinstance(document, list) or not all(_is_item(item) for item in document):
        return None
    return document


def _is_item(item: object) -> bool:
    return isinstance(item, Mapping) and isinstance(item.get("assets"), Mapping)


def _images_of(item: Mapping[str, object], source: str) -> Iterator[_Found]:
    links = item.get("links")
    links = links if isinstance(links, list) else []  # needed only for relative hrefs
    selves = [link for link in links if isinstance(link, Mapping) and link.get("rel") == "self"]
    base = str(selves[0].get("href") or source) if selves else source
    facts = _facts(item.get("properties"))
    assets = item.get("assets")
    for key, asset in assets.items() if isinstance(assets, Mapping) else ():
        href = asset.get("href") if isinstance(asset, Mapping) else None
        if isinstance(href, str) and _is_jpeg2000(href, asset):
            told = {"band": _band_of(key, asset), "metres": _metres(asset.get("gsd"))} | facts
            item_id = item.get("id")
            yield _image(_resolved(href, base), item_id if isinstance(item_id, str) else None, told)


def _facts(properties: object) -> dict[str, object]:
    """Return the facts of an item, None if unknown."""
    properties = properties if isinstance(properties, Mapping) else {}
    name = parse_properties(properties)
    time = _time_text(name.time) or properties.get("datetime") or properties.get("start_datetime")
    return {
        "time": time,
        "tile": name.tile,
        "platform": name.platform,
        "processing_baseline": name.baseline,
        "datastrip": _time_text(name.datastrip),
        "processing_time": _time_text(name.processing_time),
    }


def _metres(gsd: object) -> int | None:
    return int(gsd) if isinstance(gsd, int | float) and math.isfinite(gsd) else None


def _is_jpeg2000(href: str, asset: Mapping[str, object]) -> bool:
    kind = str(asset.get("type") or "").partition(";")[0].strip().lower()
    return kind in _JPEG2000 or href.partition("?")[0].lower().endswith(JPEG2000_SUFFIXES)


def _band_of(key: str, asset: Mapping[str, object]) -> str | None:
    """Return the band in an asset's key or bands, in ESA's spelling."""
    bands = asset.get("eo:bands") or asset.get("bands")
    names = [band.get("name") for band in bands if isinstance(band, Mapping)] if isinstance(bands, list) else []
    for text in [key, *(name for name in names if len(names) == 1)]:
        if band := find_band(str(text)):
            return band
    return None


def _resolved(href: str, base: str) -> str:
    """Return an asset's path; a relative path is joined to the item's."""
    if Location.of(href).is_url or href.startswith("/") or PureWindowsPath(href).is_absolute():
        return href
    item = Location.of(base)
    if item.is_web:
        return urljoin(base, href)
    parts: list[str] = []
    for part in (*PurePosixPath(item.path.replace("\\", "/")).parent.parts, *href.split("/")):
        if part == ".." and parts and parts[-1] not in ("..", "/"):
            parts.pop()
        elif part != ".":
            parts.append(part)
    return item.with_path(str(PurePosixPath(*parts))).text
