"""Output as files in a folder or groups in a Zarr store."""

import hashlib
import os
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from jp2batch.array.formats import is_whole, load, needs, write
from jp2batch.array.zarr_files import METADATA
from jp2batch.batch.records.book import RecordBook
from jp2batch.batch.records.log import RecordLog
from jp2batch.batch.state.place import RECORDS, StatePlace
from jp2batch.compute.result import Result
from jp2batch.compute.task import Delivery, WrittenOutput
from jp2batch.core.errors import OutputError
from jp2batch.core.file_formats import FORMATS
from jp2batch.core.location import Location, safe_name
from jp2batch.core.options import SecretDict, StorageOptions
from jp2batch.core.request import Request
from jp2batch.image.read import Pixels
from jp2batch.storage.directory import Directory, StoredFile, sync_files
from jp2batch.storage.files import WrittenBytes

if TYPE_CHECKING:
    from distributed import Client

TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}(\.old)?")  # of jp2batch.storage.files
"""Pattern of the names of incomplete files."""


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

    def load(self) -> None:
        """Import the packages for writing the format."""
        load(self.suffix or ".zarr")

    def __call__(self, pixels: Pixels, request: Request) -> WrittenOutput:
        """Write pixels; return their path, size and checksum."""
        path = f"{self.folder}/{item_name(request)}{self.suffix}"
        written = write(pixels, path, self.suffix or ".zarr", storage_options=self.storage_options)
        return WrittenOutput(Location.of(path).redacted, written.size, f"md5:{written.md5}")


class Folder:
    """Files in a folder or groups in a Zarr store.

    Workers write them. Other files in the folder are not touched. In an object store, each file is one PUT.
    """

    is_folder = True
    needs_all = in_parts = False

    def __init__(self, url: str, suffix: str, storage_options: StorageOptions = None) -> None:
        self._form, self._suffix = suffix or ".zarr", suffix
        self.packages: Sequence[str] = needs(self._form)
        self.deliver: Delivery = AsFile(url.rstrip("/"), suffix, SecretDict.of(storage_options))
        is_store = not suffix  # a Zarr store holds no other files
        self.place: StatePlace | None = (StatePlace.beside if is_store else StatePlace.inside)(url, storage_options)
        self.path = Path(url) if Location.of(url).is_local else None
        self._folder, self.is_exclusive = Directory(url, storage_options), is_store
        self._groups = self._form in FORMATS and FORMATS[self._form].is_folder
        self._listed: dict[str, StoredFile] = {}
        self._fresh: list[Path] = []  # local results to make durable
        self._seen = False

    def expect(self, items: Sequence[Request], fingerprint: str) -> None:
        """Do nothing: results do not depend on other items."""

    def prepare(self, client: "Client | None") -> None:
        """Do nothing: `deliver` is ready."""

    def name_of(self, item: Request, read: Request) -> str:  # noqa: ARG002  # equal requests share a file
        """Return the name of the file or group of a read."""
        return f"{item_name(read)}{self._suffix}"

    def fits(self, name: str) -> bool:
        """Return whether a recorded name is of the requested format."""
        return name.endswith(self._suffix)

    def foreign(self) -> str | None:
        """Return the path of an existing store not written by this package."""
        there = {name for name in self._folder.names() if not TEMPORARY.fullmatch(name)} if self.is_exclusive else set()
        if there and not there & {METADATA, ".zgroup"}:
            return Location.of(self._folder.url).redacted
        return None

    def stored(self, book: RecordBook) -> Mapping[str, StoredFile]:  # noqa: ARG002
        """Return the files or groups by name."""
        files = self._folder.files(recursive=self._groups)
        self._listed = _groups_of(files) if self._groups else files
        own = {f"{RECORDS}.ndjson", METADATA}
        return {name: file for name, file in self._listed.items() if name not in own and not name.startswith(".")}

    def address_of(self, name: str) -> str | None:
        """Return the path or URL of a file or group."""
        return Location.of(f"{self._folder.url}/{name}").redacted

    def is_whole(self, name: str) -> bool:
        """Return whether a file is complete, by its header.

        An object appears when its last byte has arrived, and of a group its metadata come last.
        """
        return self.path is None or self._groups or is_whole(self.path / name, self._form)

    def md5_of(self, name: str) -> str:
        """Read a file or group; return its MD5."""
        if not self._groups:
            return WrittenBytes.of(next(data for _, data in self._folder.read_many([name]))).md5
        group = self._folder.below(name)
        files = group.read_many(sorted(group.files(recursive=True)))
        return WrittenBytes.of_folder({file: WrittenBytes.of(data) for file, data in files}).md5

    def position(self, now: float, *, overwrite: bool) -> float | None:  # noqa: ARG002
        """Return the time of the store."""
        return now

    def open(self, *, overwrite: bool) -> None:  # noqa: ARG002  # each file is replaced by its successor
        """Create the folder; restore groups moved aside."""
        self._folder.make()
        if self._groups and self.path is not None:
            self._put_back(self.path)

    def put(self, result: Result) -> Result:
        """Check once for a worker's file on this machine.

        The worker has written the file, perhaps on a disk of its own machine.

        Raises
        ------
        OutputError
            The file does not exist here.
        """
        if self.path is None or result.output is None:
            return result
        path = self._path_of(result.output)
        if not (self._seen or result.adopted):
            self._seen = self._is_new(path)
            if not self._seen:
                problem = f"worker {result.worker} has written it, but it is missing on this machine"
                raise OutputError(result.output, problem, "give a folder that all machines share, or a URL")
        self._fresh.append(path)
        return result

    def sync(self, results: Sequence[Result]) -> Sequence[Result]:
        """Make local files durable."""
        fresh, self._fresh = self._fresh, []
        sync_files(dict.fromkeys(fresh))
        return results

    def publish(self, results: Sequence[Result]) -> None:
        """Do nothing: files are in place."""

    def tidy(self, log: RecordLog) -> None:
        """Do nothing: a file is replaced by its successor."""

    def temporaries(self) -> set[str]:
        """Return the names of incomplete files of killed runs."""
        there = self._folder.names() if self.path is not None else set()
        return {name for name in there if (found := TEMPORARY.fullmatch(name)) and self.fits(found[1])}

    def remove(self, names: Container[str]) -> None:
        """Remove files and groups."""
        self._folder.remove(name for name in self._folder.names() if name in names)

    def close(self) -> None:
        """Do nothing: files are closed."""

    def _path_of(self, output: str) -> Path:
        return Path(output)

    def _is_new(self, path: Path) -> bool:
        """Return whether a file or group differs from the earlier listing."""
        try:
            # Opening a file makes network file systems refresh its metadata.
            handle = os.open(path / METADATA if self._groups else path, os.O_RDONLY)
        except OSError:
            return False
        found = os.fstat(handle)
        os.close(handle)
        before = self._listed.get(path.name)
        return before is None or before.modified != found.st_mtime

    def _put_back(self, folder: Path) -> None:
        """Restore groups moved aside by a killed run."""
        there = self._folder.names()
        for name in there:
            temporary = TEMPORARY.fullmatch(name)
            if temporary and temporary[2] and self.fits(temporary[1]) and temporary[1] not in there:
                (folder / name).rename(folder / temporary[1])


def _groups_of(files: Mapping[str, StoredFile]) -> dict[str, StoredFile]:
    """Return groups with metadata by name, from the files in them."""
    members: dict[str, dict[str, StoredFile]] = {}
    for path, file in files.items():
        name, _, inner = path.partition("/")
        members.setdefault(name, {})[inner] = file
    return {name: _group_of(inside) for name, inside in members.items() if METADATA in inside}


def _group_of(files: Mapping[str, StoredFile]) -> StoredFile:
    whole = WrittenBytes.of_folder({name: WrittenBytes(file.size, file.md5) for name, file in files.items()})
    is_told = all(file.md5 for file in files.values())
    return StoredFile(whole.size, files[METADATA].modified, whole.md5 if is_told else "")
