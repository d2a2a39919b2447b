"""Give items distinct ids; read equal requests once."""

from collections.abc import Container, Iterable
from dataclasses import replace

from jp2batch.compute.result import Result
from jp2batch.core.request import Request

_BITS = 60
_MASK = (1 << _BITS) - 1


def items_of(requests: Iterable[Request]) -> list[Request]:
    """Return an item for each request, all with different ids.

    Equal requests can share an id, e.g. two rows without an id. The first keeps it; the others get "-2", "-3" and so on
    appended, in order, skipping ids in use. The same manifest always gives the same items.
    """
    rows, ids = list(requests), ItemIds()
    for row in rows:
        ids.claim(row)
    return [ids.item(row) for row in rows]


class ItemIds:
    """Ids of the rows of a batch, kept as hashes.

    A million ids take some 120 MB.
    """

    def __init__(self) -> None:
        self._rows: dict[int, int] = {}  # of the hash of an id: row number, hash of the request, whether it is issued
        self._last: dict[str, int] = {}  # the last number appended to an id

    def claim(self, row: Request, number: int = 0) -> int | None:
        """Keep an id for a row.

        Return the number of an earlier row of another request with this id, if any.
        """
        asked = hash(row) & _MASK
        found = self._rows.setdefault(hash(row.id) & _MASK, (number << _BITS | asked) << 1)
        first = found >> _BITS + 1
        return first if first and (found >> 1) & _MASK != asked else None

    def item(self, row: Request) -> Request:
        """Return the item of a row whose id was claimed.

        A number is appended to an id that another item has.
        """
        key = hash(row.id) & _MASK
        if not self._rows[key] & 1:
            self._rows[key] |= 1
            return row
        number = self._last.get(row.id, 1) + 1
        while (key := hash(f"{row.id}-{number}") & _MASK) in self._rows:
            number += 1
        self._last[row.id] = number
        self._rows[key] = 1
        return replace(row, id=f"{row.id}-{number}")


class Reads:
    """Map from reads to items: equal requests are read once."""

    def __init__(self, items: Iterable[Request]) -> None:
        self._items: dict[object, list[tuple[int, Request]]] = {}
        for place, item in enumerate(items):
            self._items.setdefault(_asked(item), []).append((place, item))

    def all(self) -> list[Request]:
        """Return the request of each read: its first item."""
        return [items[0][1] for items in self._items.values()]

    def first(self, item: Request) -> Request:
        """Return the request of the read of an item."""
        return self._items[_asked(item)][0][1]

    def of(self, items: Iterable[Request]) -> list[Request]:
        """Return the requests of the reads needed for some items."""
        return [self._items[asked][0][1] for asked in dict.fromkeys(map(_asked, items))]

    def results(self, result: Result, wanted: Container[str] | None = None) -> list[tuple[int, Result]]:
        """Return (index, result) of the items of a read.

        `wanted` limits them to items with these ids.
        """
        items = self._items[_asked(result.request)]
        if wanted is not None:
            items = [(place, item) for place, item in items if item.id in wanted]
        first = items[0][1]
        own = replace(result, request=first, same_as=None)
        others = [(place, replace(result, request=item, same_as=first.id)) for place, item in items[1:]]
        return [(items[0][0], own), *others]


def _asked(request: Request) -> object:
    """Return a key of the read, equal if the digests are equal."""
    return request.path, request.rlevel, request.window, request.root and request.root.rstrip("/")
