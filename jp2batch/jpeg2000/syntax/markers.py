"""Marker segments as frozen values (T.800 annex A).

Segments irrelevant to reading stay bytes.
"""

import struct
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Self

from jp2batch.core.errors import CorruptImage

_HINT = "fetch the file again"
_LARGEST_LIST = 4 << 20  # bytes: a million packets or more


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

PROGRESSIONS = ("LRCP", "RLCP", "RPCL", "PCRL", "CPRL")
"""The progression orders by their number, table A.16."""


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


@dataclass(frozen=True, slots=True)
class CodingStyle:
    """Coding style of a component: SPcod or SPcoc parameters, table A.20."""

    levels: int
    """Decomposition levels, N_L."""
    code_block: tuple[int, int]
    """Exponents of width and height of the code-blocks."""
    style: int
    """Code-block style; bit 6 means HTJ2K."""
    transform: int
    """0 = 9/7 irreversible, 1 = 5/3 reversible."""
    precincts: tuple[tuple[int, int], ...]
    """Exponents (PPx, PPy) of the precincts by resolution level, lowest first."""
    own_precincts: bool
    """Whether the segment lists precinct sizes; else they are maximal."""

    @classmethod
    def parse(cls, segment: Segment, offset: int, own_precincts: bool) -> Self:
        """Read the parameters at `offset` of a COD or COC marker segment."""
        levels, xcb, ycb, style, transform = segment.unpack(">BBBBB", offset)
        if levels > 32 or xcb > 8 or ycb > 8 or xcb + ycb > 8 or transform > 1:
            raise segment.wrong("claims a coding outside T.800")
        sizes = segment.unpack(f">{levels + 1}B", offset + 5) if own_precincts else (0xFF,) * (levels + 1)
        if len(segment.body) != offset + 5 + len(sizes) * own_precincts:
            raise segment.wrong(f"has {len(segment.body)} bytes, for {levels} decomposition levels")
        precincts = tuple((size & 15, size >> 4) for size in sizes)
        if any(0 in size for size in precincts[1:]):
            raise segment.wrong("claims precincts of one sample above the lowest resolution")
        return cls(levels, (xcb + 2, ycb + 2), style, transform, precincts, own_precincts)

    def encode(self) -> bytes:
        """Return the bytes of the parameters."""
        xcb, ycb = self.code_block
        sizes = bytes(ppx | ppy << 4 for ppx, ppy in self.precincts) if self.own_precincts else b""
        return bytes((self.levels, xcb - 2, ycb - 2, self.style, self.transform)) + sizes

    def reduced(self, rlevel: int) -> Self:
        """Return the coding of the image without its `rlevel` highest resolution levels."""
        levels = self.levels - rlevel
        return replace(self, levels=levels, precincts=self.precincts[: levels + 1])


@dataclass(frozen=True, slots=True)
class Cod:
    """Coding style default, A.6.1."""

    scod: int
    """Coding style bits: 0 listed precincts, 1 SOP allowed, 2 EPH used."""
    progression: str
    """Progression order, from `PROGRESSIONS`."""
    layers: int
    """Number of quality layers."""
    mct: int
    """1 = a multiple component transformation is used."""
    coding: CodingStyle

    @classmethod
    def parse(cls, segment: Segment) -> Self:
        """Read a COD marker segment."""
        scod, progression, layers, mct = segment.unpack(">BBHB")
        if progression >= len(PROGRESSIONS) or layers == 0:
            raise segment.wrong(f"claims progression order {progression} with {layers} layers")
        return cls(scod, PROGRESSIONS[progression], layers, mct, CodingStyle.parse(segment, 5, bool(scod & 1)))

    @property
    def sop(self) -> bool:
        """Whether SOP marker segments may precede packets."""
        return bool(self.scod & 2)

    @property
    def eph(self) -> bool:
        """Whether every packet header ends in an EPH marker."""
        return bool(self.scod & 4)

    def encode(self) -> bytes:
        """Return the bytes of the segment."""
        body = struct.pack(">BBHB", self.scod, PROGRESSIONS.index(self.progression), self.layers, self.mct)
        return encode_segment(Marker.COD, body + self.coding.encode())


@dataclass(frozen=True, slots=True)
class Quantization:
    """Quantization of a component: QCD and QCC, A.6.4 and A.6.5."""

    sqcd: int
    """Style in the lower five bits, guard bits above.

    Styles: 0 none, 1 derived, 2 expounded.
    """
    steps: bytes
    """Step sizes of a byte or two each."""

    @classmethod
    def parse(cls, segment: Segment, offset: int) -> Self:
        """Read the parameters at `offset` of a QCD or QCC marker segment."""
        (sqcd,) = segment.unpack(">B", offset)
        return cls(sqcd, segment.body[offset + 1 :])

    def reduced(self, levels: int) -> Self:
        """Return the quantization for `levels` decomposition levels.

        Keeps the steps of the 1 + 3·levels lowest subbands.
        """
        style = self.sqcd & 31
        if style == 1:  # all steps are derived from the first
            return self
        return replace(self, steps=self.steps[: (1 + 3 * levels) * (1 if style == 0 else 2)])

    def encode(self) -> bytes:
        """Return the bytes of the parameters."""
        return bytes((self.sqcd,)) + self.steps


@dataclass(frozen=True, slots=True)
class Sot:
    """Start of tile-part, A.4.2."""

    SIZE = 12
    """Length of the marker segment, marker included."""

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
        if len(data) != cls.SIZE:
            return None
        marker, length, *fields = struct.unpack(">HHHIBB", data)
        return cls(*fields) if (marker, length) == (Marker.SOT, 10) else None

    def encode(self) -> bytes:
        """Return the bytes of the segment."""
        return encode_segment(Marker.SOT, struct.pack(">HIBB", self.tile, self.length, self.part, self.parts))


def parse_tlm(segments: list[Segment]) -> tuple[tuple[int | None, int], ...]:
    """Return (tile, length) of all tile-parts from TLM (A.7.1).

    They are in the order of the codestream. If ST is 0, the tile is None: each tile has a single tile-part, in the
    order of tiles.
    """
    entries: list[tuple[int | None, int]] = []
    for segment in sorted(segments, key=lambda s: s.unpack(">B")):
        (stlm,) = segment.unpack(">B", 1)
        tile_code, length_code = ("", "B", "H", None)[stlm >> 4 & 3], "I" if stlm & 0x40 else "H"
        if tile_code is None:
            raise segment.wrong(f"has Stlm {stlm:#04x}")
        entry = struct.Struct(f">{tile_code}{length_code}")
        body = segment.body[2:]
        if len(body) % entry.size:
            raise segment.wrong(f"holds {len(body)} bytes of entries of {entry.size}")
        entries += [(fields[0] if tile_code else None, fields[-1]) for fields in entry.iter_unpack(body)]
    return tuple(entries)


def parse_plt(segments: list[Segment]) -> tuple[int, ...] | None:
    """Return packet lengths from PLT (A.7.3); None if malformed."""
    return parse_lengths(b"".join(s.body[1:] for s in sorted(segments, key=lambda s: s.body[:1])))


def parse_plm(segments: list[Segment]) -> tuple[tuple[int, ...] | None, ...]:
    """Return packet lengths of each tile-part from PLM (A.7.2)."""
    data = b"".join(s.body[1:] for s in sorted(segments, key=lambda s: s.body[:1]))
    parts, position = [], 0
    while position < len(data):
        stop = position + 1 + data[position]
        parts.append(parse_lengths(data[position + 1 : stop]))
        position = stop
    return tuple(parts)


def parse_lengths(data: bytes) -> tuple[int, ...] | None:
    """Return packet lengths from the coding of PLT and PLM.

    Each byte holds seven bits of a length; its highest bit means continuation. Returns None if the data are malformed
    or too long.
    """
    if len(data) > _LARGEST_LIST:
        return None
    if data.isascii():  # each length has one byte, as in small tiles
        return tuple(data) if all(data) else None
    lengths, value = [], 0
    for byte in data:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            lengths.append(value)
            value = 0
    ends = not data or data[-1] < 0x80
    return tuple(lengths) if ends and all(lengths) else None  # the shortest packet has one byte, B.10.3
