"""Verify a SOT found by searching: no marker segment contains it.

Tile-part headers and packets follow the main header. Packets contain no byte pair above FF 8F (T.800 B.10.1), and
marker segments are at most 65,537 bytes long. An apparent SOT is therefore genuine unless a marker segment of a
tile-part header contains it. Such a segment begins shortly before, either directly behind a SOT, or directly behind
another such segment. The proof looks back until no such chain of segments is possible. By chance, the bytes before a
genuine SOT contain on average 128 apparent segments that reach it, half a chain of two, and 1/500 of a chain of three.
"""

from collections import defaultdict

import numpy as np

from jp2batch.jpeg2000.syntax.markers import SOT_SIZE, Marker
from jp2batch.jpeg2000.syntax.sparse_file import SparseFile, Steps, require

SOT = b"\xff\x90\x00\x0a"
"""First bytes of every SOT marker segment."""
LONGEST = 2 + 0xFFFF  # bytes of the longest marker segment
_LOOK_BACK = 3  # first look back, as a multiple of LONGEST


def look_back(tile_parts: int, position: int) -> int:
    """Return the distance in bytes of the first look back.

    Tile-parts begin at position `tile_parts`.
    """
    return min(_LOOK_BACK * LONGEST, position - tile_parts)


def is_genuine_sot(pieces: SparseFile, tile_parts: int, position: int) -> Steps[bool]:
    """Return whether no tile-part header can contain the SOT at `position`.

    Valid for every codestream whose packets obey B.10.1, if no bytes behind its EOC look like tile-parts.

    Parameters
    ----------
    tile_parts : int
        Start of the first tile-part.
    """
    start = position - look_back(tile_parts, position)
    while True:
        data = yield from require(pieces, start, min(position + len(SOT), pieces.size))
        verdict = _verdict(data, position - start, first=start == tile_parts)
        if verdict is not None:
            return verdict
        start = max(tile_parts, start - LONGEST)


def _verdict(data: bytes, position: int, *, first: bool) -> bool | None:
    """Judge a SOT by the bytes before it; None if undecided.

    `first`: no tile-part begins before `data`.
    """
    if SOT in data[max(0, position - SOT_SIZE + 1) : position + len(SOT) - 1]:
        return False  # inside the fields of another SOT
    ending = defaultdict[int, list[int]](list)
    chain = []
    for begin, stop in _segments(data, position):
        ending[stop].append(begin)
        if stop > position:
            chain.append(begin)
    undecided = False
    while chain:
        begin = chain.pop()
        if begin >= SOT_SIZE and data.startswith(SOT, begin - SOT_SIZE):
            return False
        undecided = undecided or (begin < LONGEST and not first)
        chain += ending[begin]
    return None if undecided else True


def _segments(data: bytes, position: int) -> list[tuple[int, int]]:
    """Return (start, stop) of apparent marker segments before a position."""
    content = np.frombuffer(data, np.uint8)
    begins = np.flatnonzero(content[: min(position, len(content) - 3)] == 0xFF)
    lengths = content[begins + 2].astype(np.int64) << 8 | content[begins + 3]
    markers = 0xFF00 | content[begins + 1].astype(np.int64)
    may_be = (lengths >= 2) & (markers != Marker.SOT) & (markers != Marker.SOD)
    begins, stops = begins[may_be], (begins + 2 + lengths)[may_be]
    return list(zip(begins.tolist(), stops.tolist(), strict=True))
