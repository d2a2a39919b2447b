"""Read STAC items from GeoParquet files, in groups of rows."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from jp2batch.core.errors import InvalidRequest, ManifestError

_TOGETHER = 1024  # rows
_MEMBERS = ("id", "type", "collection", "assets", "links", "stac_version")


def parquet_items(data: bytes, path: str) -> Iterator[dict[str, Any]]:
    """Iterate over the items of a GeoParquet file.

    Format: stac-geoparquet 1.0, with a column for each property. Columns of geometry and of nested properties are not
    read, except schemes of access.

    Raises
    ------
    ManifestError
        The file is damaged, or has no assets.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError:
        raise InvalidRequest(path, "reading Parquet needs pyarrow", "pip install 'jp2batch[files]'") from None
    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(data))
        schema = file.schema_arrow
        if "assets" not in schema.names:
            raise ManifestError(path, "this is Parquet, but not of STAC items", "give stac-geoparquet")
        columns = [field.name for field in schema if _is_wanted(field.name, pa.types.is_nested(field.type))]
        for batch in file.iter_batches(_TOGETHER, columns=columns):
            for row in batch.to_pylist():
                yield _item(row)
    except pa.ArrowException as error:
        raise ManifestError(path, f"this Parquet is damaged: {type(error).__name__}", "fetch it again") from None


def _is_wanted(name: str, is_nested: bool) -> bool:
    if name in _MEMBERS or name.endswith(":schemes"):
        return True
    return not is_nested and name not in ("geometry", "bbox")


def _item(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as an item in JSON."""
    found = _without_nulls(row)
    members = {name: found.pop(name) for name in _MEMBERS if name in found}
    if isinstance(members.get("assets"), str):
        members["assets"] = orjson.loads(members["assets"])
    return {**members, "properties": found}


def _without_nulls(value: Any) -> Any:
    """Return a value without nulls, with times as text.

    A struct has every field of every row; absent ones are null. A map is a list of pairs.
    """
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_without_nulls(one) for one in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value.tzinfo else f"{value.isoformat()}Z"
    return value
