"""Extract into a stored table, with records and resume."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from jp2batch.batch.extract.parts import FieldParts
from jp2batch.batch.extract.rows import AsFieldRows
from jp2batch.batch.item_source import ItemList
from jp2batch.batch.options import RunOptions
from jp2batch.batch.outputs.part_listing import is_content, parts_in
from jp2batch.batch.report import BatchSummary
from jp2batch.batch.run_to import run_items
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import Request
from jp2batch.storage.directory import Directory


def extract_to(
    requests: Sequence[Request],
    deliver: AsFieldRows,
    options: RunOptions,
    *,
    sources: Sequence[str] = (),
    on_begin: Callable[[BatchSummary], object] = lambda _: None,
) -> BatchSummary:
    """Extract fields into a folder of parts, which are a table.

    Parameters
    ----------
    requests : sequence of Request
        Whole images.
    deliver : AsFieldRows
        Fields, statistics and scaling.
    options : RunOptions
        Options of the run; the output ends in .parquet.
    sources, on_begin
        As for `run_items`.

    Raises
    ------
    InvalidRequest
        The output is of another kind, or of other fields.
    Jp2BatchError
        As for `run_items`.
    """
    if Location.of(options.output).suffix.lower() != ".parquet":
        raise InvalidRequest(options.output, "a table of fields is Parquet", "give a name ending in .parquet")
    rows = FieldParts(deliver, _digest(deliver))
    if options.continues:
        _check_same(options.output, rows, options.storage_options)
    items = ItemList(_named(requests, rows.digest))
    return run_items(items, replace(options, rows=rows), sources=sources, on_begin=on_begin)


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
