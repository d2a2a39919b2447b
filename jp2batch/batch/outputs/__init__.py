"""Outputs of a batch: NDJSON, folders of files, Zarr stores, cubes."""

import os
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from jp2batch.array.formats import check_installed
from jp2batch.batch.outputs.cube import CubeStore, is_cube
from jp2batch.batch.outputs.folder import Folder
from jp2batch.batch.outputs.groups import GroupStore
from jp2batch.batch.outputs.ndjson import Lines
from jp2batch.batch.outputs.parts import Parts
from jp2batch.batch.outputs.row_formats import RowFormat
from jp2batch.batch.records.book import RecordBook
from jp2batch.batch.records.log import RecordLog
from jp2batch.batch.state.place import StatePlace
from jp2batch.compute.result import Result
from jp2batch.compute.task import Delivery
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.file_formats import CUBE_FORMAT, DEFAULT_FORMAT
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import Request
from jp2batch.storage.directory import StoredFile

if TYPE_CHECKING:
    from distributed import Client


class Output(Protocol):
    """Output of a batch.

    Results have names: of their files or groups, or the ids of their lines.
    """

    deliver: Delivery
    """Function of workers to deliver pixels."""
    place: StatePlace | None
    """Place of the state of a run; None on stdout."""
    path: Path | None
    """Local file or folder of the output."""
    is_folder: bool
    """True if the output is a folder, made if missing."""
    is_exclusive: bool
    """True if the output holds nothing but results."""
    in_parts: bool
    """True if several results share a file; their names are ids."""
    packages: Sequence[str]
    """Packages needed by workers besides this package."""
    needs_all: bool
    """True if all items must be known before the first is read."""

    def expect(self, items: Sequence[Request], fingerprint: str, /) -> None:
        """Derive properties of all items, such as axes; read nothing."""

    def prepare(self, client: "Client | None", /) -> None:
        """Prepare `deliver`; read headers if necessary, change nothing."""

    def name_of(self, item: Request, read: Request) -> str:
        """Return the name of an item's result.

        `read` is the first of equal requests.
        """

    def fits(self, name: str) -> bool:
        """Return whether a recorded name is of the requested format."""

    def foreign(self) -> str | None:
        """Return the path of an existing output not written by this package."""

    def stored(self, book: RecordBook, /) -> Mapping[str, StoredFile]:
        """Return the existing results by name, with a single listing."""

    def address_of(self, name: str) -> str | None:
        """Return path or URL of a result for its record, without credentials."""

    def is_whole(self, name: str) -> bool:
        """Return whether a result is complete, by its header."""

    def md5_of(self, name: str) -> str:
        """Read a result; return its MD5 in hex digits."""

    def position(self, now: float, *, overwrite: bool) -> float | None:
        """Return the least `StoredFile.modified` of results written from now on."""

    def open(self, *, overwrite: bool) -> None:
        """Create the output; remove nothing."""

    def put(self, result: Result) -> Result:
        """Store a result, unless stored by a worker or `sync`."""

    def sync(self, results: Sequence[Result], /) -> Sequence[Result]:
        """Make stored results durable; return them without values."""

    def publish(self, results: Sequence[Result], /) -> None:
        """Show results to readers; they have records."""

    def tidy(self, log: RecordLog, /) -> None:
        """Remove superseded lines and rows after a complete run."""

    def temporaries(self) -> set[str]:
        """Return the names of incomplete files of killed runs."""

    def remove(self, names: Container[str]) -> None:
        """Remove results and temporary files."""

    def close(self) -> None:
        """Close the output."""


def sink_for(
    output: str, form: str | None = None, storage_options: StorageOptions = None, rows: RowFormat | None = None
) -> Output:
    """Return the output of a name.

    Parameters
    ----------
    output : str
        "-" (stdout), a name ending in .ndjson, .jsonl, .parquet or .zarr, or a folder: a name ending in "/", an
        existing folder, or any name together with `form`. All can be URLs, except "-".
    form : str, optional
        Format of the files in a folder, one of `FORMAT_NAMES`; or "cube" for a name ending in .zarr, the default for
        cube.zarr.
    storage_options : mapping, optional
        fsspec's options for the store of the output.
    rows : RowFormat, optional
        Format of the parts of a name ending in .parquet; by default a row of samples for each item.

    Raises
    ------
    InvalidRequest
        The name is not that of an output, or a package is missing.
    """
    location = Location.of(output)
    output = _without_link(location.path) if location.is_local else output
    remote = not location.is_local
    if not output.strip():
        raise InvalidRequest(
            "", "the name of the output is empty", "give a name ending in .ndjson, .parquet, .zarr or /"
        )
    suffix = location.suffix
    if output == "-" or (suffix in (".ndjson", ".jsonl") and not output.endswith("/")):
        _refuse_form(output, form)
        if remote:
            return Parts(output, suffix, storage_options)
        if Path(output).is_dir():
            raise InvalidRequest(output, "this is a folder, but its name is that of an NDJSON file", "add a /")
        return Lines(None if output == "-" else Path(output))
    place = output if remote else str(Path(output).absolute())
    if suffix == ".parquet":
        _refuse_form(output, form)
        check_installed(output, suffix)
        return Parts(place, suffix, storage_options, rows)
    if suffix == ".zarr":
        check_installed(output, suffix)
        if is_cube(location, form):
            return CubeStore(place, storage_options)
        _refuse_form(output, form)
        return GroupStore(place, storage_options)
    if form is None and not (output.endswith("/") or (not remote and Path(output).is_dir())):
        hint = "give a name ending in .ndjson, .parquet, .zarr or, for a folder of files, in /"
        raise InvalidRequest(output, "cannot tell the output format from the name", hint)
    if form == CUBE_FORMAT:
        raise InvalidRequest(output, "a cube is a Zarr store", "give a name ending in .zarr")
    file_suffix = f".{form or DEFAULT_FORMAT}"
    check_installed(output, file_suffix)
    return Folder(place, file_suffix, storage_options)


def _without_link(path: str) -> str:
    """Return the target of a symbolic link, else the path.

    Two names of an output then share its lock and records.
    """
    if not path.endswith("/") and Path(path).is_symlink():
        return os.path.realpath(path)
    return path


def _refuse_form(output: str, form: str | None) -> None:
    if form is not None:
        problem = f"form={form} is for folders of files"
        raise InvalidRequest(output, problem, "leave it out, or give a folder")
