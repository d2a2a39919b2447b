"""Footer of a Parquet file: columns, and their positions in row groups."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jp2batch.core.ranges import ByteRange
from jp2batch.image.index.thrift_compact import ThriftReader

_MOST_VALUES = 1 << 19  # numbers, texts and structs of a footer: of some 20,000 column chunks
_BYTE_ARRAY = 6
_REPEATED = 2


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """Values of a column in a row group."""

    column: str
    """Name of the outermost column."""
    path: str
    """Names of the nested columns, joined by dots."""
    is_text: bool
    """Whether its values are texts or bytes."""
    range: ByteRange
    """Position of its pages."""
    values: int
    """Number of its values."""
    bounds: tuple[bytes, bytes] | None
    """Smallest and largest value of a column of texts; None if unknown."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Columns of a group of rows."""

    rows: int
    """Number of rows."""
    chunks: tuple[ColumnChunk, ...]
    """Column chunks, in order."""

    def of(self, columns: Sequence[str]) -> list[ColumnChunk]:
        """Return the chunks of outermost columns."""
        return [chunk for chunk in self.chunks if chunk.column in columns]


@dataclass(frozen=True, slots=True)
class Footer:
    """Columns and row groups of a file."""

    texts: Mapping[str, bool]
    """Whether the values are single texts or bytes, by outermost column."""
    groups: tuple[RowGroup, ...]
    """Row groups, in order."""


def parse_footer(data: bytes) -> Footer:
    """Return the content of a footer.

    Raises
    ------
    ValueError
        It is malformed, or has too many values.
    """
    try:
        fields = ThriftReader(data, 0, _MOST_VALUES).read_struct()
        columns = {name.decode(): kind for name, kind in _outermost(fields[2])}
        return Footer(columns, tuple(_group(group) for group in fields[4]))
    except (KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise ValueError("its footer is malformed") from None


def _outermost(schema: Sequence[dict[int, Any]]) -> Iterator[tuple[bytes, bool]]:
    position = 1
    while position < len(schema):
        element, pending = schema[position], 1
        yield element[4], element.get(1) == _BYTE_ARRAY and element.get(3) != _REPEATED and not element.get(5)
        while pending:  # skip the elements inside
            pending += schema[position].get(5, 0) - 1
            position += 1


def _group(group: dict[int, Any]) -> RowGroup:
    return RowGroup(_whole(group[3]), tuple(_chunk(chunk[3]) for chunk in group[1]))


def _chunk(fields: dict[int, Any]) -> ColumnChunk:
    names = [name.decode() for name in fields[3]]
    first, dictionary = _whole(fields[9]), fields.get(11)
    start = first if dictionary is None or not 0 < dictionary < first else _whole(dictionary)
    is_text = fields[1] == _BYTE_ARRAY
    found = fields.get(12) or {}
    low, high = found.get(6), found.get(5)  # the older fields 2 and 1 are of another order
    bounds = (low, high) if is_text and isinstance(low, bytes) and isinstance(high, bytes) else None
    span = ByteRange(start, start + _whole(fields[7]))
    return ColumnChunk(names[0], ".".join(names), is_text, span, _whole(fields[5]), bounds)


def _whole(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError("its footer is malformed")
    return value
