"""Growing arrays: numbers by 64-bit keys of texts, and columns."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import DTypeLike, NDArray

Keys = NDArray[np.int64]
"""Hashes of texts, the same within a process only."""

_LEAST = 1024  # places


def key_of(text: str) -> int:
    """Return the key of a text."""
    return hash(text.encode("utf-8", "surrogatepass"))


def keys_of(texts: Iterable[str]) -> Keys:
    """Return the keys of texts."""
    all_ = list(texts)
    data = "\n".join(all_).encode("utf-8", "surrogatepass").split(b"\n")  # in one call if no text has a line feed
    return np.fromiter(map(hash, data) if len(data) == len(all_) else map(key_of, all_), np.int64)


class KeyTable:
    """A hash table of numbers.

    A place takes 12 bytes; at most half of the places are used.
    """

    def __init__(self) -> None:
        self._keys, self._numbers = _places(_LEAST)
        self._used = 0  # places, or more

    def find(self, keys: Keys) -> NDArray[np.int64]:
        """Return the numbers of keys; -1 for others."""
        found = np.full(len(keys), -1, np.int64)
        left, mask = np.arange(len(keys)), len(self._keys) - 1
        places = keys & mask
        while left.size:
            at = places[left]
            numbers, is_same = self._numbers[at], self._keys[at] == keys[left]
            is_found = is_same & (numbers >= 0)
            found[left[is_found]] = numbers[is_found]
            left = left[(numbers >= 0) & ~is_same]
            places[left] = (places[left] + 1) & mask
        return found

    def get(self, key: int) -> int:
        """Return the number of a key; -1 if it has none."""
        mask = len(self._keys) - 1
        at = key & mask
        while (number := self._numbers.item(at)) >= 0 and self._keys.item(at) != key:
            at = (at + 1) & mask
        return number

    def put(self, keys: Keys, numbers: NDArray[np.int64]) -> None:
        """Set the numbers of keys; of equal keys, the last counts."""
        self._grow(len(keys))
        left, mask = np.arange(len(keys)), len(self._keys) - 1
        places = keys & mask
        while left.size:
            at = places[left]
            is_free = self._numbers[at] < 0
            self._keys[at[is_free]] = keys[left[is_free]]  # of several for a place, the last stays
            is_own = self._keys[at] == keys[left]
            self._numbers[at[is_own]] = numbers[left[is_own]]
            self._used += int(np.count_nonzero(is_free & is_own))
            left = left[~is_own]
            places[left] = (places[left] + 1) & mask

    def set(self, key: int, number: int) -> None:
        """Set the number of a key."""
        self._grow(1)
        mask = len(self._keys) - 1
        at = key & mask
        while (found := self._numbers.item(at)) >= 0 and self._keys.item(at) != key:
            at = (at + 1) & mask
        self._used += found < 0
        self._keys[at], self._numbers[at] = key, number

    def _grow(self, more: int) -> None:
        size = len(self._keys)
        while size < 2 * (self._used + more):
            size *= 2
        if size > len(self._keys):
            is_used = self._numbers >= 0
            keys, numbers = self._keys[is_used], self._numbers[is_used].astype(np.int64)
            (self._keys, self._numbers), self._used = _places(size), 0
            self.put(keys, numbers)


class GrowingArray:
    """Rows of a growing structured array."""

    def __init__(self, fields: Sequence[tuple[str, DTypeLike]]) -> None:
        self._rows, self._count = np.zeros(_LEAST, np.dtype(list(fields))), 0

    def __len__(self) -> int:
        return self._count

    @property
    def rows(self) -> NDArray[np.void]:
        """All rows, until others are added."""
        return self._rows[: self._count]

    def extend(self, more: int) -> NDArray[np.void]:
        """Add rows of zeros; return them."""
        size = len(self._rows)
        while size < self._count + more:
            size *= 2
        if size > len(self._rows):
            rows = np.zeros(size, self._rows.dtype)
            rows[: self._count] = self.rows
            self._rows = rows
        self._count += more
        return self._rows[self._count - more : self._count]

    def append(self, *values: object) -> int:
        """Add a row; return its number."""
        self.extend(1)[0] = values
        return self._count - 1


def _places(size: int) -> tuple[Keys, NDArray[np.int32]]:
    return np.zeros(size, np.int64), np.full(size, -1, np.int32)
