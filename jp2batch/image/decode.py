"""Decode a resolved read into an array.

Each batch is fetched while the batch before it is decoded; each block is decoded straight into the output, or, of a
selection in parts, into a small array whose wanted samples are kept.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from jp2batch.core import config
from jp2batch.core.errors import CorruptImage, ImageTooLarge
from jp2batch.core.giving_up import current_check
from jp2batch.image.decoder import Decoder, Samples
from jp2batch.jpeg2000.assemble import Codestream, assemble, in_jp2, whole_file
from jp2batch.jpeg2000.geometry.grid import Rect, ceil_div, image_area, tile_count
from jp2batch.jpeg2000.geometry.sparse import SampleSink, around
from jp2batch.jpeg2000.plan.decode_batches import Batch, batches
from jp2batch.jpeg2000.plan.resolved_read import Image, ResolvedRead
from jp2batch.jpeg2000.syntax.headers import MainHeader
from jp2batch.jpeg2000.syntax.sparse_file import SparseFile

Target = Callable[[Codestream, int], list[str]]
"""Function to decode a codestream into place; returns warnings.

The number is that of threads.
"""
_EACH_THREAD = 1 << 14
"""Bytes of a codestream worth a thread of the decoder."""


def decode(
    target: Target,
    decoder: Decoder,
    pieces: SparseFile,
    image: Image,
    reading: ResolvedRead,
    *,
    read: Callable[[Batch], None],
    threads: int,
    decoded: Collection[int] = (),
) -> list[str]:
    """Decode a resolved read, block by block.

    Parameters
    ----------
    target : callable
        Decodes the codestream of a block, in one of several threads.
    read : callable
        Fetches the bytes of a batch that `pieces` lacks.
    threads : int
        Number of blocks to decode concurrently. Few blocks are decoded in threads of the decoder as well.
    decoded : collection of int
        Tiles already in place.

    Returns
    -------
    list of str
        Warnings of the decoder.

    Raises
    ------
    CorruptImage
        The decoder could not decode it.
    """
    check = current_check()

    def decode_codestream(codestream: Codestream, own_threads: int) -> list[str]:
        check()
        return target(codestream, own_threads)

    def assembled(batch: Batch) -> Iterator[Codestream]:
        for block in batch.blocks:
            check()
            yield in_jp2(assemble(pieces, image, reading, block), image.container)

    if reading.unit == "file":
        tiles = tile_count(image.header.siz)
        return decode_codestream(whole_file(pieces, image, reading.selection.rlevel), own_threads(threads, tiles))
    todo = batches(image, reading, threads, decoder.most_tiles(image.header), decoded)
    if not todo:
        return []
    if len(todo) == 1 and (threads == 1 or len(todo[0].blocks) == 1):
        read(todo[0])
        return _joined(decode_codestream(one, threads) for one in assembled(todo[0]))
    with ThreadPoolExecutor(threads, thread_name_prefix="jp2batch-decode") as pool:
        try:
            warnings: list[str] = []
            running: list[Future[list[str]]] = []
            for batch in todo:
                read(batch)
                # assembled in the thread that fills pieces: decoding threads share nothing
                own = own_threads(threads, len(batch.blocks))
                before, running = running, [pool.submit(decode_codestream, one, own) for one in assembled(batch)]
                if batch is not todo[-1]:
                    pieces.drop(batch.ranges)  # the file is never held whole
                warnings += _joined(future.result() for future in before)
            return warnings + _joined(future.result() for future in running)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def own_threads(threads: int, blocks: int) -> int:
    """Return the number of the decoder's own threads for a block.

    Few blocks have more than one each: a thread without a block would wait for the longest.
    """
    return min(threads, ceil_div(2 * threads, blocks))


def into_array(decoder: Decoder, area: Rect, out: NDArray[np.generic]) -> Target:
    """Return a function to decode straight into an array.

    Parameters
    ----------
    area : Rect
        The samples of `out`, at the resolution level.
    out : ndarray, shape (bands, rows, columns)
        Receives the samples.
    """

    def target(codestream: Codestream, threads: int) -> list[str]:
        inside = codestream.area.intersection(area)
        part = out[:, inside.y0 - area.y0 : inside.y1 - area.y0, inside.x0 - area.x0 : inside.x1 - area.x0]
        return _decode_part(decoder, codestream, inside, part, threads)

    return target


def into_sink(decoder: Decoder, header: MainHeader, sink: SampleSink) -> Target:
    """Return a function to decode tiles and collect the wanted samples.

    A codestream is of one tile, or of the whole file.
    """

    def target(codestream: Codestream, threads: int) -> list[str]:
        tiles = sink.tiles_in(header, codestream.area)
        inside = around([sink.windows[tile] for tile in tiles])
        values = np.empty((len(sink.out), inside.height, inside.width), sink.out.dtype)
        warnings = _decode_part(decoder, codestream, inside, values, threads)
        for tile in tiles:
            sink.put(tile, inside, values)
        return warnings

    return target


def _decode_part(
    decoder: Decoder, codestream: Codestream, inside: Rect, target: NDArray[np.generic], threads: int
) -> list[str]:
    """Decode some samples of a codestream straight into an array."""
    border = None if codestream.header is None else decoder.border(codestream.header, codestream.reduce)
    part = codestream.area if border is None else codestream.part(inside, border)
    grid = codestream.on_grid(part) if part != codestream.area else None
    origin = inside.y0 - part.y0, inside.x0 - part.x0
    threads = max(1, min(threads, len(codestream.data) // _EACH_THREAD))
    return decoder.decode(codestream.data, target, reduce=codestream.reduce, origin=origin, area=grid, threads=threads)


def _joined(warnings: Iterable[list[str]]) -> list[str]:
    return [warning for of_block in warnings for warning in of_block]


def samples_of_file(decoder: Decoder, data: bytes, header: MainHeader) -> list[Samples]:
    """Decode a file at the lowest resolution level.

    If a tile has fewer levels than the image, the file is decoded in full.
    """
    try:
        _check_decoder(decoder, header, header.levels)
        return decoder.samples(data, reduce=header.levels)
    except CorruptImage:
        _check_decoder(decoder, header, 0)
        return decoder.samples(data, reduce=0)


def _check_decoder(decoder: Decoder, header: MainHeader, rlevel: int) -> None:
    """Refuse a whole image if decoding it takes too much memory."""
    needed = decoder.memory(header, image_area(header.siz), rlevel, tiles=tile_count(header.siz), dropped=True)
    if needed > 2 * config.max_result():
        raise too_large(needed, config.max_result())


def too_large(size: int, limit: int) -> ImageTooLarge:
    """Return the error for a read above the memory limit."""
    problem = f"reading it would take {size:.3g} bytes, more than jp2batch.max-result ({limit:.3g})"
    return ImageTooLarge("", problem, "give a window or a higher rlevel")
