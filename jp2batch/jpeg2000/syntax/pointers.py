"""Pointer marker segments: TLM, PLT, PLM (T.800 A.7)."""

import struct

from jp2batch.jpeg2000.syntax.markers import Segment

_LARGEST_LIST = 4 << 20  # bytes: a million packets or more


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
