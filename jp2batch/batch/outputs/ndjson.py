"""Output as NDJSON in a file or on stdout: responses with ids."""

import re
import sys
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import orjson

from jp2batch.batch.outputs.listing import LineListing
from jp2batch.batch.records.book import RecordBook
from jp2batch.batch.records.lines import LineWriter, end_last_line, is_json, rewrite, whole_lines
from jp2batch.batch.records.log import RecordLog
from jp2batch.batch.state.place import StatePlace
from jp2batch.compute.result import Result
from jp2batch.compute.task import Delivery
from jp2batch.core.request import Request
from jp2batch.image.read import Pixels
from jp2batch.image.response import to_json
from jp2batch.storage.directory import StoredFile
from jp2batch.storage.files import WrittenBytes

if TYPE_CHECKING:
    from distributed import Client

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
    is_folder = is_exclusive = needs_all = in_parts = False
    packages: Sequence[str] = ()

    def __init__(self, path: Path | None) -> None:
        self.path = None if path is None else path.absolute()
        self.place = None if self.path is None else StatePlace.beside(str(self.path))
        self._untidy = False
        self._file: LineWriter | None = None
        self._replaced = False
        self._listed: Mapping[str, StoredFile] = {}

    def expect(self, items: Sequence[Request], fingerprint: str) -> None:
        """Do nothing: results do not depend on other items."""

    def prepare(self, client: "Client | None") -> None:
        """Do nothing: `deliver` is ready."""

    def name_of(self, item: Request, read: Request) -> str:  # noqa: ARG002  # each item has its line
        """Return the id of an item."""
        return item.id

    def fits(self, name: str) -> bool:  # noqa: ARG002
        """Return True: all lines have a single format."""
        return True

    def foreign(self) -> str | None:
        """Return the path of a file whose first line is no result."""
        if self.path is not None and self.path.exists():
            with self.path.open("rb") as file:
                head = file.read(_HEAD)
            if not (_OURS.match(head) or (_START.startswith(head[: len(_START)]) and b"\n" not in head)):
                return str(self.path)
        return None

    def stored(self, book: RecordBook) -> Mapping[str, StoredFile]:  # noqa: ARG002
        """Return the last whole line of each id.

        Its offset stands for its time.
        """
        self._listed = {} if self.path is None else LineListing(self.path, id_of_line)
        self._untidy = isinstance(self._listed, LineListing) and self._listed.is_untidy
        return self._listed

    def address_of(self, name: str) -> str | None:  # noqa: ARG002
        """Return None: lines have no path of their own."""
        return None

    def is_whole(self, name: str) -> bool:
        """Return whether a line is complete JSON."""
        return is_json(self._line(name))

    def md5_of(self, name: str) -> str:
        """Read a line; return its MD5."""
        return WrittenBytes.of(self._line(name)).md5

    def position(self, now: float, *, overwrite: bool) -> float | None:  # noqa: ARG002
        """Return the size of the file; None if it will be replaced."""
        if overwrite or self.path is None:
            return None
        return float(self.path.stat().st_size) if self.path.exists() else 0.0

    def open(self, *, overwrite: bool) -> None:
        """Open the file to append; if `overwrite`, the first line replaces it."""
        self._replaced = overwrite
        self._file = None if self.path is None else LineWriter(self.path)

    def put(self, result: Result) -> Result:
        """Append a line."""
        if result.adopted:
            return result
        self._untidy |= result.request.id in self._listed
        line = line_of_result(result)
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
        written = WrittenBytes.of(line)
        return replace(result, value=None, output_size=written.size, output_checksum=f"md5:{written.md5}")

    def sync(self, results: Sequence[Result]) -> Sequence[Result]:
        """Make all lines durable."""
        if self._file is not None:
            self._file.sync()
        return results

    def publish(self, results: Sequence[Result]) -> None:
        """Do nothing: lines are in place."""

    def tidy(self, log: RecordLog) -> None:
        """Keep the last line of each finished item; remove truncated lines.

        Other lines are kept.
        """
        if self.path is None or not self._untidy or not self.path.exists():
            return
        self.close()
        end_last_line(self.path)
        book, now = log.read(), LineListing(self.path, id_of_line)

        def is_kept(offset: int, line: bytes) -> bool:
            id_ = id_of_line(line)
            return is_json(line) if id_ is None else now[id_].modified == offset or not book.has_ok(id_)

        self._keep(is_kept)

    def temporaries(self) -> set[str]:
        """Return nothing: lines are appended."""
        return set()

    def remove(self, names: Container[str]) -> None:
        """Remove the lines of ids."""
        self.close()
        self._keep(lambda _, line: id_of_line(line) not in names)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _line(self, id_: str) -> bytes:
        if self.path is None:
            return b""
        with self.path.open("rb") as file:
            file.seek(int(self._listed[id_].modified))
            return file.read(self._listed[id_].size)

    def _keep(self, is_kept: Callable[[int, bytes], bool]) -> None:
        """Remove the other lines, atomically."""
        if self.path is None or not self.path.exists():
            return
        with self.path.open("rb") as file:
            if not all(is_kept(offset, line) for offset, line in whole_lines(file)):
                file.seek(0)
                rewrite(self.path, (line for offset, line in whole_lines(file) if is_kept(offset, line)))


def line_of_result(result: Result) -> bytes:
    """Return a result of `AsJson` as a line, id first."""
    return b"".join([b'{"id":', orjson.dumps(result.request.id), b",", result.value[1:], b"\n"])


def id_of_line(line: bytes) -> str | None:
    """Return the id in a line; None if it is no result."""
    end = line.find(b'",', len(_START))
    if line.startswith(_START) and line.endswith(b"}\n") and (id_ := line[len(_START) : end]).isalnum():
        return id_.decode()  # an id as jp2batch makes them
    match = _ID.match(line)
    try:  # another program may have rewritten the line with spaces
        found = orjson.loads(match[1]) if match and line.endswith(b"}\n") else orjson.loads(line)["id"]
    except (ValueError, TypeError, KeyError):
        return None
    return found if isinstance(found, str) else None
