"""List the images of sources of any form: paths, requests, products, STAC."""

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from typing import Any

from jp2batch.core.arguments import as_path
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.location import Location, path_hint, path_text
from jp2batch.core.mission import ImageName, ListedImage
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import Request
from jp2batch.image.missions import identify, is_product
from jp2batch.image.products import product_images
from jp2batch.image.source_images import SourceImages
from jp2batch.image.stac.assets import item_listing
from jp2batch.image.stac.documents import as_document, is_document, is_item_file, is_item_url, items_of, read_items
from jp2batch.image.stac.refusals import checked_alternate, refuse_unusable

Each = Callable[..., list[Any]]
"""Calls a function with each of several values, concurrently."""


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
    alternate = checked_alternate(alternate)
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
    refuse_unusable([one for one in listings if one.is_item], alternate)
    return listings


def _each_source(sources: object) -> Iterator[object]:
    """Iterate over sources, or over a single source."""
    is_single = isinstance(sources, Request) or isinstance(path_text(sources), str)
    if is_single or is_document(sources):
        yield sources
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
    if is_product(path) and not is_item_url(path):
        metadata, images = product_images(path, product_bands, metres=metres, storage_options=storage_options)
        there = frozenset(image.name.band for image in images if image.name.band)
        return [SourceImages(tuple(images), there, metadata.name, metadata, path)]
    if is_item_file(path) or is_item_url(path):
        items = read_items(path, storage_options=storage_options)
        found = [item_listing(item, path, bands, alternate) for item in items]
        refuse_unusable(found, alternate, path)
        return found
    return [_path_listing(path)]
