"""Extract into a stored table, with records and resume."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from jp2batch.array.formats import check_installed
from jp2batch.batch.extract.parts import FieldParts
from jp2batch.batch.extract.rows import AsFieldRows
from jp2batch.batch.item_source import ItemList
from jp2batch.batch.options import RunOptions
from jp2batch.batch.outputs.part_listing import is_content, parts_in
from jp2batch.batch.report import BatchSummary
from jp2batch.batch.run_to import run_items
from jp2batch.core.errors import InvalidRequest, OutputError
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import Request
from jp2batch.storage.directory import Directory

if TYPE_CHECKING:
    import pandas as pd


def extract_to(
    requests: Sequence[Request],
    deliver: AsFieldRows,
    options: RunOptions,
    *,
    sources: Sequence[str] = (),
    on_begin: Callable[[BatchSummary], object] = lambda _: None,
) -> BatchSummary:
    """Extract fields into a table: a folder of parts, or a file.

    A file is written when all images are read, from the folder NAME.parquet of parts beside it.

    Parameters
    ----------
    requests : sequence of Request
        Whole images.
    deliver : AsFieldRows
        Fields, statistics and scaling.
    options : RunOptions
        Options of the run; the output ends in .parquet, or .csv, .ndjson or .jsonl for a local file.
    sources, on_begin
        As for `run_items`.

    Raises
    ------
    InvalidRequest
        The output is of another kind, or of other fields.
    Jp2BatchError
        As for `run_items`.
    """
    output, location = options.output, Location.of(options.output)
    suffix = location.suffix.lower()
    if suffix != ".parquet" and not (location.is_local and suffix in _WRITERS):
        hint = "give a name ending in .parquet, or in .csv or .ndjson for a local file"
        raise InvalidRequest(output, "the output is no table of fields", hint)
    check_installed(output, ".parquet")
    rows = FieldParts(deliver, _digest(deliver))
    parts = output if suffix == ".parquet" else f"{location.path}.parquet"
    if parts != output and not (options.continues or options.overwrite) and Path(location.path).exists():
        raise InvalidRequest(output, "this file exists already", "give another name, or overwrite=True")
    if options.continues:
        _check_same(parts, rows, options.storage_options)
    items, own = ItemList(_named(requests, rows.digest)), replace(options, output=parts, rows=rows)
    summary = run_items(items, own, sources=sources, on_begin=on_begin)
    if parts != output and not summary.left:
        _write(Path(location.path), parts, _WRITERS[suffix])
    return summary


def _write(path: Path, parts: str, append: Callable[["pd.DataFrame", IO[str], bool], None]) -> None:
    """Write the rows of parts to a file, atomically."""
    folder, half = Directory(parts), path.with_name(f".{path.name}.half")
    try:
        with half.open("w", encoding="utf-8", newline="") as file:
            for number, (_, part) in enumerate(folder.read_many(sorted(parts_in(folder.names())))):
                append(_rows_in(part), file, number == 0)
        half.replace(path)
    except OSError as error:
        raise OutputError(
            str(path), f"cannot be written: {error.strerror or error}", f"its rows are in {parts}"
        ) from None


def _rows_in(part: bytes) -> "pd.DataFrame":
    """Return the rows of a part.

    Threads of Arrow are not used: they may abort a process at its end.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: pd.DataFrame = pq.ParquetFile(pa.BufferReader(part)).read(use_threads=False).to_pandas(use_threads=False)
    return found


def _csv(rows: "pd.DataFrame", file: IO[str], is_first: bool) -> None:
    rows.to_csv(file, index=False, header=is_first)


def _ndjson(rows: "pd.DataFrame", file: IO[str], is_first: bool) -> None:  # noqa: ARG001  # lines have no head
    rows.to_json(file, orient="records", lines=True, double_precision=15, date_format="iso", date_unit="s")


_WRITERS = {".csv": _csv, ".ndjson": _ndjson, ".jsonl": _ndjson}
"""Writers of the rows of a part, by suffix."""


def _digest(deliver: AsFieldRows) -> str:
    """Return a digest of fields and statistics."""
    selector = deliver.selector
    text = repr((selector.fields.digest, selector.all_touched, deliver.stats, deliver.scaled, deliver.labels))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _named(requests: Sequence[Request], digest: str) -> list[Request]:
    """Return requests whose ids are of the image and the fields."""
    ids = (hashlib.sha256(f"{one.id}-{digest}".encode()).hexdigest()[:16] for one in requests)
    return [replace(one, id=id_) for one, id_ in zip(requests, ids, strict=True)]


def _check_same(output: str, rows: FieldParts, storage_options: StorageOptions) -> None:
    """Refuse to continue a table of other fields.

    Raises
    ------
    InvalidRequest
        A part is of other fields or statistics.
    """
    for url in (output, f"{output}.pending"):
        folder = Directory(url, storage_options)
        for name in sorted(parts_in(folder.names()))[:1]:
            part = folder.read(name)
            if part is not None and is_content(name, part) and not rows.is_of_same(part):
                hint = "give the same as before, another output, or overwrite=True"
                raise InvalidRequest(output, "the table is of other fields or statistics", hint)
