"""Batches of tile blocks, fetched and decoded in turn.

They bound the memory of a read.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from operator import itemgetter

from jp2batch.core.ranges import ByteRange, merged
from jp2batch.jpeg2000.assemble import TileBlock, block_tiles, tile_blocks, tile_runs
from jp2batch.jpeg2000.plan.resolved_read import Image, ResolvedRead, wanted_ranges
from jp2batch.jpeg2000.syntax.sparse_file import SparseFile, Steps, fetch

BATCH = 16 << 20  # bytes per batch: enough to keep connections busy, few compared with a full image
_BLOCK = 1 << 20  # samples per block: enough to outweigh setting up a codec, few enough to keep cores busy
_SMALLEST_BLOCK = 1 << 15


@dataclass(frozen=True, slots=True)
class Batch:
    """Blocks whose bytes are fetched together."""

    blocks: tuple[TileBlock, ...]
    """Blocks of tiles, each decoded separately; the largest first."""
    ranges: tuple[ByteRange, ...]
    """Byte ranges needed by the blocks, sorted."""


def batches(
    image: Image, reading: ResolvedRead, threads: int, most_tiles: int, decoded: Collection[int] = ()
) -> list[Batch]:
    """Cut a read into batches of blocks.

    Empty if the whole file is decoded, which is already in memory.

    Parameters
    ----------
    threads : int
        Number of blocks decoded concurrently. A small read is cut into twice as many, as their bytes differ.
    most_tiles : int
        Limit of tiles in a block.
    decoded : collection of int
        Tiles to leave out.
    """
    if reading.unit == "file":
        return []
    if decoded:
        left = [tile for tile in reading.tiles if tile not in decoded]
        return list(_batches(image, reading, tile_runs(image.header, left, most_tiles)))
    area = reading.selection.area
    blocks = 2 * threads if threads > 1 else 1
    samples_each = min(_BLOCK, max(_SMALLEST_BLOCK, area.height * area.width // blocks))
    return list(_batches(image, reading, tile_blocks(image.header, reading, samples_each, most_tiles)))


def read_batch(pieces: SparseFile, batch: Batch) -> Steps[None]:
    """Fetch the missing bytes of a batch."""
    yield from fetch(pieces, batch.ranges)


def _batches(image: Image, reading: ResolvedRead, blocks: list[TileBlock]) -> Iterator[Batch]:
    together: list[tuple[int, TileBlock]] = []
    ranges: list[ByteRange] = []
    total = 0
    for block in blocks:
        own = wanted_ranges(block_tiles(image.header, reading, block))
        size = sum(span.size for span in own)
        together.append((size, block))
        ranges += own
        total += size
        if total >= BATCH:
            yield _batch(together, ranges)
            together, ranges, total = [], [], 0
    if together:
        yield _batch(together, ranges)


def _batch(sized: list[tuple[int, TileBlock]], ranges: list[ByteRange]) -> Batch:
    """Return a batch of blocks, given with their bytes.

    Threads end together if the longest work comes first.
    """
    ordered = sorted(sized, key=itemgetter(0), reverse=True)
    return Batch(tuple(block for _, block in ordered), tuple(merged(ranges)))
