"""Records: one line of JSON for each item of a batch, by which an interrupted batch is resumed."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import orjson

from jp2batch.compute.result import Result
from jp2batch.core.request import Request

RECORDS = "records.ndjson"
"""What a file of records is called, or what is added to the name of the output."""

_BLOCK = 1 << 20  # bytes in which the last line is searched


@dataclass(frozen=True, slots=True)
class RecordEntry:
    """What a batch needs to know of a record."""

    line: int
    """Its number in the file, from 0."""
    ok: bool
    """Whether the item was done."""
    digest: str
    """What was asked."""
    root: str | None
    """The root that the path was below of."""
    output: str
    """The name of its file or group, without folders; empty where it has none."""
    failure: str
    """The type of its error, if any."""

    def is_of(self, request: Request) -> bool:
        """Tell whether this is about what a request asks: an id may have got another meaning."""
        return self.digest == request.digest


def records_beside(path: Path) -> Path:
    """Return where the records of an output go that is a file."""
    return path.with_name(f"{path.name}.{RECORDS}")


def read_records(path: Path) -> dict[str, RecordEntry]:
    """Return the last record of each id in a file; none if there is no file."""
    if not path.exists():
        return {}
    with path.open("rb") as file:
        return parse_records(file)


def parse_records(lines: Iterable[bytes]) -> dict[str, RecordEntry]:
    """Return the last record of each id; skip lines that are no records, such as a cut last line."""
    found = (_parsed(number, line) for number, line in enumerate(lines))
    return dict(pair for pair in found if pair is not None)


def are_records(path: Path) -> bool:
    """Return whether a file may be one of records; True if there is no file."""
    if not path.exists():
        return True
    with path.open("rb") as file:
        return starts_records(file.readline())


def starts_records(first: bytes) -> bool:
    """Return whether a first line may be that of records: a record, a cut record, or nothing."""
    return not first or (not first.endswith(b"\n") and first.startswith(b"{")) or _parsed(0, first) is not None


def keep_records(path: Path, entries: Iterable[RecordEntry]) -> None:
    """Drop all lines but those of `entries`, which `read_records` has returned, at one stroke."""
    if not path.exists():
        return
    wanted = {entry.line for entry in entries}
    with path.open("rb") as file:
        if all(number in wanted for number, _ in enumerate(file)):
            return
        file.seek(0)
        rewrite(path, (line for number, line in enumerate(file) if number in wanted))


def rewrite(path: Path, lines: Iterable[bytes]) -> None:
    """Replace a file by one of these lines, that is there whole or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        with fresh.open("wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())  # a power cut must not leave an empty file in place of the old one
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)  # there only if the disk is full, or the like


def end_last_line(path: Path) -> None:
    """End the last line of a file with a line feed; drop it if it is cut.

    Done in place: a copy of a large file would need its space again, and no whole line is lost.
    """
    if not path.is_file():
        return
    with path.open("r+b") as file:
        start = _start_of_last_line(file)
        file.seek(start)
        tail = file.read()
        if is_json(tail):
            file.write(b"\n")
        elif tail:
            file.truncate(start)


class LineWriter:
    """Appends lines to a file; each is in it, as a whole, before the next begins. Without a path, nowhere.

    A cut last line is repaired when the first line is appended, not before.
    """

    def __init__(self, path: Path | None) -> None:
        # Not buffered: what a full disk has refused must not be tried again when the file is closed.
        self._file = None if path is None else path.open("ab", buffering=0)
        self._unended = path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def append(self, line: bytes) -> None:
        """Write a line, which ends in a line feed."""
        if self._file is not None:
            if self._unended is not None:
                end_last_line(self._unended)
                self._unended = None
            left = memoryview(line)
            while left:
                left = left[self._file.write(left) :]


def line_of(result: Result) -> bytes:
    """Return the record of a result, as a line."""
    return orjson.dumps(result.record(), default=str, option=orjson.OPT_APPEND_NEWLINE)


def whole_lines(file: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Iterate over (offset, line), without a last line that has no end."""
    offset = 0
    for line in file:
        if line.endswith(b"\n"):
            yield offset, line
        offset += len(line)


def is_json(line: bytes) -> bool:
    """Return whether a line is a JSON object, and not cut."""
    try:
        return isinstance(orjson.loads(line), dict)
    except ValueError:
        return False


def _start_of_last_line(file: BinaryIO) -> int:
    """Return the offset behind the last line feed."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - _BLOCK)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _parsed(number: int, line: bytes) -> tuple[str, RecordEntry] | None:
    try:
        record = orjson.loads(line) if line.endswith(b"\n") else None
        if record is None:
            return None
        entry = RecordEntry(
            line=number,
            ok=record["status"] == "ok",
            digest=str(record["digest"]),
            root=record["root"],
            output=(record["output"] or "").rpartition("/")[2],
            failure=(record["error"] or {}).get("type", ""),
        )
        return str(record["id"]), entry
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
