"""Files of JSON lines: append, repair, rewrite."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Self

import orjson

_BLOCK = 1 << 20  # bytes per step of the search for the last line


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
    """Append lines to a file, without buffering.

    A truncated last line is repaired when the first line is appended, not before.
    """

    def __init__(self, path: Path) -> None:
        # Not buffered: close() must not retry a write that failed because the disk is full.
        self._file = path.open("ab", buffering=0)
        self._unended: Path | None = path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def append(self, line: bytes) -> None:
        """Write a line, or several, including the line feeds."""
        if self._unended is not None:
            end_last_line(self._unended)
            self._unended = None
        left = memoryview(line)
        while left:
            left = left[self._file.write(left) :]

    def sync(self) -> None:
        """Make all lines durable."""
        os.fsync(self._file.fileno())


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
