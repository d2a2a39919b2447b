"""Entries of TLM marker segments, made from positions of tile-parts (T.800 A.7.1).

A main header with TLM repeats the positions in its tile-parts. A table that has both keeps the header without them.
"""

import struct
from collections.abc import Sequence

from jp2batch.jpeg2000.locate.tile_parts import TilePartExtent
from jp2batch.jpeg2000.syntax.markers import Marker

TILES_IN_ORDER = 0x40
"""Stlm of entries without tiles.

Each tile has a single tile-part, in the order of tiles.
"""
TILES_NAMED = 0x60
"""Stlm of entries with tiles of 16 bits."""
_TILES_SHORT = 0x50  # with tiles of 8 bits
_HEAD = struct.Struct(">HHBB")
_LONGEST = 0xFFFF  # value of Ltlm


def tlm_segment(code: int, parts: Sequence[TilePartExtent]) -> bytes:
    """Return a TLM marker segment with lengths of 32 bits.

    Parameters
    ----------
    code : int
        Value of Stlm: 0x40, 0x50 or 0x60.
    parts : sequence of TilePartExtent
        All tile-parts, in the order of the codestream.

    Raises
    ------
    ValueError
        The tile-parts do not fit into a segment of this kind.
    """
    entries = _entries(code, parts)
    if len(entries) + 4 > _LONGEST:
        raise ValueError(f"{len(parts)} tile-parts are too many for a TLM marker segment")
    return _HEAD.pack(Marker.TLM, len(entries) + 4, 0, code) + entries


def without_entries(head: bytes, parts: Sequence[TilePartExtent]) -> tuple[bytes, int | None]:
    """Return a main header without TLM entries, and their position.

    The position is None if the header has no TLM marker segment of just these tile-parts.
    """
    for code in (TILES_NAMED, _TILES_SHORT, TILES_IN_ORDER):
        try:
            segment = tlm_segment(code, parts)
        except ValueError:
            continue
        start = head.find(segment) if parts else -1
        if start >= 0:
            position = start + _HEAD.size
            return head[:position] + head[start + len(segment) :], position
    return head, None


def with_entries(head: bytes, position: int | None, parts: Sequence[TilePartExtent]) -> bytes:
    """Return the main header from the result of `without_entries`.

    Raises
    ------
    ValueError
        No such header has been divided.
    """
    if position is None:
        return head
    if not _HEAD.size <= position <= len(head):
        raise ValueError("its TLM lies outside of the main header")
    return head[:position] + _entries(head[position - 1], parts) + head[position:]


def _entries(code: int, parts: Sequence[TilePartExtent]) -> bytes:
    try:
        if code == TILES_IN_ORDER and [part.tile for part in parts] == list(range(len(parts))):
            return b"".join(struct.pack(">I", part.length) for part in parts)
        if code in (_TILES_SHORT, TILES_NAMED):
            entry = ">BI" if code == _TILES_SHORT else ">HI"
            return b"".join(struct.pack(entry, part.tile, part.length) for part in parts)
    except struct.error as error:
        raise ValueError(str(error)) from None
    raise ValueError(f"its tile-parts do not fit to Stlm {code:#04x}")
