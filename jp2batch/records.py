"""Records: one line of JSON for each item of a batch, by which an interrupted batch is resumed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import orjson

from jp2batch.report import Result
from jp2batch.request import Request


@dataclass(frozen=True, slots=True)
class Entry:
    """What a batch needs to know of a record."""

    line: int
    """Its number in the file, from 0."""
    ok: bool
    """Whether the item was done."""
    asked: tuple[Any, ...]
    """What was asked: path, level, window."""
    output: str
    """The name of its file or group, without folders; empty where it has none."""
    failure: str
    """The type of its error, if any."""

    def is_of(self, request: Request) -> bool:
        """Tell whether this is about what a request asks: an id may have got another meaning."""
        return self.asked == _asked(request.path, request.rlevel, request.window)


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
    with fresh.open("wb") as file:
        file.writelines(lines)
    fresh.replace(path)


class RecordWriter:
    """Appends records to a file; without a path, nowhere."""

    def __init__(self, path: Path | None) -> None:
        self._file: BinaryIO | None = None if path is None else path.open("ab")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def append(self, result: Result) -> None:
        """Write the record of a result, whose output is there already."""
        if self._file is not None:
            self._file.write(orjson.dumps(result.record(), default=str, option=orjson.OPT_APPEND_NEWLINE))
            self._file.flush()


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
            asked=_asked(record["Path"], record["rlevel"], record["window"]),
            output=(record["output"] or "").rpartition("/")[2],
            failure=(record["error"] or {}).get("type", ""),
        )
        return str(record["id"]), entry
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _asked(path: str, rlevel: int, window: Any) -> tuple[Any, ...]:
    return path, rlevel, window and tuple(map(tuple, window))
