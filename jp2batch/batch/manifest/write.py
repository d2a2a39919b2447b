"""Write requests as a manifest file: CSV or lines of JSON."""

import gzip
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

from jp2batch.batch.manifest.areas import columns_of_area
from jp2batch.batch.manifest.formats import csv_of, ndjson_of
from jp2batch.batch.manifest.read import suffix_of
from jp2batch.batch.manifest.rows import REQUEST_COLUMNS
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import Request
from jp2batch.storage.files import write_bytes

_FORMS: dict[str, Callable[[Sequence[Mapping[str, object]]], bytes]] = {
    ".csv": csv_of,
    ".jsonl": ndjson_of,
    ".ndjson": ndjson_of,
}


def write_manifest(
    requests: Iterable[Request],
    path: str | os.PathLike[str],
    *,
    storage_options: StorageOptions = None,
    levels: bool = True,
) -> None:
    """Write requests as a manifest.

    `read_manifest` with the same `root` returns equal requests.

    Parameters
    ----------
    requests : iterable of Request
        Requests with the same root; the root is not written.
    path : str or path
        Path or URL ending in .ndjson, .jsonl or .csv, optionally followed by .gz. CSV keeps other columns as text.
    storage_options : mapping, optional
        fsspec's options for the store.
    levels : bool
        False to leave out levels: the reader's default then applies.

    Raises
    ------
    InvalidRequest
        The suffix is unknown, or a request cannot be written in this format.
    StorageError
        The file cannot be written.
    """
    name = os.fspath(path)
    data = format_manifest(requests, name, levels=levels)
    zipped = Location.of(name).suffix == ".gz"
    write_bytes(name, gzip.compress(data, mtime=0) if zipped else data, storage_options=storage_options)


def format_manifest(requests: Iterable[Request], name: str, *, levels: bool = True) -> bytes:
    """Return requests as the bytes of a manifest, uncompressed.

    The suffix of its name determines the format.

    Raises
    ------
    InvalidRequest
        As for `write_manifest`.
    """
    form = _FORMS.get(suffix_of(name))
    if form is None:
        hint = "give a name ending in .ndjson, .jsonl or .csv, optionally followed by .gz"
        raise InvalidRequest(name, "its suffix is not that of a manifest format", hint)
    asked = list(requests)
    if len({request.root for request in asked}) > 1:
        raise InvalidRequest(name, "the requests have several roots", "write one manifest per root")
    rows = [_row(request) for request in asked]
    # Without a level there is no id either: an id depends on the level, and the reader makes both.
    return form(rows if levels else [{**row, "rlevel": None, "id": None} for row in rows])


def _row(request: Request) -> dict[str, object]:
    window = None if request.window is None else str(request.window)
    columns = dict(request.columns)
    if any(name.strip().lower() in ("", *REQUEST_COLUMNS) for name in columns):
        raise InvalidRequest(request.shown_path, "a column has a reserved name", "rename it")
    own = {"Path": request.path, "rlevel": request.rlevel, "window": window, "id": request.id}
    return {**own, **columns_of_area(request.shown_path, request.area), **columns}
