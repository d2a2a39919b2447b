"""Output as files in a folder or groups in a Zarr store."""

import contextlib
import hashlib
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from jp2batch.array.formats import needs, write
from jp2batch.batch.records import (
    RECORDS,
    RecordEntry,
    are_records,
    parse_records,
    read_records,
    records_beside,
    rewrite,
    starts_records,
)
from jp2batch.compute.result import Result
from jp2batch.compute.task import Delivery, WrittenOutput
from jp2batch.core.errors import InvalidRequest, OutputError
from jp2batch.core.location import Location, safe_name
from jp2batch.core.options import SecretDict, StorageOptions
from jp2batch.core.request import Request
from jp2batch.image.read import Pixels
from jp2batch.storage.directory import Directory

_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}(\.old)?")  # of jp2batch.storage.files
_GROUP = b'{"attributes": {}, "zarr_format": 3, "node_type": "group"}'


def item_name(request: Request) -> str:
    """Return a file name for the output of an item.

    Made of the name of the image, the level and the id. Letters of all scripts are kept, in NFC. An id with other
    characters, or more than 64 bytes, is cleaned, and its digest appended.
    """
    safe = safe_name(request.id).encode()[:64].decode(errors="ignore")
    if safe != request.id:
        safe = f"{safe}-{hashlib.sha256(request.id.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
    return f"{Location.of(request.path).stem}-r{request.rlevel}-{safe}"


@dataclass(frozen=True, slots=True)
class AsFile:
    """Write pixels to a file or a Zarr group."""

    bytes_per_sample: ClassVar[int] = 6  # copies, or text; measured with all formats

    folder: str
    suffix: str
    storage_options: SecretDict

    def __call__(self, pixels: Pixels, request: Request) -> WrittenOutput:
        """Write pixels; return their path."""
        path = f"{self.folder}/{item_name(request)}{self.suffix}"
        write(pixels, path, self.suffix or ".zarr", storage_options=self.storage_options)
        return WrittenOutput(Location.of(path).redacted)


class Folder:
    """Files in a folder or groups in a Zarr store.

    Workers write them. Other files in the folder are not touched. In an object store, each file is one PUT. When a run
    begins and when it ends, a copy of the records is uploaded beside the output; with it, another machine can resume.
    """

    def __init__(
        self,
        url: str,
        suffix: str,
        records: Path | None,
        reads: Iterable[Request],
        storage_options: StorageOptions = None,
    ) -> None:
        self.records = records or _records_of(url, suffix)
        self.packages = needs(suffix or ".zarr")
        self.deliver: Delivery = AsFile(url.rstrip("/"), suffix, SecretDict(storage_options or {}))
        self._folder = Directory(url, storage_options)
        parent, _, name = self._folder.url.rpartition("/")
        self._copy = f"{name}.{RECORDS}" if not suffix else RECORDS  # a Zarr store holds no other files
        self._beside = self._folder if suffix else Directory(parent, storage_options)
        self._is_store, self._is_remote, self._seen = not suffix, not Location.of(url).is_local, False
        self.folder = None if self._is_remote else Path(url)
        self.untidy = False
        self._earlier: set[str] = set()  # outputs of an earlier run, removed by overwrite=True
        self._old: dict[str, tuple[int, int] | None] = {}  # existing outputs about to be replaced
        self.locks = [self.records] if self._is_remote or not self._is_store else [Path(url), self.records]
        self._suffix = suffix
        self._digests = self._named(reads)

    def exists(self) -> bool:
        """Return whether results exist already."""
        recorded = self.records.exists() or self._fetched() is not None
        return recorded or any(not name.startswith(".") for name in self._folder.names())

    def foreign(self) -> str | None:
        """Return the path of an existing output not written by this package."""
        if not are_records(self.records):
            return str(self.records)
        if not starts_records(io.BytesIO(self._fetched() or b"").readline()):
            return f"{Location.of(self._beside.url)}/{self._copy}"
        there = {name for name in self._folder.names() if not _TEMPORARY.fullmatch(name)} if self._is_store else set()
        if there and not there & {"zarr.json", ".zgroup"}:
            return Location.of(self._folder.url).redacted
        return None

    def recorded(self) -> Mapping[str, RecordEntry]:
        """Return the records of an earlier run.

        Without a local file, the copy beside the output is read.
        """
        copy = self._fetched()
        return read_records(self.records) if copy is None else parse_records(io.BytesIO(copy))

    def stored(self, done: Mapping[str, RecordEntry]) -> set[str]:
        """Return the ids of finished items with a file or group.

        Change nothing.
        """
        there = self._folder.names()
        self.untidy = any(map(self._original, there))
        return {id_ for id_, entry in done.items() if entry.output in there and self._is_right(entry)}

    def outdated(self, found: Mapping[str, RecordEntry], todo: Sequence[Request]) -> set[str]:
        """Return the ids of records whose output will get other content."""
        names = self._names(todo)
        return {id_ for id_, e in found.items() if e.output in names and self._digests[e.output] != e.digest}

    def open(self, todo: Sequence[Request], *, overwrite: bool) -> None:
        """Create the folder or the root group, and check write access.

        Remove nothing.
        """
        there = self._folder.names()
        self._old = {name: _file_number(self.folder / name) for name in there & self._names(todo) if self.folder}
        if overwrite:
            recorded = {entry.output for entry in self.recorded().values()}
            own = {name.lower() for name in ("zarr.json", *self._digests)}  # some file systems ignore case
            self._earlier = {
                name for name in (there if self._is_store else there & recorded) if name.lower() not in own
            }
            self.untidy |= bool(self._earlier)
        self._folder.make()
        self._put_copy(self._fetched())  # the first write to a store: if it is refused, nothing has changed
        if self._is_store:
            self._folder.write("zarr.json", _GROUP)
        self._put_back(there)

    def fetch_records(self) -> None:
        """Download the copy of the records, if this machine has none."""
        copy = self._fetched()
        if copy is not None:
            rewrite(self.records, [copy])

    def copy_records(self) -> None:
        """Upload a copy of the records beside an output in a store."""
        self._put_copy(None)

    def put(self, result: Result) -> None:
        """Check once for a worker's file on this machine.

        The worker has written the file, perhaps on a disk of its own machine.

        Raises
        ------
        OutputError
            The file does not exist here.
        """
        if self._seen or self._is_remote or result.output is None:
            return
        path = Path(result.output)
        if _file_number(path) == self._old.get(path.name):
            problem = f"worker {result.worker} has written it, but it is missing on this machine"
            raise OutputError(result.output, problem, "give a folder that all machines share, or a URL")
        self._seen = True

    def tidy(self) -> None:
        """Remove incomplete files of killed runs, and outputs replaced by `overwrite`."""
        there = self._folder.names()
        halves = {name for name in there if self._original(name) in there}
        replaced = any(entry.ok for entry in read_records(self.records).values())
        self._folder.remove(halves | (self._earlier & there if replaced else set()))

    def close(self) -> None:
        """Upload a copy of the records beside an output in a store."""
        self.copy_records()

    def _fetched(self) -> bytes | None:
        """Return the copy of the records, if this machine has none."""
        has_own = self.records.exists() and self.records.stat().st_size > 0
        return self._beside.read(self._copy) if self._is_remote and not has_own else None

    def _put_copy(self, copy: bytes | None) -> None:
        if self._is_remote:
            own = self.records.read_bytes() if self.records.exists() else b""
            self._beside.write(self._copy, own if copy is None else copy)

    def _put_back(self, there: set[str]) -> None:
        """Restore groups moved aside by a killed run."""
        for name in there if self.folder else ():
            original = self._original(name)
            if self.folder and original and name.endswith(".old") and original not in there:
                (self.folder / name).rename(self.folder / original)

    def _names(self, items: Iterable[Request]) -> set[str]:
        """Return the names of the outputs of items."""
        digests = {item.digest for item in items}
        return {name for name, digest in self._digests.items() if digest in digests}

    def _is_right(self, entry: RecordEntry) -> bool:
        """Return whether an existing output has the requested format and content."""
        if self._digests.get(entry.output, entry.digest) != entry.digest:
            return False
        if self._is_store:  # every group has metadata
            return self._is_remote or self._folder.has(f"{entry.output}/zarr.json")
        return entry.output.endswith(self._suffix)

    def _original(self, name: str) -> str:
        """Return the final name of a temporary file of this batch.

        Empty for other files.
        """
        temporary = _TEMPORARY.fullmatch(name)
        return temporary[1] if temporary is not None and temporary[1] in self._digests else ""

    def _named(self, reads: Iterable[Request]) -> dict[str, str]:
        """Return the digest of each read by the name of its output."""
        names: dict[str, Request] = {}
        for request in reads:
            name = f"{item_name(request)}{self._suffix}"
            other = names.setdefault(name.lower(), request)
            if other is not request:
                problem = f"its output {name} is also that of another request"
                raise InvalidRequest(request.shown_path, problem, "give it another id")
        return {f"{item_name(request)}{self._suffix}": request.digest for request in names.values()}


def _file_number(path: Path) -> tuple[int, int] | None:
    """Return inode and modification time; None without a file."""
    with contextlib.suppress(OSError):  # opening a file makes network file systems refresh its metadata
        os.close(os.open(path, os.O_RDONLY))
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _records_of(url: str, suffix: str) -> Path:
    """Return the default path of the records.

    In the folder, beside the Zarr store, or in the working directory if the output is a URL.
    """
    if not (location := Location.of(url)).is_local:
        named = Location.of(location.redacted)
        name = re.sub(r"[^A-Za-z0-9.+-]+", "_", "_".join([named.path, named.chain])).strip("_")
        return records_beside(Path(name))
    return Path(url, RECORDS) if suffix else records_beside(Path(url))
