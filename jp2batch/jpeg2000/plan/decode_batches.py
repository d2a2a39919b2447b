"""In which order a reading is fetched and decoded: batches of blocks, so that it is never in memory as a whole."""

from collections.abc import Iterator
from dataclasses import dataclass

from jp2batch.core.ranges import ByteRange, merged
from jp2batch.jpeg2000.assemble import TileBlock, block_tiles, tile_blocks
from jp2batch.jpeg2000.plan.planner import Image, ResolvedRead
from jp2batch.jpeg2000.syntax.sparse_file import SparseFile, Steps, fetch

BATCH = 16 << 20  # bytes fetched at once: enough to keep connections busy, few beside a full image
_BLOCK = 1 << 20  # samples decoded at once: enough to outweigh setting up a codec, few enough to keep cores busy
_SMALLEST_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Batch:
    """Blocks whose bytes are fetched together."""

    blocks: tuple[TileBlock, ...]
    """What is decoded, each on its own."""
    ranges: tuple[ByteRange, ...]
    """The bytes that they take, sorted."""


def batches(image: Image, reading: ResolvedRead, threads: int, most_tiles: int) -> list[Batch]:
    """Cut a reading into batches of blocks; none where the file, which is there already, is decoded as a whole.

    Parameters
    ----------
    threads : int
        Blocks that are decoded side by side: a small reading is cut into as many.
    most_tiles : int
        Tiles that a block may have.
    """
    if reading.unit == "file":
        return []
    area = reading.selection.area
    samples_each = min(_BLOCK, max(_SMALLEST_BLOCK, area.height * area.width // threads))
    return list(_batches(image, reading, tile_blocks(image.header, reading, samples_each, most_tiles)))


def read_batch(pieces: SparseFile, batch: Batch) -> Steps[None]:
    """Read what is not there yet of a batch."""
    yield from fetch(pieces, batch.ranges)


def _batches(image: Image, reading: ResolvedRead, blocks: list[TileBlock]) -> Iterator[Batch]:
    together: list[TileBlock] = []
    ranges: list[ByteRange] = []
    for block in blocks:
        together.append(block)
        ranges += [r for tile in block_tiles(image.header, reading, block) for r in tile.ranges()]
        if sum(span.size for span in ranges) >= BATCH:
            yield Batch(tuple(together), tuple(merged(ranges)))
            together, ranges = [], []
    if together:
        yield Batch(tuple(together), tuple(merged(ranges)))
