"""Parts of records needed to resume a batch."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import orjson

from jp2batch.compute.result import Result
from jp2batch.compute.task import WrittenOutput
from jp2batch.core.request import Request


@dataclass(frozen=True, slots=True)
class RecordEntry:
    """Parts of a record needed to resume a batch."""

    line: int
    """Line number in the log, from 0."""
    ok: bool
    """True if the item succeeded."""
    digest: str
    """Digest of the request."""
    output: str
    """Name of its file or group without folders, or its id."""
    size: int | None
    """Bytes of its output; None in records of earlier versions."""
    md5: str
    """MD5 of its output in hex digits; empty if unknown."""
    failure: str
    """Type of its error; empty if it succeeded."""

    def is_of(self, request: Request) -> bool:
        """Return whether the record is of a request.

        The manifest may have changed, and use the same id for another request.
        """
        return self.digest == request.digest


@dataclass(slots=True)
class RecordBook:
    """Newest records of all items, and the outputs of replaced records."""

    entries: dict[str, RecordEntry] = field(default_factory=dict)
    """Newest valid record by id."""
    lines: int = 0
    """Number of lines, damaged and void lines included."""
    damaged: int = 0
    """Number of damaged lines."""
    roots: set[str | None] = field(default_factory=set)
    """Roots of the paths."""
    void: set[str] = field(default_factory=set)
    """Names of outputs whose records are void."""

    def add(self, line: bytes) -> None:
        """Add a line; a damaged line counts, and is otherwise ignored."""
        number, self.lines = self.lines, self.lines + 1
        try:
            record = orjson.loads(sound(line))
            self.damaged += b"\0" in line
            if "void" in record:
                self._forget(record["void"])
            else:
                self._enter(number, record)
        except (ValueError, TypeError, KeyError, AttributeError):
            self.damaged += 1

    def live_lines(self) -> set[int]:
        """Return the numbers of the lines of valid records."""
        return {entry.line for entry in self.entries.values()}

    def _enter(self, number: int, record: dict[str, object]) -> None:
        id_, digest, root = record["id"], record["digest"], record["root"]
        error, size = record["error"], record.get("output_size")
        if not (isinstance(id_, str) and isinstance(root, str | None)):
            raise TypeError
        self.entries[id_] = RecordEntry(
            line=number,
            ok=record["status"] == "ok",
            digest=id_ if digest == id_ else str(digest),
            output=str(record["output"] or "").rpartition("/")[2] or id_,
            size=size if isinstance(size, int) else None,
            md5=str(record.get("output_checksum") or "").removeprefix("md5:"),
            failure=sys.intern(str(error["type"])) if isinstance(error, dict) else "",
        )
        self.roots.add(root)

    def _forget(self, ids: object) -> None:
        """Void the records of some ids, or of all ids."""
        for id_ in list(self.entries) if ids == "all" else list(ids) if isinstance(ids, list) else ():
            entry = self.entries.pop(id_, None)
            if entry is not None:
                self.void.add(entry.output)


def book_of(lines: Iterable[bytes]) -> RecordBook:
    """Return the records of the lines of a log."""
    book = RecordBook()
    for line in lines:
        book.add(line)
    return book


def sound(line: bytes) -> bytes:
    """Return a line without the NUL bytes of a power cut."""
    return line.rpartition(b"\0")[2]


def line_of(result: Result) -> bytes:
    """Return the record of a result as a line."""
    return orjson.dumps(result.record(), default=str, option=orjson.OPT_APPEND_NEWLINE)


def void_line(ids: Sequence[str] | None) -> bytes:
    """Return a line that voids the records of ids, or all."""
    return orjson.dumps({"void": "all" if ids is None else list(ids)}, option=orjson.OPT_APPEND_NEWLINE)


def moved_line(line: bytes, written: WrittenOutput) -> bytes:
    """Return a record with another output."""
    moved = {"output": written.path, "output_size": written.size, "output_checksum": written.checksum}
    return orjson.dumps(orjson.loads(sound(line)) | moved, option=orjson.OPT_APPEND_NEWLINE)


def starts_records(first: bytes) -> bool:
    """Return whether a line can be the first of a log."""
    if not first.strip(b"\0\n") or (not first.endswith(b"\n") and first.startswith(b"{")):
        return True
    return bool(book_of([first]).entries) or first.startswith(b'{"void":')
