"""Output as a folder of parts: files of rows."""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jp2batch.batch.columns import Columns
from jp2batch.batch.key_table import key_of, keys_of
from jp2batch.batch.outputs.folder import TEMPORARY, Folder
from jp2batch.batch.outputs.part_listing import (
    PartListing,
    is_content,
    part_name,
    parts_in,
    records_of_parts,
    rows_in,
)
from jp2batch.batch.outputs.row_formats import ROW_FORMATS, Bytes, RowFormat
from jp2batch.batch.records.book import RecordBook, live_entries
from jp2batch.batch.records.entry import moved_line
from jp2batch.batch.records.log import RecordLog
from jp2batch.batch.state.place import StatePlace
from jp2batch.compute.result import Result
from jp2batch.compute.task import WrittenOutput
from jp2batch.core.location import Location
from jp2batch.core.options import SecretDict, StorageOptions
from jp2batch.core.request import Request
from jp2batch.image.open import OpenImage
from jp2batch.image.read import Pixels
from jp2batch.jpeg2000.geometry.grid import Selection
from jp2batch.storage.directory import Directory
from jp2batch.storage.files import WrittenBytes, write_bytes

if TYPE_CHECKING:
    from distributed import Client

_TOGETHER = 4  # parts read at once


@dataclass(frozen=True, slots=True)
class AsRow:
    """Deliver the value of a row; store several rows as a part."""

    pending: str
    """Folder of parts without records."""
    folder: str
    """Folder of parts with records, without credentials."""
    suffix: str
    columns: Columns
    storage_options: SecretDict
    rows: RowFormat
    """Format of the parts."""
    manifest: str = ""
    """Fingerprint of the items."""

    @property
    def bytes_per_sample(self) -> int:
        """Memory in addition to the pixels, per sample in bytes."""
        return self.rows.bytes_per_sample

    def select(self, request: Request, opened: OpenImage) -> Selection:
        """Return the samples to read of an image."""
        return self.rows.select(request, opened)

    def __call__(self, pixels: Pixels, request: Request) -> Bytes:
        """Return pixels as the value of a row."""
        return self.rows.value_of(pixels, request)

    def store(self, results: Sequence[Result]) -> list[Result]:
        """Write values as a part; return all results without values."""
        rows = [result for result in results if result.value is not None]
        if not rows:
            return list(results)
        written = self.write(self.rows.part_of(rows, self.columns), len(rows))
        return [result if result.value is None else _without_value(result, written) for result in results]

    def write(self, part: bytes, rows: int) -> WrittenOutput:
        """Write a new part; return its later path."""
        name = part_name(self.manifest, part, rows, self.suffix)
        written = write_bytes(f"{self.pending}/{name}", part, storage_options=self.storage_options)
        return WrittenOutput(f"{self.folder}/{name}", written.size, f"md5:{written.md5}")


class Parts(Folder):
    """A folder of parts, which together are a single table.

    Workers write a part for each chunk of items into a folder beside it, of pending parts. Results that reach the
    client with their values, as those of threads, are written by `sync`. A part is moved into the folder of the table
    when all its rows have records: a reader does not see the rows of lost workers. A resumed run gives records to rows
    left by a killed run. `tidy` removes rows without records, and pending parts.
    """

    is_folder = False
    in_parts = True

    def __init__(
        self, url: str, suffix: str, storage_options: StorageOptions = None, rows: RowFormat | None = None
    ) -> None:
        super().__init__(url, suffix, storage_options)
        self._rows = rows or ROW_FORMATS[suffix]
        self._pending = Directory(f"{self._folder.url}.pending", storage_options)
        shown = Location.of(self._folder.url).redacted
        self._deliver = AsRow(self._pending.url, shown, suffix, (), SecretDict.of(storage_options), self._rows)
        self.deliver = self._deliver
        self.place = StatePlace.beside(url, storage_options)
        self._recorded = Counter[str]()  # rows of pending parts
        self._shown, self._waiting = set[str](), set[str]()  # parts as listed
        self._parts = PartListing({}, RecordBook(), "", list)
        self._has_columns = self._cleaned = False
        self._md5s: dict[str, str] = {}

    def expect(self, items: Sequence[Request], fingerprint: str) -> None:
        """Find the columns of the manifest."""
        self._with(columns=self._rows.columns_of(items), manifest=fingerprint)

    def prepare(self, client: "Client | None") -> None:  # noqa: ARG002
        """Keep to the columns of existing parts."""
        if self._has_columns:
            return
        self._has_columns = True
        recorded = {name for name in parts_in(self._waiting) if self._parts.records(name)}
        for name in [*sorted(parts_in(self._shown)), *sorted(recorded)]:
            part = self._read(name)
            if is_content(name, part):  # it is not damaged
                self._with(columns=self._rows.columns_in(part))
                return

    def name_of(self, item: Request, read: Request) -> str:  # noqa: ARG002  # each item has its row
        """Return the id of an item."""
        return item.id

    def foreign(self) -> str | None:
        """Return the path of a folder with other files."""
        there = self._folder.names()
        is_ours = all(rows_in(name) or name.startswith(".") for name in there)
        return None if is_ours else Location.of(self._folder.url).redacted

    def stored(self, book: RecordBook) -> PartListing:
        """Return the parts, pending or not, and files of others, by name."""
        waiting, shown = self._pending.files(), self._folder.files()
        self._waiting, self._shown, self._listed = set(waiting), set(shown), waiting | shown
        there = {name: file for name, file in self._listed.items() if not name.startswith(".")}
        self._parts = PartListing(there, book, self._deliver.manifest, self._ids_in)
        return self._parts

    def address_of(self, name: str) -> str | None:
        """Return the path of the part with the row of an item."""
        return f"{self._deliver.folder}/{self._parts.part_of(name)}"

    def is_whole(self, name: str) -> bool:  # noqa: ARG002
        """Return True: only rows of whole parts are listed."""
        return True

    def md5_of(self, name: str) -> str:
        """Read a part once; return its MD5."""
        if name not in self._md5s:
            self._md5s[name] = WrittenBytes.of(self._read(name)).md5
        return self._md5s[name]

    def open(self, *, overwrite: bool) -> None:
        """Create both folders; show parts whose rows have records."""
        super().open(overwrite=overwrite)
        self._pending.make()
        if not overwrite:
            waiting = parts_in(self._waiting - self._shown)
            self._recorded.update({name: self._parts.records(name) for name in waiting})
            self._show(waiting)

    def put(self, result: Result) -> Result:
        """Check a worker's part; keep a value until `sync`."""
        is_new = result.value is None and result.same_as is None and not result.adopted
        return super().put(result) if is_new else result

    def sync(self, results: Sequence[Result]) -> Sequence[Result]:
        """Write a part with the values sent by workers."""
        done = self._deliver.store(self._with_copies(results))
        if self.path is not None:
            self._fresh += [
                self._path_of(result.output) for result in done if result.output and not self._is_shown(result)
            ]
        return super().sync(done)

    def publish(self, results: Sequence[Result]) -> None:
        """Show parts to readers; all rows of them have records."""
        hidden = [_name_in(result.output) for result in results if result.output and not self._is_shown(result)]
        self._recorded.update(hidden)
        self._show(hidden)

    def tidy(self, log: RecordLog) -> None:
        """Remove rows without a record, and pending parts."""
        book = log.read()
        is_ok, outputs, records = book.live & book.columns["ok"], book.columns["output"], records_of_parts(book)
        shown, waiting = self._folder.names(), self._pending.names()
        parts, pending = parts_in(shown), parts_in(waiting)
        live = {name for name in parts | pending if key_of(name) in records}
        mixed = {name for name in live if records[key_of(name)] != rows_in(name)}
        lines: dict[str, dict[str, int]] = defaultdict(dict)
        for line, entry in live_entries(log.lines(), is_ok & np.isin(outputs, keys_of(mixed))) if mixed else ():
            lines[entry.output][entry.id] = line
        live -= mixed
        split = self._split(lines, log)
        self._pending.move((pending & live) - parts - split, self._folder)
        if records or self._cleaned:
            self._folder.remove(parts - live - split)
        halves = {name for name in waiting if (half := TEMPORARY.fullmatch(name)) and rows_in(half[1])}
        self._pending.remove((pending - (live - parts) - split) | halves)
        self._pending.drop()

    def remove(self, names: Container[str]) -> None:  # noqa: ARG002
        """Let `tidy` remove rows."""
        self._cleaned = True

    def _with(self, **changes: object) -> None:
        self.deliver = self._deliver = replace(self._deliver, **changes)  # type: ignore[arg-type]

    def _path_of(self, output: str) -> Path:
        return Path(self._pending.url, _name_in(output))

    def _is_shown(self, result: Result) -> bool:
        """Return whether the row of a result was in the table before."""
        return result.adopted and _name_in(result.output or "") in self._shown

    def _show(self, names: Iterable[str]) -> None:
        """Move pending parts into the table if all their rows have records."""
        whole = {name for name in names if self._recorded[name] == rows_in(name)}
        self._pending.move(whole, self._folder)
        for name in whole:
            del self._recorded[name]

    def _ids_in(self, names: Sequence[str]) -> Iterator[Sequence[str]]:
        """Read the ids of whole parts with the columns of the table."""
        self.prepare(None)
        with ThreadPoolExecutor(_TOGETHER) as pool:
            yield from pool.map(self._ids_of, names)

    def _ids_of(self, name: str) -> Sequence[str]:
        part = self._folder.read(name) if name in self._shown else self._pending.read(name)
        if part is None or not is_content(name, part) or self._rows.columns_in(part) != self._deliver.columns:
            return []
        return self._rows.ids_in(part)

    def _split(self, parts: Mapping[str, Mapping[str, int]], log: RecordLog) -> set[str]:
        """Write the recorded rows of parts to other parts; return their names."""
        moved: dict[int, WrittenOutput] = {}
        for name, lines in parts.items():
            part = self._read(name)
            if is_content(name, part):  # a damaged part is removed, and its rows are missing
                written = self._deliver.write(self._rows.only(part, lines.keys()), len(lines))
                moved |= dict.fromkeys(lines.values(), written)
        if moved:
            paths = {written.path for written in moved.values()}
            if self.path is not None:
                self._fresh += map(self._path_of, paths)
            super().sync([])
            log.append([moved_line(line, moved[n]) for n, line in enumerate(log.lines()) if n in moved])
            self._pending.move(map(_name_in, paths), self._folder)
            log.compact(untidy=True)
        return {_name_in(written.path) for written in moved.values()}

    def _with_copies(self, results: Sequence[Result]) -> list[Result]:
        """Copy the values of rows for equal requests."""
        wanted: dict[str, set[str]] = defaultdict(set)
        for result in results:
            if result.output is not None and result.same_as is not None:
                wanted[result.output].add(result.same_as)
        values = {part: self._rows.values_in(self._read(_name_in(part)), ids) for part, ids in wanted.items()}
        return [
            replace(result, value=values[result.output][result.same_as], output=None)
            if result.output is not None and result.same_as is not None
            else result
            for result in results
        ]

    def _read(self, name: str) -> bytes:
        for folder in (self._folder, self._pending):
            if (found := folder.read(name)) is not None:
                return found
        raise FileNotFoundError(2, "No such file", f"{self._deliver.folder}/{name}")


def _without_value(result: Result, written: WrittenOutput) -> Result:
    return replace(result, value=None, output=written.path, output_size=written.size, output_checksum=written.checksum)


def _name_in(path: str) -> str:
    return path.rpartition("/")[2]
