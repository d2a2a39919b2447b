"""Index of an image: its header bytes and tile-part extents.

It is valid for a single version of the file. A reader with an index requests packets in its first round.
"""

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from jp2batch.core.ranges import ByteRange
from jp2batch.jpeg2000.locate.tile_parts import TilePartExtent
from jp2batch.jpeg2000.plan.resolved_read import Image
from jp2batch.jpeg2000.syntax.headers import TilePartHeader
from jp2batch.jpeg2000.syntax.markers import Marker
from jp2batch.jpeg2000.syntax.sparse_file import SparseFile

_LARGEST = 64 << 20  # bytes, unpacked: protects the memory from shared tables
_EACH = 20  # bytes for a range
_MOST_KEPT = 4 << 20  # bytes per image: an image with more headers is unusual, and better read anew


@dataclass(frozen=True, slots=True)
class ImageIndex:
    """Index of a version of a file: plain, picklable data.

    Raises
    ------
    ValueError
        The index contradicts itself.
    """

    size: int
    """Size of the file in bytes."""
    etag: str | None
    """Version tag of the store.

    Without it, only the extents are usable, and they are verified before use.
    """
    header_bytes: tuple[tuple[int, bytes], ...] = ()
    """(position, bytes) of boxes and headers; ordered and disjoint."""
    tile_parts: tuple[TilePartExtent, ...] = ()
    """Extents of tile-parts in order, complete for each tile listed."""
    unverified: bool = False
    """Whether the index comes from a shared table and is unchecked.

    Its main header is compared with the file before the index is used.
    """

    def __post_init__(self) -> None:
        spans = [(start, start + len(data)) for start, data in self.header_bytes]
        parts = [(place.start, place.start + place.length) for place in self.tile_parts]
        for ranges in (spans, parts):
            if any(stop > start for (_, stop), (start, _) in pairwise(ranges)):
                raise ValueError("overlapping ranges")
            if any(not 0 <= start < stop <= self.size for start, stop in ranges):
                raise ValueError("ranges outside of the file")

    def __dask_tokenize__(self) -> tuple[object, ...]:  # by version alone: an index grows
        return type(self).__qualname__, self.size, self.etag

    def __reduce__(self) -> tuple[object, ...]:  # packed: a graph may hold the indices of many images
        return ImageIndex.from_bytes, (self.to_bytes(),)

    @property
    def weight(self) -> int:
        """Approximate size in memory, in bytes."""
        return 500 + sum(len(data) + 120 for _, data in self.header_bytes) + 200 * len(self.tile_parts)

    def pieces(self) -> SparseFile:
        """Return the known bytes of the file."""
        pieces = SparseFile(self.size)
        for start, data in self.header_bytes:
            pieces.add(start, data)
        return pieces

    def lacks(self, ranges: Sequence[ByteRange]) -> bool:
        """Return whether some bytes of ranges are unknown."""
        if not ranges:
            return False
        pieces = self.pieces()
        return any(pieces.missing(*span) for span in ranges)

    def is_of(self, other: "ImageIndex") -> bool:
        """Return whether both indices are of the same version."""
        return (self.size, self.etag) == (other.size, other.etag)

    def joined(self, other: "ImageIndex") -> "ImageIndex":
        """Return the union of two indices; `other` is the newer.

        If they contradict each other, `other` is returned, unless it alone is unverified. Of an unverified index, only
        unproven extents are added to a verified index.
        """
        if not self.is_of(other):
            return other
        if self.unverified and not other.unverified:
            return other.joined(self)
        if other.unverified and not self.unverified:
            return self._with_extents(other.unproven().tile_parts)
        pieces = self.pieces()
        more = [(gap.start, data) for start, data in other.header_bytes for gap, data in _missing(pieces, start, data)]
        places = _joined_places(self.tile_parts, other.tile_parts)
        if not more and places == self.tile_parts:
            return self
        try:
            return replace(self, header_bytes=tuple(sorted([*self.header_bytes, *more])), tile_parts=places)
        except ValueError:  # they contradict each other
            return other

    def _with_extents(self, tile_parts: tuple[TilePartExtent, ...]) -> "ImageIndex":
        """Return a copy with more extents, if they fit."""
        places = _joined_places(self.tile_parts, tile_parts)
        try:
            return self if places == self.tile_parts else replace(self, tile_parts=places)
        except ValueError:
            return self

    def unproven(self) -> "ImageIndex":
        """Return a copy marked as unverified, with unproven extents."""
        return replace(
            self, unverified=True, tile_parts=tuple(place._replace(proven=False) for place in self.tile_parts)
        )

    def to_bytes(self) -> bytes:
        """Return the index packed.

        The format is a line of JSON and the header bytes, compressed by zlib, which adds a checksum.
        """
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
        """Return the index from the output of `to_bytes`.

        Raises
        ------
        ValueError
            The data are something else, or damaged.
        """
        try:
            unpacking = zlib.decompressobj()
            text, _, body = unpacking.decompress(packed, _LARGEST).partition(b"\n")
            if not unpacking.eof:
                raise ValueError("cut short, or too large")
            return cls._parsed(json.loads(text), body)
        except (zlib.error, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"not an image index: {error}") from None

    @classmethod
    def _parsed(cls, line: dict[str, Any], body: bytes) -> "ImageIndex":
        stretches, position = [], 0
        for start, length in line["stretches"]:
            stretches.append((_whole(start), body[position : position + _whole(length)]))
            position += length
        if position != len(body):
            raise ValueError("header bytes of the wrong length")
        places = tuple(_place(index, *map(_whole, place)) for index, place in enumerate(line["places"]))
        etag = line["etag"]
        told = None if etag is None else str(etag)
        return cls(_whole(line["size"]), told, tuple(stretches), places, bool(line.get("hearsay", False)))


def build_index(
    pieces: SparseFile,
    image: Image,
    parts: Iterable[TilePartHeader],
    etag: str | None,
    packet_headers: Sequence[ByteRange] = (),
) -> ImageIndex | None:
    """Return the index learned by a read; None if too large.

    Parameters
    ----------
    parts : iterable of TilePartHeader
        Tile-parts, proven to be complete for each of their tiles.
    packet_headers : sequence of ByteRange
        Headers of packets found without PLT, sorted; left out if they are too large.
    """
    found = sorted(parts, key=lambda part: part.start)
    if image.header.has(Marker.PLM):  # PLM's packet lengths need ordinals, and extents have none
        found = []
    codestream = image.container.codestream
    follows = 0 if found and found[0].start == image.header.stop else len(Marker.SOT.code)
    head = image.header.stop + follows  # the marker that ends the main header
    ranges = [(0, head), *((part.start, part.data) for part in found), (codestream.stop, pieces.size)]
    if (size := sum(stop - start for start, stop in ranges)) > _MOST_KEPT:
        return None
    if found and size + sum(span.size + _EACH for span in packet_headers) <= _MOST_KEPT:
        ranges = sorted([*ranges, *packet_headers])
    stretches = tuple(held for start, stop in ranges for held in pieces.read_parts(start, stop))
    places = tuple(
        TilePartExtent(index, part.sot.tile, part.start, part.stop - part.start, proven=True)
        for index, part in enumerate(found)
    )
    return ImageIndex(pieces.size, etag, stretches, places)


def _place(
    ordinal: int, tile: int, start: int, length: int, proven: int = 0
) -> TilePartExtent:  # older versions proved nothing
    return TilePartExtent(ordinal, tile, start, length, bool(proven))


def _joined_places(some: Iterable[TilePartExtent], others: Iterable[TilePartExtent]) -> tuple[TilePartExtent, ...]:
    """Return the extents of both, in order.

    Of two at the same position, the proven extent is kept.
    """
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
