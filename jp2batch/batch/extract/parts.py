"""Parts of a table of fields: Parquet files of several images."""

import io
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jp2batch.batch.columns import Columns
from jp2batch.batch.extract.rows import AsFieldRows, FieldRows, field_ids
from jp2batch.compute.result import Result
from jp2batch.core.request import Request
from jp2batch.image.open import OpenImage
from jp2batch.image.read import Pixels
from jp2batch.jpeg2000.geometry.grid import Selection

_IMAGES = b"jp2batch:images"
_TABLE = b"jp2batch:table"
IMAGE = "image"
"""Column with the id of the item, as in the records."""


@dataclass(frozen=True, slots=True)
class FieldParts:
    """Rows of fields in images, as a format of parts."""

    bytes_per_sample: ClassVar[int] = AsFieldRows.bytes_per_sample

    deliver: AsFieldRows
    digest: str
    """Digest of fields and statistics."""

    def select(self, request: Request, opened: OpenImage) -> Selection:
        """Return the samples of all fields in an image."""
        return self.deliver.select(request, opened)

    def columns_of(self, items: Iterable[Request]) -> Columns:  # noqa: ARG002
        """Return nothing: all columns are fixed."""
        return ()

    def columns_in(self, part: bytes) -> Columns:  # noqa: ARG002
        """Return nothing."""
        return ()

    def ids_in(self, part: bytes) -> Sequence[str]:
        """Return the ids of all items of a part, also without rows."""
        found: list[str] = json.loads(_metadata(part)[_IMAGES])
        return found

    def value_of(self, pixels: Pixels, request: Request) -> bytes:
        """Return the rows of an image as an Arrow stream."""
        return _stream_of(self._table(self.deliver(pixels, request), request))

    def part_of(self, results: Sequence[Result], columns: Columns) -> bytes:  # noqa: ARG002
        """Return the rows of several images as a Parquet file."""
        import pyarrow as pa

        table = pa.concat_tables([_table_in(result.value) for result in results])
        return self._parquet(table, [result.request.id for result in results])

    def only(self, part: bytes, ids: Collection[str]) -> bytes:
        """Return a part without the rows of other items."""
        return self._parquet(_rows_of(part, ids), [one for one in self.ids_in(part) if one in ids])

    def values_in(self, part: bytes, ids: Collection[str]) -> Mapping[str, bytes]:
        """Return the rows of items as Arrow streams, by id."""
        return {one: _stream_of(_rows_of(part, [one])) for one in ids}

    def is_of_same(self, part: bytes) -> bool:
        """Return whether a part is of the same fields and statistics."""
        return _metadata(part).get(_TABLE) == self.digest.encode()

    def _table(self, rows: FieldRows, request: Request) -> Any:
        import pyarrow as pa

        count, names = len(rows), self.deliver.names
        ids = field_ids(self.deliver.selector.fields, rows.fields)
        texts = {"tile": rows.tile, "item": rows.item, IMAGE: request.id}
        return pa.table(
            {
                "id": pa.array(ids, pa.int64() if ids.dtype.kind == "i" else pa.string()),
                "time": pa.array(np.full(count, rows.time), pa.timestamp("ns")),
                "band": pa.array(np.array(rows.bands, object)[rows.band], pa.string()),
                **{name: _numbers(rows.columns[name], name) for name in names},
                **{name: pa.array([text] * count, pa.string()) for name, text in texts.items()},
            }
        )

    def _parquet(self, table: Any, ids: Sequence[str]) -> bytes:
        import pyarrow.parquet as pq

        own = {_IMAGES: json.dumps(list(ids)), _TABLE: self.digest}
        file = io.BytesIO()
        pq.write_table(table.replace_schema_metadata(own), file, compression="zstd")
        return file.getvalue()


def _numbers(values: Any, name: str) -> Any:
    import pyarrow as pa

    return pa.array(values, pa.int64() if name == "count" else pa.float64())  # NaN as in the table in memory


def _metadata(part: bytes) -> Mapping[bytes, bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: Mapping[bytes, bytes] = pq.read_schema(pa.BufferReader(part)).metadata or {}
    return found


def _stream_of(table: Any) -> bytes:
    import pyarrow as pa

    file = io.BytesIO()
    with pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    return file.getvalue()


def _table_in(stream: bytes) -> Any:
    import pyarrow as pa

    return pa.ipc.open_stream(stream).read_all()


def _rows_of(part: bytes, ids: Collection[str]) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(pa.BufferReader(part))
    return table.filter(pc.is_in(table[IMAGE], pa.array(list(ids), pa.string())))
