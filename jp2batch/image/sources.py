"""List the images of sources of any form: paths, requests, products, STAC."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from jp2batch.core.arguments import as_path
from jp2batch.core.errors import InvalidRequest, ManifestError
from jp2batch.core.location import Location, path_hint, path_text
from jp2batch.core.mission import ImageName, ListedImage
from jp2batch.core.options import StorageOptions
from jp2batch.core.redaction import redact
from jp2batch.core.request import Request
from jp2batch.image.missions import identify, is_product
from jp2batch.image.products import product_images
from jp2batch.image.source_images import SourceImages
from jp2batch.image.stac.assets import item_listing
from jp2batch.image.stac.documents import as_document, is_item_file, items_of, read_items

Each = Callable[..., list[Any]]
"""Calls a function with each of several values, concurrently."""

_SHOWN = 20  # items in a message


def list_sources(
    sources: object,
    each: Each,
    *,
    bands: Collection[str] | None = None,
    product_bands: Collection[str] | None = None,
    metres: int | None = None,
    alternate: str | None = None,
) -> list[SourceImages]:
    """Return a listing of each product, STAC item and path, in order.

    Parameters
    ----------
    sources : object
        A path, `Request`, product or STAC document, or an iterable of these, which is read once.
    each : callable
        Calls a function with each path, concurrently.
    bands : collection of str, optional
        Bands of items to list, by the mission's names.
    product_bands, metres : optional
        Bands and pixel size that each product must have.
    alternate : str, optional
        Name of the alternate location of assets to prefer.

    Raises
    ------
    InvalidRequest
        A source has another type, or is another kind of file.
    Jp2BatchError
        A source cannot be read.
    """
    listed: list[SourceImages | str] = []
    for source in _each_source(sources):
        document = None if isinstance(source, Request) else as_document(source)
        if document is not None:
            listed += [item_listing(item, "", bands, alternate) for item in items_of(document)]
        elif isinstance(source, Request) and not is_product(source.url):
            listed.append(_path_listing(source.url, source))
        else:
            listed.append(as_path(source))
    read = partial(_read, bands=bands, product_bands=product_bands, metres=metres, alternate=alternate)
    found = iter(each(read, [one for one in listed if isinstance(one, str)]))
    listings = [one for entry in listed for one in (next(found) if isinstance(entry, str) else [entry])]
    _refuse_unusable(listings, alternate)
    return listings


def _each_source(sources: object) -> Iterator[object]:
    """Iterate over sources, or over a single source."""
    is_single = isinstance(sources, Request) or isinstance(path_text(sources), str)
    if is_single or (document := as_document(sources)) is not None:
        yield sources if is_single else document
    elif isinstance(sources, Iterable) and not isinstance(sources, bytes | bytearray):
        yield from sources
    else:
        raise InvalidRequest("", f"a path must be text, not {type(sources).__name__}", path_hint(sources))


def _path_listing(path: str, request: Request | None = None) -> SourceImages:
    mission, name = identify(path)
    name = name or ImageName()
    image = ListedImage(path, name, name.resolution or mission.metres(name.band) or 0)
    return SourceImages((image,), frozenset([name.band] if name.band else []), request=request)


def _read(
    path: str,
    *,
    bands: Collection[str] | None,
    product_bands: Collection[str] | None,
    metres: int | None,
    alternate: str | None,
    storage_options: StorageOptions,
) -> list[SourceImages]:
    """Return the listings of a path."""
    if Location.of(path).plain_path.lower().endswith(".jp2"):
        return [_path_listing(path)]
    if is_product(path):
        metadata, images = product_images(path, product_bands, metres=metres, storage_options=storage_options)
        there = frozenset(image.name.band for image in images if image.name.band)
        return [SourceImages(tuple(images), there, metadata.name, metadata, path)]
    if is_item_file(path):
        items = read_items(path, storage_options=storage_options)
        found = [item_listing(item, path, bands, alternate) for item in items]
        if not any(one.has_images for one in found):
            raise _no_images(found, path)
        return found
    return [_path_listing(path)]


def _refuse_unusable(listings: Sequence[SourceImages], alternate: str | None) -> None:
    """Refuse items without JPEG 2000 image, and unknown alternates."""
    without = [one for one in listings if one.is_item and not one.has_images]
    if without:
        raise _no_images(without, "")
    other = [one for one in listings if alternate and one.is_item and alternate.lower() not in one.alternates]
    if other:
        known = ", ".join(sorted(filter(None, frozenset().union(*(one.alternates for one in other)))))
        problem = f"{_named(other)} has no alternate location of this name"
        raise InvalidRequest("", problem, f"alternate= may be {known}" if known else "leave out alternate=")


def _no_images(listings: Sequence[SourceImages], path: str) -> ManifestError:
    """Return the error of items without JPEG 2000 image, with their names."""
    collections = ", ".join(sorted({redact(one.collection) for one in listings if one.collection}))
    of = f" of {collections}" if collections else ""
    count = f"its {len(listings)} items" if path else f"{len(listings)} items"
    problem = f"{count}{of} have no JPEG 2000 image{': ' if listings else ''}{_named(listings)}"
    hint = "use a collection with .jp2 files, such as that of CDSE or Earth Search: many catalogues offer GeoTIFF"
    return ManifestError(path, problem, hint)


def _named(listings: Sequence[SourceImages]) -> str:
    """Return the names of items, for messages."""
    names = [redact(one.name or "without id") for one in listings[:_SHOWN]]
    more = f" and {len(listings) - _SHOWN} more" if len(listings) > _SHOWN else ""
    return ", ".join(names) + more
