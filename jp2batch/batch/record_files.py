"""Further files for records: a local file, or a table."""

from dataclasses import dataclass
from pathlib import Path

from jp2batch.array.formats import check_installed
from jp2batch.batch.columns import Columns
from jp2batch.batch.options import RunOptions
from jp2batch.batch.records.log import RecordLog
from jp2batch.batch.records.table import is_table, write_table
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions


@dataclass(frozen=True, slots=True)
class RecordFiles:
    """Files for records, as asked for by the options of a run."""

    own: Path | None = None
    """Local file for lines."""
    table: Location | None = None
    """Place for a table."""

    @classmethod
    def of(cls, options: RunOptions) -> "RecordFiles":
        """Return the files of options.

        Raises
        ------
        InvalidRequest
            A file for lines is a URL, or there can be no table.
        """
        if not options.records:
            return cls()
        location = Location.of(options.records)
        if location.suffix == ".parquet":
            return cls(table=_checked(location, options.output))
        if not location.is_local:
            problem, hint = "records are appended to a local file", "give a local path, or a name ending in .parquet"
            raise InvalidRequest(location, problem, hint)
        return cls(own=Path(location.path))

    @property
    def paths(self) -> list[Path]:
        """Local path of the table, if any."""
        return [Path(self.table.path)] if self.table is not None and self.table.is_local else []

    def write_table(self, log: RecordLog, columns: Columns, storage_options: StorageOptions) -> None:
        """Write the table, if requested."""
        if self.table is not None:
            write_table(log, self.table.text, columns, storage_options)


def _checked(location: Location, output: str) -> Location:
    check_installed(location.text, ".parquet")
    if output == "-":
        raise InvalidRequest(location, "results on stdout have no records", "give an output such as results.ndjson")
    if location.is_local and Path(location.path).exists() and not is_table(Path(location.path)):
        raise InvalidRequest(location, "this is not a table of records, and would be replaced", "give another name")
    return location
