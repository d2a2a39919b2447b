"""Existing results by name, in columns."""

import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jp2batch.batch.key_table import Keys, KeyTable, key_of, keys_of
from jp2batch.storage.directory import StoredFile

_TOGETHER = 4096  # lines
_USUAL = re.compile(rb'\{"id":"([ !#-\[\]-~]*)",')


class Listing(Mapping[str, StoredFile]):
    """Existing results by name, with their sizes in rows."""

    def __init__(self) -> None:
        self.sizes = np.empty(0, np.int64)
        """Bytes of results."""
        self._rows = KeyTable()

    def find(self, names: Keys) -> NDArray[np.int64]:
        """Return the rows of names; -1 for others."""
        return self._rows.find(names)

    def unrecorded(self, name: str) -> StoredFile | None:
        """Return a result, even without a record."""
        return self.get(name)

    @abstractmethod
    def name_at(self, row: int) -> str:
        """Return the name of a row."""


class FileListing(Listing):
    """Files or groups of a folder."""

    def __init__(self, files: Mapping[str, StoredFile]) -> None:
        super().__init__()
        self._files, self._names = files, list(files)
        self.sizes = np.fromiter((file.size for file in files.values()), np.int64, len(files))
        self._rows.put(keys_of(files), np.arange(len(files)))

    def __getitem__(self, name: str) -> StoredFile:
        return self._files[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def name_at(self, row: int) -> str:
        """Return the name of a row."""
        return self._names[row]


class LineListing(Listing):
    """The last whole line of each id in a file.

    A line takes some 40 bytes.

    Parameters
    ----------
    path : Path
        File of lines, which may be missing.
    id_of : callable
        Returns the id of a line; None if the line is no result.
    """

    def __init__(self, path: Path, id_of: Callable[[bytes], str | None]) -> None:
        super().__init__()
        self.is_untidy = False
        """True if lines are superseded, truncated or no results."""
        self._path, self._id_of, self._count = path, id_of, 0
        self._offsets = np.empty(0, np.int64)
        if path.exists():
            self._read()

    def __getitem__(self, name: str) -> StoredFile:
        row = self._rows.get(key_of(name))
        if row < 0:
            raise KeyError(name)
        return StoredFile(int(self.sizes[row]), float(self._offsets[row]))  # its offset stands for its time

    def __iter__(self) -> Iterator[str]:
        for row, line in enumerate(self._lines(range(len(self.sizes)))):
            name = self._id_of(line)
            if name is not None and self._rows.get(key_of(name)) == row:
                yield name

    def __len__(self) -> int:
        return self._count

    def name_at(self, row: int) -> str:
        """Read the id of a line."""
        return self._id_of(next(self._lines([row]))) or ""

    def line(self, name: str) -> bytes:
        """Read the line of an id."""
        return next(self._lines([self._rows.get(key_of(name))]))

    def _lines(self, rows: Iterable[int]) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            for row in rows:
                file.seek(int(self._offsets[row]))
                yield file.read(int(self.sizes[row]))

    def _read(self) -> None:
        sizes, offsets, begin, rows = [self.sizes], [self._offsets], 0, 0
        with self._path.open("rb") as file:
            while lines := list(islice(file, _TOGETHER)):
                if not lines[-1].endswith(b"\n"):
                    self.is_untidy = True
                    del lines[-1]
                size = np.fromiter(map(len, lines), np.int64, len(lines))
                offset = begin + np.cumsum(size) - size
                begin += int(size.sum())
                keys = [self._key_in(line) for line in lines]
                if None in keys:
                    self.is_untidy = True
                    is_result = np.array([key is not None for key in keys], np.bool_)
                    size, offset = size[is_result], offset[is_result]
                self._enter(np.array([key for key in keys if key is not None], np.int64), rows)
                sizes.append(size)
                offsets.append(offset)
                rows += len(size)
        self.sizes, self._offsets = np.concatenate(sizes), np.concatenate(offsets)
        self.is_untidy |= self._count < rows

    def _enter(self, keys: Keys, begin: int) -> None:
        rows = np.arange(begin, begin + len(keys))
        is_new = self._rows.find(keys) < 0
        self._rows.put(keys, rows)
        self._count += int(np.count_nonzero(is_new & (self._rows.find(keys) == rows)))

    def _key_in(self, line: bytes) -> int | None:
        match = _USUAL.match(line)
        if match is not None and line.endswith(b"}\n"):
            return hash(match[1])
        id_ = self._id_of(line)
        return None if id_ is None else key_of(id_)
