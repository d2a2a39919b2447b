"""Read and write manifests; check every row before a run."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Self

from jp2batch.batch.deduplicate import ItemIds
from jp2batch.batch.manifest.digested import Digested, DigestedRow, Row, RowBlock, request_of
from jp2batch.batch.manifest.formats import rows_of
from jp2batch.batch.manifest.requests import ReadRow, RequestMaker, digested_rows_of, message_of, requests_of
from jp2batch.batch.manifest.rows import Row as ManifestRow
from jp2batch.core.arguments import as_path
from jp2batch.core.errors import InvalidRequest, ManifestError
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import LOWEST, Request
from jp2batch.core.suffixes import JPEG2000_SUFFIXES
from jp2batch.storage.files import LARGEST
from jp2batch.storage.streams import read_chunks, stream_chunks

_STDIN = "the standard input"
_SUFFIXES = (".ndjson", ".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet")
_IMAGE_STARTS = (b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51")


def read_manifest(
    source: str | os.PathLike[str],
    *,
    rlevel: int = LOWEST,
    root: str | None = None,
    storage_options: StorageOptions = None,
) -> list[Request]:
    """Read the requests of a manifest, in order.

    Parameters
    ----------
    source : str or path
        Path or URL of the manifest; "-" is the standard input. The content determines the format: NDJSON, a JSON array,
        CSV with a header (separated by commas, semicolons or tabs), Parquet, or one path per line with "#" for
        comments; each plain or compressed with gzip.
    rlevel : int, optional
        Level of rows without rlevel; by default the lowest resolution.
    root : str, optional
        Base folder or bucket; paths are relative to it and cannot escape it.
    storage_options : mapping, optional
        fsspec's options for the store of the manifest.

    Returns
    -------
    list of Request
        A request per row. The names of the columns `Path`, `rlevel`, `window`, `id`, `bbox`, `geometry`, `crs` and
        `resolution` are case-insensitive; other columns are kept in `Request.columns`.

    Raises
    ------
    ManifestError
        Rows are bad (the error lists all of them), or there are no rows.
    StorageError
        The manifest cannot be read.
    """
    manifest = open_manifest(source, rlevel=rlevel, root=root, storage_options=storage_options, limit=LARGEST)
    return list(manifest.requests())


def names_manifest(path: str) -> bool:
    """Return whether a path is a manifest, not an image.

    Decided by the suffix, or else by the content of a local file.
    """
    suffix = suffix_of(path)
    if path == "-" or suffix in _SUFFIXES:
        return True
    if suffix in JPEG2000_SUFFIXES or Location.of(path).is_url:
        return False
    try:
        with Path(Location.of(path).expanded.text).open("rb") as file:
            return not file.read(8).startswith(_IMAGE_STARTS)
    except OSError:  # reported when the image is read
        return False


def iter_manifest(
    source: str | os.PathLike[str],
    *,
    rlevel: int = LOWEST,
    root: str | None = None,
    storage_options: StorageOptions = None,
) -> "Manifest":
    """Iterate over the requests of a manifest while it is read.

    Parameters
    ----------
    source, rlevel, root, storage_options
        As for `read_manifest`. NDJSON, CSV and paths are read line by line, Parquet by groups of rows; a JSON array is
        read whole.

    Returns
    -------
    iterator of Request
        As for `read_manifest`. `run_to` takes it as a whole, and reads the first images before the last row.

    Raises
    ------
    ManifestError
        At the end: rows were bad, all of which it lists and leaves out, or there were no rows.
    StorageError
        The manifest cannot be read.
    """
    return open_manifest(source, rlevel=rlevel, root=root, storage_options=storage_options)


@dataclass
class Manifest:
    """A manifest being read; an iterator of its requests."""

    source: str
    """Name of the manifest, for messages."""
    unit: str
    """Unit of row numbers."""
    rows: Iterator[ManifestRow]
    """Numbered rows, read once."""
    maker: RequestMaker
    """Makes requests of rows."""
    is_pipe: bool = False
    """True if rows may be written while they are read."""
    _requests: Iterator[Request] | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Request:
        self._requests = self._requests or self.requests()
        return next(self._requests)

    def requests(self) -> Iterator[Request]:
        """Iterate over the requests.

        Raises
        ------
        ManifestError
            At the end, for all bad rows.
        """
        ids, count, bad = ItemIds(), 0, list[tuple[int, str]]()
        for number, read in requests_of(self.rows, self.maker):
            fault = read if isinstance(read, str) else self.claim(number, read, ids)
            if fault is None and isinstance(read, Request):
                count += 1
                yield read
            else:
                bad.append((number, str(fault)))
        if bad or not count:
            raise self.refusal(bad)

    def digested_rows(self) -> Iterator[ReadRow]:
        """Iterate over row numbers with digested rows, requests or messages."""
        return digested_rows_of(self.rows, self.maker)

    def block(self, rows: Sequence[Digested | Request]) -> RowBlock:
        """Return digested rows as a block."""
        return RowBlock(rows, self.maker.read_digested)

    def row(self, row: Digested) -> DigestedRow:
        """Return a digested row by itself."""
        return DigestedRow(*row, self.maker.read_digested)

    def claim(self, number: int, row: Row, ids: ItemIds) -> str | None:
        """Keep the id of a row; return a message if taken.

        Records are found by id: two requests must not have the same.
        """
        first = ids.claim(row, number)
        if first is None:
            return None
        problem = f"its id is also that of another request, on {self.unit} {first}"
        return message_of(
            request_of(row).path, InvalidRequest("", problem, "give each request a different id, or none")
        )

    def refusal(self, bad: Sequence[tuple[int, str]]) -> ManifestError:
        """Return the error of a manifest with bad rows, or without requests."""
        if bad:
            return ManifestError.of(self.source, bad, self.unit)
        hint = "give one path per line, or CSV or JSON lines with a Path"
        return ManifestError(self.source, "holds no requests", hint)


def open_manifest(
    source: str | os.PathLike[str],
    *,
    rlevel: int = LOWEST,
    root: str | None = None,
    storage_options: StorageOptions = None,
    limit: int | None = None,
) -> Manifest:
    """Open a manifest, to read its rows as they are needed.

    Parameters
    ----------
    source, rlevel, root, storage_options
        As for `read_manifest`.
    limit : int, optional
        Largest size of the manifest in bytes.
    """
    name = as_path(source)
    chunks = _stdin_chunks(limit) if name == "-" else read_chunks(name, storage_options=storage_options, limit=limit)
    manifest = manifest_of(chunks, name, rlevel=rlevel, root=root)
    return replace(manifest, is_pipe=name == "-" or Path(name).is_fifo())


def manifest_of(chunks: Iterable[bytes], name: str = "-", *, rlevel: int = LOWEST, root: str | None = None) -> Manifest:
    """Return a manifest of chunks of bytes.

    Parameters
    ----------
    chunks : iterable of bytes
        The manifest, uncompressed.
    name : str, optional
        Its name, for messages; its suffix is used if the content is ambiguous.
    rlevel, root
        As for `read_manifest`.
    """
    default = Request("manifest", rlevel).rlevel  # report a wrong default once, not for each row
    unit, rows = rows_of(chunks, suffix_of(name))
    return Manifest(_STDIN if name == "-" else name, unit, rows, RequestMaker(default, root))


def _stdin_chunks(limit: int | None) -> Iterator[bytes]:
    stream = getattr(sys.stdin, "buffer", None)  # None without a console and in notebooks
    if stream is None:
        raise ManifestError("", "standard input is not available", "give the path of a manifest")
    return stream_chunks(getattr(stream, "raw", stream), _STDIN, limit=limit)


def suffix_of(name: str) -> str:
    """Return the suffix of a manifest's name: lower case, without .gz."""
    return PurePosixPath(Location.of(name).plain_path.lower().removesuffix(".gz")).suffix
