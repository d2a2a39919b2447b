"""Items of a batch, known or still being read."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from jp2batch.batch.deduplicate import ItemIds
from jp2batch.batch.manifest.digested import Row, RowBlock, request_of
from jp2batch.batch.manifest.read import Manifest
from jp2batch.batch.manifest.requests import ReadRow
from jp2batch.batch.read_ahead import ReadAhead
from jp2batch.core.errors import ManifestError
from jp2batch.core.request import Request

AHEAD = 50_000
"""Rows of a manifest checked before a run begins."""
_PART = 5_000  # later rows that are read ahead
_PATIENCE = 2.0  # seconds to collect the first rows of a pipe
_GATHER = 0.05  # seconds to collect later rows of a file: a few at a time cost more
_FOREVER = 10.0**9
_MOST_BAD = 1000  # rows that are kept to be told


class ItemSource(Protocol):
    """Items of a batch, part by part."""

    first: list[Request]
    """Items available before the batch begins."""
    whole: bool
    """True if these are all items."""
    ids: ItemIds
    """Ids of the items up to now."""

    def read_all(self) -> None:
        """Wait for all items, and make them the first."""

    def more(self) -> Sequence[Row] | None:
        """Return the next items available; None at the end."""

    def refusal(self) -> ManifestError | None:
        """Return the error of bad rows among the later rows, if any."""

    def close(self) -> None:
        """Stop reading."""


class ItemList:
    """Items of a list of requests."""

    whole = True

    def __init__(self, requests: Iterable[Request]) -> None:
        rows, self.ids = list(requests), ItemIds()
        for row in rows:
            self.ids.claim(row)
        self.first = [request_of(self.ids.item(row)) for row in rows]

    def read_all(self) -> None:
        """Do nothing."""

    def more(self) -> Sequence[Row] | None:
        """Return None."""
        return None

    def refusal(self) -> ManifestError | None:
        """Return None."""
        return None

    def close(self) -> None:
        """Do nothing."""


class ItemStream:
    """Items of a manifest, read during the run.

    The first 50,000 rows are checked before anything begins; of a pipe, those that arrive within 2 seconds. Their ids
    are not given to other rows. Later bad rows are kept to be told.

    Raises
    ------
    ManifestError
        First rows are bad, or there are no rows.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.ids = ItemIds()
        self._manifest, self._bad = manifest, list[tuple[int, str]]()
        self._rows: ReadAhead[ReadRow] = ReadAhead(manifest.digested_rows(), AHEAD)
        self._rows.wait(_PATIENCE if manifest.is_pipe else _FOREVER, AHEAD)
        self._rows.wait(_FOREVER)
        rows = self._rows.take(AHEAD)
        items: Sequence[Row] | None = self._issued(rows)
        if items is None:
            claimed = [row for number, read in self._whole(rows) if (row := self._claimed(number, read)) is not None]
            items = [] if self._bad else [self.ids.item(row) for row in claimed]
        if not items:
            self.close()
            raise manifest.refusal(self._bad)
        self.first = list(map(request_of, items))
        self.whole = self._rows.exhausted
        self._rows.most = 2 * _PART

    def read_all(self) -> None:
        """Wait for all items, and make them the first.

        Raises
        ------
        ManifestError
            Rows are bad.
        """
        while (items := self.more()) is not None:
            self.first += map(request_of, items)
            self._rows.wait(_PATIENCE)
        self.whole = True
        if bad := self.refusal():
            raise bad

    def more(self) -> Sequence[Row] | None:
        """Return the next items available; None at the end."""
        if not self._manifest.is_pipe:
            self._rows.wait(_GATHER, _PART)
        rows = self._rows.take(_PART)
        if not rows and self._rows.exhausted:
            return None
        block = self._issued(rows)
        if block is not None:
            return block
        items = list[Row]()
        for number, read in self._whole(rows):  # one by one: an id must not depend on how many rows are there already
            row = self._claimed(number, read)
            if row is not None:
                items.append(self.ids.item(row))
        return items

    def refusal(self) -> ManifestError | None:
        """Return the error of bad rows among the later rows, if any."""
        return self._manifest.refusal(self._bad) if self._bad else None

    def close(self) -> None:
        """Stop reading."""
        self._rows.close()

    def _issued(self, rows: Sequence[ReadRow]) -> RowBlock | None:
        """Return rows as items if all are valid, with new ids."""
        valid = [row for _, row in rows if not isinstance(row, str)]
        if len(valid) < len(rows):
            return None
        items = self._manifest.block(valid)
        return items if self.ids.issue(items, [number for number, _ in rows]) else None

    def _whole(self, rows: Iterable[ReadRow]) -> Iterator[tuple[int, Row | str]]:
        """Iterate over row numbers with rows, or messages."""
        for number, row in rows:
            yield number, self._manifest.row(row) if isinstance(row, tuple) else row

    def _claimed(self, number: int, row: Row | str) -> Row | None:
        """Return a row whose id is claimed; None for a bad row."""
        fault = row if isinstance(row, str) else self._manifest.claim(number, row, self.ids)
        if fault is None and not isinstance(row, str):
            return row
        if len(self._bad) >= _MOST_BAD:
            raise self._manifest.refusal(self._bad)
        self._bad.append((number, str(fault)))
        return None
