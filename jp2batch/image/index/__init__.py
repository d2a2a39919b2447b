"""Caches of image indexes, for reads in a single round trip.

An index is kept in the memory of the process and in a file of the user; a shared table may hold others. An index is a
hint: it is valid for a single version of an object, which the replies of the store confirm or refute. If it proves
wrong, the caller reads the headers again. A checksum guards the indexes of memory and file against damage. An index of
a shared table may be wrong: its headers are fetched along with the packets, and compared.
"""

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from jp2batch.core import config
from jp2batch.core.config import IndexSettings
from jp2batch.core.runtime import process_state
from jp2batch.image.index.background import background_writer
from jp2batch.image.index.shared_index import shared_table
from jp2batch.image.index.sqlite_cache import SqliteCache
from jp2batch.jpeg2000.geometry.grid import Selection
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.jpeg2000.plan.resolved_read import ResolvedRead
from jp2batch.storage.source import Source

_FILE = "index.sqlite"
_MOST_READINGS = 8  # of an image


@dataclass(slots=True)
class _Entry:
    """Index and recent reads of an image."""

    index: ImageIndex
    readings: OrderedDict[Selection, ResolvedRead] = field(default_factory=OrderedDict)
    """Resolved reads by selection: repeating a read needs no parsing of headers."""

    @property
    def weight(self) -> int:
        return self.index.weight + sum(reading.weight for reading in self.readings.values())


class _Memory:
    """Indexes of recently used images, by key; thread-safe."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._weight = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> ImageIndex | None:
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            held = self._entries.get(key)
            return None if held is None else held.index

    def put(self, key: str, index: ImageIndex, limit: int) -> None:
        with self._lock:
            self._put(key, _Entry(index), limit)

    def join(self, key: str, index: ImageIndex, limit: int) -> bool:
        """Merge an index into the cached index; return whether this changed it."""
        with self._lock:
            held = self._entries.get(key)
            joined = index if held is None else held.index.joined(index)
            more = held is None or joined is not held.index
            if more:
                self._put(key, _Entry(joined), limit)
            return more

    def reading(self, key: str, index: ImageIndex, selection: Selection) -> ResolvedRead | None:
        with self._lock:
            held = self._entries.get(key)
            if held is None or held.index is not index or selection not in held.readings:
                return None
            held.readings.move_to_end(selection)
            return held.readings[selection]

    def add_reading(self, key: str, index: ImageIndex, reading: ResolvedRead, limit: int) -> None:
        with self._lock:
            held = self._entries.get(key)
            if held is None or held.index is not index:
                return
            readings = held.readings | {reading.selection: reading}
            while len(readings) > _MOST_READINGS:
                readings.popitem(last=False)
            self._put(key, _Entry(index, readings), limit)

    def drop(self, key: str) -> None:
        with self._lock:
            self._drop(key)

    def _put(self, key: str, entry: _Entry, limit: int) -> None:
        self._drop(key)
        self._entries[key] = entry
        self._weight += entry.weight
        while self._weight > limit:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: str) -> None:
        if (old := self._entries.pop(key, None)) is not None:
            self._weight -= old.weight


@process_state()
def _memory() -> _Memory:
    return _Memory()


def recall(source: Source) -> ImageIndex | None:
    """Return the cached index of an object, or None.

    Raises
    ------
    Jp2BatchError
        The configured shared table cannot be read.
    """
    settings = config.index_settings()
    if settings.enabled and (held := _memory().get(source.key)) is not None:
        return held
    known = _from_file(source, settings) if settings.enabled else None
    if known is None and settings.shared:
        known = shared_table(settings.shared, settings.shared_options).get(source.key)
        known = None if known is None else known.unproven()
    if known is not None and settings.enabled:
        _memory().put(source.key, known, settings.memory)
    return known


def keep(source: Source, index: ImageIndex) -> None:
    """Merge an index into the caches of memory and file."""
    settings = config.index_settings()
    if not settings.enabled or index.etag is None:
        return
    if not _memory().join(source.key, index, settings.memory):
        return
    _update(source, settings, lambda packed: _joined(packed, index))


def recall_reading(source: Source, index: ImageIndex, selection: Selection) -> ResolvedRead | None:
    """Return the resolved read of a selection, if resolved with this index."""
    return _memory().reading(source.key, index, selection)


def keep_reading(source: Source, index: ImageIndex, reading: ResolvedRead) -> None:
    """Keep a resolved read in memory, if its index is current."""
    settings = config.index_settings()
    if settings.enabled and reading.weight <= settings.memory // _MOST_READINGS:
        _memory().add_reading(source.key, index, reading, settings.memory)


def forget(source: Source) -> None:
    """Drop the index of an object from memory and file."""
    settings = config.index_settings()
    _memory().drop(source.key)
    _update(source, settings, lambda _: None)


def flush(seconds: float | None = None) -> bool:
    """Wait until the file holds all indexes kept so far.

    Returns False if this takes longer than some seconds.
    """
    return background_writer().flush(seconds)


def _update(source: Source, settings: IndexSettings, change: Callable[[bytes | None], bytes | None]) -> None:
    """Change the entry of an object in the file, in the background."""
    if (file := _file_for(source, settings)) is not None:
        background_writer().submit(source.key, functools.partial(file.update, source.key, change))


def _from_file(source: Source, settings: IndexSettings) -> ImageIndex | None:
    file = _file_for(source, settings)
    if file is None:
        return None
    background_writer().wait_for(source.key)
    packed = file.get(source.key)
    return None if packed is None else _unpacked(packed)


def _file_for(source: Source, settings: IndexSettings) -> SqliteCache | None:
    """Return the cache file, or None if disabled or of no benefit.

    If requests to the store are free, looking into the file costs more than it saves.
    """
    if not settings.enabled or not settings.disk or not source.profile.latency:
        return None
    return _file_at(settings.folder / _FILE, settings.disk)


@process_state(limit=8)
def _file_at(path: Path, limit: int) -> SqliteCache:
    return SqliteCache(path, limit)


def _joined(packed: bytes | None, index: ImageIndex) -> bytes:
    held = None if packed is None else _unpacked(packed)
    return (index if held is None else held.joined(index)).to_bytes()


def _unpacked(packed: bytes) -> ImageIndex | None:
    try:
        return ImageIndex.from_bytes(packed)
    except ValueError:
        return None
