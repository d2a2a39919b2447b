"""Rows of a Parquet manifest, a group of rows at a time."""

from collections.abc import Iterable, Iterator
from tempfile import SpooledTemporaryFile

from jp2batch.batch.manifest.parquet_geometry import GeometryColumn
from jp2batch.batch.manifest.rows import Row, fault_of_names
from jp2batch.core.errors import InvalidRequest, Jp2BatchError

_EXTRA = "pip install 'jp2batch[files]'"
_IN_MEMORY = 64 * 2**20  # bytes of a file, beyond which it is kept on disk
_TOGETHER = 4096  # rows


def parquet_rows(chunks: Iterable[bytes]) -> Iterator[Row]:
    """Iterate over (row number, row) of a Parquet file.

    Its index of columns is at its end, so all chunks are read first.
    """
    number = 0
    try:
        import pyarrow.parquet

        with SpooledTemporaryFile(_IN_MEMORY) as kept:
            kept.writelines(chunks)
            kept.seek(0)
            file = pyarrow.parquet.ParquetFile(kept)
            if fault := fault_of_names(file.schema_arrow.names):
                yield 1, fault
                return
            geometry = GeometryColumn.of(file.schema_arrow)
            for batch in file.iter_batches(_TOGETHER):
                for values in batch.to_pylist():
                    number += 1
                    yield number, values if geometry is None else geometry.read(values)
    except ImportError:
        yield number + 1, InvalidRequest("", "reading Parquet needs pyarrow", _EXTRA)
    except Jp2BatchError:  # of the store
        raise
    except Exception as error:  # noqa: BLE001  # Arrow raises many types for damaged files
        problem = f"this is not Parquet, or damaged: {type(error).__name__}"
        yield number + 1, InvalidRequest("", problem, "write it again")
