"""Positions of tile-parts in Kayrros' format.

The format (https://github.com/Kayrros/sentinel-2-jp2-tlm): size of the file, position of the first SOT and length of a
TLM marker segment, in 8, 8 and 4 bytes (big-endian); then the segment. It is empty if the file has its own TLM.
"""

import struct
from collections.abc import Sequence
from itertools import pairwise

from jp2batch.core.errors import CorruptImage, NotJpeg2000
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.jpeg2000.locate.tile_parts import TilePartExtent, consecutive
from jp2batch.jpeg2000.locate.tlm_entries import TILES_IN_ORDER, TILES_NAMED, tlm_segment
from jp2batch.jpeg2000.syntax.boxes import read_container
from jp2batch.jpeg2000.syntax.headers import MainHeader, read_header
from jp2batch.jpeg2000.syntax.markers import Marker, Segment
from jp2batch.jpeg2000.syntax.pointers import parse_tlm
from jp2batch.jpeg2000.syntax.sparse_file import Ahead, SparseFile, Steps

_HEAD = struct.Struct(">QQI")
_LONGEST_PART = 0xFFFFFFFF  # value of Ptlm


def from_kayrros(index: bytes) -> ImageIndex | None:
    """Return an index read from Kayrros' format; None if empty.

    Raises
    ------
    ValueError
        The data have another format.
    """
    if not index:
        return None
    try:
        size, start, length = _HEAD.unpack_from(index)
        segment = index[_HEAD.size : _HEAD.size + length]
        marker, own_length = struct.unpack_from(">HH", segment)
        if (marker, own_length + 2, len(segment)) != (Marker.TLM, length, length):
            raise ValueError("no TLM marker segment")
        told = parse_tlm([Segment(Marker.TLM, 0, segment[4:])])
    except (struct.error, CorruptImage) as error:
        raise ValueError(str(error)) from None
    return ImageIndex(size, None, (), tuple(consecutive(told, start)))


def to_kayrros(index: ImageIndex) -> bytes:
    """Return positions in Kayrros' format; empty if the file has TLM.

    Raises
    ------
    ValueError
        The format has no place for these positions.
    """
    if _has_tlm(index):
        return b""
    parts = index.tile_parts
    if not parts:
        raise ValueError("its tile-parts are not known")
    if not are_consecutive(parts):
        raise ValueError("its tile-parts do not follow each other")
    in_order = [part.tile for part in parts] == list(range(len(parts)))
    segment = tlm_segment(TILES_IN_ORDER if in_order else TILES_NAMED, parts)
    return _HEAD.pack(index.size, parts[0].start, len(segment)) + segment


def are_consecutive(parts: Sequence[TilePartExtent]) -> bool:
    """Return whether tile-parts follow each other, with lengths of 32 bits."""
    joined = all(one.start + one.length == other.start for one, other in pairwise(parts))
    return joined and all(part.length <= _LONGEST_PART for part in parts)


def _has_tlm(index: ImageIndex) -> bool:
    """Return whether the main header in an index has TLM."""
    if not index.header_bytes:
        return False
    steps = _main_header(index.pieces())
    try:
        next(steps)
    except StopIteration as end:
        return bool(end.value.tile_parts)
    except (CorruptImage, NotJpeg2000) as error:
        raise ValueError(str(error)) from None
    return False  # the index has only a part of the main header


def _main_header(pieces: SparseFile) -> Steps[MainHeader]:
    container = yield from read_container(pieces, Ahead())
    header: MainHeader = yield from read_header(pieces, container.codestream.start, Ahead())
    return header
