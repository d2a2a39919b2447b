"""Where the results of a batch go: lines of one file or of stdout, files of a folder, groups of a Zarr store."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from jp2batch.array.formats import FORMATS, check_installed
from jp2batch.batch.outputs.folder import Folder
from jp2batch.batch.outputs.ndjson import Lines
from jp2batch.batch.records import RecordEntry
from jp2batch.compute.result import Result
from jp2batch.compute.task import Delivery
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import Request

FORMS = ("npy", *(name[1:] for name, row in FORMATS.items() if not row.is_alias and name != ".npy"))
"""The forms of files in a folder; the first is the default."""


class Output(Protocol):
    """Where the results of a batch go."""

    @property
    def deliver(self) -> Delivery:
        """What workers do with pixels."""

    @property
    def records(self) -> Path | None:
        """Where records go: always a local file, as objects cannot be appended to."""

    @property
    def locks(self) -> Sequence[Path]:
        """The files of which one run at a time may be the writer."""

    @property
    def folder(self) -> Path | None:
        """The local folder of the output, which is made for it."""

    @property
    def packages(self) -> Sequence[str]:
        """What workers need besides this package."""

    @property
    def untidy(self) -> bool:
        """Whether `tidy` may have something to remove."""

    def exists(self) -> bool:
        """Return whether there are results already."""

    def foreign(self) -> str | None:
        """Return the path of a file in the place of results or records that no run of this package has written."""

    def recorded(self) -> Mapping[str, RecordEntry]:
        """Return the records of an earlier run: of this machine or, if it has none, of the copy beside the output."""

    def stored(self, done: Mapping[str, RecordEntry]) -> set[str]:
        """Return the ids of finished items whose output exists. Change nothing."""

    def outdated(self, found: Mapping[str, RecordEntry], todo: Sequence[Request]) -> set[str]:
        """Return the ids of records whose output these requests will replace by something else."""

    def open(self, todo: Sequence[Request], /, *, overwrite: bool) -> None:
        """Make the place of the output, and see that it can be written; remove nothing."""

    def fetch_records(self) -> None:
        """Take over the copy of the records, if this machine has none."""

    def copy_records(self) -> None:
        """Put a copy of the records beside an output that has none."""

    def put(self, result: Result) -> None:
        """Store a result that workers have not stored."""

    def tidy(self) -> None:
        """Remove what this run has replaced, and what killed runs have left half written."""

    def close(self) -> None:
        """Close what is open."""


def sink_for(
    output: str,
    reads: Sequence[Request],
    form: str | None = None,
    records: str | None = None,
    storage_options: StorageOptions = None,
) -> Output:
    """Return where results go.

    Parameters
    ----------
    output : str
        "-" (stdout), a name ending in .ndjson or .jsonl, one ending in .zarr, or a folder: what ends in "/", or is
        one already, or is given with a form. Folders and Zarr stores may be URLs.
    reads : sequence of Request
        All reads of the batch, each with an id of its own.
    form : str, optional
        The form of files in a folder, one of `FORMS`.
    records : str, optional
        Where records go, a local file; by default beside the output, or, where that is a URL, in the working directory.
    storage_options : mapping, optional
        fsspec's options for the store of the output.

    Raises
    ------
    InvalidRequest
        The name means nothing, two items would be written to the same place, or a package is missing.
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
            raise InvalidRequest(output, "this is a folder, and its name that of a file of lines", "add a /")
        return Lines(None if output == "-" else Path(output), own_records)
    if suffix == ".zarr":
        _refuse_form(output, form)
    elif form is None and not (output.endswith("/") or (not remote and Path(output).is_dir())):
        hint = "give a name ending in .ndjson, .zarr or, for a folder of files, in /"
        raise InvalidRequest(output, "its name tells no form of output", hint)
    place = output if remote else str(Path(output).absolute())
    file_suffix = "" if suffix == ".zarr" else f".{form or FORMS[0]}"
    check_installed(output, file_suffix or ".zarr")
    return Folder(place, file_suffix, own_records, reads, storage_options)


def _refuse_form(output: str, form: str | None) -> None:
    if form is not None:
        problem = f"form={form} is for folders of files"
        raise InvalidRequest(output, problem, "leave it out, or give a folder")


def _refuse_remote_lines(output: str, remote: bool) -> None:
    if remote:
        hint = "give a folder, as s3://bucket/results/ with form=json, or a local file to copy there afterwards"
        raise InvalidRequest(output, "lines cannot be appended to an object of a store", hint)
