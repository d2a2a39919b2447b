"""Outputs of a batch: NDJSON, folders of files, Zarr stores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from jp2batch.array.formats import check_installed
from jp2batch.batch.outputs.folder import Folder
from jp2batch.batch.outputs.ndjson import Lines
from jp2batch.batch.records import RecordEntry
from jp2batch.compute.result import Result
from jp2batch.compute.task import Delivery
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.file_formats import DEFAULT_FORMAT
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import Request


class Output(Protocol):
    """Output of a batch."""

    @property
    def deliver(self) -> Delivery:
        """Function of workers to deliver pixels."""

    @property
    def records(self) -> Path | None:
        """Local file of the records; None without records.

        Always local, because objects in a store cannot be appended to.
        """

    @property
    def locks(self) -> Sequence[Path]:
        """Files to lock against other runs."""

    @property
    def folder(self) -> Path | None:
        """Local folder of the output, made if missing."""

    @property
    def packages(self) -> Sequence[str]:
        """Packages needed by workers besides this package."""

    @property
    def untidy(self) -> bool:
        """True if `tidy` may have something to remove."""

    def exists(self) -> bool:
        """Return whether results exist already."""

    def foreign(self) -> str | None:
        """Return the path of an existing output not written by this package."""

    def recorded(self) -> Mapping[str, RecordEntry]:
        """Return the records of an earlier run.

        Without a local file, the copy beside the output is read.
        """

    def stored(self, entries: Mapping[str, RecordEntry]) -> set[str]:
        """Return the ids of finished items whose output exists; change nothing."""

    def outdated(self, entries: Mapping[str, RecordEntry], todo: Sequence[Request]) -> set[str]:
        """Return the ids of records whose output will get other content."""

    def open(self, todo: Sequence[Request], /, *, overwrite: bool) -> None:
        """Create the output, and check write access; remove nothing."""

    def fetch_records(self) -> None:
        """Download the copy of the records, if this machine has none."""

    def copy_records(self) -> None:
        """Upload a copy of the records beside an output in a store."""

    def put(self, result: Result) -> None:
        """Store a result, unless a worker has stored it."""

    def tidy(self) -> None:
        """Remove replaced outputs, and incomplete files of killed runs."""

    def close(self) -> None:
        """Close the output."""


def sink_for(
    output: str,
    reads: Sequence[Request],
    form: str | None = None,
    records: str | None = None,
    storage_options: StorageOptions = None,
) -> Output:
    """Return the output of a name.

    Parameters
    ----------
    output : str
        "-" (stdout), a name ending in .ndjson, .jsonl or .zarr, or a folder: a name ending in "/", an existing folder,
        or any name together with `form`. Folders and Zarr stores can be URLs.
    reads : sequence of Request
        All reads of the batch, with distinct ids.
    form : str, optional
        Format of the files in a folder, one of `FORMAT_NAMES`.
    records : str, optional
        Local file for the records; by default beside the output, or in the working directory if the output is a URL.
    storage_options : mapping, optional
        fsspec's options for the store of the output.

    Raises
    ------
    InvalidRequest
        The name is not that of an output, two items have the same output file, or a package is missing.
    """
    location = Location.of(output)
    output = location.path if location.is_local else output
    remote = not location.is_local
    beside = Location.of(records) if records else None
    if beside and not beside.is_local:
        raise InvalidRequest(beside, "records are appended to a local file", "give a local path")
    own_records = Path(beside.path) if beside else None
    if not output.strip():
        raise InvalidRequest("", "the name of the output is empty", "give a name ending in .ndjson, .zarr or /")
    suffix = location.suffix
    if output == "-" or (suffix in (".ndjson", ".jsonl") and not output.endswith("/")):
        _refuse_form(output, form)
        _refuse_remote_lines(output, remote)
        if Path(output).is_dir():
            raise InvalidRequest(output, "this is a folder, but its name is that of an NDJSON file", "add a /")
        return Lines(None if output == "-" else Path(output), own_records)
    if suffix == ".zarr":
        _refuse_form(output, form)
    elif form is None and not (output.endswith("/") or (not remote and Path(output).is_dir())):
        hint = "give a name ending in .ndjson, .zarr or, for a folder of files, in /"
        raise InvalidRequest(output, "cannot tell the output format from the name", hint)
    place = output if remote else str(Path(output).absolute())
    file_suffix = "" if suffix == ".zarr" else f".{form or DEFAULT_FORMAT}"
    check_installed(output, file_suffix or ".zarr")
    return Folder(place, file_suffix, own_records, reads, storage_options)


def _refuse_form(output: str, form: str | None) -> None:
    if form is not None:
        problem = f"form={form} is for folders of files"
        raise InvalidRequest(output, problem, "leave it out, or give a folder")


def _refuse_remote_lines(output: str, remote: bool) -> None:
    if remote:
        hint = "give a folder, e.g. s3://bucket/results/ with form=json, or a local file to copy there afterwards"
        raise InvalidRequest(output, "objects in a store cannot be appended to", hint)
