"""Results as lines of a file or of stdout: the answers of the web service, each with its id."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import orjson

from jp2batch.batch.records import Entry, LineWriter, are_records, read_records, records_beside, rewrite, whole_lines
from jp2batch.batch.report import Result
from jp2batch.batch.work import Delivery
from jp2batch.reader import Pixels
from jp2batch.request import Request
from jp2batch.response import to_json

_START = b'{"id":"'
_OURS = re.compile(rb'\{"id":"(?:[^"\\]|\\.)*","img_data":')
_ID = re.compile(rb'\{"id":("(?:[^"\\]|\\.)*"),')

_HEAD = 4096  # bytes by which results are known


@dataclass(frozen=True, slots=True)
class AsJson:
    """Delivers the answer of the web service as bytes; whoever stores it puts the id before it."""

    bytes_per_sample: ClassVar[int] = 6  # five digits and a comma

    def __call__(self, pixels: Pixels, _request: Request) -> bytes:
        """Return pixels as JSON."""
        return to_json(pixels)


class Lines:
    """Contract dicts, one a line, the id first; in a file, or on stdout where there is no path."""

    deliver: Delivery = AsJson()
    in_folder = False
    packages: Sequence[str] = ()

    def __init__(self, path: Path | None, records: Path | None = None) -> None:
        self.path = path
        self.records = records or (path and records_beside(path))
        self.locks = [path for path in (self.path, self.records) if path is not None]
        self._file: LineWriter | None = None

    def exists(self) -> bool:
        """Tell whether there are results already."""
        return any(path.exists() for path in self.locks)

    def foreign(self) -> Path | None:
        """Return a file in the place of results that no run of this package has written."""
        if self.records is not None and read_records(self.records):
            return None
        if self.path is not None and self.path.exists():
            with self.path.open("rb") as file:
                head = file.read(_HEAD)
            if not (_OURS.match(head) or (_START.startswith(head[: len(_START)]) and b"\n" not in head)):
                return self.path
        return self.records if self.records and not are_records(self.records) else None

    def fetch_records(self) -> None:
        """Do nothing: there is no copy."""

    def clear(self) -> None:
        """Remove the results that are there."""
        for path in self.locks:
            path.unlink(missing_ok=True)

    def keep(self, done: Mapping[str, Entry]) -> set[str]:
        """Drop lines of what is not done, and a half last line; return the ids that have a line."""
        kept: set[str] = set()
        if self.path is None or not self.path.exists():
            return kept
        waste, end, middle = False, 0, False
        with self.path.open("rb") as file:
            for offset, line in whole_lines(file):
                found = _id_of(line)
                if found is None or found not in done or found in kept:
                    waste = True
                    continue
                kept.add(found)
                middle, end = middle or waste, offset + len(line)
        if middle:
            self._rewrite(kept)
        else:  # what a killed run leaves is at the end
            with self.path.open("r+b") as file:
                file.truncate(end)
        return kept

    def _rewrite(self, kept: set[str]) -> None:
        left = set(kept)

        def wanted(line: bytes) -> bool:
            found = _id_of(line)
            if found not in left:
                return False
            left.discard(found)
            return True

        if self.path is not None:
            with self.path.open("rb") as file:
                rewrite(self.path, (line for _, line in whole_lines(file) if wanted(line)))

    def open(self) -> None:
        """Open the file to append to."""
        self._file = None if self.path is None else LineWriter(self.path)

    def put(self, result: Result) -> None:
        """Append a line."""
        line = b"".join([b'{"id":', orjson.dumps(result.request.id), b",", result.value[1:], b"\n"])
        if self._file is not None:
            self._file.append(line)
        else:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _id_of(line: bytes) -> str | None:
    match = _ID.match(line)
    return orjson.loads(match[1]) if match and line.endswith(b"}\n") else None
