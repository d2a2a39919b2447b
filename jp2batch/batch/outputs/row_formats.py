"""Formats of parts: files of rows."""

import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from jp2batch.batch.columns import Columns, cell_of, columns_of, further_columns
from jp2batch.batch.outputs.ndjson import id_of_line, line_of_result
from jp2batch.compute.result import Result
from jp2batch.core.errors import UnsupportedImage
from jp2batch.core.request import Request
from jp2batch.core.value_range import are_within
from jp2batch.image.open import OpenImage
from jp2batch.image.read import Pixels, select_request
from jp2batch.image.response import to_json
from jp2batch.jpeg2000.geometry.grid import Selection

Bytes = bytes | NDArray[np.uint8]
"""Value of a result."""

_FIXED = ("id", "Path", "rlevel", "window", "columns", "shape", "dtype", "values")
_MOST_SAMPLES = 2**28  # of a row: a page of Parquet has less than 2 GiB


class RowFormat(Protocol):
    """Format of a part."""

    @property
    def bytes_per_sample(self) -> int:
        """Memory of a value and its part per sample, in bytes."""

    def select(self, request: Request, opened: OpenImage) -> Selection:
        """Return the samples to read of an image."""

    def columns_of(self, items: Iterable[Request]) -> Columns:
        """Return the columns of items besides the fixed columns."""

    def columns_in(self, part: bytes) -> Columns:
        """Return the columns of a part besides the fixed columns."""

    def ids_in(self, part: bytes) -> Sequence[str]:
        """Return the ids of the rows of a part."""

    def value_of(self, pixels: Pixels, request: Request) -> Bytes:
        """Return pixels as the value of a result."""

    def part_of(self, results: Sequence[Result], columns: Columns) -> bytes:
        """Return results with values as a part."""

    def only(self, part: bytes, ids: Collection[str]) -> bytes:
        """Return a part without the rows of other ids."""

    def values_in(self, part: bytes, ids: Collection[str]) -> Mapping[str, bytes]:
        """Return values by id."""


@dataclass(frozen=True, slots=True)
class _RequestRows:
    """Rows of the samples of a request."""

    bytes_per_sample: ClassVar[int] = 22  # the value, its pickle, and the part while it is written

    def select(self, request: Request, opened: OpenImage) -> Selection:
        """Return the samples of a request."""
        return select_request(request, opened)


@dataclass(frozen=True, slots=True)
class JsonRows(_RequestRows):
    """Lines as in a local NDJSON file."""

    def columns_of(self, items: Iterable[Request]) -> Columns:  # noqa: ARG002
        """Return no columns: lines are as in a local file."""
        return ()

    def columns_in(self, part: bytes) -> Columns:  # noqa: ARG002
        """Return nothing."""
        return ()

    def ids_in(self, part: bytes) -> Sequence[str]:
        """Return the ids of all lines."""
        return [id_ for line in io.BytesIO(part) if (id_ := id_of_line(line)) is not None]

    def value_of(self, pixels: Pixels, request: Request) -> Bytes:  # noqa: ARG002
        """Return the response of the web service."""
        return to_json(pixels)

    def part_of(self, results: Sequence[Result], columns: Columns) -> bytes:  # noqa: ARG002
        """Return lines."""
        return b"".join(line_of_result(result) for result in results)

    def only(self, part: bytes, ids: Collection[str]) -> bytes:
        """Return the lines of some ids."""
        return b"".join(line for line in io.BytesIO(part) if id_of_line(line) in ids)

    def values_in(self, part: bytes, ids: Collection[str]) -> Mapping[str, bytes]:
        """Return responses by id."""
        lines = ((id_of_line(line), line) for line in io.BytesIO(part))
        return {id_: b"{" + line[len(_start_of(id_)) : -1] for id_, line in lines if id_ in ids and id_ is not None}


@dataclass(frozen=True, slots=True)
class ParquetRows(_RequestRows):
    """Rows of a Parquet file, all with the same columns."""

    def columns_of(self, items: Iterable[Request]) -> Columns:
        """Return the columns with values of a single type."""
        return columns_of(items, _FIXED)

    def columns_in(self, part: bytes) -> Columns:
        """Return the columns of a Parquet file besides the fixed columns."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pq.read_schema(pa.BufferReader(part))
        return tuple((field.name, str(field.type)) for field in schema if field.name not in _FIXED)

    def ids_in(self, part: bytes) -> Sequence[str]:
        """Read the column of ids."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        ids: list[str] = pq.read_table(pa.BufferReader(part), columns=["id"])["id"].to_pylist()
        return ids

    def value_of(self, pixels: Pixels, request: Request) -> Bytes:
        """Return samples as int32: of bands, their rows, their columns.

        Raises
        ------
        UnsupportedImage
            Samples are no int32, or too many for a row.
        """
        values, limits = pixels.values, np.iinfo(np.int32)
        is_fit = values.dtype.kind in "biu" and (
            np.can_cast(values.dtype, np.int32) or are_within(values, limits.min, limits.max)
        )
        if not is_fit or values.size > _MOST_SAMPLES:
            problem = f"its {values.size} samples of {values.dtype} do not fit into a list of int32 of Parquet"
            raise UnsupportedImage(request.shown_path, problem, "write npy or zarr")
        return np.ascontiguousarray(values, np.int32).reshape(-1).view(np.uint8)  # bytes would be a copy

    def part_of(self, results: Sequence[Result], columns: Columns) -> bytes:
        """Return a Parquet file."""
        import pyarrow as pa

        requests = [result.request for result in results]
        further = [further_columns(request) for request in requests]
        values = [np.frombuffer(result.value, np.int32) for result in results]
        ends = np.cumsum([0, *map(len, values)])
        samples = pa.array(values[0] if len(values) == 1 else np.concatenate(values))
        return _parquet_of(
            pa.table(
                {
                    "id": pa.array([request.id for request in requests], pa.string()),
                    "Path": pa.array([request.shown_path for request in requests], pa.string()),
                    "rlevel": pa.array([request.rlevel for request in requests], pa.int32()),
                    "window": pa.array([request.window and str(request.window) for request in requests], pa.string()),
                    **{
                        name: pa.array([cell_of(row.get(name), kind) for row in further], kind)
                        for name, kind in columns
                    },
                    "columns": pa.array([_text_of(dict(request.columns)) for request in requests], pa.string()),
                    "shape": pa.array([result.shape for result in results], pa.list_(pa.int32())),
                    "dtype": pa.array([result.dtype for result in results], pa.string()),
                    "values": pa.ListArray.from_arrays(pa.array(ends, pa.int32()), samples),
                }
            )
        )

    def only(self, part: bytes, ids: Collection[str]) -> bytes:
        """Return the rows of some ids."""
        return _parquet_of(_rows_of(part, ids))

    def values_in(self, part: bytes, ids: Collection[str]) -> Mapping[str, bytes]:
        """Return samples by id."""
        rows = _rows_of(part, ids)
        values = (np.asarray(row.values).tobytes() for row in rows["values"])
        return dict(zip(rows["id"].to_pylist(), values, strict=True))


def _start_of(id_: str | None) -> bytes:
    return b'{"id":' + orjson.dumps(id_) + b","


def _text_of(columns: dict[str, object]) -> str:
    return orjson.dumps(columns, default=str).decode()


def _rows_of(part: bytes, ids: Collection[str]) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(pa.BufferReader(part))
    return table.filter(pc.is_in(table["id"], pa.array(list(ids), pa.string())))


def _parquet_of(table: Any) -> bytes:
    import pyarrow.parquet as pq

    file = io.BytesIO()
    encodings = {"values.list.element": "DELTA_BINARY_PACKED"}  # a large row takes half of the memory
    options = {"use_dictionary": ["Path", "dtype"], "column_encoding": encodings, "data_page_version": "2.0"}
    pq.write_table(table, file, compression="zstd", **options)
    return file.getvalue()


ROW_FORMATS: Mapping[str, RowFormat] = {".ndjson": JsonRows(), ".jsonl": JsonRows(), ".parquet": ParquetRows()}
"""Formats of parts by suffix."""
