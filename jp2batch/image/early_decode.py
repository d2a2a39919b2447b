"""Decode tiles while a search for others waits for the store.

A search without TLM has read most tiles several rounds before its end. They are decoded meanwhile, straight into the
output. A tile counts only if the resolved read has it at the same bytes, and the decoder did not warn; all others are
decoded again.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import numpy as np

from jp2batch.core.errors import CorruptImage
from jp2batch.core.giving_up import current_check
from jp2batch.image.decode import Target, own_threads
from jp2batch.image.decoder import Decoder
from jp2batch.image.fetch import run_steps
from jp2batch.jpeg2000.assemble import assemble, in_jp2, tile_runs
from jp2batch.jpeg2000.geometry.grid import Selection
from jp2batch.jpeg2000.geometry.packet_choice import TilePackets
from jp2batch.jpeg2000.plan.packet_ranges import locate_all
from jp2batch.jpeg2000.plan.resolved_read import Image, ResolvedRead, Tile, wanted_ranges
from jp2batch.jpeg2000.plan.tile_packets import needs_packets
from jp2batch.jpeg2000.syntax.headers import TilePartHeader
from jp2batch.jpeg2000.syntax.sparse_file import SparseFile, Wanted
from jp2batch.jpeg2000.syntax.sparse_file import fetch as fetch_ranges

_LARGEST = 1 << 20  # samples of a read: larger ones are decoded while fetched, in batches
_LARGE = 1 << 14  # samples of a tile that is decoded alone, as soon as its packets are there
_SHARE = 0.5  # of the smaller tiles left, decoded together: single tiles take longer
_PAUSE = 0.004  # seconds to send requests first: threads of Python take turns


def can_decode_early(image: Image, selection: Selection) -> bool:
    """Return whether decoding a selection early can save time."""
    if image.obstacle or selection.parts or selection.runs is not None:
        return False
    header = image.header
    samples = selection.area.height * selection.area.width * len(header.siz.components)
    return samples <= _LARGEST and needs_packets(header, selection)


class EarlyDecode:
    """Decodes tiles of a selection before it is resolved.

    Leaving the context ends all its threads.

    Parameters
    ----------
    decoder : Decoder
        Limits the tiles of a block.
    target : callable
        Decodes the codestream of a block, in one of several threads.
    threads : int
        Number of blocks to decode concurrently.
    """

    def __init__(
        self,
        pieces: SparseFile,
        image: Image,
        selection: Selection,
        *,
        decoder: Decoder,
        target: Target,
        threads: int,
    ) -> None:
        self._pieces, self._image, self._selection = pieces, image, selection
        self._decoder, self._target = decoder, target
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="jp2batch-early")
        self._own_threads = own_threads(threads, len(selection.tiles))
        self._are_large = selection.area.height * selection.area.width >= _LARGE * len(selection.tiles)
        self._check = current_check()
        self._parts: dict[int, TilePartHeader] = {}
        self._begun = set[int]()
        self._running: list[Future[dict[int, Tile]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def announce(self, part: TilePartHeader) -> None:
        """Take a tile-part whose header has been read.

        Of a tile already begun, others are ignored: both would be decoded into the same place.
        """
        if part.sot.tile not in self._begun:
            self._parts[part.sot.tile] = part

    def begin(self) -> None:
        """Begin to decode tiles already read, if they are many or large."""
        if self._are_large:
            with contextlib.suppress(CorruptImage):
                for number in self._complete(self._parts, self._pieces):
                    self._submit({number: self._parts.pop(number)})
        elif len(self._parts) >= max(1, _SHARE * (len(self._selection.tiles) - len(self._begun))):
            self._submit(self._parts)
            self._parts = {}

    def before(self, fetch: Callable[[Sequence[Wanted]], None]) -> Callable[[Sequence[Wanted]], None]:
        """Return `fetch`, with `begin` called before it."""

        def fetch_meanwhile(ranges: Sequence[Wanted]) -> None:
            self.begin()
            fetch(ranges)

        return fetch_meanwhile

    def finish(self, reading: ResolvedRead, fetch: Callable[[Sequence[Wanted]], None]) -> set[int]:
        """Return the tiles in place for a resolved read.

        Packets still missing are fetched meanwhile.
        """
        if reading.unit == "packets":
            run_steps(fetch_ranges(self._pieces, wanted_ranges(reading.tiles.values())), self.before(fetch))
        decoded: dict[int, Tile] = {}
        for future in self._running:
            with contextlib.suppress(Exception):  # the bytes were not proven; decoding them again will tell
                decoded |= future.result()
        return {number for number, tile in decoded.items() if _is_same(tile, reading.tiles.get(number))}

    def _submit(self, parts: Mapping[int, TilePartHeader]) -> None:
        self._running.append(self._pool.submit(self._decode, parts, self._pieces.snapshot()))
        self._begun.update(parts)

    def _complete(self, parts: Mapping[int, TilePartHeader], pieces: SparseFile) -> dict[int, Tile]:
        """Return the tiles whose packets have been read."""
        alone = {number: (part,) for number, part in parts.items()}
        located, _ = locate_all(self._image.header, alone, self._selection)
        return {
            number: Tile((parts[number],), packets)
            for number, packets in located.items()
            if all(pieces.covers(*span) for span in packets.ranges())
        }

    def _decode(self, parts: Mapping[int, TilePartHeader], pieces: SparseFile) -> dict[int, Tile]:
        """Decode complete tiles; return the tiles decoded without a warning."""
        time.sleep(_PAUSE)
        header, tiles = self._image.header, self._complete(parts, pieces)
        reading = ResolvedRead(self._selection, "walk", tiles, ())
        decoded: dict[int, Tile] = {}
        for block in tile_runs(header, tiles, self._decoder.most_tiles(header)):
            self._check()
            codestream = in_jp2(assemble(pieces, self._image, reading, block), self._image.container)
            if not self._target(codestream, self._own_threads):
                decoded |= {number: tiles[number] for number in block.tiles(header)}
        return decoded


def _is_same(tile: Tile, other: Tile | None) -> bool:
    """Return whether two tiles have the same packets at the same bytes.

    They are results for one tile. Without marker segments of its own, the main header alone chooses its packets.
    """
    if other is None or len(other.parts) != 1 or other.parts[0].segments or tile.parts[0].segments:
        return False
    one, two = tile.packets, other.packets
    return (
        isinstance(one, TilePackets)
        and isinstance(two, TilePackets)
        and np.array_equal(one.starts, two.starts)
        and np.array_equal(one.stops, two.stops)
    )
