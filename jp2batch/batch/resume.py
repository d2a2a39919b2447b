"""Resume a run: compare items with records and output, list remaining items."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jp2batch.batch.deduplicate import Pair, reads_of
from jp2batch.batch.key_table import Keys, KeyTable, key_of, keys_of
from jp2batch.batch.manifest.digested import Row, request_of, row_keys
from jp2batch.batch.options import RunOptions
from jp2batch.batch.output_names import Name, OutputNames
from jp2batch.batch.outputs import Output
from jp2batch.batch.outputs.listing import FileListing, Listing
from jp2batch.batch.records.book import UNKNOWN, RecordBook, live_entries
from jp2batch.batch.records.log import RecordLog
from jp2batch.batch.state.run_state import RunState
from jp2batch.compute.result import Result
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.request import Request

Verdict = Literal["done", "failed", "outside", "whole", "todo"]
"""A status as recorded, an output without record, or nothing."""


class EarlierRun:
    """State, records and results of earlier runs of an output."""

    def __init__(self, output: Output, log: RecordLog, state: RunState | None) -> None:
        self.output, self._log, self.state = output, log, state
        self.stamp = log.stamp()
        self.book: RecordBook = log.read()
        stored = output.stored(self.book)
        self._stored = stored if isinstance(stored, Listing) else FileListing(stored)
        self._outputs: KeyTable | RecordBook | None = None
        self._digests: Keys = np.empty(0, np.int64)

    def exists(self) -> bool:
        """Return whether results or records exist."""
        return bool(self.book.lines or self._stored or self.stamp)

    def foreign(self) -> str | None:
        """Return the path of an existing output not written by this package."""
        return None if len(self.book) else self._log.foreign() or self.output.foreign()

    def check_roots(self, roots: set[str | None], output: str) -> None:
        """Refuse records of paths with other roots.

        Raises
        ------
        InvalidRequest
            No item has the root of a record.
        """
        if self.book.roots and self.book.roots.isdisjoint(roots):
            earlier = min(root or "" for root in self.book.roots)
            problem = "its records are of paths " + (f"with root {earlier}" if earlier else "without root")
            hint = f"give root={earlier}" if earlier else "leave out root="
            raise InvalidRequest(output, problem, f"{hint}, or another output")

    def done(self, ids: Keys, digests: Keys) -> NDArray[np.int64]:
        """Return the rows of the records of finished items, else -1.

        Equal items are left to `verdict`: they may share a result.
        """
        rows = self.book.find(ids)
        rows[np.isin(digests, _repeated(digests))] = -1
        places = np.flatnonzero(rows >= 0)
        records = self.book.columns[rows[places]]
        listed = self._stored.find(records["output"])
        sizes = self._stored.sizes[listed] if len(self._stored.sizes) else listed
        fits = np.array([self.output.fits(ending) for ending in self.book.endings])
        is_done = records["ok"] & (records["digest"] == digests[places]) & fits[records["ending"]]
        is_done &= (listed >= 0) & ((records["size"] == sizes) | (records["size"] < 0))
        rows[places[~is_done]] = -1
        return rows

    def verdict(self, item: Request, name: Name, names: OutputNames, *, verify: bool, same: bool) -> Verdict:
        """Compare an item with its record and result.

        Parameters
        ----------
        item : Request
            The item.
        name : Name
            Name of its result.
        names : OutputNames
            Names of all items so far.
        verify : bool
            True to compare the content, too.
        same : bool
            True if the unfinished run was of the same items.
        """
        row = self.book.row(item.id)
        if row < 0:
            return "whole" if self._is_adoptable(name, same=same) else "todo"
        record = self.book.columns[row]
        if record["digest"] != key_of(name.digest):  # the manifest may have changed, and use the same id for another
            return "todo"
        if not record["ok"]:
            return "outside" if record["outside"] else "failed"
        is_right = self.output.fits(self.book.endings[record["ending"]]) and names.agree(self.book.columns[[row]]).all()
        return "done" if is_right and self._agrees(record, verify=verify) else "todo"

    def adopted(self, item: Request, name: str, first: Request) -> Result:
        """Return the result of an item whose output has no record."""
        file = self._stored.unrecorded(name)
        if file is None:
            raise KeyError(name)
        return Result(
            item,
            "ok",
            output=self.output.address_of(name),
            output_size=file.size,
            output_checksum=f"md5:{file.md5}" if file.md5 else None,
            adopted=True,
            same_as=None if first.id == item.id else first.id,
        )

    def others(self, names: OutputNames, *, recorded: bool) -> set[str]:
        """Return existing results of no item.

        If `recorded`, only those named by records.
        """
        if self.output.in_parts:
            columns = self.book.columns
            rows = np.flatnonzero(self.book.live & columns["ok"])
            return set(self._ids_of_rows(rows[~names.has_ids(columns["id"][rows])]))
        others = [name for name in self._stored if name not in names]
        is_known = self._recorded(keys_of(others)) >= 0
        return {
            name
            for name, known in zip(others, is_known, strict=True)
            if known or not recorded or self.book.is_void(name)
        }

    def is_untidy(self, replaced: int, *, overwrite: bool) -> bool:
        """Return whether the log has many useless lines.

        `replaced` is the number of records with successors.
        """
        lines, live = self.book.lines, len(self.book)
        return self.book.damaged > 0 or (lines - live + (live if overwrite else replaced)) * 100 > lines

    def ids_of(self, names: Container[str]) -> list[str]:
        """Return the ids of the records of results."""
        entries = (entry for _, entry in live_entries(self._log.lines(), self.book.live))
        return [entry.id for entry in entries if (entry.id if self.output.in_parts else entry.output) in names]

    def outdated(self, todo: Sequence[Name]) -> list[str]:
        """Return the ids of records whose results get other content."""
        if self.output.in_parts or not todo:
            return []
        outputs, digests = (keys_of(texts) for texts in zip(*((name.name, name.digest) for name in todo), strict=True))
        is_other = ~self._may_be_of(outputs, digests)
        if not is_other.any():
            return []
        changed, columns = KeyTable(), self.book.columns
        changed.put(outputs[is_other], np.flatnonzero(is_other))
        place = changed.find(columns["output"])
        return self._ids_of_rows(np.flatnonzero(self.book.live & (place >= 0) & (columns["digest"] != digests[place])))

    def forget(self, ids: Iterable[str]) -> None:
        """Leave out records void from now on."""
        self.book.forget(self.book.find(keys_of(ids)))

    def _agrees(self, record: np.void, *, verify: bool) -> bool:
        """Return whether a result has the recorded size, and content if wanted."""
        (row,) = self._stored.find(np.array([record["output"]]))
        if row < 0 or record["size"] not in (-1, self._stored.sizes[row]):
            return False
        md5 = record["md5"].tobytes().hex()
        if not verify or md5 == UNKNOWN:
            return True
        name = self._stored.name_at(int(row))
        return bool(md5 == self._stored[name].md5 or md5 == self.output.md5_of(name))

    def _is_adoptable(self, name: Name, *, same: bool) -> bool:
        """Return whether a result without record is whole, and of this request."""
        file = self._stored.unrecorded(name.name)
        if file is None or not file.size or not self._may_be_of(keys_of([name.name]), keys_of([name.digest])).all():
            return False
        since = self.state.since if self.state is not None and same else None
        is_replaced = self.book.is_void(name.name) or (self.state is not None and self.state.overwrite)
        is_newer = since is not None and (file.modified > since if is_replaced else file.modified >= since)
        return (is_newer or (name.is_own and not is_replaced)) and self.output.is_whole(name.name)

    def _may_be_of(self, outputs: Keys, digests: Keys) -> NDArray[np.bool_]:
        """Return whether a result may be of its request, by the records."""
        rows = self._recorded(outputs)
        return (rows < 0) | (self._digests[rows] == digests) if len(self._digests) else rows < 0

    def _recorded(self, outputs: Keys) -> NDArray[np.int64]:
        """Return the rows of recorded results; -1 for others."""
        columns = self.book.columns
        if self._outputs is None:
            rows = np.flatnonzero(self.book.live)
            names, self._digests = columns["output"][rows], columns["digest"]
            self._outputs = self.book
            if (names != columns["id"][rows]).any():  # results are not named by ids
                self._outputs, self._digests = KeyTable(), self._digests.copy()
                self._outputs.put(names, rows)
                first = self._outputs.find(names)
                self._digests[first[self._digests[first] != self._digests[rows]]] = 0  # of several requests
        return self._outputs.find(outputs)

    def _ids_of_rows(self, rows: NDArray[np.int64]) -> list[str]:
        """Read the ids of records."""
        wanted = np.zeros(self.book.lines, np.bool_)
        wanted[rows] = True
        return [entry.id for _, entry in live_entries(self._log.lines(), wanted)] if len(rows) else []


@dataclass(slots=True)
class Plan:
    """Some items of a run, after comparison with earlier runs."""

    todo: list[Pair] = field(default_factory=list)
    """Items to run, and their reads."""
    names: list[Name] = field(default_factory=list)
    """Names of their results."""
    adopted: list[Result] = field(default_factory=list)
    """Results of items whose output has no record."""
    kept: int = 0
    """Number of items with a record of success, and their result."""
    outside: int = 0
    """Number of items recorded as outside their images."""

    @property
    def ids(self) -> set[str]:
        """Ids of the items to run."""
        return {item.id for item, _ in self.todo}


def plan_run(earlier: EarlierRun, rows: Sequence[Row], taken: OutputNames, options: RunOptions, *, same: bool) -> Plan:
    """Compare items with earlier runs; change nothing.

    `same` is True if the unfinished run was of the same items.

    Raises
    ------
    InvalidRequest
        Two items have the same output, or the records are of paths with another root.
    """
    plan, done = Plan(), np.full(len(rows), -1)
    if options.continues and not options.verify:
        done = earlier.done(*row_keys(rows))
    left = _named(earlier.output, [rows[place] for place in np.flatnonzero(done < 0).tolist()], taken)
    if earlier.output.is_folder:  # results may share names
        places = np.flatnonzero(done >= 0)
        is_own = taken.claim_recorded(earlier.book.columns[done[places]])
        done[places[~is_own]] = -1
        left += _named(earlier.output, [rows[place] for place in places[~is_own]], taken)
    plan.kept = int(np.count_nonzero(done >= 0))
    if options.continues and left and not plan.kept:
        earlier.check_roots({item.shown_root for item, _, _ in left}, options.output)
    for item, first, name in left:
        read = item if earlier.output.in_parts else first  # a row has the id of its item
        verdict = earlier.verdict(item, name, taken, verify=options.verify, same=same) if options.continues else "todo"
        if verdict == "done":
            plan.kept += 1
        elif verdict == "outside":
            plan.outside += 1
        elif verdict == "whole":
            plan.adopted.append(earlier.adopted(item, name.name, read))
        elif verdict == "failed" or not options.retry_failed:
            plan.todo.append((item, read))
            plan.names.append(name)
    return plan


def _repeated(digests: Keys) -> Keys:
    """Return the digests of several items."""
    found, counts = np.unique(digests, return_counts=True)
    return found[counts > 1]


def _named(output: Output, rows: Iterable[Row], taken: OutputNames) -> list[tuple[Request, Request, Name]]:
    """Return items, their reads and names; keep the names."""
    items = [request_of(row) for row in rows]
    reads = reads_of(items)
    names = [
        Name(text := output.name_of(item, read), item.digest, (item if text == item.id else read).id == item.digest)
        for item, read in zip(items, reads, strict=True)
    ]
    for item, name in zip(items, names, strict=True):
        taken.claim(item, name)
    return list(zip(items, reads, names, strict=True))
