"""Place of the state of a run: in or beside its output."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from jp2batch.batch.records.log import FileLog, RecordLog, SegmentLog
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions
from jp2batch.storage.directory import Directory

RECORDS = "records"
RUN = "jp2batch-run.json"


@dataclass(frozen=True, slots=True)
class StatePlace:
    """Folder and names of the state of a run."""

    directory: Directory
    """Folder of the state."""
    run: str
    """Name of the file with the `RunState`."""
    records: str
    """Name of the records, without suffix."""
    is_local: bool
    """True in a local folder."""

    @classmethod
    def inside(cls, url: str, storage_options: StorageOptions = None) -> Self:
        """Return the place in a folder of result files."""
        return cls(Directory(url, storage_options), f".{RUN}", RECORDS, Location.of(url).is_local)

    @classmethod
    def beside(cls, url: str, storage_options: StorageOptions = None) -> Self:
        """Return the place beside an output file or store."""
        parent, _, name = url.rstrip("/").rpartition("/")
        is_local = Location.of(url).is_local
        directory = Directory(parent or "/", storage_options)
        return cls(directory, f".{name}.{RUN}" if is_local else f"{name}.{RUN}", f"{name}.{RECORDS}", is_local)

    def log(self, own: Path | None, confirm: Callable[[], object]) -> RecordLog:
        """Return the log of the records.

        `own` is used instead of a local file, or for a copy of the segments.
        """
        if self.is_local:
            return FileLog(self.records_file(own))
        return SegmentLog(self.directory, self.records, own, confirm)

    def records_file(self, own: Path | None) -> Path:
        """Return the local file of the records."""
        return own or Path(self.directory.url, f"{self.records}.ndjson")

    def locks(self, own: Path | None) -> Sequence[Path]:
        """Return the local files to lock against other runs."""
        if self.is_local:
            return [Path(self.directory.url, self.run), self.records_file(own)]
        return [] if own is None else [own]
