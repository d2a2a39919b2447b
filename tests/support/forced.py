"""Read bytes by each way of finding tile-parts, forced by patches.

Small files would never take the expensive ways by themselves.

All knowledge of the planner's choices is here. A forced way that raises InconsistentFile falls back as in the package.
"""

import functools
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from unittest import mock

import dask
from numpy.typing import NDArray

from jp2batch.core.costs import StoreCosts
from jp2batch.core.errors import Jp2BatchError
from jp2batch.core.window import Window
from jp2batch.image.fetch import fetcher, run_steps
from jp2batch.image.open import OpenImage
from jp2batch.image.read import read_from
from jp2batch.jpeg2000.geometry.grid import tile_count
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.jpeg2000.locate.strategies import Cost, WalkStrategy
from jp2batch.jpeg2000.plan import planner
from jp2batch.jpeg2000.plan.tile_packets import TileResolver
from jp2batch.jpeg2000.syntax.markers import Marker
from jp2batch.storage.source import MemorySource
from support.reads import start_anew

Way = Literal["local", "store", "walk", "stretches", "interpolation", "tlm", "index", "memory"]
WAYS: tuple[Way, ...] = ("local", "store", "walk", "stretches", "interpolation", "tlm", "index", "memory")
"""local, store: what the planner chooses for a disk and for the default store of jp2batch.yaml. walk: from one start.
stretches: from several. index: a second read, with what a first one has learned. memory: with the index of the process,
which grows from read to read."""
Asked = tuple[int, Window | None]
"""rlevel and window."""

LOCAL = StoreCosts(latency=0, bandwidth=1e9, connections=8)
STORE = StoreCosts(latency=0.03, bandwidth=60e6, connections=128, line=125e6)
"""The default profile of jp2batch.yaml."""
DEAR = StoreCosts(latency=0.1, bandwidth=1e6, connections=64)
"""Costs of requests: packets are read ahead. Bytes cost as well: little is read in vain."""
SETTINGS = {
    "jp2batch.threads": 1,
    "jp2batch.max-result": "64 MiB",
    "jp2batch.retries.first-wait": "1ms",
    "jp2batch.measure": False,
    "jp2batch.index": {"enabled": False, "folder": None, "memory": "64 MiB", "disk": 0, "shared": None},
}
_DESPITE_PLT = ("stretches", "tlm", "memory")
"""Ways that parse packet headers even where PLT tells the positions of packets."""
_SMALL = {"jp2batch.first-read": 300}  # else the first read would be the whole of most of these files


@dataclass(frozen=True)
class Outcome:
    """Outcome of a read."""

    values: NDArray[Any] | None = None
    refusal: str = ""
    """The class and the message of a typed error."""
    bug: str = ""
    """The traceback of any other exception."""
    located_by: str | None = None
    reasons: tuple[str, ...] = ()


def read_each(data: bytes, way: Way, asked: Sequence[Asked]) -> Iterator[Outcome]:
    """Read a file by one way, once for each (rlevel, window). Call it in a child process."""
    with dask.config.set(SETTINGS), forced(way):
        read = _reader(data, way)
        for rlevel, window in asked:
            yield _outcome(read, rlevel, window)


def _outcome(read: Callable[[int, Window | None], Any], rlevel: int, window: Window | None) -> Outcome:
    try:
        pixels = read(rlevel, window)
    except Jp2BatchError as error:
        return Outcome(refusal=f"{type(error).__name__}: {error}")
    except Exception:  # noqa: BLE001  # any other is what the harness looks for
        return Outcome(bug=traceback.format_exc())
    return Outcome(pixels.values, located_by=pixels.stats.located_by, reasons=pixels.stats.reasons)


def _reader(data: bytes, way: Way) -> Callable[[int, Window | None], Any]:
    profile = {"local": LOCAL, "store": STORE}.get(way, DEAR)
    learned = functools.cache(functools.partial(_learned, data))

    def read(rlevel: int, window: Window | None) -> Any:
        source = MemorySource(data, path="memory://variant", profile=profile, etag='"1"')
        known = learned(rlevel) if way == "index" else None
        return read_from(source, lambda opened: opened.selected(rlevel, window), image_index=known)

    start_anew()
    return read


def _learned(data: bytes, rlevel: int) -> ImageIndex | None:
    """Return the index from a read of the whole image, at this rlevel or another."""
    try:
        opened = OpenImage.start(MemorySource(data, path="memory://variant", profile=LOCAL, etag='"1"'))
        selection = opened.selected(-1 if rlevel % 2 else rlevel, None)
        return opened.learned_index(run_steps(opened.steps(selection), fetcher(opened.source, opened.pieces)))
    except Jp2BatchError:
        return None  # the read that comes will tell


@contextmanager
def forced(way: Way) -> Iterator[None]:
    """Let reads find tile-parts by one way."""
    with ExitStack() as stack:
        if way not in ("local", "store"):
            stack.enter_context(dask.config.set(_SMALL))
        if way == "memory":
            stack.enter_context(dask.config.set({"jp2batch.index.enabled": True}))
        if way in ("walk", "stretches", "interpolation"):
            stack.enter_context(mock.patch.object(planner, "_walks", _walks_of(way)))
        if way in ("walk", "stretches", "interpolation", "tlm", "index", "memory"):
            first = {"tlm": "tlm", "index": "index", "memory": "index"}.get(way, "walk")
            stack.enter_context(mock.patch.object(planner, "rank_strategies", _ways_from(first)))
            stack.enter_context(mock.patch.object(TileResolver, "_worthwhile", _if_any))
        if way in _DESPITE_PLT:
            stack.enter_context(mock.patch.object(TileResolver, "_may_pay", _yes))
        yield


def _if_any(_: TileResolver, queries: Sequence[object], *_rest: object) -> bool:
    return bool(queries)


def _yes(*_: object) -> bool:
    return True


def _ways_from(first: str) -> Callable[..., list[str]]:
    """Return a planner's `ways` that puts one way first, if the file has what it takes."""

    def ways(query: planner.ReadQuery, **_: Any) -> list[str]:
        image, has_places = query.image, {place.tile for place in query.places}.issuperset(query.selection.tiles)
        by_ordinal = image.header.has(Marker.PLM, Marker.PPM)
        possible = {"tlm": bool(image.header.tile_parts), "index": has_places and not by_ordinal}
        return [*([first] if possible.get(first) else []), "walk", "whole"]

    return ways


def _walks_of(way: Way) -> Callable[..., tuple[WalkStrategy, Cost]]:
    """Return a planner's `_walks` that walks from one start, from several, or interpolates."""
    dear, cheap = Cost(1, 1, 1e9, 0), Cost(1, 1, 0.0, 0)

    def walks(query: planner.ReadQuery) -> tuple[WalkStrategy, Cost]:
        tiles = tile_count(query.image.header.siz)
        starts = 1 if way == "walk" else max(2, min(16, tiles // 2))
        pace = WalkStrategy(starts, -(-tiles // starts) + 1, Cost(1, 1, 1.0, 0))
        return pace, cheap if way == "interpolation" else dear

    return walks
