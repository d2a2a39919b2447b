"""Where the results of a batch go: lines of one file or of stdout, files of a folder, groups of a Zarr store."""

import contextlib
import hashlib
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

import orjson

from jp2batch.errors import InvalidRequest
from jp2batch.reader import Pixels
from jp2batch.records import Entry, read_records, rewrite, whole_lines
from jp2batch.report import Result
from jp2batch.request import Request
from jp2batch.response import to_json
from jp2batch.sinks import write
from jp2batch.storage.faults import without_credentials
from jp2batch.work import Delivery, Output

FORMS = ("npy", "json", "png", "tif", "nc", "zarr")
"""The forms of files in a folder; the first is the default."""

_ID = re.compile(rb'\{"id":("(?:[^"\\]|\\.)*"),')
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}(\.old)?")  # of jp2batch.storage.files


class Sink(Protocol):
    """Where the results of a batch go."""

    @property
    def deliver(self) -> Delivery:
        """What workers do with pixels."""

    @property
    def records(self) -> Path | None:
        """Where records go."""

    def exists(self) -> bool:
        """Tell whether there are results already."""

    def clear(self) -> None:
        """Remove the results that are there."""

    def keep(self, done: Mapping[str, Entry]) -> set[str]:
        """Drop the output of what is not done; return the ids of what is done and has its output."""

    def open(self) -> None:
        """Make what results are put into."""

    def put(self, result: Result) -> None:
        """Store a result that workers have not stored."""

    def close(self) -> None:
        """Close what is open."""


def sink_for(output: str, requests: Sequence[Request], form: str | None = None, records: str | None = None) -> Sink:
    """Return where results go.

    Parameters
    ----------
    output : str
        "-" (stdout), a name ending in .ndjson or .jsonl, one ending in .zarr, or a folder: what ends in "/", or is
        one already, or is given with a form.
    requests : sequence of Request
        All items of the batch, each with an id of its own.
    form : str, optional
        The form of files in a folder, one of `FORMS`.
    records : str, optional
        Where records go; by default beside the output.

    Raises
    ------
    InvalidRequest
        The name means nothing, or two items would be written to the same place.
    """
    if "://" in output or "::" in output:
        cure = "give a local path, and copy it there afterwards"
        raise InvalidRequest(without_credentials(output), "a batch writes to local files only", cure)
    suffix = PurePosixPath(output).suffix.lower()
    beside = Path(records) if records else None
    if output == "-" or (suffix in (".ndjson", ".jsonl") and not output.endswith("/")):
        _refuse_form(output, form)
        return Lines(None if output == "-" else Path(output), beside)
    path = Path(output).absolute()
    if suffix == ".zarr":
        _refuse_form(output, form)
        return Folder(path, "", ".zarr", beside or path.with_name(f"{path.name}.records.ndjson"), requests)
    if form is None and not (output.endswith("/") or path.is_dir()):
        cure = "give a name ending in .ndjson, .zarr or, for a folder of files, in /"
        raise InvalidRequest(output, "its name tells no form of output", cure)
    suffix = f".{form or FORMS[0]}"
    return Folder(path, suffix, suffix, beside or path / "records.ndjson", requests)


def _refuse_form(output: str, form: str | None) -> None:
    if form is not None:
        raise InvalidRequest(output, f"--format {form} is for folders of files", "leave it out, or give a folder")


def item_name(request: Request) -> str:
    """Return a name for the output of an item, that is safe in any folder.

    The name of the image, the level, the id; an id that is no safe name itself is told from others by its digest.
    """
    stem = re.sub(r"[^A-Za-z0-9_.+-]", "_", PurePosixPath(request.path).stem).lstrip(".")[-80:] or "image"
    safe = re.sub(r"[^A-Za-z0-9_.+-]", "_", request.id)[:64]
    if safe != request.id:
        safe = f"{safe}-{hashlib.sha256(request.id.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
    return f"{stem}-r{request.rlevel}-{safe}"


@dataclass(frozen=True, slots=True)
class AsJson:
    """Delivers the answer of the web service as bytes; whoever stores it puts the id before it."""

    def __call__(self, pixels: Pixels, _request: Request) -> bytes:
        """Return pixels as JSON."""
        return to_json(pixels)


@dataclass(frozen=True, slots=True)
class AsFile:
    """Writes pixels to a file or a group of their own."""

    folder: str
    suffix: str
    form: str

    def __call__(self, pixels: Pixels, request: Request) -> Output:
        """Write pixels; return where."""
        path = f"{self.folder}/{item_name(request)}{self.suffix}"
        write(pixels, path, self.form)
        return Output(path)


class Lines:
    """Contract dicts, one a line, the id first; in a file, or on stdout where there is no path."""

    deliver: Delivery = AsJson()

    def __init__(self, path: Path | None, records: Path | None = None) -> None:
        self.path = path
        self.records = records or (path and path.with_name(f"{path.name}.records.ndjson"))
        self._file: BinaryIO | None = None

    def exists(self) -> bool:
        """Tell whether there are results already."""
        return any(path is not None and path.exists() for path in (self.path, self.records))

    def clear(self) -> None:
        """Remove the results that are there."""
        for path in (self.path, self.records):
            if path is not None:
                path.unlink(missing_ok=True)

    def keep(self, done: Mapping[str, Entry]) -> set[str]:
        """Drop lines of what is not done, and a half last line; return the ids that have a line."""
        kept: set[str] = set()
        if self.path is None or not self.path.exists():
            return kept
        waste, end, middle = False, 0, False
        with self.path.open("rb") as file:
            for offset, line in whole_lines(file):
                found = _id_of(line)
                if found is None or found not in done or found in kept:
                    waste = True
                    continue
                kept.add(found)
                middle, end = middle or waste, offset + len(line)
        if middle:
            self._rewrite(kept)
        else:  # what a killed run leaves is at the end
            with self.path.open("r+b") as file:
                file.truncate(end)
        return kept

    def _rewrite(self, kept: set[str]) -> None:
        left = set(kept)

        def wanted(line: bytes) -> bool:
            found = _id_of(line)
            if found not in left:
                return False
            left.discard(found)
            return True

        if self.path is not None:
            with self.path.open("rb") as file:
                rewrite(self.path, (line for _, line in whole_lines(file) if wanted(line)))

    def open(self) -> None:
        """Open the file to append to."""
        if self.path is None:
            self._file = sys.stdout.buffer
        else:
            self._file = self.path.open("ab")

    def put(self, result: Result) -> None:
        """Append a line."""
        if self._file is not None:
            self._file.write(b"".join([b'{"id":', orjson.dumps(result.request.id), b",", result.value[1:], b"\n"]))
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None and self.path is not None:
            self._file.close()


def _id_of(line: bytes) -> str | None:
    match = _ID.match(line)
    return orjson.loads(match[1]) if match and line.endswith(b"}\n") else None


class Folder:
    """Files of a folder or groups of a Zarr store, which workers write. What else is in the folder is left alone."""

    def __init__(self, path: Path, suffix: str, form: str, records: Path, requests: Iterable[Request]) -> None:
        self.path, self.records = path, records
        self.deliver: Delivery = AsFile(str(path), suffix, form)
        self._is_store = not suffix
        self._suffix = suffix
        self._names = self._distinct(requests)

    def exists(self) -> bool:
        """Tell whether there are results already."""
        return self.records.exists() or (self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())))

    def clear(self) -> None:
        """Remove the files of these items and those that records name; a Zarr store as a whole."""
        if self._is_store and self.path.exists():
            if not any((self.path / name).exists() for name in ("zarr.json", ".zgroup")) and any(self.path.iterdir()):
                raise InvalidRequest(
                    str(self.path), "this is no Zarr store of groups", "remove it, or give another name"
                )
            shutil.rmtree(self.path)
        self._names |= {entry.output for entry in read_records(self.records).values()}
        self.keep({})
        self.records.unlink(missing_ok=True)

    def keep(self, done: Mapping[str, Entry]) -> set[str]:
        """Drop the files and groups of what is not done; return the ids that have one."""
        wanted = {entry.output for entry in done.values()}
        found: set[str] = set()
        if self.path.is_dir():
            for path in self.path.iterdir():
                temporary = _TEMPORARY.fullmatch(path.name)
                if path.name in wanted and self._is_whole(path):
                    found.add(path.name)
                elif path.name in self._names or (temporary is not None and temporary[1] in self._names):
                    _remove(path)
        return {id_ for id_, entry in done.items() if entry.output in found}

    def open(self) -> None:
        """Make the folder, or the root group."""
        self.path.mkdir(parents=True, exist_ok=True)
        root = self.path / "zarr.json"
        if self._is_store and not root.exists():
            root.write_bytes(b'{"attributes": {}, "zarr_format": 3, "node_type": "group"}')

    def put(self, result: Result) -> None:
        """Do nothing: the worker has written it."""

    def close(self) -> None:
        """Do nothing."""

    def _is_whole(self, path: Path) -> bool:
        """Tell whether an output is of the form that is asked for now: groups have their own metadata."""
        return (path / "zarr.json").is_file() if self._is_store else path.suffix == self._suffix

    def _distinct(self, requests: Iterable[Request]) -> set[str]:
        names: dict[str, Request] = {}
        for request in requests:
            name = f"{item_name(request)}{self._suffix}"
            other = names.setdefault(name.lower(), request)
            if other is not request:
                problem = f"its output {name} would be that of {other.id!r}, too"
                raise InvalidRequest(without_credentials(request.path), problem, "give it another id")
        return {f"{item_name(request)}{self._suffix}" for request in names.values()}


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
