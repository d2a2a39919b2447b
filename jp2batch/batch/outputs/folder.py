"""Results as files of a folder or groups of a Zarr store, local or in an object store, written by the workers."""

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
from jp2batch.core.location import Location
from jp2batch.core.options import SecretDict, StorageOptions
from jp2batch.core.request import Request
from jp2batch.image.read import Pixels
from jp2batch.storage.directory import Directory

_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}(\.old)?")  # of jp2batch.storage.files
_GROUP = b'{"attributes": {}, "zarr_format": 3, "node_type": "group"}'


def item_name(request: Request) -> str:
    """Return a name for the output of an item, that is safe in any folder.

    The name of the image, the level, the id; an id that is no safe name itself is told from others by its digest.
    """
    safe = re.sub(r"[^A-Za-z0-9_.+-]", "_", request.id)[:64]
    if safe != request.id:
        safe = f"{safe}-{hashlib.sha256(request.id.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
    return f"{Location.of(request.path).stem}-r{request.rlevel}-{safe}"


@dataclass(frozen=True, slots=True)
class AsFile:
    """Writes pixels to a file or a group of their own."""

    bytes_per_sample: ClassVar[int] = 6  # copies, or text; measured with all forms

    folder: str
    suffix: str
    storage_options: SecretDict

    def __call__(self, pixels: Pixels, request: Request) -> WrittenOutput:
        """Write pixels; return where."""
        path = f"{self.folder}/{item_name(request)}{self.suffix}"
        write(pixels, path, self.suffix or ".zarr", storage_options=self.storage_options)
        return WrittenOutput(Location.of(path).redacted)


class Folder:
    """Files of a folder or groups of a Zarr store, which workers write. What else is in the folder is left alone.

    In a store, each file is one PUT. A copy of the records is put beside them when a run begins and when it ends; from
    it another machine can resume.
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
        self._copy = f"{name}.{RECORDS}" if not suffix else RECORDS  # nothing strange belongs into a Zarr store
        self._beside = self._folder if suffix else Directory(parent, storage_options)
        self._is_store, self._is_remote, self._seen = not suffix, not Location.of(url).is_local, False
        self.folder = None if self._is_remote else Path(url)
        self.untidy = False
        self._earlier: set[str] = set()  # names of outputs to be replaced
        self._old: dict[str, tuple[int, int] | None] = {}  # outputs that are to be replaced
        self.locks = [self.records] if self._is_remote or not self._is_store else [Path(url), self.records]
        self._suffix = suffix
        self._digests = self._named(reads)

    def exists(self) -> bool:
        """Return whether there are results already."""
        recorded = self.records.exists() or self._fetched() is not None
        return recorded or any(not name.startswith(".") for name in self._folder.names())

    def foreign(self) -> str | None:
        """Return the path of a file or folder in the place of results that no run of this package has written."""
        if not are_records(self.records):
            return str(self.records)
        if not starts_records(io.BytesIO(self._fetched() or b"").readline()):
            return f"{Location.of(self._beside.url)}/{self._copy}"
        there = {name for name in self._folder.names() if not _TEMPORARY.fullmatch(name)} if self._is_store else set()
        if there and not there & {"zarr.json", ".zgroup"}:
            return Location.of(self._folder.url).redacted
        return None

    def recorded(self) -> Mapping[str, RecordEntry]:
        """Return the records of an earlier run: of this machine or, if it has none, of the copy beside the output."""
        copy = self._fetched()
        return read_records(self.records) if copy is None else parse_records(io.BytesIO(copy))

    def stored(self, done: Mapping[str, RecordEntry]) -> set[str]:
        """Return the ids of finished items whose file or group exists. Change nothing."""
        there = self._folder.names()
        self.untidy = any(map(self._original, there))
        return {id_ for id_, entry in done.items() if entry.output in there and self._is_right(entry)}

    def outdated(self, found: Mapping[str, RecordEntry], todo: Sequence[Request]) -> set[str]:
        """Return the ids of records whose file or group will hold something else."""
        names = self._names(todo)
        return {id_ for id_, e in found.items() if e.output in names and self._digests[e.output] != e.digest}

    def open(self, todo: Sequence[Request], *, overwrite: bool) -> None:
        """Make the folder, or the root group, and see that it can be written. Remove nothing."""
        there = self._folder.names()
        self._old = {name: _file_number(self.folder / name) for name in there & self._names(todo) if self.folder}
        if overwrite:
            recorded = {entry.output for entry in self.recorded().values()}
            own = {name.lower() for name in ("zarr.json", *self._digests)}  # some systems tell no case
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
        """Take over the copy of the records, if this machine has none."""
        copy = self._fetched()
        if copy is not None:
            rewrite(self.records, [copy])

    def copy_records(self) -> None:
        """Put a copy of the records beside an output in a store."""
        self._put_copy(None)

    def put(self, result: Result) -> None:
        """Do nothing: the worker has written it. See once that it is here, and not on a disk of the worker's machine.

        Raises
        ------
        OutputError
            It is not.
        """
        if self._seen or self._is_remote or result.output is None:
            return
        path = Path(result.output)
        if _file_number(path) == self._old.get(path.name):
            problem = f"worker {result.worker} has written it, and it is not there on this machine"
            raise OutputError(result.output, problem, "give a folder that all machines share, or a URL")
        self._seen = True

    def tidy(self) -> None:
        """Remove what killed runs have left half written, and outputs replaced as a whole."""
        there = self._folder.names()
        halves = {name for name in there if self._original(name) in there}
        replaced = any(entry.ok for entry in read_records(self.records).values())
        self._folder.remove(halves | (self._earlier & there if replaced else set()))

    def close(self) -> None:
        """Put a copy of the records where there is nothing beside the output."""
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
        """Let groups that a killed run had moved aside, and not yet replaced, have their names again."""
        for name in there if self.folder else ():
            original = self._original(name)
            if self.folder and original and name.endswith(".old") and original not in there:
                (self.folder / name).rename(self.folder / original)

    def _names(self, items: Iterable[Request]) -> set[str]:
        """Return the names of the outputs of some items."""
        digests = {item.digest for item in items}
        return {name for name, digest in self._digests.items() if digest in digests}

    def _is_right(self, entry: RecordEntry) -> bool:
        """Tell whether an output is of the form that is asked for now, and will not be that of another image."""
        if self._digests.get(entry.output, entry.digest) != entry.digest:
            return False
        if self._is_store:  # groups have metadata of their own
            return self._is_remote or self._folder.has(f"{entry.output}/zarr.json")
        return entry.output.endswith(self._suffix)

    def _original(self, name: str) -> str:
        """Return the name that a write under a temporary name was for; empty if it is none of this batch."""
        temporary = _TEMPORARY.fullmatch(name)
        return temporary[1] if temporary is not None and temporary[1] in self._digests else ""

    def _named(self, reads: Iterable[Request]) -> dict[str, str]:
        """Return the name of the output of each read, and what it holds."""
        names: dict[str, Request] = {}
        for request in reads:
            name = f"{item_name(request)}{self._suffix}"
            other = names.setdefault(name.lower(), request)
            if other is not request:
                problem = f"its output {name} would be that of another request, too"
                raise InvalidRequest(request.shown_path, problem, "give it another id")
        return {f"{item_name(request)}{self._suffix}": request.digest for request in names.values()}


def _file_number(path: Path) -> tuple[int, int] | None:
    """Return what tells a file or folder from one that replaces it; None if there is none."""
    with contextlib.suppress(OSError):  # a network file system looks at it anew when it is opened
        os.close(os.open(path, os.O_RDONLY))
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _records_of(url: str, suffix: str) -> Path:
    """Return where records go by default: in the folder, beside the Zarr store, or in the working directory."""
    if not (location := Location.of(url)).is_local:
        named = Location.of(location.redacted)
        name = re.sub(r"[^A-Za-z0-9.+-]+", "_", "_".join([named.path, named.chain])).strip("_")
        return records_beside(Path(name))
    return Path(url, RECORDS) if suffix else records_beside(Path(url))
