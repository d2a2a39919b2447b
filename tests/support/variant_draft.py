"""Parts of a generated file: `Tile`, `Part` (a tile-part) and the whole `Draft`.

Features change a draft; `Draft.to_bytes` writes the file. A draft also draws random numbers for its features.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jp2batch.sample.coding import Coding
from support.jp2_boxes import Boxes, jp2
from support.rewrite import PLT, PPT, SOD, SOT

Rng = np.random.Generator
Segment = tuple[int, bytes | None]
"""Marker and content; None: a marker without a length (FF30 to FF3F)."""


@dataclass
class Tile:
    """A tile before its division: marker segments of its first tile-part, packets, where OpenJPEG would divide it."""

    number: int
    segments: list[Segment]
    packets: list[bytes]
    cuts: list[int]


@dataclass
class Part:
    """A tile-part."""

    tile: int
    index: int
    total: int
    segments: list[Segment]
    packets: list[bytes]
    plt: int = 65000
    """The most bytes of packet lengths in one PLT segment; 0 = no PLT."""
    plt_backwards: bool = False
    packed: bool = False
    """True if PPT holds the packet headers."""
    stripped: bool = False
    """True if PPM holds the packet headers."""
    padding: bytes = b""

    def headers(self) -> bytes:
        """Return the packet headers. Each packet needs EPH."""
        return b"".join(packet[: _header_end(packet)] for packet in self.packets)

    def to_bytes(self) -> bytes:
        segments = [*self.segments, *(self._ppt() if self.packed else self._plt())]
        bodies = self._bodies()
        header = b"".join(map(encode_segment, segments)) + struct.pack(">H", SOD)
        length = 12 + len(header) + sum(map(len, bodies)) + len(self.padding)
        sot = struct.pack(">HHHIBB", SOT, 10, self.tile, length, self.index, self.total)
        return b"".join([sot, header, *bodies, self.padding])

    def lengths(self) -> tuple[int, ...]:
        """Return the lengths of packets in the tile-part, without headers that are elsewhere."""
        return tuple(map(len, self._bodies()))

    def _bodies(self) -> list[bytes]:
        return [p[_header_end(p) :] for p in self.packets] if self.packed or self.stripped else self.packets

    def _plt(self) -> list[Segment]:
        if not self.plt or self.stripped or not self.packets:
            return []
        pieces = [b""]
        for number in (variable(len(packet)) for packet in self.packets):
            if len(pieces[-1]) + len(number) > self.plt:
                pieces.append(b"")
            pieces[-1] += number
        if len(pieces) > 255:
            return []
        found: list[Segment] = [(PLT, bytes([index]) + piece) for index, piece in enumerate(pieces)]
        return found[::-1] if self.plt_backwards else found

    def _ppt(self) -> list[Segment]:
        headers = self.headers()
        size = max(1, len(headers) // 3) if len(headers) > 40 else 60_000
        first = 4 * self.index  # Zppt counts through all tile-parts of the tile
        return [(PPT, bytes([first + n // size]) + headers[n : n + size]) for n in range(0, len(headers), size)]


def _header_end(packet: bytes) -> int:
    return packet.index(b"\xff\x92") + 2


def variable(value: int) -> bytes:
    """Return a packet length as PLT and PLM hold it: seven bits a byte, the highest first."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))


def find_content(segments: Sequence[Segment], marker: int) -> bytes:
    """Return the content of the first marker segment of a kind."""
    return next(content for found, content in segments if found == marker and content is not None)


def encode_segment(segment: Segment) -> bytes:
    marker, content = segment
    return struct.pack(">H", marker) if content is None else struct.pack(">HH", marker, 2 + len(content)) + content


@dataclass
class Draft:
    """A file in the making."""

    rng: Rng
    pixels: NDArray[np.int32]
    coding: Coding
    style: int
    """Code-block style of T.800 table A.19."""
    main: list[Segment]
    tiles: dict[int, Tile]
    parts: list[Part] = field(default_factory=list)
    tlm: list[Segment] = field(default_factory=list)
    open_end: bool = False
    """Psot of the last tile-part is 0."""
    eoc: bytes = b"\xff\xd9"
    behind: bytes = b""
    """Bytes appended to the codestream; OpenJPEG reads them as a part of it."""
    boxes: Boxes | None = None
    facts: list[str] = field(default_factory=list)
    refusable: list[str] = field(default_factory=list)

    def stream(self) -> bytes:
        parts = [part.to_bytes() for part in self.parts]
        if self.open_end:
            parts[-1] = parts[-1][:6] + bytes(4) + parts[-1][10:]
        header = b"\xff\x4f" + b"".join(map(encode_segment, [*self.main, *self.tlm]))
        return header + b"".join(parts) + self.eoc + self.behind

    def to_bytes(self) -> bytes:
        return self.stream() if self.boxes is None else jp2(self.boxes, self.stream())

    def content(self, marker: int) -> bytes:
        """Return the content of a marker segment of the main header."""
        return find_content(self.main, marker)

    def put(self, marker: int, content: bytes) -> None:
        """Replace the content of a marker segment of the main header."""
        self.main = [(found, content if found == marker else old) for found, old in self.main]

    def other_coding(self, **change: Any) -> Coding:
        """Return the coding with changes and without a division into tile-parts."""
        return replace(self.coding, tile_parts="", **change)

    def flag(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def number(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def pick(self, items: Sequence[Any]) -> Any:
        return items[int(self.rng.integers(len(items)))]

    def some(self, items: Sequence[Any], share: float = 0.4) -> list[Any]:
        """Return each item with a probability, and at least one item."""
        return [item for item in items if self.flag(share)] or [self.pick(items)]


Feature = Callable[[Draft], str | None]
"""Changes a draft and returns a description of the change; None if it does not apply to this draft."""
