"""Return the images of a STAC item: band, pixel size, scaling, location."""

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from jp2batch.core.arguments import as_path
from jp2batch.core.mission import ImageName, ListedImage, Mission, parse_iso_time
from jp2batch.core.scaling import ScalingClaim
from jp2batch.image.missions import common_band, find_band, identify, parse_properties
from jp2batch.image.source_images import SourceImages
from jp2batch.image.stac.access import advice
from jp2batch.image.stac.documents import Item
from jp2batch.image.stac.hrefs import Href, alternates_of, chosen_href, named_path, resolve

_KEY = re.compile(r"(?P<name>.+?)(?:[_-](?P<metres>\d\d)m)?(?:[_-]jp2)?", re.IGNORECASE)
_SMALLEST = 1e-12  # a factor from numbers to reflectance
_COLOURS = ("red", "green", "blue")  # bands of true colours
_OVERPASS = timedelta(minutes=45)  # the longest datatake


@dataclass(frozen=True, slots=True)
class _ItemFacts:
    """Facts common to the images of an item."""

    name: ImageName
    base: str
    datetime: str | None
    properties: Mapping[str, Any]


def item_listing(
    item: Item, source: str, bands: Collection[str] | None = None, alternate: str | None = None
) -> SourceImages:
    """Return the JPEG 2000 images of an item.

    Parameters
    ----------
    item : mapping
        A STAC item.
    source : str
        Its path, to which relative paths are joined if the item has no link to itself.
    bands : collection of str, optional
        Bands to list, by the mission's names; by default all.
    alternate : str, optional
        Name of the alternate location to prefer.
    """
    facts = _facts(item, source)
    assets = item.get("assets")
    named = assets.items() if isinstance(assets, Mapping) else ()
    hrefs = [(str(key), asset, href) for key, asset in named if (href := chosen_href(asset, alternate)) is not None]
    other = {place: _other_band(*one, bands) for place, one in enumerate(hrefs)}
    images = [_image(*one, facts) for place, one in enumerate(hrefs) if other[place] is None]
    chosen = {one.path: one for one in images if bands is None or one.name.band in bands}
    item_id = item.get("id")
    return SourceImages(
        tuple(chosen.values()),
        frozenset(filter(None, [*(one.name.band for one in images), *other.values()])),
        item_id if isinstance(item_id, str) else None,
        is_item=True,
        datetime=facts.datetime,
        collection=str(item.get("collection") or ""),
        alternates=alternates_of(asset for _, asset, _ in hrefs) if alternate else frozenset(),
        has_images=bool(hrefs),
    )


def _facts(item: Item, source: str) -> _ItemFacts:
    links, properties = item.get("links"), item.get("properties")
    links = links if isinstance(links, list) else []  # needed only for relative hrefs
    own = (link.get("href") for link in links if isinstance(link, Mapping) and link.get("rel") == "self")
    base = next(own, None) or source
    properties = properties if isinstance(properties, Mapping) else {}
    name = parse_properties({"id": item.get("id"), **properties})
    times = (properties.get("datetime"), properties.get("start_datetime"))
    datetime = next((time for time in times if isinstance(time, str)), None) if name.time is None else None
    return _ItemFacts(name, str(base), datetime, {**item, **properties})


def _other_band(key: str, asset: Mapping[str, Any], href: Href, bands: Collection[str] | None) -> str | None:
    """Return the band of an asset, if it is not wanted.

    The rest of its facts then need not be parsed.
    """
    band = None if bands is None else _band_of(key, asset)
    if bands is None or band is None or band in bands or any(one in href.text for one in bands):
        return None
    return band


def _image(key: str, asset: Mapping[str, Any], href: Href, facts: _ItemFacts) -> ListedImage:
    path = as_path(resolve(href.text, facts.base))
    mission, parsed = identify(named_path(path))
    local = href.members.get("file:local_path")
    if parsed is None and isinstance(local, str):
        mission, parsed = identify(local)
    parsed = parsed or ImageName()
    name = replace(_timed(parsed, facts.datetime).merged(facts.name), band=parsed.band or _band_of(key, asset))
    if name.time is not None:
        name = replace(name, day=name.time.date())
    metres = parsed.resolution or _metres(key, asset, facts.properties) or mission.metres(name.band) or 0
    claim = _claim(mission, name, href.members)
    return ListedImage(path, name, metres, claim, advice(href, asset, facts.properties))


def _timed(parsed: ImageName, datetime: str | None) -> ImageName:
    """Return facts with the time of an item.

    The path's time is kept if it is the start of the item's overpass: items have the time of the granule.
    """
    time = parse_iso_time(datetime)
    if time is None or (parsed.time is not None and timedelta() <= time - parsed.time <= _OVERPASS):
        return parsed
    return replace(parsed, time=time)


def _band_of(key: str, asset: Mapping[str, Any]) -> str | None:
    """Return the band in an asset's key or bands."""
    match = _KEY.fullmatch(key)
    bands = list(_bands_of(asset))
    texts = [match["name"] if match else key]
    if len(bands) == 1:
        texts += [str(bands[0].get(name)) for name in ("name", "eo:common_name", "common_name")]
    is_known = len(bands) in (0, 1, len(_COLOURS))
    found = (find_band(text) or (common_band(text) if is_known else None) for text in texts)
    return find_band(key) or next(filter(None, found), None)


def _bands_of(asset: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Iterate over the bands of an asset, of STAC 1.0 or 1.1."""
    bands = asset.get("eo:bands") or asset.get("bands")
    yield from (band for band in bands if isinstance(band, Mapping)) if isinstance(bands, list) else ()


def _metres(key: str, asset: Mapping[str, Any], properties: Mapping[str, Any]) -> int | None:
    """Return the pixel size of an asset, from the most reliable member.

    `gsd` is often that of the instrument.
    """
    match = _KEY.fullmatch(key)
    if match and match["metres"]:
        return int(match["metres"])
    raster = _first(asset.get("raster:bands")) or _first(asset.get("bands"))
    sizes = (
        _size_of_transform(asset.get("proj:transform")),
        _size_of_shape(asset.get("proj:shape"), asset.get("proj:bbox") or properties.get("proj:bbox")),
        raster.get("spatial_resolution") or raster.get("raster:spatial_resolution"),
        asset.get("raster:spatial_resolution"),
        asset.get("gsd"),
        next((band.get("gsd") for band in _bands_of(asset)), None),
    )
    return next((int(number) for size in sizes if (number := _number(size)) is not None and number >= 1), None)


def _size_of_transform(transform: object) -> float | None:
    first = _number(transform[0]) if isinstance(transform, list | tuple) and transform else None
    return None if first is None else abs(first)


def _size_of_shape(shape: object, box: object) -> float | None:
    values = [*shape, *box] if isinstance(shape, list | tuple) and isinstance(box, list | tuple) else []
    numbers = [number for value in values if (number := _number(value)) is not None]
    return round((numbers[4] - numbers[2]) / numbers[1]) if len(numbers) == 6 and numbers[1] else None


def _claim(mission: Mission, name: ImageName, asset: Mapping[str, Any]) -> ScalingClaim | None:
    """Return the scaling of an asset.

    Format: raster extension 1.1 (`raster:bands`) and 2.0 (`raster:scale` of bands or asset).
    """
    raster, band = _first(asset.get("raster:bands")), _first(asset.get("bands"))
    found = [
        (raster.get("scale"), raster.get("offset", 0)),
        (band.get("raster:scale"), band.get("raster:offset", 0)),
        (asset.get("raster:scale"), asset.get("raster:offset", 0)),
    ]
    for scale, offset in found:
        factor, shift = _number(scale), _number(offset)
        if factor is not None and shift is not None and factor > _SMALLEST:
            return mission.claim_of(name, factor, shift)
    return None


def _first(values: object) -> Mapping[str, Any]:
    first = values[0] if isinstance(values, list) and values else None
    return first if isinstance(first, Mapping) else {}


def _number(value: object) -> float | None:
    """Return a finite number; None for other values."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None
