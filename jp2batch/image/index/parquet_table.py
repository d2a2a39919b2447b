"""Tables of image indexes in Parquet: our own, and Kayrros's.

Tables can be shared. Kayrros has published tables for Sentinel-2.
"""

import functools
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from operator import itemgetter
from pathlib import PurePosixPath
from typing import Any

from jp2batch.core.errors import ConfigurationError, StorageError
from jp2batch.core.location import Location
from jp2batch.core.runtime import process_state
from jp2batch.image.missions import identify
from jp2batch.jpeg2000.locate.image_index import ImageIndex, from_kayrros
from jp2batch.storage.files import read_bytes, write_bytes

_GROUP = 256  # images loaded together: about 2 MB
_OURS = ("path", "known")
_KAYRROS = ("product_id", "band_id", "path", "index")


class Table:
    """A table of image indexes in a Parquet file.

    The paths are read immediately, indexes on demand.

    Parameters
    ----------
    data : bytes
        Content of the file.
    name : str
        Name of the file in messages.

    Raises
    ------
    StorageError
        The file is not such a table.
    """

    def __init__(self, data: bytes, name: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            self._file: Any = pq.ParquetFile(io.BytesIO(data))
            names = self._file.schema_arrow.names
            self._kayrros = set(_KAYRROS) <= set(names)
            if not self._kayrros and not set(_OURS) <= set(names):
                raise StorageError(name, f"has the columns {', '.join(names)[:200]}", "make it with jp2batch index")
            self._rows = self._numbered()
        except StorageError:
            raise
        except TypeError:  # a path cannot be hashed
            raise StorageError(name, "its paths are not text", "make it with jp2batch index") from None
        except (pa.ArrowException, OSError, ValueError) as error:
            detail = str(error).partition("\n")[0]
            raise StorageError(name, f"is not a Parquet file: {detail}", "make it with jp2batch index") from None
        self._group = functools.lru_cache(maxsize=16)(self._read_group)

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def get(self, key: str) -> ImageIndex | None:
        """Return the index of the image with this key, or None."""
        names = _kayrros_names(key) if self._kayrros else (key, _path_of(key))
        place = next((self._rows[name] for name in names if name in self._rows), None)
        if place is None:
            return None
        group, row = place
        try:
            packed = self._group(group)[row].as_py()
            return from_kayrros(packed) if self._kayrros else ImageIndex.from_bytes(packed)
        except (OSError, ValueError, TypeError):  # damaged; it is only a hint
            return None

    def _numbered(self) -> dict[Any, tuple[int, int]]:
        """Return row group and row of each image, by all its names."""
        columns = ["product_id", "band_id", "path"] if self._kayrros else ["path"]
        rows: dict[Any, tuple[int, int]] = {}
        for group in range(self._file.num_row_groups):
            table = self._file.read_row_group(group, columns=columns).to_pydict()
            for row, path in enumerate(table["path"]):
                place = (group, row)
                if not self._kayrros:
                    rows[path] = place
                    continue
                rows[str(path or "").lstrip("/")] = place
                rows[table["product_id"][row], table["band_id"][row]] = place
        return rows

    def _read_group(self, group: int) -> Any:
        column = "index" if self._kayrros else "known"
        return self._file.read_row_group(group, columns=[column]).column(0)


def shared_table(url: str, storage_options: Mapping[str, object]) -> Table:
    """Return the table at a path or URL, loaded once per process.

    Raises
    ------
    Jp2BatchError
        The table cannot be read, or pyarrow is missing.
    """
    return _loaded(url, json.dumps(dict(storage_options), sort_keys=True, default=repr))


@process_state(limit=4)
def _loaded(url: str, options: str) -> Table:
    check_pyarrow()
    return Table(read_bytes(url, storage_options=json.loads(options)), Location.of(url).redacted)


def write_table(
    url: str, indexes: Mapping[str, ImageIndex], *, storage_options: Mapping[str, object] | None = None
) -> None:
    """Write a table of image indexes, by key.

    The file appears whole, or not at all.

    Raises
    ------
    StorageError
        The file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    indexes = {key: one for key, one in indexes.items() if _is_text(key)}
    count = Counter(map(_path_of, indexes))
    named = [(_path_of(key) if count[_path_of(key)] == 1 else key, one) for key, one in indexes.items()]
    ordered = dict(sorted(named, key=itemgetter(0)))
    types = {"path": pa.string(), "size": pa.int64(), "etag": pa.string(), "tile_parts": pa.int32()}
    schema = pa.schema({**types, "known": pa.binary()})
    columns: Iterable[list[object]] = (
        list(ordered),
        [one.size for one in ordered.values()],
        [one.etag for one in ordered.values()],
        [len(one.tile_parts) for one in ordered.values()],
        [one.to_bytes() for one in ordered.values()],
    )
    buffer = io.BytesIO()
    table = pa.table([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema)
    pq.write_table(table, buffer, row_group_size=_GROUP, compression={"path": "zstd", "known": "none"})
    write_bytes(url, buffer.getvalue(), storage_options=storage_options)


def check_pyarrow() -> None:
    """Check for pyarrow, before any work is done.

    Raises
    ------
    ConfigurationError
        pyarrow is missing.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise ConfigurationError("", "index tables need the package pyarrow", 'pip install "jp2batch[files]"') from None


def _kayrros_names(key: str) -> tuple[object, ...]:
    """Return the names of an image in Kayrros's tables.

    They are its key in the bucket, and the pair of product and band.
    """
    path = _path_of(key)
    folders = PurePosixPath(path).parts
    product = next((part.removesuffix(".SAFE") for part in folders if part.endswith(".SAFE")), None)
    _, name = identify(path)
    return (Location.of(path).key, (product, name and name.band))


def _path_of(key: str) -> str:
    """Return the path of a key, without its suffix after "#".

    The suffix distinguishes objects of several stores, or of several queries.
    """
    return key.partition("#")[0]


def _is_text(key: str) -> bool:
    """Return whether a table can hold a key.

    Names of local files need not be valid text.
    """
    return key.isprintable() or not any("\ud800" <= one <= "\udfff" for one in key)
