"""What was learned of images is kept, so that the next read of one is a single round trip.

In the memory of the process, in a file of the user, and in a table that somebody has shared. All of it is a hint: it
holds for one version of an object, which the replies of the store confirm or refute, and whoever uses it reads afresh
where it does not prove true. What a process has learned itself is guarded against damage by a checksum; what somebody
else tells in a table, against their mistakes: the main header is fetched along with the packets, and compared; of
tile-parts, what SOT and the packets themselves would contradict is noticed.
"""

import functools
import threading
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

from jp2batch import config
from jp2batch.config import IndexSettings
from jp2batch.index.table import shared_table
from jp2batch.jpeg2000.known import Known
from jp2batch.storage.blobs import BlobFile
from jp2batch.storage.source import Source

_FILE = "index.sqlite"


class _Memory:
    """The images that were used last, by key; thread-safe."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._weight = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> Known | None:
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
            return self._known.get(key)

    def put(self, key: str, known: Known, limit: int) -> None:
        with self._lock:
            self._put(key, known, limit)

    def join(self, key: str, known: Known, limit: int) -> bool:
        """Keep what is known beside what was; tell whether that is more."""
        with self._lock:
            held = self._known.get(key)
            joined = known if held is None else held.joined(known)
            if joined is not held:
                self._put(key, joined, limit)
            return joined is not held

    def drop(self, key: str) -> None:
        with self._lock:
            self._drop(key)

    def clear(self) -> None:
        with self._lock:
            self._known.clear()
            self._weight = 0

    def _put(self, key: str, known: Known, limit: int) -> None:
        self._drop(key)
        self._known[key] = known
        self._weight += known.weight
        while self._weight > limit:
            self._drop(next(iter(self._known)))

    def _drop(self, key: str) -> None:
        if (old := self._known.pop(key, None)) is not None:
            self._weight -= old.weight


_memory = _Memory()


def recall(source: Source) -> Known | None:
    """Return what is known of an object, or None.

    Raises
    ------
    Jp2BatchError
        The shared table that is configured cannot be read.
    """
    settings = config.index_settings()
    known = (_memory.get(source.key) or _from_file(source, settings)) if settings.enabled else None
    if known is None and settings.shared:
        known = shared_table(settings.shared, settings.shared_options).get(source.key)
        known = None if known is None else replace(known, hearsay=True)
    if known is not None and settings.enabled:
        _memory.put(source.key, known, settings.memory)
    return known


def keep(source: Source, known: Known) -> None:
    """Keep what was learned of an object, beside what was known of it."""
    settings = config.index_settings()
    if not settings.enabled or known.etag is None:
        return
    if not _memory.join(source.key, known, settings.memory):
        return
    if (file := _file_for(source, settings)) is not None:
        file.update(source.key, lambda packed: _joined(packed, known))


def forget(source: Source) -> None:
    """Drop what did not prove true."""
    settings = config.index_settings()
    _memory.drop(source.key)
    if (file := _file_for(source, settings)) is not None:
        file.update(source.key, lambda _: None)


def clear_memory() -> None:
    """Forget what this process has learned."""
    _memory.clear()


def _from_file(source: Source, settings: IndexSettings) -> Known | None:
    file = _file_for(source, settings)
    packed = None if file is None else file.get(source.key)
    return None if packed is None else _unpacked(packed)


def _file_for(source: Source, settings: IndexSettings) -> BlobFile | None:
    """Return the file, where it pays: where a request costs nothing, looking there costs more than it saves."""
    if not settings.enabled or not settings.disk or not source.profile.latency:
        return None
    return _file_at(settings.folder / _FILE, settings.disk)


@functools.lru_cache(maxsize=8)
def _file_at(path: Path, limit: int) -> BlobFile:
    return BlobFile(path, limit)


def _joined(packed: bytes | None, known: Known) -> bytes:
    held = None if packed is None else _unpacked(packed)
    return (known if held is None else held.joined(known)).to_bytes()


def _unpacked(packed: bytes) -> Known | None:
    try:
        return Known.from_bytes(packed)
    except ValueError:
        return None
