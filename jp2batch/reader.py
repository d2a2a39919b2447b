"""One request from end to end: the loop that holds the planner's conversation with a source, and the decode.

Every way of use ends here: eager read, lazy chunk, batch task, HTTP handler.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from jp2batch import config
from jp2batch.decoding import decode
from jp2batch.errors import CorruptImage, ImageTooLarge, Jp2BatchError
from jp2batch.jpeg2000.batches import Batch, read_batch
from jp2batch.jpeg2000.channels import Channel, channels
from jp2batch.jpeg2000.codestream import check_supported
from jp2batch.jpeg2000.grid import Rect, Selection, decoder_memory, image_area, select, select_area, tile_count
from jp2batch.jpeg2000.pieces import Ahead, Pieces, Range, Steps
from jp2batch.jpeg2000.plan import Image, LocatedBy, Precision, Reading, expected_bytes, find_tiles, read_image
from jp2batch.request import Request, Window
from jp2batch.storage.source import Source, open_source

T = TypeVar("T")
StorageOptions = Mapping[str, Any] | None
"""fsspec's options for a store: credentials, endpoint, …"""

_COARSER: dict[Precision, Precision] = {"packets": "tile-parts", "tile-parts": "file"}


@dataclass(frozen=True, slots=True)
class Stats:
    """What a read took."""

    bytes_read: int
    """Bytes fetched."""
    requests: int
    """Requests to the store."""
    retries: int
    """Requests that were made again because they had failed."""
    time_download: float
    """Seconds spent waiting for the store."""
    time_processing: float
    """Seconds spent otherwise: planning, assembling, decoding."""
    located_by: LocatedBy
    """How tile-parts were found."""
    precision: Precision
    """The unit of what was read."""
    reasons: tuple[str, ...] = ()
    """Why less precise ways were taken, and what OpenJPEG warned of."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """A read image, or the part of it that was asked for."""

    values: NDArray[Any]
    """Samples, of shape (bands, rows, columns)."""
    opened: "Opened"
    """The file that they are of."""
    selection: Selection
    """Which samples of it these are."""
    stats: Stats


@dataclass(frozen=True, slots=True)
class Opened:
    """A source whose headers have been read."""

    source: Source
    pieces: Pieces
    image: Image

    @classmethod
    def start(cls, source: Source) -> "Opened":
        """Read the beginning of a file: one range is tried before a hundred."""
        first = config.first_read()
        ((position, data),) = source.read_many([(0, first)])
        pieces = Pieces(source.size or 0)
        pieces.add(position, data)
        return cls(source, pieces, hold(read_image(pieces, Ahead(first)), fetcher(source, pieces)))

    def selected(self, rlevel: int, window: Window | None = None) -> Selection:
        """Turn rlevel and window into samples that may be read."""
        return self.checked(select(self.image.header, rlevel, window))

    def checked(self, selection: Selection) -> Selection:
        """Refuse what cannot become one array, or only too large a one."""
        check_supported(self.image.header)
        _check_size(self, selection, "packets")
        return selection

    def steps(self, selection: Selection, at_best: Precision = "packets") -> Steps[Reading]:
        """Begin the conversation that reads a selection."""
        return find_tiles(
            self.pieces,
            self.image,
            selection,
            self.source.profile,
            at_best=at_best,
            whole_limit=config.max_whole_file(),
        )

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The bands of the image."""
        return channels(self.image.container, self.image.header)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type that holds the samples of all bands."""
        return np.result_type(*(channel.dtype for channel in self.channels))


def read_pixels(request: Request, *, storage_options: StorageOptions = None) -> Pixels:
    """Read what a request asks for.

    Raises
    ------
    Jp2BatchError
        Always one of its subclasses, naming the path.
    """
    source = open_source(request.url, storage_options=storage_options)
    return read_from(source, lambda opened: opened.selected(request.rlevel, request.window))


def read_area(url: str, rlevel: int, area: Rect, *, storage_options: StorageOptions = None) -> Pixels:
    """Read samples by their coordinates at a resolution level: what a lazy array asks for."""
    source = open_source(url, storage_options=storage_options)
    return read_from(source, lambda opened: opened.checked(select_area(opened.image.header, rlevel, area)))


def read_from(source: Source, choose: Callable[[Opened], Selection], *, threads: int | None = None) -> Pixels:
    """Read what `choose` selects of an image; `threads`: to decode in, by default what is configured."""
    begin = time.perf_counter()
    with naming(source.path):
        opened = Opened.start(source)
        return read_opened(opened, choose(opened), begin=begin, threads=threads)


def read_opened(
    opened: Opened, selection: Selection, *, begin: float | None = None, threads: int | None = None
) -> Pixels:
    """Read a selection of an image whose headers are there; `begin`: when that was begun."""
    begin = time.perf_counter() if begin is None else begin
    source = opened.source
    try:
        values, reading, warnings = _read(opened, selection, threads or config.threads())
    finally:
        source.verify()  # an object replaced meanwhile is the better explanation of what else went wrong
    stats = Stats(
        bytes_read=source.bytes_read,
        requests=source.requests,
        retries=source.retries,
        time_download=source.seconds,
        time_processing=max(0.0, time.perf_counter() - begin - source.seconds),
        located_by=reading.located_by,
        precision=reading.precision,
        reasons=tuple(dict.fromkeys([*reading.reasons, *warnings])),
    )
    return Pixels(values, opened, selection, stats)


def hold(steps: Steps[T], fetch: Callable[[Sequence[Range]], None]) -> T:
    """Hold a conversation: fetch what it wants, until it wants nothing more."""
    while True:
        try:
            wanted = next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        fetch(wanted)


def fetcher(source: Source, pieces: Pieces) -> Callable[[Sequence[Range]], None]:
    """Return what fetches ranges of a source into pieces, all at once."""

    def fetch(ranges: Sequence[Range]) -> None:
        for start, data in source.read_many([(r.start, r.stop) for r in ranges]):
            pieces.add(start, data)

    return fetch


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Let errors of the format layer name the path, which it does not know."""
    try:
        yield
    except Jp2BatchError as error:
        if error.path:
            raise
        raise error.at(path) from error.__cause__


def _read(opened: Opened, selection: Selection, threads: int) -> tuple[NDArray[Any], Reading, list[str]]:
    """Read and decode a selection; take a coarser unit where OpenJPEG stumbles over what was cut out of the file."""
    failures: list[str] = []
    at_best: Precision = "packets"
    while True:
        reading = hold(opened.steps(selection, at_best), fetcher(opened.source, opened.pieces))
        _check_size(opened, selection, reading.unit)
        try:
            values, warnings = _decode(opened, reading, threads)
        except CorruptImage as error:
            if reading.unit == "file":
                raise
            failures.append(error.problem)
        else:
            failures += warnings
            if not warnings or reading.unit != "packets":
                return values, reading, failures
        at_best = _COARSER[reading.unit]


def _decode(opened: Opened, reading: Reading, threads: int) -> tuple[NDArray[Any], list[str]]:
    """Decode a reading into a new array; return what OpenJPEG warned of as well."""
    area = reading.selection.area
    values = np.empty((len(opened.channels), area.height, area.width), opened.dtype)
    fetch = fetcher(opened.source, opened.pieces)

    def read(batch: Batch) -> None:
        hold(read_batch(opened.pieces, batch, opened.source.profile), fetch)

    return values, decode(opened.pieces, opened.image, reading, values, read=read, threads=threads)


def memory_needed(opened: Opened, selection: Selection) -> int:
    """Estimate the memory that a read takes, in bytes: what is fetched, what decoding a tile needs, the result."""
    return expected_bytes(opened.image, selection) + sum(_memory(opened, selection, "packets"))


def _memory(opened: Opened, selection: Selection, unit: Precision) -> tuple[int, int]:
    """Return the bytes of the result, and of what OpenJPEG needs for a tile, or for the image as a whole."""
    header = opened.image.header
    area, tiles = image_area(header.siz), tile_count(header.siz)
    if unit != "file":
        tiles = 1
        area = Rect(0, 0, min(header.siz.ytsiz, area.height), min(header.siz.xtsiz, area.width))
    result = selection.area.height * selection.area.width * len(opened.channels) * opened.dtype.itemsize
    return result, decoder_memory(header, area, selection.rlevel, tiles=tiles, dropped=unit != "packets")


def _check_size(opened: Opened, selection: Selection, unit: Precision) -> None:
    """Refuse what takes too much memory."""
    limit = config.max_result()
    result, decoded = _memory(opened, selection, unit)
    if result > limit or decoded > 2 * limit:
        raise ImageTooLarge(
            "",
            f"reading it would take {max(result, decoded):.3g} bytes, more than jp2batch.max-result ({limit:.3g})",
            "give a window or a higher rlevel",
        )
