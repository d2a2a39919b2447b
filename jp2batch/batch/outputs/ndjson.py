"""Output as NDJSON in a file or on stdout: responses with ids."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import orjson

from jp2batch.batch.records import (
    LineWriter,
    RecordEntry,
    are_records,
    end_last_line,
    is_json,
    read_records,
    records_beside,
    rewrite,
    whole_lines,
)
from jp2batch.compute.result import Result
from jp2batch.compute.task import Delivery
from jp2batch.core.request import Request
from jp2batch.image.read import Pixels
from jp2batch.image.response import to_json

_START = b'{"id":"'
_OURS = re.compile(rb'\{"id":"(?:[^"\\]|\\.)*","img_data":')
_ID = re.compile(rb'\{"id":("(?:[^"\\]|\\.)*"),')

_HEAD = 4096  # bytes read to recognise results


@dataclass(frozen=True, slots=True)
class AsJson:
    """Deliver a web service response as bytes, without its id."""

    bytes_per_sample: ClassVar[int] = 6  # five digits and a comma

    def __call__(self, pixels: Pixels, _request: Request) -> bytes:
        """Return pixels as JSON."""
        return to_json(pixels)


class Lines:
    """NDJSON: a response per line, id first; on stdout without a path."""

    deliver: Delivery = AsJson()
    folder: Path | None = None
    packages: Sequence[str] = ()

    def __init__(self, path: Path | None, records: Path | None = None) -> None:
        self.path = path
        self.records = records or (path and records_beside(path))
        self.locks = [path for path in (self.path, self.records) if path is not None]
        self.untidy = False
        self._file: LineWriter | None = None
        self._replaced = False

    def exists(self) -> bool:
        """Return whether results exist already."""
        return any(path.exists() for path in self.locks)

    def foreign(self) -> str | None:
        """Return the path of an existing output not written by this package."""
        if self.records is not None and read_records(self.records):
            return None
        if self.path is not None and self.path.exists():
            with self.path.open("rb") as file:
                head = file.read(_HEAD)
            if not (_OURS.match(head) or (_START.startswith(head[: len(_START)]) and b"\n" not in head)):
                return str(self.path)
        return str(self.records) if self.records and not are_records(self.records) else None

    def recorded(self) -> Mapping[str, RecordEntry]:
        """Return the records of an earlier run."""
        return read_records(self.records) if self.records else {}

    def stored(self, done: Mapping[str, RecordEntry]) -> set[str]:
        """Return the ids of finished items with a line; change nothing."""
        found: set[str] = set()
        if self.path is None or not self.path.exists():
            return found
        end = 0
        with self.path.open("rb") as file:
            for offset, line in whole_lines(file):
                id_, end = _id_of(line), offset + len(line)
                if id_ is not None and id_ in done and id_ not in found:
                    found.add(id_)
                else:
                    self.untidy = True
        self.untidy |= end < self.path.stat().st_size
        return found

    def outdated(self, found: Mapping[str, RecordEntry], todo: Sequence[Request]) -> set[str]:
        """Return the ids of records made by other requests."""
        return {item.id for item in todo if item.id in found and not found[item.id].is_of(item)}

    def open(self, _todo: Sequence[Request], *, overwrite: bool) -> None:
        """Open the file to append; if `overwrite`, the first line replaces it."""
        self._replaced = overwrite
        self._file = None if self.path is None else LineWriter(self.path)

    def fetch_records(self) -> None:
        """Do nothing: NDJSON has no copy of the records."""

    def copy_records(self) -> None:
        """Do nothing: the records are beside the output."""

    def put(self, result: Result) -> None:
        """Append a line."""
        line = b"".join([b'{"id":', orjson.dumps(result.request.id), b",", result.value[1:], b"\n"])
        if self.path is None:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
        elif self._replaced:
            self._replaced = False
            self.close()
            rewrite(self.path, [line])
            self._file = LineWriter(self.path)
        elif self._file is not None:
            self._file.append(line)

    def tidy(self) -> None:
        """Keep the last line of each finished item; remove truncated lines.

        Other lines are kept.
        """
        if self.path is None or not self.path.exists():
            return
        self.close()
        end_last_line(self.path)
        done = {id_ for id_, entry in self.recorded().items() if entry.ok}
        last: dict[str, int] = {}
        waste: set[int] = set()
        with self.path.open("rb") as file:
            for offset, line in whole_lines(file):
                id_ = _id_of(line)
                if id_ is not None and id_ in done:
                    waste |= {last[id_]} if id_ in last else set()
                    last[id_] = offset
                elif id_ is None and not is_json(line):
                    waste.add(offset)
            if waste:
                file.seek(0)
                rewrite(self.path, (line for offset, line in whole_lines(file) if offset not in waste))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _id_of(line: bytes) -> str | None:
    match = _ID.match(line)
    try:  # another program may have rewritten the line with spaces
        found = orjson.loads(match[1]) if match and line.endswith(b"}\n") else orjson.loads(line)["id"]
    except (ValueError, TypeError, KeyError):
        return None
    return found if isinstance(found, str) else None
