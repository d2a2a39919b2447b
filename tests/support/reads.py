"""Read images from memory, with every request counted."""

from collections.abc import Sequence

import dask

from jp2batch.core.costs import StoreCosts
from jp2batch.core.ranges import ByteRange
from jp2batch.core.runtime import Runtime
from jp2batch.core.window import Window, WindowLike
from jp2batch.image import index
from jp2batch.image.read import Pixels, read_from
from jp2batch.storage.source import MemorySource
from support.oracle import verify_fetched_once

FREE = StoreCosts(latency=0, bandwidth=1e9, connections=8)


REMOTE = StoreCosts(latency=0.1, bandwidth=1e6, connections=8)
"""Costs of requests: packets are read ahead, and near ranges merged."""


def read(data: bytes, rlevel: int, window: WindowLike | None, store: StoreCosts, *, whole: bool = False) -> Pixels:
    source = MemorySource(data, profile=store)
    limit = "1 GiB" if whole else 0  # without it these small files would mostly be read whole
    try:
        with dask.config.set({"jp2batch.max-whole-file": limit, "jp2batch.first-read": 300}):
            return read_from(source, lambda opened: opened.selected(rlevel, window and Window.parse(window)))
    finally:
        verify_fetched_once(source)


def start_anew() -> None:
    """Reset this process to a fresh state; the file of its index stays."""
    index.flush()
    Runtime.current = Runtime()


class Timed(MemorySource):
    """Count waits."""

    rounds = 0

    def read_many(self, ranges: Sequence[ByteRange]) -> list[tuple[int, bytes]]:
        self.rounds += 1
        return super().read_many(ranges)
