"""Describe an image (`inspect`), and estimate a read (`plan`)."""

import contextlib
from collections.abc import Sequence
from dataclasses import replace

from jp2batch.core import config
from jp2batch.core.map_area import MapArea
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import LOWEST, Request
from jp2batch.core.window import WindowLike
from jp2batch.image.fetch import run_steps
from jp2batch.image.info import ImageInfo, ReadPlan, info_of
from jp2batch.image.open import OpenImage, naming, with_image
from jp2batch.image.read import select_request
from jp2batch.jpeg2000.geometry.grid import Selection, image_area, samples, tile_count, tile_counts
from jp2batch.jpeg2000.locate.strategies import Cost
from jp2batch.jpeg2000.plan.coalesce import coalesced
from jp2batch.jpeg2000.plan.decode_batches import batches, read_batch
from jp2batch.jpeg2000.plan.estimates import expected_bytes
from jp2batch.jpeg2000.plan.planner import rank_strategies, walk_cost, why_whole
from jp2batch.jpeg2000.plan.resolved_read import LocatedBy, Precision
from jp2batch.jpeg2000.plan.tile_packets import TOO_SLOW, expected_chain, omits_packets
from jp2batch.jpeg2000.syntax.sparse_file import Unknown, Wanted
from jp2batch.storage.source import Source, open_source


def inspect(path: str, *, root: str | None = None, storage_options: StorageOptions = None) -> ImageInfo:
    """Describe an image from its header alone, usually in a single request.

    Parameters
    ----------
    path : str
        Path or URL; with `root`, a key below it.
    root : str, optional
        Base folder or bucket; `path` is relative to it.
    storage_options : mapping, optional
        fsspec's options for the store.

    Raises
    ------
    Jp2BatchError
        The image cannot be found, or the file is not JPEG 2000.
    """
    source = open_source(Request(path, root=root).location, storage_options=storage_options)
    with contextlib.closing(source), naming(source.path):
        return info_of(OpenImage.start(source))


def plan(
    path: str,
    rlevel: int = LOWEST,
    window: WindowLike | None = None,
    *,
    bbox: object = None,
    geometry: object = None,
    crs: object = None,
    resolution: object = None,
    root: str | None = None,
    storage_options: StorageOptions = None,
) -> ReadPlan:
    """Estimate the cost of a read, without fetching pixels.

    If TLM lists the tile-parts, or finding them costs nothing, only their headers are fetched and the plan is exact.
    Otherwise the plan is an estimate from the main header alone.

    Parameters
    ----------
    path, root, storage_options
        As for `inspect`.
    rlevel : int
        Resolution levels to drop: 0 = full, -1 = the lowest.
    window : ((row_start, row_stop), (col_start, col_stop)), "r0:r1,c0:c1" or Window, optional
        The part to read, in pixels of the full image.
    bbox, geometry, crs, resolution : optional
        The part and the resolution on the map, as for `read`.

    Raises
    ------
    Jp2BatchError
        As for `read`.
    """
    request = Request(path, rlevel, window, root, area=MapArea.of(bbox, geometry, crs, resolution))
    return plan_request(request, storage_options=storage_options)


def plan_request(request: Request, *, storage_options: StorageOptions = None) -> ReadPlan:
    """Estimate the cost of a request; see `plan`."""
    return plan_from(open_source(request.location, storage_options=storage_options), request)


def plan_from(source: Source, request: Request) -> ReadPlan:
    """Estimate the cost of a request to a source."""

    def act(opened: OpenImage) -> ReadPlan:
        opened.confirm()
        return plan_of(opened, select_request(request, opened))

    return with_image(source, act)


def plan_of(opened: OpenImage, selection: Selection) -> ReadPlan:
    """Estimate the cost of a read of an open image."""
    if _way(opened, selection) == "walk" and opened.source.profile.latency:
        return _estimate(opened, selection)
    return _rehearse(opened, selection) or _estimate(opened, selection)


class _Rehearsal:
    """Simulated fetches: the requests are counted, and only decisive bytes fetched.

    Bytes are decisive if the planner's next step depends on them.
    """

    def __init__(self, opened: OpenImage) -> None:
        self._source, self._pieces = opened.source, opened.pieces
        self.cost = _begun(opened)

    def fetch(self, ranges: Sequence[Wanted]) -> None:
        store = self._source.profile
        asked = coalesced((entry.range for entry in ranges), store, self._pieces.may_cross)
        self.cost += Cost.estimate(len(asked), 1, sum(span.size for span in asked), 0, store)
        heads = [entry.head for entry in ranges if entry.head.size]
        for start, data in self._source.read_many(heads) if heads else []:
            self._pieces.fill(start, data)
        for span in asked:
            self._pieces.fill_unknown(*span)


def _rehearse(opened: OpenImage, selection: Selection) -> ReadPlan | None:
    """Plan a read without fetching pixels; None if the plan needs them."""
    rehearsal = _Rehearsal(opened)
    located_by: LocatedBy
    precision: Precision
    reasons: tuple[str, ...] = ()
    try:
        reading = run_steps(opened.steps(selection), rehearsal.fetch)
        most_tiles = opened.decoder.most_tiles(opened.image.header)
        for batch in batches(opened.image, reading, config.threads(), most_tiles):
            run_steps(read_batch(opened.pieces, batch), rehearsal.fetch)
    except Unknown:
        if not opened.pieces.covers(0, opened.pieces.size):
            return None
        located_by, precision = "whole", "file"
        reason = why_whole(opened.query(selection))
        reasons = (reason,) if reason else ()
    else:
        located_by, precision, reasons = reading.located_by, reading.precision, reading.reasons
    return replace(_plan(opened, selection, rehearsal.cost, located_by, precision), reasons=reasons)


def _estimate(opened: OpenImage, selection: Selection) -> ReadPlan:
    source, image = opened.source, opened.image
    way = _way(opened, selection)
    if way == "walk":
        cost = walk_cost(opened.query(selection))
    else:
        size = expected_bytes(image.header, image.container.codestream, selection)
        cost = Cost.estimate(len(selection.tiles), 1, size, 0, source.profile)
    precision: Precision = "packets" if omits_packets(image.header, selection) else "tile-parts"
    reasons: tuple[str, ...] = ()
    if way == "walk" and precision == "packets" and tile_count(image.header.siz) == 1:
        cost, precision, reasons = _estimate_chain(opened, selection)
    total = _begun(opened) + cost
    return replace(
        _plan(opened, selection, total, way, precision),
        bytes=min(total.size, opened.pieces.size),
        exact=False,
        reasons=reasons,
    )


def _estimate_chain(opened: OpenImage, selection: Selection) -> tuple[Cost, Precision, tuple[str, ...]]:
    """Estimate a read of a single tile by its packet headers.

    If they do not pay, its tile-parts are read, and the reason is returned.
    """
    image, store = opened.image, opened.source.profile
    chain = expected_chain(image.header, image.container.codestream, selection, store)
    if chain is None:
        whole = image.container.codestream.size
        return Cost.estimate(store.parts(1, whole), 1, whole, 0, store), "tile-parts", (TOO_SLOW,)
    return Cost.estimate(chain.requests, chain.requests, chain.size + chain.needed, 0, store), "packets", ()


def _begun(opened: OpenImage) -> Cost:
    """Estimate the cost of reading the header."""
    meter = opened.source.meter
    return Cost.estimate(meter.requests, meter.requests, meter.bytes_read, 0, opened.source.profile)


def _way(opened: OpenImage, selection: Selection) -> LocatedBy:
    return rank_strategies(opened.query(selection))[0]


def _plan(opened: OpenImage, selection: Selection, cost: Cost, located_by: LocatedBy, precision: Precision) -> ReadPlan:
    """Return the exact plan of a read with this cost."""
    grid = tile_counts(opened.image.header.siz)
    (top, left), (bottom, right) = (divmod(tile, grid[1]) for tile in (selection.tiles[0], selection.tiles[-1]))
    full = samples(opened.image.header.siz, image_area(opened.image.header.siz), 0)
    return ReadPlan(
        path=opened.source.path,
        rlevel=selection.rlevel,
        shape=(selection.area.height, selection.area.width),
        dtype=str(opened.dtype),
        requests=cost.requests,
        bytes=cost.size,
        size=opened.pieces.size,
        store=str(opened.source.profile),
        seconds=cost.seconds,
        tiles=len(selection.tiles),
        tiles_of=tile_count(opened.image.header.siz),
        grid=grid,
        tile_rows=(top, bottom + 1),
        tile_columns=(left, right + 1),
        image_shape=(full.height, full.width),
        located_by=located_by,
        precision=precision,
        exact=True,
        bytes_wanted=expected_bytes(opened.image.header, opened.image.container.codestream, selection),
        request_worth=opened.source.profile.request_worth,
    )
