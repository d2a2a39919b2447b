"""Read and write records: a JSON line per item, used to resume."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import orjson

from jp2batch.compute.result import Result
from jp2batch.core.request import Request

RECORDS = "records.ndjson"
"""Name of the records in a folder; suffix beside a file."""

_BLOCK = 1 << 20  # bytes per step of the search for the last line


@dataclass(frozen=True, slots=True)
class RecordEntry:
    """Parts of a record needed to resume a batch."""

    line: int
    """Line number in the file, from 0."""
    ok: bool
    """True if the item succeeded."""
    digest: str
    """Digest of the request."""
    root: str | None
    """Root of the request's path."""
    output: str
    """Name of its file or group, without folders; empty if none."""
    failure: str
    """Type of its error; empty if it succeeded."""

    def is_of(self, request: Request) -> bool:
        """Return whether the record is of a request.

        The manifest may have changed, and use the same id for another request.
        """
        return self.digest == request.digest


def records_beside(path: Path) -> Path:
    """Return the path of the records beside an output file."""
    return path.with_name(f"{path.name}.{RECORDS}")


def read_records(path: Path) -> dict[str, RecordEntry]:
    """Return the last record of each id; empty without a file."""
    if not path.exists():
        return {}
    with path.open("rb") as file:
        return parse_records(file)


def parse_records(lines: Iterable[bytes]) -> dict[str, RecordEntry]:
    """Return the last record of each id.

    Other lines, such as a truncated last line, are skipped.
    """
    found = (_parsed(number, line) for number, line in enumerate(lines))
    return dict(pair for pair in found if pair is not None)


def are_records(path: Path) -> bool:
    """Return whether a file holds records; True without a file."""
    if not path.exists():
        return True
    with path.open("rb") as file:
        return starts_records(file.readline())


def starts_records(first: bytes) -> bool:
    """Return whether a line is a record, a truncated record, or empty."""
    return not first or (not first.endswith(b"\n") and first.startswith(b"{")) or _parsed(0, first) is not None


def keep_records(path: Path, entries: Iterable[RecordEntry]) -> None:
    """Remove all lines except `entries` from a file, atomically.

    `entries` come from `read_records`.
    """
    if not path.exists():
        return
    wanted = {entry.line for entry in entries}
    with path.open("rb") as file:
        if all(number in wanted for number, _ in enumerate(file)):
            return
        file.seek(0)
        rewrite(path, (line for number, line in enumerate(file) if number in wanted))


def rewrite(path: Path, lines: Iterable[bytes]) -> None:
    """Replace a file atomically by a file of these lines."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        with fresh.open("wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())  # a power cut must not replace the old file by an empty one
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)  # exists only after an error, e.g. a full disk


def end_last_line(path: Path) -> None:
    """End the last line of a file; remove it if truncated.

    The file is changed in place: a copy would need as much disk space again, and no complete line can be lost.
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
    """Append lines to a file, without buffering; without a path, do nothing.

    A truncated last line is repaired when the first line is appended, not before.
    """

    def __init__(self, path: Path | None) -> None:
        # Not buffered: close() must not retry a write that failed because the disk is full.
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
        """Write a line, including its line feed."""
        if self._file is not None:
            if self._unended is not None:
                end_last_line(self._unended)
                self._unended = None
            left = memoryview(line)
            while left:
                left = left[self._file.write(left) :]


def line_of(result: Result) -> bytes:
    """Return the record of a result as a line."""
    return orjson.dumps(result.record(), default=str, option=orjson.OPT_APPEND_NEWLINE)


def whole_lines(file: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Iterate over (offset, line) of lines with a line feed."""
    offset = 0
    for line in file:
        if line.endswith(b"\n"):
            yield offset, line
        offset += len(line)


def is_json(line: bytes) -> bool:
    """Return whether a line is a complete JSON object."""
    try:
        return isinstance(orjson.loads(line), dict)
    except ValueError:
        return False


def _start_of_last_line(file: BinaryIO) -> int:
    """Return the offset after the last line feed."""
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
