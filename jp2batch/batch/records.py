"""Records: one line of JSON for each item of a batch, by which an interrupted batch is resumed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import orjson

from jp2batch.batch.report import Result
from jp2batch.request import Request

RECORDS = "records.ndjson"
"""What a file of records is called, or what is added to the name of the output."""


@dataclass(frozen=True, slots=True)
class Entry:
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


def read_records(path: Path) -> dict[str, Entry]:
    """Return the last record of each id; lines that are no records, as the half one of a killed run, are left out."""
    entries: dict[str, Entry] = {}
    if path.exists():
        with path.open("rb") as file:
            for number, line in enumerate(file):
                found = _parsed(number, line)
                if found is not None:
                    entries[found[0]] = found[1]
    return entries


def are_records(path: Path) -> bool:
    """Tell whether a file may be one of records: it has one, or nothing but the half one of a killed run."""
    if not path.exists():
        return True
    with path.open("rb") as file:
        first = file.readline()
        return not first or (not first.endswith(b"\n") and first.startswith(b"{")) or _parsed(0, first) is not None


def keep_records(path: Path, entries: Iterable[Entry]) -> None:
    """Drop all lines but those of `entries`, which `read_records` has returned, at one stroke."""
    if not path.exists():
        return
    wanted = {entry.line for entry in entries}
    with path.open("rb") as file:
        rewrite(path, (line for number, line in enumerate(file) if number in wanted))


def rewrite(path: Path, lines: Iterable[bytes]) -> None:
    """Replace a file by one of these lines, that is there whole or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        with fresh.open("wb") as file:
            file.writelines(lines)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)  # there only if the disk is full, or the like


class LineWriter:
    """Appends lines to a file; each is in it, as a whole, before the next begins. Without a path, nowhere."""

    def __init__(self, path: Path | None) -> None:
        # Not buffered: what a full disk has refused must not be tried again when the file is closed.
        self._file = None if path is None else path.open("ab", buffering=0)

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


def _parsed(number: int, line: bytes) -> tuple[str, Entry] | None:
    try:
        record = orjson.loads(line) if line.endswith(b"\n") else None
        if record is None:
            return None
        entry = Entry(
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
