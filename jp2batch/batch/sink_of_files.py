"""Results as files of a folder or groups of a Zarr store, local or in an object store, written by the workers."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from jp2batch.batch.records import RECORDS, Entry, are_records, read_records, records_beside
from jp2batch.batch.report import Result
from jp2batch.batch.work import Delivery, Hidden, Output
from jp2batch.errors import InvalidRequest, OutputError
from jp2batch.reader import Pixels, StorageOptions
from jp2batch.request import Request
from jp2batch.storage.folders import OutputFolder
from jp2batch.urls import stem_of, without_credentials
from jp2batch.writers import needs, write

_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}(\.old)?")  # of jp2batch.storage.files
_GROUP = b'{"attributes": {}, "zarr_format": 3, "node_type": "group"}'


def item_name(request: Request) -> str:
    """Return a name for the output of an item, that is safe in any folder.

    The name of the image, the level, the id; an id that is no safe name itself is told from others by its digest.
    """
    safe = re.sub(r"[^A-Za-z0-9_.+-]", "_", request.id)[:64]
    if safe != request.id:
        safe = f"{safe}-{hashlib.sha256(request.id.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
    return f"{stem_of(request.path)}-r{request.rlevel}-{safe}"


@dataclass(frozen=True, slots=True)
class AsFile:
    """Writes pixels to a file or a group of their own."""

    bytes_per_sample: ClassVar[int] = 6  # copies, or text; measured with all forms

    folder: str
    suffix: str
    storage_options: Hidden

    def __call__(self, pixels: Pixels, request: Request) -> Output:
        """Write pixels; return where."""
        path = f"{self.folder}/{item_name(request)}{self.suffix}"
        write(pixels, path, self.suffix or ".zarr", storage_options=self.storage_options)
        return Output(without_credentials(path) if "://" in path else path)


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
        self.deliver: Delivery = AsFile(url.rstrip("/"), suffix, Hidden(storage_options or {}))
        self._folder = OutputFolder(url, storage_options)
        parent, _, name = self._folder.url.rpartition("/")
        self._copy = f"{name}.{RECORDS}" if not suffix else RECORDS  # nothing strange belongs into a Zarr store
        self._beside = self._folder if suffix else OutputFolder(parent, storage_options)
        self._is_store, self._is_remote, self._seen = not suffix, "://" in url, False
        self.in_folder = not self._is_remote
        self.locks = [self.records] if self._is_remote or not self._is_store else [Path(url), self.records]
        self._suffix = suffix
        self._digests = self._named(reads)

    def exists(self) -> bool:
        """Tell whether there are results already."""
        return self.records.exists() or any(not name.startswith(".") for name in self._folder.names())

    def clear(self) -> None:
        """Remove the files of these items and those that records name; a Zarr store as a whole."""
        there = self._folder.names()
        ours = self._digests.keys() | {entry.output for entry in read_records(self.records).values()}
        if self._is_store:
            if there and not there & {"zarr.json", ".zgroup"}:
                cure = "remove it, or give another name"
                raise InvalidRequest(without_credentials(self._folder.url), "this is no Zarr store of groups", cure)
            ours = there
        self.records.unlink(missing_ok=True)  # first: what has no record is not there
        self._folder.remove(name for name in there if name in ours or self._is_left_over(name))

    def keep(self, done: Mapping[str, Entry]) -> set[str]:
        """Drop the files and groups of what is not done; return the ids that have one."""
        there = self._folder.names()
        kept = {id_: entry.output for id_, entry in done.items() if entry.output in there and self._is_right(entry)}
        wanted = set(kept.values())
        waste = {name for name in there - wanted if name in self._digests or self._is_left_over(name)}
        self._folder.remove(waste)
        return set(kept)

    def open(self) -> None:
        """Make the folder, or the root group; see that it can be written."""
        self._folder.make()
        if self._is_store:
            self._folder.write("zarr.json", _GROUP)
        self._copy_records()

    def put(self, result: Result) -> None:
        """Do nothing: the worker has written it. See once that it is here, and not on a disk of the worker's machine.

        Raises
        ------
        OutputError
            It is not.
        """
        if self._seen or self._is_remote or result.output is None:
            return
        if not Path(result.output).exists():
            problem = f"worker {result.worker} has written it, and it is not there on this machine"
            raise OutputError(result.output, problem, "give a folder that all machines share, or a URL")
        self._seen = True

    def close(self) -> None:
        """Put a copy of the records where there is nothing beside the output."""
        self._copy_records()

    def foreign(self) -> Path | None:
        """Return a file in the place of records that no run of this package has written."""
        return None if are_records(self.records) else self.records

    def fetch_records(self) -> None:
        """Take over the copy of the records, where this machine has none."""
        if self._is_remote and not self.records.exists():
            copy = self._beside.read(self._copy)
            if copy is not None:
                self.records.write_bytes(copy)

    def _copy_records(self) -> None:
        if self._is_remote:
            self._beside.write(self._copy, self.records.read_bytes() if self.records.exists() else b"")

    def _is_right(self, entry: Entry) -> bool:
        """Tell whether an output is of the form that is asked for now, and will not be that of another image."""
        if self._digests.get(entry.output, entry.digest) != entry.digest:
            return False
        if self._is_store:  # groups have metadata of their own
            return self._is_remote or self._folder.has(f"{entry.output}/zarr.json")
        return entry.output.endswith(self._suffix)

    def _is_left_over(self, name: str) -> bool:
        temporary = _TEMPORARY.fullmatch(name)
        return temporary is not None and temporary[1] in self._digests

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


def _records_of(url: str, suffix: str) -> Path:
    """Return where records go by default: in the folder, beside the Zarr store, or in the working directory."""
    if "://" in url:
        name = re.sub(r"[^A-Za-z0-9.+-]+", "_", without_credentials(url).partition("://")[2]).strip("_")
        return records_beside(Path(name))
    return Path(url, RECORDS) if suffix else records_beside(Path(url))
