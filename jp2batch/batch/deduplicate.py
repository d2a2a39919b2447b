"""The items of a batch: a row of the manifest each, with an id of its own; and the reads that serve them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from jp2batch.compute.result import Result
from jp2batch.core.request import Request


def items_of(requests: Iterable[Request]) -> list[Request]:
    """Return an item for each request, all with different ids.

    Rows may share an id if they ask the same, as two that give none do. The first keeps it; to the others "-2", "-3"
    and so on is added, in their order, past ids that others have. So the same manifest always gives the same items.
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
    """Which items one read serves: what is asked several times is read once, for the first item that asks it."""

    def __init__(self, items: Iterable[Request]) -> None:
        self._items: dict[str, list[Request]] = {}
        for item in items:
            self._items.setdefault(item.digest, []).append(item)

    def all(self) -> list[Request]:
        """Return a request for each read."""
        return [items[0] for items in self._items.values()]

    def of(self, items: Iterable[Request]) -> list[Request]:
        """Return the requests of the reads that serve some items."""
        return [self._items[digest][0] for digest in dict.fromkeys(item.digest for item in items)]

    def results(self, result: Result, wanted: set[str]) -> Sequence[Result]:
        """Return the results of all items that a read serves and whose ids are wanted."""
        first, *others = (item for item in self._items[result.request.digest] if item.id in wanted)
        return [
            replace(result, request=first, same_as=None),
            *(replace(result, request=item, same_as=first.id) for item in others),
        ]
