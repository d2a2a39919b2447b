"""Pointer marker segments: TLM, PLT, PLM (T.800 A.7)."""

import struct

import numpy as np
from numpy.typing import NDArray

from jp2batch.jpeg2000.syntax.markers import Segment

_LARGEST_LIST = 4 << 20  # bytes: a million packets or more
_LONGEST_LENGTH = 5  # bytes: 35 bits, more than Psot has

PacketLengths = NDArray[np.int64]
"""Lengths of the packets of a tile-part."""


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


def parse_plt(segments: list[Segment]) -> PacketLengths | None:
    """Return packet lengths from PLT (A.7.3); None if malformed."""
    return parse_lengths(b"".join(s.body[1:] for s in sorted(segments, key=lambda s: s.body[:1])))


def parse_plm(segments: list[Segment]) -> tuple[PacketLengths | None, ...]:
    """Return packet lengths of each tile-part from PLM (A.7.2)."""
    data = b"".join(s.body[1:] for s in sorted(segments, key=lambda s: s.body[:1]))
    parts, position = [], 0
    while position < len(data):
        stop = position + 1 + data[position]
        parts.append(parse_lengths(data[position + 1 : stop]))
        position = stop
    return tuple(parts)


def parse_lengths(data: bytes) -> PacketLengths | None:
    """Return packet lengths from the coding of PLT and PLM.

    Each byte holds seven bits of a length; its highest bit means continuation. Returns None if the data are malformed
    or too long.
    """
    if len(data) > _LARGEST_LIST:
        return None
    values = np.frombuffer(data, np.uint8)
    if data.isascii():  # each length has one byte, as in small tiles
        return None if 0 in data else values.astype(np.int64)
    ends = np.flatnonzero(values < 0x80)
    if values[-1] >= 0x80:
        return None
    sizes = np.diff(ends, prepend=-1)
    longest = int(sizes.max())
    if longest > _LONGEST_LENGTH:
        return None
    lengths = values[ends].astype(np.int64)
    for place in range(1, longest):
        longer = np.flatnonzero(sizes > place)
        lengths[longer] |= (values[ends[longer] - place].astype(np.int64) & 0x7F) << 7 * place
    return lengths if lengths.all() else None  # the shortest packet has one byte, B.10.3
