"""Packet headers: the code-blocks of each packet, and their bytes (T.800 B.10)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from jp2batch.jpeg2000.syntax.stuffed_bits import StuffedBits
from jp2batch.jpeg2000.syntax.tag_trees import TagTreeShape, tag_tree_shape

BYPASS, TERMINATION = 0x01, 0x04
"""Code-block styles with several codeword segments, table A.19."""
_MOST_PASSES = 109  # 37 bit-planes: what decoders support
_LARGEST_LBLOCK = 32  # lengths of code-blocks have fewer bits
_BEFORE_BYPASS = 10  # coding passes of the first codeword segment, table D.9


class MoreBytes(Exception):  # not an error: the header ends behind the bytes read
    """The packet header is longer than the bytes given."""


class BadPacketHeader(Exception):  # not an error for the user: the file is read less precisely
    """The bytes are no packet header; the text says why."""


@dataclass(slots=True, eq=False)
class BandState:
    """State of a precinct's code-blocks in a subband, between layers.

    In `inclusion`, a known value v of a node is stored as ~v, a lower bound v of an unknown value as v.
    """

    shape: TagTreeShape
    inclusion: list[int]
    zero_bit_planes: list[int]
    """Values of the nodes; -1 = unknown."""
    lblock: list[int]
    """Lblock of each code-block; 0 = not yet included."""
    passes: list[int]
    """Coding passes of each code-block up to now."""

    @classmethod
    def new(cls, width: int, height: int) -> "BandState":
        """Return the state before the first layer."""
        shape = tag_tree_shape(width, height)
        none = [0] * shape.leaves
        return cls(shape, [0] * shape.size + [~0], [-1] * shape.size + [0], none, none.copy())

    def copy(self) -> "BandState":
        """Return an independent copy."""
        return BandState(
            self.shape, self.inclusion.copy(), self.zero_bit_planes.copy(), self.lblock.copy(), self.passes.copy()
        )


@dataclass(frozen=True, slots=True)
class BandBlocks:
    """Contributions of a packet to the code-blocks of a subband."""

    blocks: list[int] = field(default_factory=list)
    """Number of each code-block, in raster order of the precinct."""
    is_first: list[bool] = field(default_factory=list)
    """Whether it is the first contribution to the code-block."""
    codes: list[str] = field(default_factory=list)
    """Bits of the numbers of passes and of bytes (B.10.6 and B.10.7)."""
    sizes: list[int] = field(default_factory=list)
    """Bytes of the code-block in the packet."""


@dataclass(frozen=True, slots=True)
class PacketHeader:
    """A parsed packet header."""

    size: int
    """Bytes of the header, without EPH."""
    bands: Sequence[BandBlocks]
    """Contributions, by subband; empty for an empty packet."""

    @property
    def body(self) -> int:
        """Bytes of the packet behind its header."""
        return sum(sum(band.sizes) for band in self.bands)


def parse_packet_header(data: bytes, states: Sequence[BandState], layer: int, style: int) -> PacketHeader:
    """Parse a packet header, and update the states of its subbands.

    If it fails, the states are undefined.

    Parameters
    ----------
    data : bytes
        Bytes from the begin of the header on.
    states : sequence of BandState
        States of the subbands that have code-blocks in the precinct.
    layer : int
        Number of the layer.
    style : int
        Code-block style, table A.19.

    Raises
    ------
    MoreBytes
        The header does not end within the bytes.
    BadPacketHeader
        They are no packet header.
    """
    if not data:
        raise MoreBytes
    if data[0] < 0x80:  # B.10.3
        return PacketHeader(1, ())
    bits = StuffedBits(data)
    place, bands = 1, list[BandBlocks]()
    try:
        for state in states:
            band, place = _read_band(bits.text, place, state, layer, style)
            bands.append(band)
    except IndexError:
        raise MoreBytes from None
    if place > len(bits.text):
        raise MoreBytes
    try:
        size = bits.bytes_of(place)
    except ValueError as problem:
        raise BadPacketHeader(str(problem)) from None
    if size > len(data):
        raise MoreBytes
    return PacketHeader(size, bands)


def _read_band(text: str, place: int, state: BandState, layer: int, style: int) -> tuple[BandBlocks, int]:
    """Read the code-blocks of a subband; return also the next place."""
    out = BandBlocks()
    for block in range(state.shape.leaves):
        first = not state.lblock[block]
        if first:
            place = _read_inclusion(text, place, state, block, layer)
            if state.inclusion[block] >= 0:
                continue
            place = _read_planes(text, place, state, block)
            state.lblock[block] = 3
        else:
            place += 1
            if text[place - 1] == "0":
                continue
        size, stop = _read_contribution(text, place, state, block, style)
        out.blocks.append(block)
        out.is_first.append(first)
        out.codes.append(text[place:stop])
        out.sizes.append(size)
        place = stop
    return out, place


def _read_inclusion(text: str, place: int, state: BandState, block: int, layer: int) -> int:
    """Read whether a code-block is included, with a threshold of `layer` (B.10.4)."""
    inclusion, parents = state.inclusion, state.shape.parents
    parent = parents[block]
    if inclusion[parent] < 0 and inclusion[block] == layer >= ~inclusion[parent]:  # usual: a shortcut
        inclusion[block] = ~layer if text[place] == "1" else layer + 1
        return place + 1
    path, low = state.shape.open_path(inclusion, block)
    for node in path:
        low = max(low, inclusion[node])
        while low <= layer:
            place += 1
            if text[place - 1] == "1":
                inclusion[node] = ~low
                break
            low += 1
        else:
            inclusion[node] = low
            break
    return place


def _read_planes(text: str, place: int, state: BandState, block: int) -> int:
    """Read the zero bit-planes of a code-block (B.10.5)."""
    planes, parents = state.zero_bit_planes, state.shape.parents
    path, node = [block], parents[block]
    while planes[node] < 0:
        path.append(node)
        node = parents[node]
    value = planes[node]
    for node in reversed(path):
        end = text.find("1", place)
        if end < 0:
            raise MoreBytes
        value += end - place
        planes[node], place = value, end + 1
    return place


def _read_contribution(text: str, place: int, state: BandState, block: int, style: int) -> tuple[int, int]:
    """Read passes and size of a code-block (B.10.6, B.10.7).

    Returns the size in bytes, and the next place.
    """
    if text[place] == "0":
        passes, place = 1, place + 1
    elif text[place + 1] == "0":
        passes, place = 2, place + 2
    else:
        passes, place = _read_passes(text, place + 2)
    end = text.find("0", place)
    if end < 0:
        raise MoreBytes
    lblock, done = state.lblock[block] + end - place, state.passes[block]
    state.lblock[block], state.passes[block] = lblock, done + passes
    if lblock > _LARGEST_LBLOCK or done + passes > _MOST_PASSES:
        raise BadPacketHeader("a code-block is too large")
    place, size = end + 1, 0
    for here in _segments(done, passes, style) if style & (BYPASS | TERMINATION) else (passes,):
        stop = place + lblock + here.bit_length() - 1
        size += int(text[place:stop] or "0", 2)
        place = stop
    return size, place


def _read_passes(text: str, place: int) -> tuple[int, int]:
    """Read a number of coding passes behind "11", table B.4."""
    if (more := int(text[place : place + 2] or "0", 2)) < 3:
        return 3 + more, place + 2
    if (more := int(text[place + 2 : place + 7] or "0", 2)) < 31:
        return 6 + more, place + 7
    return 37 + int(text[place + 7 : place + 14] or "0", 2), place + 14


def _segments(done: int, passes: int, style: int) -> Iterator[int]:
    """Iterate over the passes in each codeword segment (B.10.7.2)."""
    while passes:
        here = min(passes, 1 if style & TERMINATION else _left_in_segment(done))
        yield here
        done, passes = done + here, passes - here


def _left_in_segment(done: int) -> int:
    """Return the passes left in a codeword segment, with bypass, table D.9.

    `done` is the number of passes before. The segment ends at the tenth pass, and then after two passes of raw bits
    and one of arithmetic coding in turn.
    """
    if done < _BEFORE_BYPASS:
        return _BEFORE_BYPASS - done
    return (2, 1, 1)[(done - _BEFORE_BYPASS) % 3]
