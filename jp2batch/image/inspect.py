"""Describe an image (`inspect`), and estimate a read (`plan`)."""

import contextlib
from collections.abc import Sequence

from jp2batch.core import config
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import LOWEST, Request
from jp2batch.core.window import Window, WindowLike
from jp2batch.image.fetch import run_steps
from jp2batch.image.geo_boxes import from_boxes
from jp2batch.image.info import ImageInfo, ReadPlan
from jp2batch.image.open import OpenImage, naming, with_image
from jp2batch.jpeg2000.geometry.grid import Selection, image_area, samples, tile_count, tile_counts
from jp2batch.jpeg2000.plan.coalesce import coalesced
from jp2batch.jpeg2000.plan.decode_batches import batches, read_batch
from jp2batch.jpeg2000.plan.estimates import expected_bytes
from jp2batch.jpeg2000.plan.planner import needs_packets, rank_strategies, walk_cost
from jp2batch.jpeg2000.plan.resolved_read import LocatedBy, Precision
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

    Raises
    ------
    Jp2BatchError
        As for `read`.
    """
    request = Request(path, rlevel, window, root)
    return plan_from(open_source(request.location, storage_options=storage_options), request.rlevel, request.window)


def plan_from(source: Source, rlevel: int, window: Window | None) -> ReadPlan:
    """Estimate the cost of a read from a source."""

    def act(opened: OpenImage) -> ReadPlan:
        opened.confirm()
        return plan_of(opened, opened.selected(rlevel, window))

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
        self.requests, self.bytes, self.seconds = (
            opened.source.meter.requests,
            opened.source.meter.bytes_read,
            _begun(opened),
        )

    def fetch(self, wanted: Sequence[Wanted]) -> None:
        store = self._source.profile
        asked = coalesced((entry.range for entry in wanted), store, self._pieces.may_cross)
        size = sum(span.size for span in asked)
        self.requests += len(asked)
        self.bytes += size
        self.seconds += store.seconds(len(asked), size, 1)
        heads = [entry.head for entry in wanted if entry.head.size]
        for start, data in self._source.read_many(heads) if heads else []:
            self._pieces.fill(start, data)
        for span in asked:
            self._pieces.fill_unknown(*span)


def _rehearse(opened: OpenImage, selection: Selection) -> ReadPlan | None:
    """Plan a read without fetching pixels; None if the plan needs them."""
    rehearsal = _Rehearsal(opened)
    located_by: LocatedBy
    precision: Precision
    try:
        reading = run_steps(opened.steps(selection), rehearsal.fetch)
        most_tiles = opened.decoder.most_tiles(opened.image.header)
        for batch in batches(opened.image, reading, config.threads(), most_tiles):
            run_steps(read_batch(opened.pieces, batch), rehearsal.fetch)
    except Unknown:
        if not opened.pieces.covers(0, opened.pieces.size):
            return None
        located_by, precision = "whole", "file"
    else:
        located_by, precision = reading.located_by, reading.precision
    return _plan(
        opened,
        selection,
        requests=rehearsal.requests,
        size=rehearsal.bytes,
        seconds=rehearsal.seconds,
        located_by=located_by,
        precision=precision,
        exact=True,
    )


def _estimate(opened: OpenImage, selection: Selection) -> ReadPlan:
    source, image = opened.source, opened.image
    way = _way(opened, selection)
    requests, size = len(selection.tiles), expected_bytes(image.header, image.container.codestream, selection)
    seconds = source.profile.seconds(requests, size, 1)
    if way == "walk":
        cost = walk_cost(opened.pieces, image, selection, source.profile)
        requests, size, seconds = cost.requests, cost.size, cost.seconds
    requests, size = source.meter.requests + requests, min(source.meter.bytes_read + size, opened.pieces.size)
    precision: Precision = "packets" if needs_packets(image.header, selection) else "tile-parts"
    return _plan(
        opened,
        selection,
        requests=requests,
        size=size,
        seconds=_begun(opened) + seconds,
        located_by=way,
        precision=precision,
        exact=False,
    )


def _begun(opened: OpenImage) -> float:
    """Estimate the time of reading the header, in seconds."""
    source = opened.source
    return source.profile.seconds(source.meter.requests, source.meter.bytes_read, source.meter.requests)


def _way(opened: OpenImage, selection: Selection) -> LocatedBy:
    profile, limit = opened.source.profile, config.max_whole_file()
    return rank_strategies(opened.pieces, opened.image, selection, profile, limit, places=opened.places)[0]


def _plan(
    opened: OpenImage,
    selection: Selection,
    *,
    requests: int,
    size: int,
    seconds: float,
    located_by: LocatedBy,
    precision: Precision,
    exact: bool,
) -> ReadPlan:
    grid = tile_counts(opened.image.header.siz)
    (top, left), (bottom, right) = (divmod(tile, grid[1]) for tile in (selection.tiles[0], selection.tiles[-1]))
    full = samples(opened.image.header.siz, image_area(opened.image.header.siz), 0)
    return ReadPlan(
        path=opened.source.path,
        rlevel=selection.rlevel,
        shape=(selection.area.height, selection.area.width),
        dtype=str(opened.dtype),
        requests=requests,
        bytes=size,
        size=opened.pieces.size,
        store=str(opened.source.profile),
        seconds=seconds,
        tiles=len(selection.tiles),
        tiles_of=tile_count(opened.image.header.siz),
        grid=grid,
        tile_rows=(top, bottom + 1),
        tile_columns=(left, right + 1),
        image_shape=(full.height, full.width),
        located_by=located_by,
        precision=precision,
        exact=exact,
    )


def info_of(opened: OpenImage) -> ImageInfo:
    """Describe an open image."""
    header, siz = opened.image.header, opened.image.header.siz
    levels = [samples(siz, image_area(siz), level) for level in range(header.levels + 1)]
    place = from_boxes(opened.image.container.boxes)
    coding = header.codings[0]
    return ImageInfo(
        path=opened.source.path,
        size=opened.pieces.size,
        shape=(levels[0].height, levels[0].width),
        bands=len(opened.channels),
        bits=tuple(channel.bits for channel in opened.channels),
        dtype=str(opened.dtype),
        tiles=tile_counts(siz),
        tile_shape=(siz.ytsiz, siz.xtsiz),
        levels=tuple((area.height, area.width) for area in levels),
        progression=header.cod.progression,
        layers=header.cod.layers,
        wavelet="5/3 reversible" if coding.transform else "9/7 irreversible",
        code_block=(1 << coding.code_block[1], 1 << coding.code_block[0]),
        mct=bool(header.cod.mct),
        htj2k=header.htj2k,
        markers=tuple(dict.fromkeys(segment.name for segment in header.segments)),
        crs=None if place is None else f"EPSG:{place.epsg}" if place.epsg else place.crs_wkt,
        transform=None if place is None else place.transform,
    )
