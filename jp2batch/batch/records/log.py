"""Logs of records: a local file, or numbered segments in a store."""

import contextlib
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress, islice
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from jp2batch.batch.records.book import RecordBook, starts_records
from jp2batch.batch.records.entry import sound
from jp2batch.batch.records.lines import LineWriter, rewrite
from jp2batch.core.location import Location
from jp2batch.storage.directory import Directory

_SEGMENT = re.compile(r"(\d{8,})\.ndjson")
_MANY = 100  # segments that are merged when a run is complete
_MERGED = 100_000  # lines of a merged segment


class RecordLog(Protocol):
    """Records of a run, in the order of their writing."""

    is_remote: bool
    """True if each `append` is a request to a store."""

    def stamp(self) -> object:
        """Return a stamp, changed by each write of records."""

    def foreign(self) -> str | None:
        """Return the path of a file without records in its place."""

    def lines(self) -> Iterator[bytes]:
        """Iterate over all lines, old records included."""

    def read(self) -> RecordBook:
        """Return the records; change nothing."""

    def open(self) -> None:
        """Prepare to append."""

    def append(self, lines: Sequence[bytes]) -> None:
        """Append lines; they are durable when this returns."""

    def compact(self, *, untidy: bool) -> None:
        """Keep only the newest line of each id; merge many segments."""

    def close(self) -> None:
        """Close the log."""


class NoLog:
    """No records: results go to stdout."""

    is_remote = False

    def stamp(self) -> object:
        """Return None."""
        return None

    def foreign(self) -> str | None:
        """Return None."""
        return None

    def lines(self) -> Iterator[bytes]:
        """Iterate over nothing."""
        return iter(())

    def read(self) -> RecordBook:
        """Return no records."""
        return RecordBook()

    def open(self) -> None:
        """Do nothing."""

    def append(self, lines: Sequence[bytes]) -> None:
        """Drop lines."""

    def compact(self, *, untidy: bool) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class FileLog:
    """Records in a local file."""

    is_remote = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: LineWriter | None = None

    def stamp(self) -> object:
        """Return inode, size and modification time; None without a file."""
        if not self._path.exists():
            return None
        found = self._path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns

    def foreign(self) -> str | None:
        """Return its path if the file holds no records."""
        first = next(self.lines(), b"")
        return None if starts_records(first) else str(self._path)

    def lines(self) -> Iterator[bytes]:
        """Iterate over the lines; none without a file."""
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
            yield from file

    def read(self) -> RecordBook:
        """Return the records; empty without a file."""
        return RecordBook.of(self.lines())

    def open(self) -> None:
        """Open the file.

        A truncated last line stays until a line is appended.
        """
        self._writer = LineWriter(self._path)

    def append(self, lines: Sequence[bytes]) -> None:
        """Append lines, and make them durable."""
        if self._writer is not None:
            self._writer.append(b"".join(lines))
            self._writer.sync()

    def compact(self, *, untidy: bool) -> None:
        """Rewrite an untidy file; ignore a full disk.

        The next run will do it again.
        """
        if untidy:
            self.close()
            live = self.read().live.tolist()
            with contextlib.suppress(OSError):
                rewrite(self._path, map(sound, compress(self.lines(), live)))

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


class SegmentLog:
    """Records in numbered objects of a store, with an optional local copy.

    Objects cannot be appended to: each append puts the next segment. A single object of earlier versions precedes them.
    """

    is_remote = True

    def __init__(
        self, beside: Directory, name: str, copy: Path | None = None, confirm: Callable[[], object] = lambda: None
    ) -> None:
        self._confirm = confirm
        self._beside, self._single = beside, f"{name}.ndjson"
        self._folder = beside.below(name)
        self._copy = None if copy is None else FileLog(copy)
        self._path = copy
        self._last = 0

    def stamp(self) -> object:
        """Return the numbers and sizes of the segments."""
        return frozenset((name, file.size) for name, file in self._folder.files().items())

    def foreign(self) -> str | None:
        """Return the path of an object in place of the first segment."""
        for name in self._names()[:1]:
            if not starts_records(next(self._lines([name]), b"")):
                return f"{Location.of(self._beside.url).redacted}/{name}"
        return None

    def read(self) -> RecordBook:
        """Return the records of all segments."""
        return RecordBook.of(self.lines())

    def lines(self) -> Iterator[bytes]:
        """Iterate over the lines of all segments."""
        return self._lines(self._names())

    def open(self) -> None:
        """Find the number of the next segment; write the local copy."""
        names = self._names()
        self._last = max([_number(name) for name in names], default=0)
        if self._copy is not None and self._path is not None:
            rewrite(self._path, self._lines(names))
            self._copy.open()

    def append(self, lines: Sequence[bytes]) -> None:
        """Put lines as the next segment.

        Raises
        ------
        LeaseLost
            Another run has put a segment of this number, and holds the lease.
        """
        data = b"".join(lines)
        while not self._is_put(f"{self._last + 1:08}.ndjson", data):
            self._confirm()  # else it is of an earlier run, whose network delivered it after its end
            self._last += 1
        self._last += 1
        if self._copy is not None:
            self._copy.append(lines)

    def _is_put(self, name: str, data: bytes) -> bool:
        """Put a segment; return False if its name has other content."""
        return self._folder.put(name, data, None) is not None or self._folder.read(name) == data

    def compact(self, *, untidy: bool) -> None:
        """Merge the segments if they are many or untidy.

        New segments are put before old segments are removed.
        """
        old = self._names()
        if not untidy and len(old) < _MANY:
            return
        live, voids = self.read().live, set[str]()
        kept = self._live_lines(old, live, voids)
        while lines := list(islice(kept, _MERGED)):
            self.append(lines)
        self._beside.remove(name for name in old if name not in voids)
        self._beside.remove(voids)  # after the records that their lines make void
        if self._path is not None:
            rewrite(self._path, self._lines(self._names()))

    def close(self) -> None:
        """Close the local copy."""
        if self._copy is not None:
            self._copy.close()

    def _names(self) -> list[str]:
        """Return the paths of the segments beside the output, in order."""
        folder = self._folder.url.rpartition("/")[2]
        numbers = sorted(filter(_SEGMENT.fullmatch, self._folder.files()), key=_number)
        single = [self._single] if self._beside.has(self._single) else []
        return [*single, *(f"{folder}/{name}" for name in numbers)]

    def _lines(self, names: Iterable[str]) -> Iterator[bytes]:
        for _, data in self._beside.read_many(names):
            yield from io.BytesIO(data)

    def _live_lines(self, names: Iterable[str], live: NDArray[np.bool_], voids: set[str]) -> Iterator[bytes]:
        """Iterate over valid lines; collect the names of segments with void lines."""
        number = 0
        for name, data in self._beside.read_many(names):
            for line in io.BytesIO(data):
                if live[number]:
                    yield sound(line)
                elif line.startswith(b'{"void":'):
                    voids.add(name)
                number += 1


def _number(name: str) -> int:
    match = _SEGMENT.fullmatch(name.rpartition("/")[2])
    return int(match[1]) if match else 0
