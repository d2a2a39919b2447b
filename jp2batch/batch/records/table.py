"""Records as a table: a Parquet file with a row per item."""

import io
from collections.abc import Iterable, Mapping
from itertools import compress, islice
from pathlib import Path
from typing import Any

import orjson

from jp2batch.batch.columns import Columns, cell_of
from jp2batch.batch.records.entry import sound
from jp2batch.batch.records.log import RecordLog
from jp2batch.core.options import StorageOptions
from jp2batch.storage.files import write_bytes

_TOGETHER = 20_000  # rows
_FIELDS = {
    "id": "string",
    "Path": "string",
    "root": "string",
    "rlevel": "int32",
    "window": "string",
    "digest": "string",
    "status": "string",
    "error": "string",
    "detail": "string",
    "retryable": "bool",
    "attempts": "int32",
    "shape": "string",
    "dtype": "string",
    "size": "int64",
    "bytes_read": "int64",
    "requests": "int64",
    "retries": "int64",
    "located_by": "string",
    "precision": "string",
    "time_download": "double",
    "time_processing": "double",
    "worker": "string",
    "output": "string",
    "output_size": "int64",
    "output_checksum": "string",
    "adopted": "bool",
    "same_as": "string",
}
TABLE_COLUMNS = (*_FIELDS, "columns")
"""Columns of the table, without the manifest's."""


def write_table(log: RecordLog, url: str, columns: Columns, storage_options: StorageOptions = None) -> None:
    """Write the newest records of a log as a Parquet file.

    Raises
    ------
    OutputError, StoreUnavailable
        The file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = _FIELDS | dict(columns) | {"columns": "string"}
    schema, file = pa.schema([(name, _arrow(kind)) for name, kind in kinds.items()]), io.BytesIO()
    rows = (_row_of(line, columns) for line in compress(log.lines(), log.read().live.tolist()))
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while group := list(islice(rows, _TOGETHER)):
            writer.write_table(pa.Table.from_pylist(group, schema))
    write_bytes(url, file.getvalue(), storage_options=storage_options)


def is_table(path: Path) -> bool:
    """Return whether a local file is a table of records."""
    import pyarrow.parquet as pq

    try:
        names: list[str] = pq.read_schema(path).names
    except (ValueError, OSError):
        return False
    return set(TABLE_COLUMNS) <= set(names)


def _arrow(kind: str) -> Any:
    import pyarrow as pa

    return pa.type_for_alias(kind)


def _row_of(line: bytes, columns: Iterable[tuple[str, str]]) -> Mapping[str, object]:
    record: dict[str, Any] = orjson.loads(sound(line))
    more = {name: value for name, value in record.items() if name not in _FIELDS}
    error = record["error"] or {}
    row = {name: record.get(name) for name in _FIELDS} | {
        "error": error.get("type"),
        "detail": error.get("detail"),
        "retryable": error.get("retryable"),
        "window": record["window"] and ",".join(f"{start}:{stop}" for start, stop in record["window"]),
        "shape": record["shape"] and " x ".join(map(str, record["shape"])),
        "columns": orjson.dumps(more).decode(),
    }
    return row | {name: cell_of(more.get(name), kind) for name, kind in columns}
