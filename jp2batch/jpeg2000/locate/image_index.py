"""What is known of a file before it is read: the bytes that decide a read, and where its tile-parts lie.

It holds for one version of the file. A reader that begins with it asks for packets in its first round.
"""

import json
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from jp2batch.core.errors import CorruptImage
from jp2batch.jpeg2000.locate.tile_parts import TilePartExtent
from jp2batch.jpeg2000.plan.planner import Image
from jp2batch.jpeg2000.syntax.headers import TilePartHeader
from jp2batch.jpeg2000.syntax.markers import Marker, Segment, parse_tlm
from jp2batch.jpeg2000.syntax.sparse_file import SparseFile

_LARGEST = 64 << 20  # bytes, unpacked: whatever a shared table holds, it does not fill the memory
_MOST_KEPT = 4 << 20  # of an image: with more headers than this it is an odd one, and better read anew


@dataclass(frozen=True, slots=True)
class ImageIndex:
    """What is known of one version of a file. It is plain data: it travels, and is kept.

    Raises
    ------
    ValueError
        It contradicts itself.
    """

    size: int
    """Bytes of the file."""
    etag: str | None
    """What the store tells this version by; without it only the places are of use, and checked before use."""
    header_bytes: tuple[tuple[int, bytes], ...] = ()
    """(position, bytes) of boxes, main header and headers of tile-parts; in order, disjoint."""
    tile_parts: tuple[TilePartExtent, ...] = ()
    """Where tile-parts lie, in order: all those of each tile that is there at all."""
    unverified: bool = False
    """Whether somebody else tells it: its main header is then compared with the file before anything is believed."""

    def __post_init__(self) -> None:
        spans = [(start, start + len(data)) for start, data in self.header_bytes]
        parts = [(place.start, place.start + place.length) for place in self.tile_parts]
        for ranges in (spans, parts):
            if any(stop > start for (_, stop), (start, _) in pairwise(ranges)):
                raise ValueError("overlapping ranges")
            if any(not 0 <= start < stop <= self.size for start, stop in ranges):
                raise ValueError("ranges outside of the file")

    def __dask_tokenize__(self) -> tuple[object, ...]:  # it grows; the version that it is of makes the difference
        return type(self).__qualname__, self.size, self.etag

    def __reduce__(self) -> tuple[object, ...]:  # it travels packed: a graph may hold that of many images
        return ImageIndex.from_bytes, (self.to_bytes(),)

    @property
    def weight(self) -> int:
        """Bytes of memory that it takes, about."""
        return 500 + sum(len(data) + 120 for _, data in self.header_bytes) + 200 * len(self.tile_parts)

    def pieces(self) -> SparseFile:
        """Return the file as far as it is known."""
        pieces = SparseFile(self.size)
        for start, data in self.header_bytes:
            pieces.add(start, data)
        return pieces

    def is_of(self, other: "ImageIndex") -> bool:
        """Tell whether the other is of the same version."""
        return (self.size, self.etag) == (other.size, other.etag)

    def joined(self, other: "ImageIndex") -> "ImageIndex":
        """Return what both know; `other`, the newer one, where it contradicts this."""
        if not self.is_of(other):
            return other
        if self.unverified and not other.unverified:
            return other.joined(self)
        pieces = self.pieces()
        more = [(gap.start, data) for start, data in other.header_bytes for gap, data in _missing(pieces, start, data)]
        places = _joined_places(self.tile_parts, other.tile_parts)
        if not more and places == self.tile_parts:
            return self
        try:
            return replace(self, header_bytes=tuple(sorted([*self.header_bytes, *more])), tile_parts=places)
        except ValueError:  # one of the two is wrong
            return self if other.unverified else other

    def unproven(self) -> "ImageIndex":
        """Return it as what somebody else tells."""
        return replace(
            self, unverified=True, tile_parts=tuple(replace(place, proven=False) for place in self.tile_parts)
        )

    def to_bytes(self) -> bytes:
        """Return it packed: a line of JSON and the bytes of the stretches, compressed (which adds a checksum)."""
        line = {
            "size": self.size,
            "etag": self.etag,
            "stretches": [(start, len(data)) for start, data in self.header_bytes],
            "hearsay": self.unverified,
            "places": [(place.tile, place.start, place.length, int(place.proven)) for place in self.tile_parts],
        }
        text = json.dumps(line, separators=(",", ":")).encode()
        return zlib.compress(b"\n".join([text, b"".join(data for _, data in self.header_bytes)]))

    @classmethod
    def from_bytes(cls, packed: bytes) -> "ImageIndex":
        """Return what `to_bytes` has packed.

        Raises
        ------
        ValueError
            It is something else, or damaged.
        """
        try:
            unpacking = zlib.decompressobj()
            text, _, body = unpacking.decompress(packed, _LARGEST).partition(b"\n")
            if not unpacking.eof:
                raise ValueError("cut short, or too large")
            return cls._parsed(json.loads(text), body)
        except (zlib.error, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"not what is known of a file: {error}") from None

    @classmethod
    def _parsed(cls, line: dict[str, Any], body: bytes) -> "ImageIndex":
        stretches, position = [], 0
        for start, length in line["stretches"]:
            stretches.append((_whole(start), body[position : position + _whole(length)]))
            position += length
        if position != len(body):
            raise ValueError("another number of bytes than it says")
        places = tuple(_place(index, *map(_whole, place)) for index, place in enumerate(line["places"]))
        etag = line["etag"]
        told = None if etag is None else str(etag)
        return cls(_whole(line["size"]), told, tuple(stretches), places, bool(line.get("hearsay", False)))


def build_index(
    pieces: SparseFile, image: Image, parts: Iterable[TilePartHeader], etag: str | None
) -> ImageIndex | None:
    """Return what a read has taught that decides the next one; None where it is not worth keeping.

    Parameters
    ----------
    parts : iterable of TilePart
        Tile-parts, proven to be all of each tile that has one among them.
    """
    found = sorted(parts, key=lambda part: part.start)
    if image.header.has(Marker.PLM):  # whose packet lengths belong to ordinals, which places do not have
        found = []
    codestream = image.container.codestream
    ranges = [(0, image.header.stop), *((part.start, part.data) for part in found), (codestream.stop, pieces.size)]
    if sum(stop - start for start, stop in ranges) > _MOST_KEPT:
        return None
    stretches = tuple(held for start, stop in ranges for held in pieces.held(start, stop))
    places = tuple(
        TilePartExtent(index, part.sot.tile, part.start, part.stop - part.start, proven=True)
        for index, part in enumerate(found)
    )
    return ImageIndex(pieces.size, etag, stretches, places)


def from_kayrros(index: bytes) -> ImageIndex | None:
    """Return what Kayrros' index of a file tells: its length, where its first SOT is, and a TLM marker segment.

    Three numbers of 8, 8 and 4 bytes (big-endian; the third is the length of the segment) come before that, as
    https://github.com/Kayrros/sentinel-2-jp2-tlm documents it. An empty index means that the file has its own TLM.

    Raises
    ------
    ValueError
        It is something else.
    """
    if not index:
        return None
    try:
        size, start, length = struct.unpack_from(">QQI", index)
        segment = index[20 : 20 + length]
        marker, own_length = struct.unpack_from(">HH", segment)
        if (marker, own_length + 2, len(segment)) != (Marker.TLM, length, length):
            raise ValueError("no TLM marker segment")
        told = parse_tlm([Segment(Marker.TLM, 0, segment[4:])])
    except (struct.error, CorruptImage) as error:
        raise ValueError(str(error)) from None
    places = []
    for ordinal, (tile, length) in enumerate(told):
        places.append(TilePartExtent(ordinal, ordinal if tile is None else tile, start, length))
        start += length
    return ImageIndex(size, None, (), tuple(places))


def _place(
    ordinal: int, tile: int, start: int, length: int, proven: int = 0
) -> TilePartExtent:  # older versions proved nothing
    return TilePartExtent(ordinal, tile, start, length, bool(proven))


def _joined_places(some: Iterable[TilePartExtent], others: Iterable[TilePartExtent]) -> tuple[TilePartExtent, ...]:
    """Return the places of both, in order; of two at the same position the proven one."""
    by_start = {place.start: place for place in some}
    for place in others:
        if place.start not in by_start or (place.proven and not by_start[place.start].proven):
            by_start[place.start] = place
    return tuple(by_start[start] for start in sorted(by_start))


def _missing(pieces: SparseFile, start: int, data: bytes) -> Iterable[tuple[Any, bytes]]:
    return ((gap, data[gap.start - start : gap.stop - start]) for gap in pieces.missing(start, start + len(data)))


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"no whole number: {value!r}")
    return value
