"""A Parquet table of image indexes, read by range.

Of the file, a lookup reads the row group that may contain the image, and only the columns that it needs. Row groups are
chosen by their statistics: a table sorted by path takes a single one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from jp2batch.core.errors import ConfigurationError, ImageNotFound, ObjectChanged, StorageError
from jp2batch.image.index.group_cache import group_cache
from jp2batch.image.index.parquet_reader import DamagedTable, ParquetReader
from jp2batch.image.index.table_layouts import Row, TableLayout, is_text, layout_of
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.storage.source import Source

_TOGETHER = 512 << 10  # bytes of columns fetched in a single round; of more, first the names
_MOST_GROUPS = 256  # row groups to read for an image, of a table without statistics
_MOST_ROWS = 64  # rows of a row group with the same names
_HINT = "make it with jp2batch index"


class MissingTable(StorageError):
    """The table does not exist."""


class Table:
    """A table of image indexes in a Parquet file; thread-safe.

    Parameters
    ----------
    open_file : callable
        Return a source over the file.

    Raises
    ------
    MissingTable
        The file does not exist.
    StorageError
        It cannot be read, or is not such a table.
    """

    def __init__(self, open_file: Callable[[], Source]) -> None:
        self._open_file = open_file
        self._opened = _OpenTable(open_file())

    def __len__(self) -> int:
        return len(self._opened.reader)

    def get(self, key: str) -> ImageIndex | None:
        """Return the index of the image with this key, or None.

        Damaged rows count as missing.

        Raises
        ------
        Jp2BatchError
            The store does not deliver the table.
        """
        if not is_text(key):
            return None
        try:
            return self._opened.get(key)
        except ObjectChanged:  # another table has replaced it
            self._opened = _OpenTable(self._open_file())
            return self._opened.get(key)


class _OpenTable:
    """A version of a table, whose footer is read."""

    def __init__(self, source: Source) -> None:
        try:
            self.reader = ParquetReader(source)
        except ImageNotFound as error:
            raise MissingTable(source.path, f"cannot be read: {error.problem}", _HINT) from None
        except DamagedTable as error:
            raise StorageError(source.path, f"is not a Parquet file: {error}", _HINT) from None
        names = list(self.reader.footer.texts)
        layout = layout_of(names)
        if layout is None:
            raise StorageError(source.path, f"has the columns {', '.join(names)[:200]}", _HINT)
        if not all(self.reader.footer.texts[name] for name in layout.names):
            raise StorageError(source.path, "its paths are not text", _HINT)
        self.layout: TableLayout = layout

    def get(self, key: str) -> ImageIndex | None:
        for search in self.layout.searches(key):
            for group in self._groups(search):
                try:
                    for row in self._rows(group, search):
                        if self.layout.accepts(row, key):
                            return self.layout.index(row)
                except (DamagedTable, OverflowError, TypeError, ValueError):  # it is only a hint
                    continue
        return None

    def _groups(self, search: Mapping[str, str]) -> Iterator[int]:
        """Iterate over row groups whose statistics allow these names."""
        values = {name: value.encode() for name, value in search.items()}
        tried = 0
        for number, group in enumerate(self.reader.footer.groups):
            spans = {chunk.path: chunk.bounds or (values[chunk.path],) * 2 for chunk in group.of(list(values))}
            if spans.keys() == values.keys() and all(
                low <= values[name] <= high for name, (low, high) in spans.items()
            ):
                yield number
                tried += 1
                if tried == _MOST_GROUPS:
                    return

    def _rows(self, group: int, search: Mapping[str, str]) -> Iterator[Row]:
        """Iterate over the rows of a row group with these names."""
        together = (*self.layout.names, *self.layout.data)
        chunks = self.reader.footer.groups[group].of(together)
        small = sum(chunk.range.size for chunk in chunks) <= _TOGETHER
        names = self._columns(group, together if small else self.layout.names)
        for row in _matches(names, search):
            data = names if small else self._columns(group, self.layout.data)
            named = {name: _value(names, name, row) for name in self.layout.names}
            yield named | {name: _value(data, name, row) for name in self.layout.data}

    def _columns(self, group: int, columns: Sequence[str]) -> Any:
        return group_cache().get(
            (self.reader, group, tuple(columns)), lambda: self.reader.read(group, columns).combine_chunks()
        )


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


def _matches(table: Any, search: Mapping[str, str]) -> list[int]:
    """Return the first rows with all of these values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    masks = []
    for name, value in search.items():
        column = table.column(name)
        if not column.num_chunks:
            return []
        values = column.chunk(0)
        if isinstance(values, pa.DictionaryArray):
            code = pc.index(values.dictionary, pa.scalar(value, values.dictionary.type)).as_py()
            masks.append(pc.equal(values.indices, code))
        else:
            masks.append(pc.equal(values, pa.scalar(value, values.type)))
    mask = masks[0]
    for other in masks[1:]:
        mask = pc.and_(mask, other)
    rows: list[int] = pc.indices_nonzero(pc.fill_null(mask, False)).slice(0, _MOST_ROWS).to_pylist()
    return rows


def _value(table: Any, name: str, row: int) -> Any:
    """Return a value of a row; a list stays an Arrow scalar."""
    import pyarrow as pa

    value = table.column(name)[row]
    return value if pa.types.is_list(value.type) or pa.types.is_large_list(value.type) else value.as_py()
