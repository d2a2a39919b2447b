"""Markers, marker segments, SIZ and SOT as frozen values (T.800 annex A).

Segments irrelevant to reading stay bytes.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Self

from jp2batch.core.errors import CorruptImage

_HINT = "fetch the file again"


class Marker(IntEnum):
    """Markers of a codestream, table A.2 (CAP, CPF: T.814)."""

    SOC = 0xFF4F
    CAP = 0xFF50
    SIZ = 0xFF51
    COD = 0xFF52
    COC = 0xFF53
    TLM = 0xFF55
    PLM = 0xFF57
    PLT = 0xFF58
    CPF = 0xFF59
    QCD = 0xFF5C
    QCC = 0xFF5D
    RGN = 0xFF5E
    POC = 0xFF5F
    PPM = 0xFF60
    PPT = 0xFF61
    CRG = 0xFF63
    COM = 0xFF64
    SOT = 0xFF90
    SOP = 0xFF91
    EPH = 0xFF92
    SOD = 0xFF93
    EOC = 0xFFD9

    @property
    def code(self) -> bytes:
        """The two bytes of the marker."""
        return self.to_bytes(2, "big")


_NAMES = {marker.value: marker.name for marker in Marker}


@dataclass(frozen=True, slots=True)
class Segment:
    """A marker segment of the file."""

    marker: int
    """Marker code, a `Marker` or unknown."""
    start: int
    """Position of the marker in the file."""
    body: bytes
    """Content after the length field."""

    @property
    def name(self) -> str:
        """The marker's name in T.800, or its code."""
        return _NAMES.get(self.marker, f"{self.marker:#06x}")

    def encode(self) -> bytes:
        """Return the bytes of the segment."""
        return encode_segment(self.marker, self.body)

    def unpack(self, layout: str, offset: int = 0) -> tuple[int, ...]:
        """Return the numbers at `offset` of the body.

        Raises
        ------
        CorruptImage
            The body is too short.
        """
        try:
            return struct.unpack_from(layout, self.body, offset)
        except struct.error:
            raise self.wrong(f"is too short ({len(self.body)} bytes)") from None

    def wrong(self, problem: str) -> CorruptImage:
        """Return the error for a problem with this segment."""
        return CorruptImage("", f"the {self.name} marker segment at byte {self.start} {problem}", _HINT)


def encode_segment(marker: int, body: bytes) -> bytes:
    """Return the bytes of a marker segment."""
    return struct.pack(">HH", marker, len(body) + 2) + body


@dataclass(frozen=True, slots=True)
class Component:
    """A component in SIZ."""

    ssiz: int
    """Bits minus 1; the highest bit means signed."""
    xrsiz: int
    """Columns of the reference grid for each sample."""
    yrsiz: int
    """Rows of the reference grid for each sample."""

    @property
    def bits(self) -> int:
        """Bits of a sample."""
        return (self.ssiz & 0x7F) + 1

    @property
    def signed(self) -> bool:
        """Whether samples are signed."""
        return bool(self.ssiz & 0x80)


@dataclass(frozen=True, slots=True)
class Siz:
    """Image and tile size, A.5.1."""

    rsiz: int
    xsiz: int
    ysiz: int
    xosiz: int
    yosiz: int
    xtsiz: int
    ytsiz: int
    xtosiz: int
    ytosiz: int
    components: tuple[Component, ...]

    @classmethod
    def parse(cls, segment: Segment) -> Self:
        """Read a SIZ marker segment and check its values."""
        *numbers, count = segment.unpack(">HIIIIIIIIH")
        if not 1 <= count <= 16384 or len(segment.body) != 36 + 3 * count:
            raise segment.wrong(f"claims {count} components in {len(segment.body)} bytes")
        components = tuple(Component(*segment.unpack(">BBB", 36 + 3 * n)) for n in range(count))
        rsiz, xsiz, ysiz, xosiz, yosiz, xtsiz, ytsiz, xtosiz, ytosiz = numbers
        siz = cls(rsiz, xsiz, ysiz, xosiz, yosiz, xtsiz, ytsiz, xtosiz, ytosiz, components)
        siz._check(segment)
        return siz

    def encode(self) -> bytes:
        """Return the bytes of the segment."""
        numbers = (self.xsiz, self.ysiz, self.xosiz, self.yosiz, self.xtsiz, self.ytsiz, self.xtosiz, self.ytosiz)
        body = struct.pack(">HIIIIIIIIH", self.rsiz, *numbers, len(self.components))
        parts = (struct.pack(">BBB", c.ssiz, c.xrsiz, c.yrsiz) for c in self.components)
        return encode_segment(Marker.SIZ, body + b"".join(parts))

    def _check(self, segment: Segment) -> None:
        if not (self.xosiz < self.xsiz and self.yosiz < self.ysiz):
            raise segment.wrong(f"claims an image from {self.xosiz, self.yosiz} to {self.xsiz, self.ysiz}")
        tiles_start_before = self.xtosiz <= self.xosiz and self.ytosiz <= self.yosiz
        first_tile_holds = self.xtosiz + self.xtsiz > self.xosiz and self.ytosiz + self.ytsiz > self.yosiz
        if not (self.xtsiz and self.ytsiz and tiles_start_before and first_tile_holds):
            raise segment.wrong(f"claims tiles of {self.xtsiz} x {self.ytsiz} from {self.xtosiz, self.ytosiz}")
        if any(c.bits > 38 or not c.xrsiz or not c.yrsiz for c in self.components):
            raise segment.wrong("claims components outside T.800")


SOT_SIZE = 12
"""Length of the SOT marker segment, marker included."""


_SOT_LAYOUT = struct.Struct(">HHHIBB")


class Sot(NamedTuple):  # a read makes hundreds of them
    """Start of tile-part, A.4.2."""

    tile: int
    """Isot, index of the tile."""
    length: int
    """Psot, tile-part length from the first byte of SOT.

    0 = to the end of the codestream.
    """
    part: int
    """TPsot, index of the tile-part in its tile."""
    parts: int
    """TNsot, number of tile-parts of the tile; 0 = not stated here."""

    @classmethod
    def parse(cls, data: bytes) -> Self | None:
        """Read the 12 bytes of SOT; None for other data."""
        if len(data) != SOT_SIZE:
            return None
        marker, length, *fields = _SOT_LAYOUT.unpack(data)
        return cls(*fields) if (marker, length) == (Marker.SOT, 10) else None

    def encode(self) -> bytes:
        """Return the bytes of the segment."""
        return _SOT_LAYOUT.pack(Marker.SOT, SOT_SIZE - 2, *self)


def chained_tiles(data: bytes, position: int) -> Iterator[tuple[int, int]]:
    """Iterate over tile-parts from SOT to SOT by Psot (A.4.2).

    Yields
    ------
    tile : int
        Index of the tile.
    stop : int
        Position behind the tile-part; with Psot 0, the end of the data.
    """
    last, begin = len(data) - SOT_SIZE, (int(Marker.SOT), SOT_SIZE - 2)
    while position <= last:
        marker, length, tile, size, _, _ = _SOT_LAYOUT.unpack_from(data, position)
        if (marker, length) != begin:
            return
        position = position + max(size, SOT_SIZE) if size else len(data)
        yield tile, position
