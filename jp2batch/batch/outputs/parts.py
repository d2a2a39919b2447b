"""Output as a folder of parts: files of rows."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from jp2batch.batch.outputs.folder import TEMPORARY, Folder
from jp2batch.batch.outputs.row_formats import ROW_FORMATS
from jp2batch.batch.records.entry import RecordEntry, moved_line
from jp2batch.batch.records.log import RecordLog
from jp2batch.batch.state.place import StatePlace
from jp2batch.compute.result import Result
from jp2batch.compute.task import WrittenOutput
from jp2batch.core.location import Location
from jp2batch.core.options import SecretDict, StorageOptions
from jp2batch.core.request import Request
from jp2batch.image.read import Pixels
from jp2batch.storage.directory import StoredFile
from jp2batch.storage.files import write_bytes

_PART = re.compile(r"part-[0-9a-f]{16}-([1-9][0-9]*)\.[a-z]+")  # with its number of rows


@dataclass(frozen=True, slots=True)
class AsRow:
    """Deliver the value of a row; store several rows as a part."""

    bytes_per_sample: ClassVar[int] = 24  # the value, its pickles, and the part

    folder: str
    suffix: str
    storage_options: SecretDict

    def __call__(self, pixels: Pixels, _request: Request) -> bytes:
        """Return pixels as the value of a row."""
        return ROW_FORMATS[self.suffix].value_of(pixels)

    def store(self, results: Sequence[Result]) -> list[Result]:
        """Write values as a part; return all results without values."""
        rows = [result for result in results if result.value is not None]
        if not rows:
            return list(results)
        part = ROW_FORMATS[self.suffix].part_of(rows)
        written = self.write(part, [(row.request.id, row.request.digest) for row in rows])
        return [result if result.value is None else _without_value(result, written) for result in results]

    def write(self, part: bytes, rows: Iterable[tuple[str, str]]) -> WrittenOutput:
        """Write a part, named by ids and digests of its rows.

        A repeated chunk replaces its part.
        """
        rows = sorted(rows)
        name = f"part-{hashlib.sha256(repr(rows).encode()).hexdigest()[:16]}-{len(rows)}{self.suffix}"
        written = write_bytes(f"{self.folder}/{name}", part, storage_options=self.storage_options)
        return WrittenOutput(f"{Location.of(self.folder).redacted}/{name}", written.size, f"md5:{written.md5}")


class Parts(Folder):
    """A folder of parts, which together are a single table.

    Workers write a part for each chunk of items. Results that reach the client with their values, as those of threads,
    are written by `sync`. Rows count only if a record names their part; `tidy` removes the others.
    """

    is_folder = False
    in_parts = True

    def __init__(self, url: str, suffix: str, storage_options: StorageOptions = None) -> None:
        super().__init__(url, suffix, storage_options)
        self._rows = ROW_FORMATS[suffix]
        self._deliver = AsRow(self._folder.url, suffix, SecretDict(storage_options or {}))
        self.deliver = self._deliver
        self.place = StatePlace.beside(url, storage_options)
        self._cleaned = False
        self._md5s: dict[str, str] = {}

    def name_of(self, item: Request, read: Request) -> str:  # noqa: ARG002  # each item has its row
        """Return the id of an item."""
        return item.id

    def foreign(self) -> str | None:
        """Return the path of a folder with other files."""
        there = self._folder.names()
        is_ours = all(_PART.fullmatch(name) or name.startswith(".") for name in there)
        return None if is_ours else Location.of(self._folder.url).redacted

    def stored(self) -> Mapping[str, StoredFile]:
        """Return the parts, and files of others, by name."""
        self._listed = self._folder.files()
        return {name: file for name, file in self._listed.items() if not name.startswith(".")}

    def is_whole(self, name: str) -> bool:  # noqa: ARG002
        """Return False: rows without records are read again."""
        return False

    def md5_of(self, name: str) -> str:
        """Read a part once; return its MD5."""
        if name not in self._md5s:
            self._md5s[name] = super().md5_of(name)
        return self._md5s[name]

    def put(self, result: Result) -> Result:
        """Check a worker's part; keep a value until `sync`."""
        return super().put(result) if result.value is None else result

    def sync(self, results: Sequence[Result]) -> Sequence[Result]:
        """Write a part with the values sent by workers."""
        done = self._deliver.store(self._with_copies(results))
        if self.path is not None:
            self._fresh += [Path(result.output) for result in done if result.output]
        return super().sync(done)

    def tidy(self, log: RecordLog) -> None:
        """Remove rows without a record."""
        live: dict[str, dict[str, RecordEntry]] = defaultdict(dict)
        for id_, entry in log.read().entries.items():
            if entry.ok:
                live[entry.output][id_] = entry
        there = {name: int(match[1]) for name in self.stored() if (match := _PART.fullmatch(name))}
        if live or self._cleaned:
            mixed = {name for name, rows in there.items() if name in live and len(live[name]) != rows}
            self._move([live[name] for name in mixed], log)
            self._folder.remove((there.keys() - live.keys()) | mixed)

    def remove(self, names: Container[str]) -> None:
        """Remove temporary files; `tidy` removes the rows of ids."""
        self._folder.remove(name for name in self._folder.names() if name in names and TEMPORARY.fullmatch(name))
        self._cleaned = True

    def _move(self, parts: Iterable[Mapping[str, RecordEntry]], log: RecordLog) -> None:
        """Write the named rows of parts to other parts, then their records."""
        moved: dict[int, WrittenOutput] = {}
        for entries in parts:
            name = next(iter(entries.values())).output
            part = self._rows.only(self._read(name), entries.keys())
            written = self._deliver.write(part, [(id_, entry.digest) for id_, entry in entries.items()])
            moved |= dict.fromkeys((entry.line for entry in entries.values()), written)
        if moved:
            self._sync_written(moved.values())
            log.append([moved_line(line, moved[n]) for n, line in enumerate(log.lines()) if n in moved])
            log.compact(untidy=True)

    def _sync_written(self, written: Iterable[WrittenOutput]) -> None:
        if self.path is not None:
            self._fresh += [Path(part.path) for part in written]
        super().sync([])

    def _with_copies(self, results: Sequence[Result]) -> list[Result]:
        """Copy the values of rows for equal requests."""
        wanted: dict[str, set[str]] = defaultdict(set)
        for result in results:
            if result.output is not None and result.same_as is not None:
                wanted[result.output].add(result.same_as)
        values = {part: self._rows.values_in(self._read(part.rpartition("/")[2]), ids) for part, ids in wanted.items()}
        return [
            replace(result, value=values[result.output][result.same_as], output=None)
            if result.output is not None and result.same_as is not None
            else result
            for result in results
        ]

    def _read(self, name: str) -> bytes:
        return next(data for _, data in self._folder.read_many([name]))


def _without_value(result: Result, written: WrittenOutput) -> Result:
    return replace(result, value=None, output=written.path, output_size=written.size, output_checksum=written.checksum)
