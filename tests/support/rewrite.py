"""Rewrite JPEG 2000 files as other encoders would; the pixels stay the same.

OpenJPEG writes neither PLM, nor COC and QCC that repeat COD and QCD, nor every size of TLM entry; and it cannot divide
a tile of several precincts. All functions here take and return a JP2 file or a raw codestream, and are pure. They know
nothing of the package: it is tested with what they make.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal, TypeVar

SOT, SOD, EOC = 0xFF90, 0xFF93, 0xFFD9
SIZ, COD, COC, QCD, QCC, POC = 0xFF51, 0xFF52, 0xFF53, 0xFF5C, 0xFF5D, 0xFF5F
TLM, PLM, PLT, PPM, PPT = 0xFF55, 0xFF57, 0xFF58, 0xFF60, 0xFF61
RGN, CAP, COM = 0xFF5E, 0xFF50, 0xFF64

Item = TypeVar("Item")


@dataclass(frozen=True)
class Part:
    """A tile-part: its tile, the marker segments of its header, its packets."""

    tile: int
    index: int
    total: int
    segments: tuple[tuple[int, bytes], ...]
    data: bytes

    def to_bytes(self) -> bytes:
        header = b"".join(_segment(*segment) for segment in self.segments) + struct.pack(">H", SOD)
        length = 12 + len(header) + len(self.data)
        return struct.pack(">HHHIBB", SOT, 10, self.tile, length, self.index, self.total) + header + self.data


@dataclass(frozen=True)
class Codestream:
    """A codestream taken to pieces, and the boxes before it."""

    boxes: bytes
    segments: tuple[tuple[int, bytes], ...]
    parts: tuple[Part, ...]

    @classmethod
    def parse(cls, data: bytes) -> "Codestream":
        start = data.index(b"\xff\x4f\xff\x51")
        segments, position = _segments(data, start + 2)
        parts = []
        while data[position : position + 2] == b"\xff\x90":
            tile, length, index, total = struct.unpack_from(">HIBB", data, position + 4)
            inner, sod = _segments(data, position + 12)
            stop = position + length if length else len(data) - 2
            parts.append(Part(tile, index, total, inner, data[sod + 2 : stop]))
            position = stop
        return cls(data[:start], segments, tuple(parts))

    def to_bytes(self) -> bytes:
        header = b"\xff\x4f" + b"".join(_segment(*segment) for segment in self.segments)
        stream = header + b"".join(part.to_bytes() for part in self.parts) + struct.pack(">H", EOC)
        return self.boxes + stream

    def find(self, marker: int) -> bytes:
        return next(content for found, content in self.segments if found == marker)


def with_tlm(data: bytes, *, st: int = 2, sp: int = 4, entries: int = 5000, backwards: bool = False) -> bytes:
    """Insert TLM segments of `entries` entries, of `st` bytes for the tile and `sp` for the length (A.7.1)."""
    old = Codestream.parse(without(data, TLM))
    tiles = {0: "", 1: "B", 2: "H"}[st]
    layout = ">" + tiles + {2: "H", 4: "I"}[sp]
    size = (st << 4) | (sp == 4) << 6
    rows = [(part.tile, len(part.to_bytes())) for part in old.parts]
    segments = [
        (
            TLM,
            struct.pack("BB", number, size) + b"".join(struct.pack(layout, *(row if st else row[1:])) for row in some),
        )
        for number, some in enumerate(_chunks(rows, entries))
    ]
    return replace(old, segments=(*old.segments, *(reversed(segments) if backwards else segments))).to_bytes()


def without(data: bytes, *markers: int) -> bytes:
    """Leave out marker segments, from all headers."""
    old = Codestream.parse(data)
    parts = tuple(replace(part, segments=_except(part.segments, markers)) for part in old.parts)
    return replace(old, segments=_except(old.segments, markers), parts=parts).to_bytes()


def with_coc_and_qcc(data: bytes) -> bytes:
    """Repeat COD and QCD as COC and QCC of every component."""
    old = Codestream.parse(data)
    (components,) = struct.unpack_from(">H", old.find(SIZ), 34)
    layout = ">B" if components < 257 else ">H"
    cod, qcd = old.find(COD), old.find(QCD)
    extra = []
    for component in range(components):
        number = struct.pack(layout, component)
        extra += [(COC, number + bytes([cod[0] & 1]) + cod[5:]), (QCC, number + qcd)]
    return replace(old, segments=(*old.segments, *extra)).to_bytes()


def with_plm(data: bytes, *, largest: int = 1000) -> bytes:
    """Move the packet lengths from the tile-part headers to PLM segments of at most `largest` bytes (A.7.2)."""
    old = Codestream.parse(data)
    chunks: list[bytes] = [b""]
    for part in old.parts:
        lengths = b"".join(map(_variable, packet_lengths(part)))
        if len(lengths) > 255:
            raise ValueError("a tile-part has more lengths than PLM can hold")
        if len(chunks[-1]) + 1 + len(lengths) > largest:
            chunks.append(b"")
        chunks[-1] += bytes([len(lengths)]) + lengths
    segments = tuple((PLM, bytes([number]) + chunk) for number, chunk in enumerate(chunks))
    plain = Codestream.parse(without(data, PLT))
    return replace(plain, segments=(*plain.segments, *segments)).to_bytes()


def with_plt_pieces(data: bytes, *, largest: int) -> bytes:
    """Cut the PLT segments into several of at most `largest` bytes of lengths each."""
    old = Codestream.parse(data)
    parts = tuple(
        replace(
            part,
            segments=(
                *_except(part.segments, (PLT,)),
                *((PLT, bytes([n]) + piece) for n, piece in enumerate(_lengths_in_pieces(part, largest))),
            ),
        )
        for part in old.parts
    )
    return replace(old, parts=parts).to_bytes()


def with_tile_parts(data: bytes, *, packets: int, interleaved: bool = False, total_known: bool = True) -> bytes:
    """Divide each tile after every `packets` packets; `interleaved`: all first tile-parts, then all second ones.

    Needs PLT and one tile-part a tile. `total_known`: TNsot is written in every tile-part, not only in the last.
    """
    old = Codestream.parse(without(data, TLM))
    divided = [list(_divide(part, packets, total_known)) for part in old.parts]
    parts = list(chain.from_iterable(divided))
    if interleaved:
        parts.sort(key=lambda part: (part.index, part.tile))
    return replace(old, parts=tuple(parts)).to_bytes()


def with_tile_order(data: bytes, tiles: Sequence[int]) -> bytes:
    """Put the tiles into another order."""
    old = Codestream.parse(without(data, TLM))
    return replace(old, parts=tuple(sorted(old.parts, key=lambda part: tiles.index(part.tile)))).to_bytes()


def with_last_length_zero(data: bytes) -> bytes:
    """Write 0 for the last tile-part's Psot: it goes to the end of the codestream (A.4.2)."""
    start = len(data) - 2 - len(Codestream.parse(data).parts[-1].to_bytes())
    return data[: start + 6] + bytes(4) + data[start + 10 :]


def with_box_length(data: bytes, form: Literal["open", "short", "long"], *, behind: bytes = b"") -> bytes:
    """Write the length of the codestream's box as 0, in 4 or in 8 bytes; and `behind` boxes after it."""
    position = data.index(b"jp2c") - 4
    start = data.index(b"\xff\x4f\xff\x51", position)
    content = data[start:]
    header = {
        "open": struct.pack(">I4s", 0, b"jp2c"),
        "short": struct.pack(">I4s", 8 + len(content), b"jp2c"),
        "long": struct.pack(">I4sQ", 1, b"jp2c", 16 + len(content)),
    }[form]
    return data[:position] + header + content + behind


def with_lengths(data: bytes, change: Callable[[list[int]], Sequence[int]]) -> bytes:
    """Change the lengths in PLT segments; the packets stay unchanged."""
    old = Codestream.parse(data)
    parts = tuple(
        replace(
            part,
            segments=(
                *_except(part.segments, (PLT,)),
                plt_segment(change(packet_lengths(part))),
            ),
        )
        for part in old.parts
    )
    return replace(old, parts=parts).to_bytes()


def with_segments(data: bytes, *segments: tuple[int, bytes], in_parts: bool = False) -> bytes:
    """Add marker segments to the main header, or to the header of each first tile-part."""
    old = Codestream.parse(data)
    if not in_parts:
        return replace(old, segments=(*old.segments, *segments)).to_bytes()
    parts = tuple(replace(p, segments=(*segments, *p.segments)) if p.index == 0 else p for p in old.parts)
    return replace(old, parts=parts).to_bytes()


def with_packed_headers(data: bytes, *, in_parts: bool) -> bytes:
    """Move the packet headers to PPT, or to PPM (A.7.4, A.7.5). Needs PLT, and EPH, which ends them."""
    old = Codestream.parse(without(data, TLM))
    packed, parts = b"", []
    for part in old.parts:
        headers, bodies = _without_headers(part)
        segments = _except(part.segments, (PLT,))
        parts.append(replace(part, segments=(*segments, *[(PPT, b"\0" + headers)] * in_parts), data=bodies))
        packed += struct.pack(">I", len(headers)) + headers
    chunks = (
        () if in_parts else tuple((PPM, bytes([n]) + bytes(some)) for n, some in enumerate(_chunks(packed, 60_000)))
    )
    return replace(old, segments=(*old.segments, *chunks), parts=tuple(parts)).to_bytes()


def _without_headers(part: Part) -> tuple[bytes, bytes]:
    headers, bodies, start = b"", b"", 0
    for length in packet_lengths(part):
        packet = part.data[start : start + length]
        begin, cut = 6 if packet.startswith(b"\xff\x91") else 0, packet.index(b"\xff\x92") + 2
        headers, bodies = headers + packet[begin:cut], bodies + packet[:begin] + packet[cut:]  # SOP stays
        start += length
    return headers, bodies


def packet_lengths(part: Part) -> list[int]:
    """Return the lengths in a tile-part's PLT segments (A.7.3)."""
    lengths, value = [], 0
    for byte in b"".join(content[1:] for marker, content in part.segments if marker == PLT):
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            lengths.append(value)
            value = 0
    return lengths


def plt_segment(lengths: Sequence[int]) -> tuple[int, bytes]:
    """Return a PLT segment of packet lengths."""
    return PLT, b"\0" + b"".join(map(_variable, lengths))


def _divide(part: Part, packets: int, total_known: bool) -> Iterator[Part]:
    groups = list(_chunks(packet_lengths(part), packets))
    others = _except(part.segments, (PLT,))
    start = 0
    for index, lengths in enumerate(groups):
        stop = start + sum(lengths)
        plt = plt_segment(lengths)
        total = len(groups) if total_known or index == len(groups) - 1 else 0
        yield Part(part.tile, index, total, (*(others if index == 0 else ()), plt), part.data[start:stop])
        start = stop


def _lengths_in_pieces(part: Part, largest: int) -> Iterator[bytes]:
    """Encode the packet lengths, a piece never longer than `largest` and never ending within a number."""
    piece = b""
    for number in map(_variable, packet_lengths(part)):
        if len(piece) + len(number) > largest:
            yield piece
            piece = b""
        piece += number
    yield piece


def _variable(value: int) -> bytes:
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))


def _segments(data: bytes, position: int) -> tuple[tuple[tuple[int, bytes], ...], int]:
    found = []
    while (marker := int.from_bytes(data[position : position + 2])) not in (SOT, SOD):
        (length,) = struct.unpack_from(">H", data, position + 2)
        found.append((marker, data[position + 4 : position + 2 + length]))
        position += 2 + length
    return tuple(found), position


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">HH", marker, 2 + len(content)) + content


def _except(segments: tuple[tuple[int, bytes], ...], markers: Sequence[int]) -> tuple[tuple[int, bytes], ...]:
    return tuple(segment for segment in segments if segment[0] not in markers)


def _chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
