"""Draw the bytes fetched by reads, from actual reads of a generated image."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import methodcaller

from jp2batch.core.display import format_bytes
from jp2batch.core.ranges import ByteRange
from jp2batch.core.store_settings import store_costs
from jp2batch.core.window import Window
from jp2batch.image.read import read_from
from jp2batch.sample.encode import ESA_60M, encode
from jp2batch.sample.landscape import scene
from jp2batch.storage.source import MemorySource

_SIZE, _TILE = 1830, 192  # pixels a side of a 60 m band and of its tiles
_WINDOW = Window((830, 1130), (800, 1100))
_READS = (
    ("The whole image at rlevel 4", 4, None, "the header, and the beginning of each of 100 tiles"),
    ("A window of 300 x 300 at rlevel 0", 0, _WINDOW, "the header, and what it needs of the tiles it touches"),
)

_CELL, _PANEL, _LEFT, _TOP = 35, 350, 40, 64  # in pixels of the drawing
_PAPER, _INK, _GREY, _TILE_COLOUR, _FETCHED = "#fbfbf9", "#23262b", "#646b75", "#dde2e8", "#d9580d"


@dataclass(frozen=True, slots=True)
class Read:
    """What a read has fetched of an image."""

    title: str
    window: Window | None
    told: str
    """What there is to see."""
    tiles: list[tuple[int, int]]
    """First byte of each tile, and the one after its last."""
    ranges: list[ByteRange]
    """What was fetched."""
    size: int
    """Bytes of the file."""

    def share(self, tile: int) -> float:
        """Return how much of a tile was fetched."""
        start, stop = self.tiles[tile]
        return sum(max(0, min(stop, b) - max(start, a)) for a, b in self.ranges) / (stop - start)

    @property
    def fetched(self) -> int:
        """Bytes fetched."""
        return sum(min(stop, self.size) - start for start, stop in self.ranges)


def what_is_fetched() -> str:
    """Return the drawing of an overview and of a window, as SVG."""
    data = encode(scene(_SIZE, bands=["B08"])["B08"], replace(ESA_60M, tlm=True))
    tiles = list(_tile_parts(data))
    reads = []
    for title, rlevel, window, told in _READS:
        source = MemorySource(data, profile=store_costs("s3"))
        read_from(source, methodcaller("selected", rlevel, window))
        reads.append(Read(title, window, told, tiles, list(source.ranges), len(data)))
    return _drawing(reads)


def _tile_parts(data: bytes) -> Iterator[tuple[int, int]]:
    """Iterate over the tile-parts by their SOT marker segments (T.800 A.4.2); there is one for each tile."""
    start = data.index(b"\xff\x90\x00\x0a")
    while data[start : start + 2] == b"\xff\x90":
        (length,) = struct.unpack_from(">I", data, start + 6)
        yield start, start + length
        start += length


def _drawing(reads: list[Read]) -> str:
    across = round(len(reads[0].tiles) ** 0.5)
    height = _TOP + across * _CELL + 110
    parts = [part for place, read in enumerate(reads) for part in _panel(read, _LEFT + place * (_PANEL + 60), across)]
    width = 2 * _LEFT + _PANEL * len(reads) + 60
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
            ' font-family="Helvetica, Arial, sans-serif" font-size="14">',
            "<title>What is fetched of a 60 m band: the beginning of each tile, or the tiles of a window</title>",
            f'<rect width="{width}" height="{height}" rx="8" fill="{_PAPER}"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _panel(read: Read, left: int, across: int) -> Iterator[str]:
    """Iterate over the elements of one read: its tiles, and where its bytes lie in the file."""
    yield _text(left, _TOP - 34, read.title, _INK, 'font-weight="bold" font-size="16"')
    yield _text(left, _TOP - 14, read.told, _GREY)
    for tile in range(len(read.tiles)):
        x, y = left + tile % across * _CELL, _TOP + tile // across * _CELL
        yield _rect(x, y, _CELL - 2, _CELL - 2, _TILE_COLOUR)
        if share := read.share(tile):
            high = max(2.0, round((_CELL - 2) * share, 1))  # what is fetched can be seen, however little it is
            yield _rect(x, y + _CELL - 2 - high, _CELL - 2, high, _FETCHED)
    if read.window is not None:
        (top, bottom), (first, last) = read.window
        scale = _CELL / _TILE
        yield (
            f'<rect x="{left + first * scale:.1f}" y="{_TOP + top * scale:.1f}" width="{(last - first) * scale:.1f}"'
            f' height="{(bottom - top) * scale:.1f}" fill="none" stroke="{_INK}" stroke-width="2"/>'
        )
    yield from _strip(read, left, _TOP + across * _CELL + 36)


def _strip(read: Read, left: int, top: int) -> Iterator[str]:
    """Iterate over the elements that show the file from its first byte to its last."""
    yield _text(left, top - 8, "the file, from its first byte to its last", _GREY, 'font-size="12"')
    yield _rect(left, top, _PANEL, 18, _TILE_COLOUR)
    columns = {int(at * _PANEL / read.size) for a, b in read.ranges for at in range(a, min(b, read.size), 4096)}
    columns |= {int((min(b, read.size) - 1) * _PANEL / read.size) for _, b in read.ranges}
    for column in sorted(columns):
        yield _rect(left + column, top, 1, 18, _FETCHED)
    told = f"{format_bytes(read.fetched)} of {format_bytes(read.size)} ({read.fetched / read.size:.1%})"
    yield _text(left, top + 42, f"{told} in {len(read.ranges)} requests", _INK, 'font-weight="bold"')


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{colour}"/>'


def _text(x: int, y: int, text: str, colour: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" fill="{colour}" {more}>{text}</text>'
