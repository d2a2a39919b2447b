"""Header bytes of unverified indexes, as compared with the file by reads.

No pixel may depend on the others: they are not used by a read of the file, and stay unverified in caches.
"""

from dataclasses import replace

from jp2batch.core.ranges import ByteRange, merged
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.jpeg2000.plan.resolved_read import Image, ResolvedRead
from jp2batch.jpeg2000.syntax.sparse_file import SparseFile


def main_claims(index: ImageIndex, image: Image) -> list[ByteRange]:
    """Return main header and boxes of an image in its index."""
    stop = image.container.codestream.stop
    return [ByteRange(0, image.first_part), *_spans(index.pieces(), stop, index.size)]


def divide_claims(
    index: ImageIndex, image: Image, reading: ResolvedRead | None
) -> tuple[list[ByteRange], list[ByteRange]]:
    """Return the header bytes to compare for a read, and all others.

    Main header and boxes are in neither: they are compared first.
    """
    told = index.pieces()
    parts = [part for tile in reading.tiles.values() for part in tile.parts] if reading else []
    headers = [ByteRange(max(part.start, image.first_part), part.data) for part in parts]
    headers += reading.packet_headers if reading else ()
    claims = [span for header in headers for span in _spans(told, *header)]
    around = [ByteRange(0, image.first_part), ByteRange(image.container.codestream.stop, index.size)]
    told.drop([span for span in merged([*around, *headers]) if span.size > 0])
    return claims, _spans(told, 0, index.size)


def updated(index: ImageIndex, now: ImageIndex, image: Image, reading: ResolvedRead | None) -> ImageIndex:
    """Return an index with the results of a read.

    It is unverified as long as it has headers that were not compared.
    """
    if not index.unverified:
        return index.joined(now)
    _, others = divide_claims(index, image, reading)
    return replace(index, unverified=bool(others)).joined(replace(now, unverified=bool(others)))


def _spans(pieces: SparseFile, start: int, stop: int) -> list[ByteRange]:
    """Return the parts of a range with bytes."""
    if start >= stop:
        return []
    return [ByteRange(first, first + len(data)) for first, data in pieces.read_parts(start, stop)]
