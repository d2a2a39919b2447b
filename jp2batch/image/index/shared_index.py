"""Shared tables: a single file, or a file per tile.

A folder of tables is marked by a small file, so that a mistaken address is noticed. A pattern, such as
`s3://bucket/{level}-{tile}.parquet`, names files without a mark, as those of Kayrros.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from jp2batch.core.errors import PermissionDenied, StorageError, StoreUnavailable
from jp2batch.core.location import Location
from jp2batch.core.runtime import process_state
from jp2batch.image.index.parquet_table import MissingTable, Table, check_pyarrow
from jp2batch.image.index.table_layouts import path_of
from jp2batch.image.missions import identify
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.storage.files import read_bytes
from jp2batch.storage.source import open_source

MARK = "jp2batch-index.json"
"""Name of the marker file of a folder of tables."""
MARK_VERSION = 1
"""Version of the layout of a folder."""
_MARK_LIMIT = 64 << 10  # bytes
_TILE, _LEVEL = "{tile}", "{level}"
_OTHER = "other"  # of images without a tile
_NAME = re.compile(r"[A-Za-z0-9_-]+")


class SharedIndex(Protocol):
    """Image indexes made by others."""

    def get(self, key: str) -> ImageIndex | None:
        """Return the index of the image with this key, or None."""
        ...


class TableFolder:
    """A table for each tile on the ground.

    Parameters
    ----------
    pattern : str
        Path or URL of the tables, with `{tile}` and perhaps `{level}`.
    options : str
        fsspec's options for their store, as JSON.
    is_marked : bool
        True if the store lets the folder be read: a table it refuses is missing, as in buckets that may not be listed.
    """

    def __init__(self, pattern: str, options: str, *, is_marked: bool) -> None:
        self._pattern, self._options, self._is_marked = pattern, options, is_marked

    def get(self, key: str) -> ImageIndex | None:
        """Return the index of the image with this key, or None.

        Raises
        ------
        Jp2BatchError
            The store does not deliver the table of its tile.
        """
        table = _tile_table(file_of(self._pattern, key), self._options, self._is_marked)
        return None if table is None else table.get(key)


def shared_table(url: str, storage_options: Mapping[str, object]) -> SharedIndex:
    """Return the shared table or tables, opened once per process.

    Parameters
    ----------
    url : str
        A file; a folder, whose name ends with a slash unless it is local; or a pattern with `{tile}`.
    storage_options : mapping
        fsspec's options for their store.

    Raises
    ------
    Jp2BatchError
        The table cannot be read, the folder is not marked, or pyarrow is missing.
    """
    return _loaded(url, json.dumps(dict(storage_options), sort_keys=True, default=repr))


@process_state(limit=4)
def _loaded(url: str, options: str) -> SharedIndex:
    check_pyarrow()
    pattern = pattern_of(url)
    if pattern is None:
        return Table(lambda: open_source(url, storage_options=json.loads(options)))
    is_marked = _TILE not in url
    if is_marked:
        _check_mark(url, options)
    return TableFolder(pattern, options, is_marked=is_marked)


@process_state(limit=128)
def _tile_table(url: str, options: str, is_marked: bool) -> Table | None:
    """Return the table of a tile; None if it is missing."""
    try:
        return Table(lambda: open_source(url, storage_options=json.loads(options)))
    except MissingTable:
        return None
    except PermissionDenied:
        if is_marked:
            return None
        raise


def pattern_of(url: str) -> str | None:
    """Return the pattern of a folder's tables; None for a single file."""
    if _TILE in url:
        return url
    location = Location.of(url)
    if url.endswith("/") or (location.is_local and _is_folder(location)):
        return f"{url.rstrip('/')}/{_TILE}.parquet"
    return None


def file_of(pattern: str, key: str) -> str:
    """Return the path or URL of the table of an image."""
    _, name = identify(path_of(key))
    tile, level = (None, None) if name is None else (name.tile, name.level)
    return pattern.replace(_TILE, _word(tile and tile.removeprefix("T"))).replace(_LEVEL, _word(level))


def _word(name: str | None) -> str:
    return name if name and _NAME.fullmatch(name) else _OTHER


def _is_folder(location: Location) -> bool:
    return Path(location.path).expanduser().is_dir()


def _check_mark(url: str, options: str) -> None:
    """Check the marker file of a folder of tables."""
    hint = "make it with jp2batch index; of other tables, give the pattern, as FOLDER/{tile}.parquet"
    place = Location.of(url).redacted
    try:
        mark = json.loads(
            read_bytes(f"{url.rstrip('/')}/{MARK}", storage_options=json.loads(options), limit=_MARK_LIMIT)
        )
        version = mark["jp2batch-index"]
    except StoreUnavailable:
        raise
    except StorageError as error:
        raise StorageError(place, f"is no folder of index tables: {MARK} {error.problem}", hint) from None
    except (ValueError, TypeError, KeyError):
        raise StorageError(place, f"is no folder of index tables: its {MARK} is damaged", hint) from None
    if version != MARK_VERSION:
        raise StorageError(place, "is of another version of jp2batch", "update jp2batch, or make it anew")
