"""Read STAC items from objects, JSON, NDJSON and GeoParquet."""

import contextlib
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

import orjson

from jp2batch.core.content import HEAD, foreign_content
from jp2batch.core.errors import ManifestError
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions
from jp2batch.image.stac.geoparquet import parquet_items
from jp2batch.storage.files import read_bytes

Item = Mapping[str, Any]
"""A STAC item as in JSON."""

SUFFIXES = (".json", ".geojson", ".ndjson", ".jsonl", ".parquet", ".geoparquet")
"""Suffixes of files of items; gzip may follow."""

_ITEM_URL = re.compile(r"/collections/[^/]+/items/[^/]+$")
_HINT = "give a STAC Item, an ItemCollection, or a list of items"


def is_item_file(path: str) -> bool:
    """Return whether a path is named as a file of items."""
    return Location.of(path).plain_path.lower().removesuffix(".gz").endswith(SUFFIXES)


def is_item_url(path: str) -> bool:
    """Return whether a path is an item's URL in a catalogue."""
    location = Location.of(path)
    return location.is_web and _ITEM_URL.search(location.plain_path) is not None


_METHODS = ("items_as_dicts", "to_dict")  # of searches of pystac-client, and of pystac


def is_document(value: object) -> bool:
    """Return whether a value is STAC in memory, by its methods."""
    if isinstance(value, Mapping | type):
        return isinstance(value, Mapping)
    return any(callable(getattr(value, name, None)) for name in _METHODS)


def as_document(value: object) -> object:
    """Return STAC in memory as mappings; None for another object."""
    if isinstance(value, Mapping) or not is_document(value):
        return value if isinstance(value, Mapping) else None
    search, to_dict = (getattr(value, name, None) for name in _METHODS)
    return search() if callable(search) else _plain(to_dict) if callable(to_dict) else None


def _plain(to_dict: Callable[..., object]) -> object:
    """Return an object of pystac as a mapping.

    Links are left as they are: to change them, pystac may read other documents.
    """
    try:
        return to_dict(transform_hrefs=False)
    except TypeError:
        return to_dict()


def items_of(document: object, source: str = "") -> Iterator[Item]:
    """Iterate over the items of a document.

    Parameters
    ----------
    document : object
        An Item, a FeatureCollection or ItemCollection, or an iterable of these.
    source : str
        Its path, for messages.

    Raises
    ------
    ManifestError
        It is not STAC.
    """
    if isinstance(document, Mapping):
        if (kind := document.get("type")) in ("Catalog", "Collection"):
            raise ManifestError(source, f"this is a STAC {kind}, not its items", "give its items, or a search of it")
        features = document.get("features")
        if isinstance(document.get("assets"), Mapping) and features is None:
            yield document
            return
        document = features
    if not isinstance(document, Iterable) or isinstance(document, str | bytes | Mapping):
        raise ManifestError(source, "this is not a STAC item", _HINT)
    for one in document:
        found = one if isinstance(one, Mapping) else as_document(one)
        if not isinstance(found, Mapping):
            raise ManifestError(source, "this is not a STAC item", _HINT)
        yield from items_of(found, source)


def read_items(path: str, *, storage_options: StorageOptions) -> Iterator[Item]:
    """Iterate over the items of a file.

    Formats: JSON (STAC 1.0 and 1.1 Item, ItemCollection, array), a JSON document per line, and stac-geoparquet.

    Raises
    ------
    ManifestError
        The file holds other content.
    StorageError
        It cannot be read.
    """
    data = read_bytes(path, storage_options=storage_options)
    if data.startswith(b"PAR1"):
        yield from parquet_items(data, path)
    else:
        yield from items_of(_parsed(data, path), path)


def _parsed(data: bytes, path: str) -> object:
    if not Location.of(path).plain_path.lower().removesuffix(".gz").endswith((".ndjson", ".jsonl")):
        for load in (orjson.loads, json.loads):  # the latter also reads NaN
            with contextlib.suppress(ValueError, RecursionError):
                return load(data)
    return _lines(data, path)


def _lines(data: bytes, path: str) -> Iterator[object]:
    """Iterate over the documents of lines; empty lines are skipped."""
    documents = 0
    for number, line in enumerate(io.BytesIO(data), 1):
        if line.strip():
            try:
                yield orjson.loads(line)
            except ValueError:
                if documents:
                    raise ManifestError(path, f"line {number} is not JSON", "write it again") from None
                _refuse(data, path)
            documents += 1
    if not documents:
        _refuse(data, path)


def _refuse(data: bytes, path: str) -> NoReturn:
    """Raise the error of other content."""
    found = foreign_content(data[:HEAD], "json", "stac")
    problem = f"this is {found.name}, not JSON" if found else "this is not JSON"
    raise ManifestError(path, problem, _HINT)
