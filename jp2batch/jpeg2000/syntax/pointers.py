"""Pointer marker segments: TLM, PLT, PLM, PPM, PPT (T.800 A.7)."""

import struct
from collections.abc import Sequence
from itertools import accumulate, compress, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jp2batch.jpeg2000.syntax.markers import Segment

_LARGEST_LIST = 4 << 20  # bytes: a million packets or more
_SIZE_OF_NPPM = 4
_SHORT = 128  # bytes of a list parsed faster one by one than as an array
_LONGEST_LENGTH = 5  # bytes: 35 bits, more than Psot has

PacketLengths = NDArray[np.int64]
"""Lengths of the packets of a tile-part."""


class PackedHeaders(NamedTuple):
    """Packet headers of a tile-part, from PPT or PPM."""

    data: bytes
    """The headers, each with its EPH."""
    first: int = 0
    """Lowest Zppt."""
    last: int = 0
    """Highest Zppt."""


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
        entries += entry.iter_unpack(body) if tile_code else ((None, length) for (length,) in entry.iter_unpack(body))
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


def parse_ppm(segments: Sequence[Segment]) -> tuple[bytes, ...] | None:
    """Return the packet headers of each tile-part from PPM (A.7.4).

    Returns
    -------
    headers : tuple of bytes or None
        None if the segments are malformed: a number is cut in two, an index is repeated, or data are missing.
    """
    parts: list[bytes] = []
    lacking = 0  # bytes of the last tile-part in the next segments
    for body in _by_index(segments) or ([b""] if segments else []):
        position = min(lacking, len(body))
        if lacking:
            parts[-1] += body[:position]
            lacking -= position
        while position < len(body):
            if position + _SIZE_OF_NPPM > len(body):
                return None
            size = int.from_bytes(body[position : position + _SIZE_OF_NPPM], "big")
            position += _SIZE_OF_NPPM
            parts.append(body[position : position + size])
            lacking = size - len(parts[-1])
            position += len(parts[-1])
    return None if lacking or (segments and not parts) else tuple(parts)


def parse_ppt(segments: Sequence[Segment]) -> PackedHeaders | None:
    """Return the packet headers in PPT of a tile-part (A.7.5).

    Returns
    -------
    headers : PackedHeaders or None
        None if the segments are malformed.
    """
    bodies = _by_index(segments)
    indices = [segment.body[0] for segment in segments if segment.body]
    return PackedHeaders(b"".join(bodies), min(indices), max(indices)) if bodies else None


def _by_index(segments: Sequence[Segment]) -> list[bytes]:
    """Return the bodies behind Zppm or Zppt, in order.

    Empty if an index is repeated, or a segment has no data.
    """
    bodies = {segment.body[:1]: segment.body[1:] for segment in segments if len(segment.body) > 1}
    return [bodies[index] for index in sorted(bodies)] if len(bodies) == len(segments) else []


def parse_lengths(data: bytes) -> PacketLengths | None:
    """Return packet lengths from the coding of PLT and PLM.

    Each byte holds seven bits of a length; its highest bit means continuation. Returns None if the data are malformed
    or too long.
    """
    if len(data) > _SHORT:
        if len(data) > _LARGEST_LIST or data[-1] >= 0x80:
            return None
        found, _, wrong = _decoded(data)
        return None if wrong.any() else found
    lengths, length, size = [], 0, 0
    for byte in data:
        length, size = length << 7 | byte & 0x7F, size + 1
        if byte < 0x80:
            if not length or size > _LONGEST_LENGTH:
                return None
            lengths.append(length)
            length = size = 0
    return None if size else np.array(lengths, np.int64)


def parse_lists(lists: Sequence[bytes]) -> list[PacketLengths | None]:
    """Return the packet lengths of many lists, see `parse_lengths`."""
    usable = [len(one) <= _LARGEST_LIST and one[-1:] < b"\x80" for one in lists]
    lengths, ends, wrong = _decoded(b"".join(compress(lists, usable)))
    bounds = [0, *accumulate(len(one) if fit else 0 for one, fit in zip(lists, usable, strict=True))]
    edges = np.searchsorted(ends, bounds)
    for one in (np.searchsorted(edges, np.flatnonzero(wrong), "right") - 1).tolist():
        usable[one] = False
    slices = pairwise(edges.tolist())
    return [lengths[start:stop] if fit else None for (start, stop), fit in zip(slices, usable, strict=True)]


def _decoded(data: bytes) -> tuple[PacketLengths, NDArray[np.int64], NDArray[np.bool_]]:
    """Return lengths, the offsets of their last bytes, and malformed lengths."""
    values = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(values < 0x80)
    sizes = ends + 1
    sizes[1:] -= sizes[:-1].copy()
    lengths = values[ends].astype(np.int64)
    for place in range(1, min(_LONGEST_LENGTH, int(sizes.max(initial=0)))):
        longer = np.flatnonzero(sizes > place)
        lengths[longer] |= (values[ends[longer] - place].astype(np.int64) & 0x7F) << 7 * place
    return lengths, ends, (lengths == 0) | (sizes > _LONGEST_LENGTH)  # the shortest packet has one byte, B.10.3
