"""Write tables of image indexes: a file, or a file per tile."""

import contextlib
import io
import json
import random
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from jp2batch.core.errors import InvalidRequest, OutputError
from jp2batch.core.location import Location
from jp2batch.image.index.parquet_reader import DamagedTable, ParquetReader
from jp2batch.image.index.shared_index import MARK, MARK_VERSION, file_of, pattern_of
from jp2batch.image.index.table_layouts import POSITIONS, WHOLE, TableLayout, is_text, layout_of, named, path_of
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.storage.directory import Directory
from jp2batch.storage.file_locks import waiting_lock
from jp2batch.storage.files import write_bytes
from jp2batch.storage.source import MemorySource

_ROWS = 256  # of a row group: some 75 kB
_FEWEST_ROWS = 32  # likewise, of whole indexes: some 250 kB
_GROUPS = 600  # row groups of a table of whole indexes, unless they would have more than `_ROWS`
_LEVEL = 15  # of zstd
_MOST_ROWS = 10_000  # images held in memory: some 80 MB
_TOGETHER = 8  # tables written at once
_ATTEMPTS = 20  # to replace a table that others replace as well
_WAIT = 0.2  # seconds before the second attempt, on average

Rows = list[dict[str, object]]


class TableWriter(Protocol):
    """Writer of a table, or of a table per tile."""

    def add(self, key: str, index: ImageIndex) -> None:
        """Add an image; tables may be written before `finish`.

        Raises
        ------
        ValueError
            The layout cannot hold the index.
        StorageError
            A table cannot be written.
        """
        ...

    def finish(self) -> None:
        """Write all remaining images.

        Raises
        ------
        StorageError
            A table cannot be written.
        """
        ...


def table_writer(
    url: str, storage_options: Mapping[str, object] | None = None, layout: TableLayout | None = None
) -> TableWriter:
    """Return the writer of a file, folder or pattern.

    Parameters
    ----------
    url : str
        As for `shared_table`.
    storage_options : mapping, optional
        fsspec's options for the store.
    layout : TableLayout, optional
        By default whole indexes in a file, and positions in a folder.

    Raises
    ------
    InvalidRequest
        The name is not that of a table or folder.
    """
    pattern = pattern_of(url)
    if pattern is None:
        if Location.of(url).suffix != ".parquet":
            hint = "name it so; other files are made by write_references"
            raise InvalidRequest(url, "an index is a file .parquet, or a folder with a slash at its end", hint)
        return FileWriter(url, storage_options, layout or WHOLE)
    if pattern != url:
        mark_folder(url, storage_options)
    return FolderWriter(pattern, storage_options, layout or POSITIONS)


class FileWriter:
    """Writer of a single table, which replaces an existing table."""

    def __init__(self, url: str, storage_options: Mapping[str, object] | None, layout: TableLayout) -> None:
        self._url, self._options, self._layout = url, storage_options, layout
        self._rows: dict[str, dict[str, object]] = {}

    def add(self, key: str, index: ImageIndex) -> None:
        """Add an image; see `TableWriter`."""
        self._rows[key] = self._layout.rows(path_of(key), index)

    def finish(self) -> None:
        """Write the table; see `TableWriter`."""
        rows = [self._layout.renamed(self._rows[key], path) for key, path in named(list(self._rows)).items()]
        data = _to_parquet(self._layout, _arrow_table(self._layout, rows))
        write_bytes(self._url, data, storage_options=self._options)


class FolderWriter:
    """Writer of a table per tile; existing tables keep other rows.

    A table is replaced as a whole, once the new table is written. On local disks, other writers wait; in S3, a table
    that another writer has replaced meanwhile is merged anew. Other stores keep the table of the last writer.

    Parameters
    ----------
    pattern : str
        Path or URL of the tables, see `TableFolder`.
    storage_options : mapping or None
        fsspec's options for the store.
    layout : TableLayout
        Layout of all tables.
    most : int
        Images to hold; then they are written.
    """

    def __init__(
        self, pattern: str, storage_options: Mapping[str, object] | None, layout: TableLayout, most: int = _MOST_ROWS
    ) -> None:
        self._pattern, self._options, self._layout, self._most = pattern, storage_options, layout, most
        self._keys: dict[str, str] = {}
        self._files: dict[str, Rows] = {}
        self._count = 0

    def add(self, key: str, index: ImageIndex) -> None:
        """Add an image; see `TableWriter`."""
        if not is_text(key):
            return
        path = path_of(key)
        name = path if self._keys.setdefault(path, key) == key else key
        row = self._layout.renamed(self._layout.rows(path, index), name)
        self._files.setdefault(file_of(self._pattern, key), []).append(row)
        self._count += 1
        if self._count >= self._most:
            self.finish()

    def finish(self) -> None:
        """Merge the images into their tables; see `TableWriter`."""
        files, self._files, self._count = self._files, {}, 0
        with ThreadPoolExecutor(_TOGETHER) as pool:
            list(pool.map(lambda file: _merge(file, files[file], self._options, self._layout), sorted(files)))


def write_table(
    url: str, indexes: Mapping[str, ImageIndex], *, storage_options: Mapping[str, object] | None = None
) -> None:
    """Write a table of whole indexes; replace an existing table.

    The file appears whole, or not at all.

    Raises
    ------
    StorageError
        The file cannot be written.
    """
    writer = FileWriter(url, storage_options, WHOLE)
    for key, index in indexes.items():
        writer.add(key, index)
    writer.finish()


def mark_folder(url: str, storage_options: Mapping[str, object] | None = None) -> None:
    """Make a folder of tables, if missing.

    Raises
    ------
    StorageError
        It cannot be written.
    """
    folder = Directory(url, storage_options)
    folder.make()
    if not folder.has(MARK):
        folder.write(MARK, json.dumps({"jp2batch-index": MARK_VERSION}).encode())


def _merge(url: str, rows: Rows, storage_options: Mapping[str, object] | None, layout: TableLayout) -> None:
    new = _arrow_table(layout, rows)
    place, _, name = url.rpartition("/")
    folder, location = Directory(place or ".", storage_options), Location.of(url)
    folder.make()
    lock = waiting_lock(Path(location.path).expanduser()) if location.is_local else contextlib.nullcontext()
    with lock:
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0, 2 * _WAIT * attempt))  # noqa: S311  # it hides nothing
            old = folder.read_version(name)
            data = _to_parquet(layout, new if old is None else _joined(location, old.data, new, layout))
            if location.is_local:
                folder.write(name, data)
                return
            if folder.put(name, data, old) is not None:
                return
    raise OutputError(location, "other writers have replaced it again and again", "try again later")


def _joined(location: Location, old: bytes, new: Any, layout: TableLayout) -> Any:
    """Return a table with rows added or replaced."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        reader = ParquetReader(MemorySource(old))
        if layout_of(reader.footer.texts) is not layout:
            raise OutputError(location, f"is not {layout.title}", "choose another folder, or remove the table")
        groups = [reader.read(group, layout.columns) for group in range(len(reader.footer.groups))]
        rest = pa.concat_tables(group.select(layout.columns).cast(_schema(layout)) for group in groups)
    except (DamagedTable, pa.ArrowException, ValueError) as error:
        raise OutputError(location, f"is damaged: {error}", "choose another folder, or remove the table") from None
    return pa.concat_tables([rest.filter(pc.invert(pc.is_in(rest["path"], new["path"]))), new])


def _arrow_table(layout: TableLayout, rows: Rows) -> Any:
    import pyarrow as pa

    last = {row["path"]: row for row in rows}
    return pa.Table.from_pylist(list(last.values()), _schema(layout))


def _schema(layout: TableLayout) -> Any:
    import pyarrow as pa

    types = {
        "size": pa.int64(),
        "etag": pa.string(),
        "tile_parts": pa.int32(),
        "known": pa.binary(),
        "head": pa.binary(),
        "tlm": pa.int32(),
        "start": pa.int64(),
        "tiles": pa.list_(pa.uint16()),
        "lengths": pa.list_(pa.uint32()),
        "index": pa.binary(),
    }
    return pa.schema([(name, types.get(name, pa.string())) for name in layout.columns])


def _to_parquet(layout: TableLayout, table: Any) -> bytes:
    """Return a table as a Parquet file, sorted by path."""
    import pyarrow.parquet as pq

    options: dict[str, Any] = {"compression": "zstd", "compression_level": _LEVEL}
    if layout is WHOLE:
        options = {"compression": {"path": "zstd", "known": "none"}}  # indexes are compressed already
    if layout is POSITIONS:
        options["use_dictionary"] = ["head", "tlm", "start"]  # alike in images of the same coding
        options["column_encoding"] = {"lengths.list.element": "BYTE_STREAM_SPLIT"}  # their high bytes are alike
    rows = max(_FEWEST_ROWS, min(_ROWS, table.num_rows // _GROUPS)) if layout is WHOLE else _ROWS
    buffer = io.BytesIO()
    pq.write_table(
        table.sort_by("path"),
        buffer,
        row_group_size=rows,
        write_statistics=list(layout.names),
        write_page_checksum=True,
        store_schema=False,
        **options,
    )
    return buffer.getvalue()
