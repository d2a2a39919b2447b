"""Opening an image: its headers, from the store or from what is known of it; and the loop of a conversation."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from jp2batch import config, index
from jp2batch.errors import ImageTooLarge, Jp2BatchError, ObjectChanged, StorageError
from jp2batch.jpeg2000.channels import Channel, channels
from jp2batch.jpeg2000.coalesce import coalesced
from jp2batch.jpeg2000.codestream import check_supported
from jp2batch.jpeg2000.grid import Rect, Selection, decoder_memory, image_area, select, tile_count
from jp2batch.jpeg2000.guess import expected_bytes
from jp2batch.jpeg2000.known import Known, learned
from jp2batch.jpeg2000.locate import Misled, Place
from jp2batch.jpeg2000.pieces import Ahead, Pieces, Range, Steps
from jp2batch.jpeg2000.plan import Image, Precision, Reading, find_tiles, read_image
from jp2batch.request import Window
from jp2batch.storage.source import Source, Version

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Opened:
    """A source whose headers have been read, or are known."""

    source: Source
    pieces: Pieces
    image: Image
    places: tuple[Place, ...] = ()
    """Where tile-parts are known to lie."""
    recalled: bool = False
    """Whether headers are those that were known, and the store has to confirm its version."""

    @classmethod
    def start(cls, source: Source, known: Known | None = None) -> "Opened":
        """Read the beginning of a file: one range is tried before a hundred. Places that are known will be checked."""
        first = config.first_read()
        ((position, data),) = source.read_many([(0, first)])
        pieces = Pieces(source.size or 0)
        pieces.fill(position, data)
        places = known.places if known is not None and known.size == pieces.size else ()
        return cls(source, pieces, hold(read_image(pieces, Ahead(first)), fetcher(source, pieces)), places)

    @classmethod
    def recall(cls, source: Source, known: Known) -> "Opened":
        """Take the beginning of a file from what is known: nothing is read, unless that lacks something."""
        source.expect(Version(known.size, known.etag))
        pieces = known.pieces()
        image = hold(read_image(pieces, Ahead(config.first_read())), fetcher(source, pieces))
        return cls(source, pieces, image, known.places, recalled=True)

    def known(self, reading: Reading | None = None) -> Known | None:
        """Return what of this would spare the next read a round; with a reading, of its tiles as well."""
        parts = [part for tile in reading.tiles.values() for part in tile.parts] if reading else []
        return learned(self.pieces, self.image, parts, self.source.etag)

    def confirm(self) -> None:
        """Make sure that the store has that version: for who reads no more of it."""
        if self.recalled:
            self.source.verify()

    def selected(self, rlevel: int, window: Window | None = None) -> Selection:
        """Turn rlevel and window into samples that may be read."""
        return self.checked(select(self.image.header, rlevel, window))

    def checked(self, selection: Selection) -> Selection:
        """Refuse what cannot become one array, or only too large a one."""
        check_supported(self.image.header)
        check_size(self, selection, "packets")
        return selection

    def steps(
        self, selection: Selection, at_best: Precision = "packets", *, headers_only: bool = False
    ) -> Steps[Reading]:
        """Begin the conversation that finds what a selection takes."""
        return find_tiles(
            self.pieces,
            self.image,
            selection,
            self.source.profile,
            at_best=at_best,
            whole_limit=config.max_whole_file(),
            places=self.places,
            headers_only=headers_only,
        )

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The bands of the image."""
        return channels(self.image.container, self.image.header)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type that holds the samples of all bands."""
        return np.result_type(*(channel.dtype for channel in self.channels))


def with_opened(source: Source, act: Callable[[Opened], T], *, known: Known | None = None) -> T:
    """Do something with an image: by what is known of it, or, where that does not prove true, afresh.

    Parameters
    ----------
    source : Source
        Where it lies; nothing has been read of it.
    act : callable
        What to do. It may be called twice.
    known : Known, optional
        What the caller knows: the image has to be of that version.
    """
    with contextlib.closing(source):
        return _with_opened(source, act, known)


def _with_opened(source: Source, act: Callable[[Opened], T], known: Known | None) -> T:
    pinned = known if known is not None and known.etag is not None else None
    held = index.recall(source)
    if pinned is not None and not (held is not None and held.is_of(pinned)):
        held = pinned
    with naming(source.path):
        if held is not None:
            try:
                return act(Opened.recall(source, held) if held.etag is not None else Opened.start(source, held))
            except Misled:
                pass
            except Jp2BatchError as error:
                changed = isinstance(error, ObjectChanged) and pinned is None
                if held.etag is None or (isinstance(error, StorageError) and not changed):
                    raise
            index.forget(source)
            source.expect(None if pinned is None else Version(pinned.size, pinned.etag))
        return act(Opened.start(source))


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
    """Return what fetches ranges of a source into pieces, all at once, by the requests that cost least."""

    def fetch(ranges: Sequence[Range]) -> None:
        asked = coalesced(ranges, source.profile, pieces.may_cross)
        for start, data in source.read_many([(r.start, r.stop) for r in asked]):
            pieces.fill(start, data)

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


def memory_needed(opened: Opened, selection: Selection) -> int:
    """Estimate the memory that a read takes, in bytes: what is fetched, what decoding a tile needs, the result."""
    fetched = expected_bytes(opened.image.header, opened.image.container.codestream, selection)
    return fetched + sum(_memory(opened, selection, "packets"))


def _memory(opened: Opened, selection: Selection, unit: Precision) -> tuple[int, int]:
    """Return the bytes of the result, and of what OpenJPEG needs for a tile, or for the image as a whole."""
    header = opened.image.header
    area, tiles = image_area(header.siz), tile_count(header.siz)
    if unit != "file":
        tiles = 1
        area = Rect(0, 0, min(header.siz.ytsiz, area.height), min(header.siz.xtsiz, area.width))
    result = selection.area.height * selection.area.width * len(opened.channels) * opened.dtype.itemsize
    return result, decoder_memory(header, area, selection.rlevel, tiles=tiles, dropped=unit != "packets")


def check_size(opened: Opened, selection: Selection, unit: Precision) -> None:
    """Refuse what takes too much memory."""
    limit = config.max_result()
    result, decoded = _memory(opened, selection, unit)
    if result > limit or decoded > 2 * limit:
        raise ImageTooLarge(
            "",
            f"reading it would take {max(result, decoded):.3g} bytes, more than jp2batch.max-result ({limit:.3g})",
            "give a window or a higher rlevel",
        )
