"""Resume a run: compare items with records and output, list remaining items."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from jp2batch.batch.deduplicate import ItemIds, Pair, reads_of
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
        self._digests: dict[str, str] | None = None
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

    def verdict(self, item: Request, name: Name, names: "OutputNames", *, verify: bool, same: bool) -> Verdict:
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
        entry = self.book.entries.get(item.id)
        if entry is None:
            return "whole" if self._is_adoptable(name, same=same) else "todo"
        if entry.digest != name.digest:  # the manifest may have changed, and use the same id for another request
            return "todo"
        if not entry.ok:
            return "failed"
        is_right = self.output.fits(entry.output) and names.agree(entry.output, entry.digest)
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

    def others(self, names: Container[str], *, recorded: bool) -> set[str]:
        """Return existing results that no item makes.

        If `recorded`, only those named by records.
        """
        if self.output.in_parts:
            return {id_ for id_, entry in self.book.entries.items() if entry.ok and id_ not in names}
        known = self._recorded().keys() | self.book.void if recorded else self._stored.keys()
        return {name for name in known if name in self._stored and name not in names}

    def is_untidy(self, replaced: int, *, overwrite: bool) -> bool:
        """Return whether the log has many useless lines.

        `replaced` is the number of records with successors.
        """
        entries = self.book.entries
        useless = len(entries) if overwrite else replaced
        return self.book.damaged > 0 or (self.book.lines - len(entries) + useless) * 100 > self.book.lines

    def ids_of(self, names: Container[str]) -> list[str]:
        """Return the ids of the records of results."""
        return [
            id_ for id_, entry in self.book.entries.items() if (id_ if self.output.in_parts else entry.output) in names
        ]

    def outdated(self, todo: Iterable[Name]) -> list[str]:
        """Return the ids of records whose results get other content."""
        if self.output.in_parts:
            return []
        recorded = self._recorded()
        digests = {name.name: name.digest for name in todo if recorded.get(name.name, name.digest) != name.digest}
        if not digests:
            return []
        return [id_ for id_, e in self.book.entries.items() if digests.get(e.output, e.digest) != e.digest]

    def forget(self, ids: Iterable[str]) -> None:
        """Leave out records that are void from now on."""
        for id_ in ids:
            self.book.void.add(self.book.entries.pop(id_).output)

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
        """Return the digests of requests by the names of their recorded results.

        Empty for a result of several requests.
        """
        if self._digests is None:
            self._digests = {}
            for entry in self.book.entries.values():
                if self._digests.setdefault(entry.output, entry.digest) != entry.digest:
                    self._digests[entry.output] = ""
        return self._digests


class OutputNames:
    """Names of the results of all items so far, kept as hashes.

    The name of a line is its id, which is in `ids`.
    """

    def __init__(self, ids: ItemIds, *, ignore_case: bool) -> None:
        self._ids, self._ignore_case = ids, ignore_case  # some file systems ignore case
        self._digests: dict[int, int] = {}

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._ids or self._key(name) in self._digests)

    def agree(self, name: str, digest: str) -> bool:
        """Return whether a name is of no other request."""
        return self._digests.get(self._key(name), hash(digest)) == hash(digest)

    def claim(self, item: Request, name: Name) -> None:
        """Keep the name of an item.

        Raises
        ------
        InvalidRequest
            It is also the name of another request.
        """
        if name.name == item.id:
            return
        digest = hash(name.digest)
        if self._digests.setdefault(self._key(name.name), digest) != digest:
            problem = f"its output {name.name} is also that of another request"
            raise InvalidRequest(item.shown_path, problem, "give it another id")

    def _key(self, name: str) -> int:
        return hash(name.lower() if self._ignore_case else name)


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

    @property
    def ids(self) -> set[str]:
        """Ids of the items to run."""
        return {item.id for item, _ in self.todo}


def plan_run(
    earlier: EarlierRun, items: Sequence[Request], taken: OutputNames, options: RunOptions, *, same: bool
) -> Plan:
    """Compare items with earlier runs; change nothing.

    `same` is True if the unfinished run was of the same items.

    Raises
    ------
    InvalidRequest
        Two items have the same output, or the records are of paths with another root.
    """
    reads, plan = reads_of(items), Plan()
    names = [_name_of(earlier.output, item, read) for item, read in zip(items, reads, strict=True)]
    for item, name in zip(items, names, strict=True):
        taken.claim(item, name)
    if options.continues:
        earlier.check_roots({item.shown_root for item in items}, options.output)
    for item, read, name in zip(items, reads, names, strict=True):
        verdict = earlier.verdict(item, name, taken, verify=options.verify, same=same) if options.continues else "todo"
        if verdict == "done":
            plan.kept += 1
        elif verdict == "whole":
            plan.adopted.append(earlier.adopted(item, name.name, read))
        elif verdict == "failed" or not options.retry_failed:
            plan.todo.append((item, item if earlier.output.in_parts else read))  # a row has the id of its item
            plan.names.append(name)
    return plan


def _name_of(output: Output, item: Request, read: Request) -> Name:
    return Name(output.name_of(item, read), item.digest, read.id == item.digest)
