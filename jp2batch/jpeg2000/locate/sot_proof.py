"""Whether a SOT that was come upon, rather than come to along the chain, is one: the proof that nothing contains it.

Behind the main header there are tile-part headers and packets. No byte pair above FF 8F occurs in packets (T.800
B.10.1), and marker segments are at most 65,537 bytes long. So what looks like a SOT is one, unless a marker segment of
a tile-part header contains it: one that begins shortly before, either right behind a SOT, or right behind another
segment, of which the same holds. One looks back until no such chain of segments can be. By chance the bytes before a
true SOT seem to hold some 128 segments that reach it, half a chain of two, a 500th of one of three.
"""

from collections import defaultdict

import numpy as np

from jp2batch.jpeg2000.syntax.markers import Marker, Sot
from jp2batch.jpeg2000.syntax.sparse_file import SparseFile, Steps, require

SOT = b"\xff\x90\x00\x0a"
"""What every SOT marker segment begins with."""
LONGEST = 2 + 0xFFFF  # bytes of a marker segment
_LOOK_BACK = 3  # times that, at first


def look_back(tile_parts: int, position: int) -> int:
    """Return how far to look back at first from a position, if tile-parts begin at `tile_parts`."""
    return min(_LOOK_BACK * LONGEST, position - tile_parts)


def is_genuine_sot(pieces: SparseFile, tile_parts: int, position: int) -> Steps[bool]:
    """Tell whether no tile-part header can contain what looks like a SOT at `position`.

    It holds for every codestream whose packets obey B.10.1, and behind whose EOC nothing looks like tile-parts.

    Parameters
    ----------
    tile_parts : int
        Where the first tile-part begins.
    """
    start = position - look_back(tile_parts, position)
    while True:
        data = yield from require(pieces, start, min(position + len(SOT), pieces.size))
        verdict = _verdict(data, position - start, first=start == tile_parts)
        if verdict is not None:
            return verdict
        start = max(tile_parts, start - LONGEST)


def _verdict(data: bytes, position: int, *, first: bool) -> bool | None:
    """Judge by the bytes before a position; None where these are too few. `first`: no tile-part begins before them."""
    if SOT in data[max(0, position - Sot.SIZE + 1) : position + len(SOT) - 1]:
        return False  # in the fields of another
    ending = defaultdict[int, list[int]](list)
    chain = []
    for begin, stop in _segments(data, position):
        ending[stop].append(begin)
        if stop > position:
            chain.append(begin)
    undecided = False
    while chain:
        begin = chain.pop()
        if begin >= Sot.SIZE and data.startswith(SOT, begin - Sot.SIZE):
            return False
        undecided = undecided or (begin < LONGEST and not first)
        chain += ending[begin]
    return None if undecided else True


def _segments(data: bytes, position: int) -> list[tuple[int, int]]:
    """Return where what may be marker segments begins, before a position, and ends."""
    content = np.frombuffer(data, np.uint8)
    begins = np.flatnonzero(content[: min(position, len(content) - 3)] == 0xFF)
    lengths = content[begins + 2].astype(np.int64) << 8 | content[begins + 3]
    markers = 0xFF00 | content[begins + 1].astype(np.int64)
    may_be = (lengths >= 2) & (markers != Marker.SOT) & (markers != Marker.SOD)
    begins, stops = begins[may_be], (begins + 2 + lengths)[may_be]
    return list(zip(begins.tolist(), stops.tolist(), strict=True))
