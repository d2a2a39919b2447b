"""Resume a run: compare items with records and output, list remaining items."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from jp2batch.batch.deduplicate import Reads
from jp2batch.batch.options import RunOptions
from jp2batch.batch.outputs import Output
from jp2batch.batch.records.entry import RecordBook, RecordEntry
from jp2batch.batch.records.log import RecordLog
from jp2batch.batch.state.run_state import RunState
from jp2batch.compute.result import Result
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.request import Request
from jp2batch.storage.directory import StoredFile

Verdict = Literal["done", "failed", "whole", "todo"]
"""Success or failure as recorded, an output without record, or nothing."""


@dataclass(frozen=True, slots=True)
class Name:
    """Name of the result of an item, and its request."""

    name: str
    """Name of its file, group or line."""
    digest: str
    """Digest of its request."""
    is_own: bool
    """True if the id is the digest of the request."""


class EarlierRun:
    """State, records and results of earlier runs of an output."""

    def __init__(self, output: Output, log: RecordLog, state: RunState | None) -> None:
        self.output, self._log, self.state = output, log, state
        self.stamp = log.stamp()
        self._digests: Mapping[str, str] | None = None
        self.book: RecordBook = log.read()
        self._stored: Mapping[str, StoredFile] = output.stored()

    def exists(self) -> bool:
        """Return whether results or records exist."""
        return bool(self.book.lines or self._stored or self.stamp)

    def foreign(self) -> str | None:
        """Return the path of an existing output not written by this package."""
        return None if self.book.entries else self._log.foreign() or self.output.foreign()

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

    def verdict(self, item: Request, name: Name, names: Mapping[str, Name], *, verify: bool, same: bool) -> Verdict:
        """Compare an item with its record and result.

        Parameters
        ----------
        item : Request
            The item.
        name : Name
            Name of its result.
        names : mapping
            Names of all items.
        verify : bool
            True to compare the content, too.
        same : bool
            True if the unfinished run was of the same items.
        """
        entry = self.book.entries.get(item.id)
        if entry is None:
            return "whole" if self._is_adoptable(name, same=same) else "todo"
        if not entry.is_of(item):
            return "todo"
        if not entry.ok:
            return "failed"
        other = names.get(entry.output)
        is_right = self.output.fits(entry.output) and (other is None or other.digest == entry.digest)
        return "done" if is_right and self._agrees(entry, verify=verify) else "todo"

    def adopted(self, item: Request, name: str, first: Request) -> Result:
        """Return the result of an item whose output has no record."""
        file = self._stored[name]
        return Result(
            item,
            "ok",
            output=self.output.address_of(name),
            output_size=file.size,
            output_checksum=f"md5:{file.md5}" if file.md5 else None,
            adopted=True,
            same_as=None if first.id == item.id else first.id,
        )

    def others(self, names: Mapping[str, Name], *, recorded: bool) -> set[str]:
        """Return existing results that no item makes.

        If `recorded`, only those named by records.
        """
        known = self._recorded().keys() | self.book.void if recorded else self._stored.keys()
        return {name for name in known if name in self._stored and name not in names}

    def is_untidy(self, todo: Iterable[Request], *, overwrite: bool) -> bool:
        """Return whether the log will have many useless lines."""
        entries = self.book.entries
        useless = len(entries) if overwrite else sum(item.id in entries for item in todo)
        return self.book.damaged > 0 or (self.book.lines - len(entries) + useless) * 100 > self.book.lines

    def ids_of(self, names: Container[str]) -> list[str]:
        """Return the ids of the records of results."""
        return [id_ for id_, entry in self.book.entries.items() if entry.output in names]

    def outdated(self, todo: Iterable[Name]) -> list[str]:
        """Return the ids of records whose results get other content."""
        digests = {name.name: name.digest for name in todo}
        return [id_ for id_, e in self.book.entries.items() if digests.get(e.output, e.digest) != e.digest]

    def _agrees(self, entry: RecordEntry, *, verify: bool) -> bool:
        """Return whether a result has the recorded size, and content if wanted."""
        file = self._stored.get(entry.output)
        if file is None or entry.size not in (None, file.size):
            return False
        if not verify or not entry.md5:
            return True
        return entry.md5 == file.md5 or entry.md5 == self.output.md5_of(entry.output)

    def _is_adoptable(self, name: Name, *, same: bool) -> bool:
        """Return whether a result without record is whole, and of this request."""
        file = self._stored.get(name.name)
        if file is None or not file.size or self._recorded().get(name.name, name.digest) != name.digest:
            return False
        since = self.state.since if self.state is not None and same else None
        is_replaced = name.name in self.book.void or (self.state is not None and self.state.overwrite)
        is_newer = since is not None and (file.modified > since if is_replaced else file.modified >= since)
        return (is_newer or (name.is_own and not is_replaced)) and self.output.is_whole(name.name)

    def _recorded(self) -> Mapping[str, str]:
        """Return the digests of requests by the names of their recorded results."""
        if self._digests is None:
            self._digests = {entry.output: entry.digest for entry in self.book.entries.values()}
        return self._digests


@dataclass(slots=True)
class Plan:
    """Items of a run, after comparison with earlier runs."""

    todo: list[Request] = field(default_factory=list)
    """Items to run."""
    adopted: list[Result] = field(default_factory=list)
    """Results of items whose output has no record."""
    kept: int = 0
    """Number of items with a record of success, and their result."""
    names: Mapping[str, Name] = field(default_factory=dict)
    """Results of all items by name."""
    names_by_id: Mapping[str, Name] = field(default_factory=dict)
    """The same by id."""


def plan_run(
    earlier: EarlierRun, items: Sequence[Request], reads: Reads, options: RunOptions, *, fingerprint: str
) -> Plan:
    """Compare items with earlier runs; change nothing.

    Raises
    ------
    InvalidRequest
        Two items have the same output, or the records are of paths with another root.
    """
    output = earlier.output
    names = {item.id: _name_of(output, item, reads.first(item)) for item in items}
    plan = Plan(names=_distinct(items, names, ignore_case=output.is_folder), names_by_id=names)
    if not options.continues:
        plan.todo = list(items)
        return plan
    earlier.check_roots({item.shown_root for item in items}, options.output)
    same = earlier.state is not None and earlier.state.fingerprint == fingerprint
    for item in items:
        name = names[item.id]
        verdict = earlier.verdict(item, name, plan.names, verify=options.verify, same=same)
        if verdict == "done":
            plan.kept += 1
        elif verdict == "whole":
            plan.adopted.append(earlier.adopted(item, name.name, reads.first(item)))
        elif verdict == "failed" or not options.retry_failed:
            plan.todo.append(item)
    return plan


def _name_of(output: Output, item: Request, read: Request) -> Name:
    return Name(output.name_of(item, read), item.digest, read.id == item.digest)


def _distinct(items: Sequence[Request], names: Mapping[str, Name], *, ignore_case: bool) -> dict[str, Name]:
    """Return names by text, after checking that different requests have different names.

    Some file systems ignore case.

    Raises
    ------
    InvalidRequest
        Two requests have the same name.
    """
    seen: dict[str, str] = {}
    for item in items:
        name = names[item.id]
        text = name.name.lower() if ignore_case else name.name
        if seen.setdefault(text, name.digest) != name.digest:
            problem = f"its output {name.name} is also that of another request"
            raise InvalidRequest(item.shown_path, problem, "give it another id")
    return {name.name: name for name in names.values()}
