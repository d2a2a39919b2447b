"""Layouts of index tables: columns of names, and of indexes.

- Positions, as `jp2batch index DIR/` writes them: lengths of the tile-parts, and the main header.
- Whole indexes, as `jp2batch index FILE` writes them: also the packet lengths.
- Kayrros' tables for Sentinel-2.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from jp2batch.core.location import Location
from jp2batch.image.missions import identify
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.jpeg2000.locate.kayrros import are_consecutive, from_kayrros, to_kayrros
from jp2batch.jpeg2000.locate.tile_parts import consecutive
from jp2batch.jpeg2000.locate.tlm_entries import with_entries, without_entries
from jp2batch.jpeg2000.syntax.markers import Marker

_MOST_PARTS = 1 << 17  # tile-parts of an image
_LARGEST_HEAD = 64 << 10  # bytes of a main header in a table of positions
_HIGHEST_TILE = 0xFFFF

Row = Mapping[str, Any]
"""Values of a row by column; lists as Arrow scalars."""


@dataclass(frozen=True, slots=True)
class TableLayout:
    """Columns of an index table, and their meaning."""

    title: str
    """Name in messages."""
    names: tuple[str, ...]
    """Columns with names of an image."""
    data: tuple[str, ...]
    """Columns of its index."""
    more: tuple[str, ...]
    """Further columns, for other readers."""
    rows: Callable[[str, ImageIndex], dict[str, object]]
    """Return the row of an image, from its path and index.

    Raises ValueError if the layout cannot hold the index.
    """
    index: Callable[[Row], ImageIndex | None]
    """Return the index in a row.

    Raises ValueError or TypeError if damaged.
    """
    searches: Callable[[str], Iterator[dict[str, str]]]
    """Iterate over names of a key, by column, best first."""

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, in order."""
        return (*self.names, *self.more, *self.data)

    def renamed(self, row: dict[str, object], path: str) -> dict[str, object]:
        """Return a row with another path."""
        return row if "band_id" in row else row | {"path": path}

    def fits(self, columns: Collection[str]) -> bool:
        """Return whether a table has the columns needed for reading."""
        return {*self.names, *self.data} <= set(columns)

    def accepts(self, row: Row, key: str) -> bool:
        """Return whether a row with the right names fits a key.

        Kayrros' bands have several resolutions; the name of the file differs.
        """
        return "band_id" not in row or _file_name(str(row["path"] or "")) in ("", _file_name(path_of(key)))


def path_of(key: str) -> str:
    """Return the path of a key, without its suffix after "#".

    The suffix distinguishes objects of several stores, or of several queries.
    """
    return key.partition("#")[0]


def is_text(key: str) -> bool:
    """Return whether a table can hold a key.

    Names of local files need not be valid text.
    """
    return key.isprintable() or not any("\ud800" <= one <= "\udfff" for one in key)


def named(keys: Sequence[str]) -> dict[str, str]:
    """Return the path in a table of each key.

    Keys that a table cannot hold are left out. A path is without suffix, unless several keys share it.
    """
    count = Counter(map(path_of, keys))
    return {key: path_of(key) if count[path_of(key)] == 1 else key for key in keys if is_text(key)}


def layout_of(columns: Collection[str]) -> TableLayout | None:
    """Return the layout of a table by its columns; None if unknown."""
    return next((layout for layout in (KAYRROS, POSITIONS, WHOLE) if layout.fits(columns)), None)


def _searches(key: str) -> Iterator[dict[str, str]]:
    yield from ({"path": name} for name in dict.fromkeys((key, path_of(key))))


def _kayrros_searches(key: str) -> Iterator[dict[str, str]]:
    own = _kayrros_path(path_of(key))
    yield from ({"path": one} for one in (own, own.removeprefix("/")))
    names = _kayrros_names(path_of(key))
    if None not in names.values():
        yield {name: str(value) for name, value in names.items()}


def _kayrros_names(path: str) -> dict[str, str | None]:
    folders = PurePosixPath(path).parts
    product = next((part.removesuffix(".SAFE") for part in folders if part.endswith(".SAFE")), None)
    _, name = identify(path)
    return {"product_id": product, "band_id": None if name is None else name.band}


def _kayrros_path(path: str) -> str:
    """Return the path of an object without its bucket or server."""
    location = Location.of(path)
    return f"/{(location.key or location.path).lstrip('/')}"


def _file_name(path: str) -> str:
    return path.partition("?")[0].rpartition("/")[2]


def _whole_row(path: str, index: ImageIndex) -> dict[str, object]:
    own = {"path": path, "size": index.size, "etag": index.etag, "tile_parts": len(index.tile_parts)}
    return own | {"known": index.to_bytes()}


def _whole_index(row: Row) -> ImageIndex | None:
    return ImageIndex.from_bytes(row["known"])


def _position_row(path: str, index: ImageIndex) -> dict[str, object]:
    parts = index.tile_parts if index.tile_parts and are_consecutive(index.tile_parts) else ()
    tiles = [part.tile for part in parts]
    in_order = tiles == list(range(len(tiles)))
    start, data = index.header_bytes[0] if index.header_bytes else (0, b"")
    head, tlm = without_entries(data[: parts[0].start] if parts else data, parts)
    return {
        "path": path,
        "size": index.size,
        "etag": index.etag,
        "head": head if not start and 0 < len(head) <= _LARGEST_HEAD else None,
        "tlm": tlm,
        "start": parts[0].start if parts else None,
        "tiles": None if in_order else tiles,
        "lengths": [part.length for part in parts] if parts else None,
    }


def _position_index(row: Row) -> ImageIndex | None:
    size, etag, head, start = row["size"], row["etag"], row["head"], row["start"]
    if not isinstance(size, int) or not isinstance(etag, str | None) or not isinstance(head, bytes | None):
        raise ValueError("its columns have other types")
    lengths, tiles = _numbers(row["lengths"]), _numbers(row["tiles"])
    if lengths and not isinstance(start, int):
        raise ValueError("its tile-parts begin nowhere")
    if tiles and (len(tiles) != len(lengths) or not 0 <= min(tiles) <= max(tiles) <= _HIGHEST_TILE):
        raise ValueError("its tiles do not fit")
    named_tiles: list[int | None] = [*tiles] or [None] * len(lengths)
    entries = list(zip(named_tiles, lengths, strict=True))
    parts = tuple(consecutive(entries, start)) if entries else ()
    if not head:
        return ImageIndex(size, etag, (), parts)
    head = with_entries(head, row["tlm"], parts)
    end = Marker.SOT.code if parts and parts[0].start == len(head) else b""  # it ends the main header
    return ImageIndex(size, etag, ((0, head + end),), parts)


def _numbers(column: Any) -> list[int]:
    """Return the numbers of a list, which may be missing."""
    if column is None or not getattr(column, "is_valid", True):
        return []
    if not hasattr(column, "as_py"):
        raise ValueError("its tile-parts are no list")
    if len(column) > _MOST_PARTS:
        raise ValueError("it has too many tile-parts")
    numbers = column.as_py()
    if not all(isinstance(number, int) for number in numbers):
        raise ValueError("its tile-parts are not numbers")
    return list(numbers)


def _kayrros_row(path: str, index: ImageIndex) -> dict[str, object]:
    return {**_kayrros_names(path), "path": _kayrros_path(path), "index": to_kayrros(index)}


def _kayrros_index(row: Row) -> ImageIndex | None:
    return from_kayrros(row["index"])


POSITIONS = TableLayout(
    "a table of positions",
    ("path",),
    ("size", "etag", "head", "tlm", "start", "tiles", "lengths"),
    (),
    _position_row,
    _position_index,
    _searches,
)
"""Positions of tile-parts and the main header: some 300 bytes an image."""

WHOLE = TableLayout(
    "a table of whole indexes",
    ("path",),
    ("known",),
    ("size", "etag", "tile_parts"),
    _whole_row,
    _whole_index,
    _searches,
)
"""Whole indexes with packet lengths: some 8 kB an image."""

KAYRROS = TableLayout(
    "a table of Kayrros",
    ("product_id", "band_id", "path"),
    ("index",),
    (),
    _kayrros_row,
    _kayrros_index,
    _kayrros_searches,
)
"""Positions of tile-parts as TLM marker segments, by product and band."""
