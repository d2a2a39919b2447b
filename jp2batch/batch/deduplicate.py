"""Give items distinct ids; read equal requests once."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from jp2batch.batch.key_table import GrowingArray, Keys, KeyTable, key_of
from jp2batch.batch.manifest.digested import Row, RowBlock, request_of
from jp2batch.compute.result import Result
from jp2batch.core.request import Request


def items_of(requests: Iterable[Request]) -> list[Request]:
    """Return an item for each request, all with different ids.

    Equal requests can share an id, e.g. two rows without an id. The first keeps it; the others get "-2", "-3" and so on
    appended, in order, skipping ids in use. The same manifest always gives the same items.
    """
    rows, ids = list(requests), ItemIds()
    for row in rows:
        ids.claim(row)
    return [request_of(ids.item(row)) for row in rows]


class ItemIds:
    """Ids of the rows of a batch, kept as hashes.

    A million ids take some 50 MB.
    """

    def __init__(self) -> None:
        self._places = KeyTable()
        self._rows = GrowingArray([("number", np.int64), ("digest", np.int64), ("issued", np.bool_)])
        self._last: dict[str, int] = {}  # the last number appended to an id

    def claim(self, row: Row, number: int = 0) -> int | None:
        """Keep an id for a row.

        Return the number of an earlier row of another request with this id, if any.
        """
        key, digest = key_of(row.id), key_of(row.digest)
        place = self._places.get(key)
        if place < 0:
            self._places.set(key, self._rows.append(number, digest, False))
            return None
        found = self._rows.rows[place]
        return int(found["number"]) if found["number"] and found["digest"] != digest else None

    def issue(self, rows: RowBlock, numbers: Sequence[int]) -> bool:
        """Keep the ids of rows as items; return whether all are new.

        If not, nothing is kept.
        """
        keys = rows.ids
        if (self._places.find(keys) >= 0).any() or len(np.unique(keys)) < len(keys):
            return False
        self._places.put(keys, np.arange(len(self._rows), len(self._rows) + len(rows)))
        new = self._rows.extend(len(rows))
        new["number"], new["digest"], new["issued"] = numbers, rows.digests, True
        return True

    def __contains__(self, id_: str) -> bool:
        return self._places.get(key_of(id_)) >= 0

    def have(self, ids: Keys) -> NDArray[np.bool_]:
        """Return whether ids are kept."""
        return self._places.find(ids) >= 0

    def item(self, row: Row) -> Row:
        """Return the item of a row whose id was claimed.

        A number is appended to an id that another item has.
        """
        issued = self._rows.rows["issued"]
        place = self._places.get(key_of(row.id))
        if not issued[place]:
            issued[place] = True
            return row
        number = self._last.get(row.id, 1) + 1
        while f"{row.id}-{number}" in self:
            number += 1
        self._last[row.id] = number
        item = replace(request_of(row), id=f"{row.id}-{number}")
        self._places.set(key_of(item.id), self._rows.append(0, 0, True))
        return item


def reads_of(items: Iterable[Request]) -> list[Request]:
    """Return the read of each item: the first of equal requests."""
    first: dict[object, Request] = {}
    return [first.setdefault(_asked(item), item) for item in items]


Pair = tuple[Request, Request]
"""An item, and its read."""


class ReadQueue:
    """Queue of reads in order; items may follow later.

    Equal requests are read once if they are known before their read ends.

    Parameters
    ----------
    more : callable
        Returns further items with their reads; none if none are known yet; None at the end.
    """

    def __init__(self, more: Callable[[], Sequence[Pair] | None]) -> None:
        self._more = more
        self._reads, self._items = deque[Request](), dict[object, list[tuple[int, Request]]]()
        self._count, self._ended = 0, False

    @classmethod
    def of(cls, items: Sequence[Request]) -> Self:
        """Return a queue with all items from the start."""
        parts = iter([list(zip(items, reads_of(items), strict=True))])
        return cls(lambda: next(parts, None))

    @property
    def exhausted(self) -> bool:
        """True if all reads have been taken."""
        return self._ended and not self._reads

    def take(self, count: int) -> list[Request]:
        """Return the next reads as far as they are known."""
        while len(self._reads) < count and not self._ended:
            pairs = self._more()
            if not pairs:
                self._ended = pairs is None
                break
            for item, read in pairs:
                self._enter(item, read)
        return [self._reads.popleft() for _ in range(min(count, len(self._reads)))]

    def results(self, result: Result) -> list[tuple[int, Result]]:
        """Return (index, result) of the items of a read."""
        (place, first), *others = self._items.pop(_asked(result.request))
        own = replace(result, request=first, same_as=None)
        return [(place, own), *((n, replace(result, request=item, same_as=first.id)) for n, item in others)]

    def _enter(self, item: Request, read: Request) -> None:
        items = self._items.setdefault(_asked(read), [])
        if not items:
            self._reads.append(read)
        items.append((self._count, item))
        self._count += 1


def _asked(request: Request) -> object:
    """Return a key of the read, equal if the digests are equal."""
    return request.path, request.rlevel, request.window, request.area, request.root and request.root.rstrip("/")
