"""Give items distinct ids; read equal requests once."""

from collections.abc import Iterable, Sequence
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
        self._items: dict[str, list[Request]] = {}
        for item in items:
            self._items.setdefault(item.digest, []).append(item)

    def all(self) -> list[Request]:
        """Return a request for each read: its first item."""
        return [items[0] for items in self._items.values()]

    def of(self, items: Iterable[Request]) -> list[Request]:
        """Return the requests of the reads needed for some items."""
        return [self._items[digest][0] for digest in dict.fromkeys(item.digest for item in items)]

    def results(self, result: Result, wanted: set[str]) -> Sequence[Result]:
        """Return the results of a read's items with ids in `wanted`."""
        first, *others = (item for item in self._items[result.request.digest] if item.id in wanted)
        return [
            replace(result, request=first, same_as=None),
            *(replace(result, request=item, same_as=first.id) for item in others),
        ]
