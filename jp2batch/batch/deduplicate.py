"""Give items distinct ids; read equal requests once."""

from collections.abc import Container, Iterable
from dataclasses import replace

from jp2batch.compute.result import Result
from jp2batch.core.request import Request


def items_of(requests: Iterable[Request]) -> list[Request]:
    """Return an item for each request, all with different ids.

    Equal requests can share an id, e.g. two rows without an id. The first keeps it; the others get "-2", "-3" and so on
    appended, in order, skipping ids in use. The same manifest always gives the same items.
    """
    rows = list(requests)
    taken = {row.id for row in rows}
    if len(taken) == len(rows):
        return rows
    met: dict[str, int] = {}
    return [_distinct(row, met, taken) for row in rows]


def _distinct(row: Request, met: dict[str, int], taken: set[str]) -> Request:
    number = met.get(row.id, 0) + 1
    id_ = row.id
    while number > 1 and (id_ := f"{row.id}-{number}") in taken:
        number += 1
    met[row.id] = number
    taken.add(id_)
    return row if number == 1 else replace(row, id=id_)


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
