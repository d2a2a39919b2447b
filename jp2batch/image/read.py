"""Read an image from end to end: plan, fetch and decode.

All reads end here: eager read, lazy chunk, batch task, HTTP handler.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from jp2batch.core import config
from jp2batch.core.errors import CorruptImage
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import Request
from jp2batch.image import index
from jp2batch.image.decode import Target, decode, into_array, into_sink
from jp2batch.image.early_decode import EarlyDecode, can_decode_early
from jp2batch.image.fetch import run_steps
from jp2batch.image.header import Likeness
from jp2batch.image.index import siblings
from jp2batch.image.map_area import mask_of, select_samples
from jp2batch.image.open import OpenImage, check_size, with_image
from jp2batch.jpeg2000.geometry.grid import Rect, Selection, select_area
from jp2batch.jpeg2000.geometry.sparse import SampleSink
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.jpeg2000.locate.tile_parts import StaleIndex
from jp2batch.jpeg2000.plan.decode_batches import Batch, read_batch
from jp2batch.jpeg2000.plan.resolved_read import LocatedBy, Precision, ResolvedRead
from jp2batch.storage.source import Source, open_source

_COARSER: dict[Precision, Precision] = {"packets": "tile-parts", "tile-parts": "file"}


@dataclass(frozen=True, slots=True)
class Stats:
    """Statistics of a read."""

    bytes_read: int
    """Bytes fetched."""
    requests: int
    """Number of requests to the store."""
    retries: int
    """Number of requests repeated after a failure."""
    time_download: float
    """Seconds spent waiting for the store."""
    time_processing: float
    """Seconds spent otherwise: planning, assembling, decoding."""
    located_by: LocatedBy | None = None
    """Strategy by which tile-parts were found; None if the read failed."""
    precision: Precision | None = None
    """Unit of fetching; None if the read failed."""
    reasons: tuple[str, ...] = ()
    """Reasons for reading less precisely, and warnings of OpenJPEG."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """Samples of an image, or of the requested part."""

    values: NDArray[np.generic]
    """Samples, of shape (bands, rows, columns).

    If the selection has runs, the shape is (bands, samples).
    """
    opened: OpenImage
    """The image of these samples."""
    selection: Selection
    """Position of these samples in the image."""
    stats: Stats
    name: str | None = None
    """Name of the image in files; None: its path."""
    columns: tuple[tuple[str, object], ...] = ()
    """Columns of the request; some are facts of the image."""


def read_pixels(request: Request, *, storage_options: StorageOptions = None) -> Pixels:
    """Read the pixels of a request.

    Raises
    ------
    Jp2BatchError
        Always one of its subclasses, naming the path.
    """
    source = open_source(request.location, storage_options=storage_options)
    pixels = read_from(source, functools.partial(select_request, request))
    return masked(pixels, request)


def select_request(request: Request, opened: OpenImage) -> Selection:
    """Return the samples of a request, checked for size."""
    return opened.checked(select_samples(opened, request.rlevel, request.window, request.area))


def masked(pixels: Pixels, request: Request) -> Pixels:
    """Return pixels with no data outside the geometry of a request."""
    mask = mask_of(pixels.opened, request.area)
    return pixels if mask is None else replace(pixels, values=mask.apply(pixels.values, pixels.selection))


def read_area(
    url: str,
    rlevel: int,
    area: Rect,
    *,
    storage_options: StorageOptions = None,
    image_index: ImageIndex | None = None,
    likeness: Likeness | None = None,
) -> Pixels:
    """Read an area of samples at a resolution level, for lazy arrays.

    Raises
    ------
    ObjectChanged
        The image has another version than `image_index`.
    CubeMismatch
        The image differs from its `likeness`.
    """
    source = open_source(url, storage_options=storage_options)

    def choose(opened: OpenImage) -> Selection:
        if likeness is not None:
            likeness.check(opened)
        return opened.checked(select_area(opened.image.header, rlevel, area))

    return read_from(source, choose, image_index=image_index)


def read_from(
    source: Source,
    choose: Callable[[OpenImage], Selection],
    *,
    threads: int | None = None,
    image_index: ImageIndex | None = None,
) -> Pixels:
    """Read the selection returned by `choose`.

    `threads` is the number of threads to decode in; by default the configured number.
    """
    begin = time.perf_counter()

    def act(opened: OpenImage) -> Pixels:
        return read_opened(opened, choose(opened), begin=begin, threads=threads)

    return with_image(source, act, image_index=image_index)


def read_opened(
    opened: OpenImage, selection: Selection, *, begin: float | None = None, threads: int | None = None
) -> Pixels:
    """Read a selection of an open image.

    `begin` is the start time, by `time.perf_counter`; by default now.
    """
    begin = time.perf_counter() if begin is None else begin
    source = opened.source
    try:
        values, reading, warnings, known = _read(opened, selection, threads or config.threads())
    finally:
        source.verify()  # if the object was replaced meanwhile, this explains any other error
    stats = replace(
        counted(source, begin),
        located_by=reading.located_by,
        precision=reading.precision,
        reasons=tuple(dict.fromkeys([*reading.reasons, *warnings])),
    )
    if known is not None and not warnings:
        index.keep(source, known)
        siblings.remember(source, opened.image.header, known, reading.passed)
    return Pixels(values, opened, selection, stats)


def counted(source: Source, begin: float) -> Stats:
    """Return the statistics of a source since `begin`, failed reads included."""
    return Stats(
        bytes_read=source.meter.bytes_read,
        requests=source.meter.requests,
        retries=source.meter.retries,
        time_download=source.meter.seconds,
        time_processing=max(0.0, time.perf_counter() - begin - source.meter.seconds),
    )


def _read(
    opened: OpenImage, selection: Selection, threads: int
) -> tuple[NDArray[np.generic], ResolvedRead, list[str], ImageIndex | None]:
    """Read and decode a selection.

    If OpenJPEG fails on packets cut out of the file, tile-parts are decoded, and at last the whole file.
    """
    failures: list[str] = []
    at_best: Precision = "packets"
    while True:
        values, target = _values(opened, selection)
        with _early_decode(opened, selection, target, at_best, threads) as early:
            reading = opened.reading(selection, at_best, early)
            check_size(opened, selection, reading.unit)
            opened.question(reading)
            known = _learned(opened, reading)  # before decoding, which drops bytes from memory
            decoded = early.finish(reading, opened.fetch) if early is not None else set()
        try:
            warnings = _decode(opened, target, reading, threads, decoded)
        except CorruptImage as error:
            if reading.unit == "file" or opened.from_index:
                raise
            failures.append(error.problem)
        else:
            if warnings and opened.from_index and reading.unit != "file":
                raise StaleIndex(warnings[0])
            opened.confirm()
            failures += warnings
            if not warnings or reading.unit != "packets":
                return values, reading, failures, known
        at_best = _COARSER[reading.unit]


def _learned(opened: OpenImage, reading: ResolvedRead) -> ImageIndex | None:
    """Return an index for the next read, if it would save anything."""
    if (
        opened.from_index
        and reading.located_by == "index"
        and opened.shared_index is not None
        and not opened.shared_index.unverified
        and not opened.shared_index.lacks(reading.packet_headers)
    ):
        return None  # the index has all of it
    if opened.at_once:
        return None  # the next read takes a single request as well
    return opened.learned_index(reading)


def _early_decode(
    opened: OpenImage, selection: Selection, target: Target, at_best: Precision, threads: int
) -> contextlib.AbstractContextManager[EarlyDecode | None]:
    """Return a decoder of tiles during a search, if it pays."""
    searches = not (opened.from_index or opened.image.header.tile_parts) and opened.source.profile.latency > 0
    if at_best == "packets" and searches and can_decode_early(opened.image, selection):
        return EarlyDecode(
            opened.pieces, opened.image, selection, decoder=opened.decoder, target=target, threads=threads
        )
    return contextlib.nullcontext()


def _decode(
    opened: OpenImage, target: Target, reading: ResolvedRead, threads: int, decoded: Collection[int]
) -> list[str]:
    """Decode the other tiles of a resolved read; return warnings."""

    def read(batch: Batch) -> None:
        run_steps(read_batch(opened.pieces, batch), opened.fetch)

    image = opened.image
    return decode(target, opened.decoder, opened.pieces, image, reading, read=read, threads=threads, decoded=decoded)


def _values(opened: OpenImage, selection: Selection) -> tuple[NDArray[np.generic], Target]:
    """Return a new array for a selection, and its decoding function."""
    bands, area, header = len(opened.channels), selection.area, opened.image.header
    if selection.runs is None:
        values = np.empty((bands, area.height, area.width), opened.dtype)
        return values, into_array(opened.decoder, area, values)
    values = np.empty((bands, selection.samples), opened.dtype)
    return values, into_sink(opened.decoder, header, SampleSink.of(header, selection, selection.runs, values))
