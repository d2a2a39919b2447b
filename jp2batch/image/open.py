"""Opening an image: its headers, from the store or from what is known of it; and the loop of a conversation."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from jp2batch.core import config
from jp2batch.core.errors import CorruptImage, ImageTooLarge, Jp2BatchError, ObjectChanged, RangesIgnored, StorageError
from jp2batch.core.request import Window
from jp2batch.image import index
from jp2batch.image.decoder import Decoder, Samples, default_decoder
from jp2batch.jpeg2000.assemble import whole_file
from jp2batch.jpeg2000.geometry.grid import Rect, Selection, image_area, select, tile_count
from jp2batch.jpeg2000.locate.image_index import ImageIndex, build_index
from jp2batch.jpeg2000.locate.tile_parts import StaleIndex, TilePartExtent
from jp2batch.jpeg2000.plan.coalesce import coalesced
from jp2batch.jpeg2000.plan.estimates import expected_bytes
from jp2batch.jpeg2000.plan.planner import (
    Image,
    Precision,
    ResolvedRead,
    check_whole,
    plan_read,
    rank_strategies,
    read_image,
)
from jp2batch.jpeg2000.syntax.channels import Channel, channels
from jp2batch.jpeg2000.syntax.headers import MainHeader, check_supported
from jp2batch.jpeg2000.syntax.sparse_file import Ahead, Range, SparseFile, Steps
from jp2batch.jpeg2000.syntax.sparse_file import fetch as fetch_ranges
from jp2batch.storage.source import Source, Version

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OpenImage:
    """A source whose headers have been read, or are known."""

    source: Source
    pieces: SparseFile
    image: Image
    told: ImageIndex | None = None
    """What was known of this version of it."""
    recalled: bool = False
    """Whether headers are those that were known, and the store has to confirm its version."""
    at_once: bool = False
    """Whether the first read gave all of it: it is small, or the server sends whole files only."""
    claims: list[Range] = field(default_factory=list)
    """Bytes that somebody else tells of: they are fetched with the next ones, and compared."""
    decoded: list[Channel] = field(default_factory=list)
    """The bands as the decoder gives them, if boxes do not tell; else empty."""
    decoder: Decoder = field(default_factory=default_decoder)
    """Decodes the image."""

    @classmethod
    def start(cls, source: Source, known: ImageIndex | None = None) -> "OpenImage":
        """Read the beginning of a file: one range is tried before a hundred. Places that are known will be checked."""
        first = config.first_read()
        ((position, data),) = source.read_many([(0, first)])
        pieces = SparseFile(source.size or 0)
        pieces.fill(position, data)
        image = run_steps(read_image(pieces, Ahead(first)), fetcher(source, pieces))
        told = None
        if known is not None and known.size == pieces.size:
            told = replace(known, etag=source.etag)
        return cls(source, pieces, image, told, at_once=len(data) == pieces.size)

    @classmethod
    def recall(cls, source: Source, known: ImageIndex) -> "OpenImage":
        """Take the beginning of a file from what is known: nothing is read, unless that lacks something."""
        source.expect(Version(known.size, known.etag))
        pieces = known.pieces()
        image = run_steps(read_image(pieces, Ahead(config.first_read())), fetcher(source, pieces))
        claims = [Range(0, image.header.stop)] if known.unverified else []
        return cls(source, pieces, image, known, recalled=True, claims=claims)

    @property
    def places(self) -> tuple[TilePartExtent, ...]:
        """Where tile-parts are known to lie."""
        return () if self.told is None else self.told.tile_parts

    def known(self, reading: ResolvedRead | None = None) -> ImageIndex | None:
        """Return what would spare the next read a round: what was known, and with a reading also what that taught.

        It is to be used where this was confirmed, or all has been read.
        """
        parts = [part for tile in reading.tiles.values() for part in tile.parts] if reading else []
        try:
            now = build_index(self.pieces, self.image, parts, self.source.etag)
        except ValueError as problem:  # by a header that was known
            raise StaleIndex(str(problem)) from None
        return now if now is None or self.told is None else replace(self.told, unverified=False).joined(now)

    def fetch(self, ranges: Sequence[Range]) -> None:
        """Fetch ranges, all at once, by the requests that cost least; and what is claimed, to compare it.

        Raises
        ------
        StaleIndex
            What somebody else tells is not what the file says.
        """
        fetch(self.source, self.pieces, [*ranges, *self.claims], known=self.claims)
        self.claims.clear()

    def question(self, reading: ResolvedRead) -> None:
        """Have compared what somebody else tells of the headers of tile-parts."""
        if self.recalled and self.told is not None and self.told.unverified:
            parts = (part for tile in reading.tiles.values() for part in tile.parts)
            self.claims.extend(Range(part.start, part.data) for part in parts)

    def confirm(self) -> None:
        """Make sure that the store has that version: for who reads no more of it."""
        if self.claims:
            self.fetch([])
        if self.recalled:
            self.source.verify()

    def selected(self, rlevel: int, window: Window | None = None) -> Selection:
        """Turn rlevel and window into samples that may be read."""
        return self.checked(select(self.image.header, rlevel, window))

    def checked(self, selection: Selection) -> Selection:
        """Refuse what cannot become one array, or only too large a one."""
        self.check()
        check_size(self, selection, "packets")
        return selection

    def check(self) -> None:
        """Refuse an image that cannot become one array."""
        check_supported(self.image.header)
        self.decoder.check(self.image.header)

    def steps(
        self, selection: Selection, at_best: Precision = "packets", *, headers_only: bool = False
    ) -> Steps[ResolvedRead]:
        """Begin the conversation that finds what a selection takes."""
        return plan_read(
            self.pieces,
            self.image,
            selection,
            self.source.profile,
            at_best=at_best,
            whole_limit=config.max_whole_file(),
            places=self.places,
            headers_only=headers_only,
        )

    def reading(self, selection: Selection, at_best: Precision) -> ResolvedRead:
        """Find what a selection takes; what was found before holds as long as what is known does."""
        told = self.told if self.recalled and at_best == "packets" else None
        if told is not None and (before := index.recall_reading(self.source, told, selection)) is not None:
            return before
        reading = run_steps(self.steps(selection, at_best), self.fetch)
        if told is not None and reading.located_by == "index":
            index.keep_reading(self.source, told, reading)
        return reading

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The bands of the image."""
        if self.image.misplaced:
            return self._decoded_channels()
        return channels(self.image.container, self.image.header)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type that holds the samples of all bands."""
        return np.result_type(*(channel.dtype for channel in self.channels))

    def _decoded_channels(self) -> tuple[Channel, ...]:
        """Decode the whole file for its bands: once, at a low resolution level."""
        if not self.decoded:
            check_whole(self.pieces.size, self.image.misplaced, config.max_whole_file())
            run_steps(fetch_ranges(self.pieces, [Range(0, self.pieces.size)]), self.fetch)
            data = whole_file(self.pieces, self.image, 0).data
            try:
                found = _decoded_samples(self.decoder, data, self.image.header)
            except CorruptImage as error:
                raise CorruptImage("", f"{error.problem}; {self.image.misplaced}", "fetch the file again") from None
            self.decoded.extend(Channel(one.bits, one.signed, in_palette=one.signed) for one in found)
        return tuple(self.decoded)


def _decoded_samples(decoder: Decoder, data: bytes, header: MainHeader) -> list[Samples]:
    """Decode a file at the lowest resolution level; in full, if a tile has fewer levels than the image."""
    try:
        _check_decoder(decoder, header, header.levels)
        return decoder.samples(data, reduce=header.levels)
    except CorruptImage:
        _check_decoder(decoder, header, 0)
        return decoder.samples(data, reduce=0)


def _check_decoder(decoder: Decoder, header: MainHeader, rlevel: int) -> None:
    """Refuse to decode a whole image that takes the decoder too much memory."""
    needed = decoder.memory(header, image_area(header.siz), rlevel, tiles=tile_count(header.siz), dropped=True)
    if needed > 2 * config.max_result():
        raise too_large(needed, config.max_result())


def with_image(source: Source, act: Callable[[OpenImage], T], *, known: ImageIndex | None = None) -> T:
    """Do something with an image: by what is known of it, or, where that does not prove true, afresh.

    Parameters
    ----------
    source : Source
        Where it lies; nothing has been read of it.
    act : callable
        What to do. It may be called twice.
    known : ImageIndex, optional
        What the caller knows: the image has to be of that version.
    """
    with contextlib.closing(source):
        return _with_opened(source, act, known)


def _with_opened(source: Source, act: Callable[[OpenImage], T], known: ImageIndex | None) -> T:
    pinned = known if known is not None and known.etag is not None else None
    held = index.recall(source)
    if pinned is not None and not (held is not None and held.is_of(pinned)):
        held = pinned
    with naming(source.path):
        if held is not None:
            try:
                return act(OpenImage.recall(source, held) if held.etag is not None else OpenImage.start(source, held))
            except (StaleIndex, RangesIgnored):
                pass
            except Jp2BatchError as error:
                changed = isinstance(error, ObjectChanged) and pinned is None
                if held.etag is None or (isinstance(error, StorageError) and not changed):
                    raise
            index.forget(source)
            source.expect(None)
        opened = OpenImage.start(source)
        if pinned is not None and Version(pinned.size, pinned.etag).differs(Version(source.size, source.etag)):
            raise ObjectChanged(source.path, "it was replaced since it was opened", "open it again")
        return act(opened)


def run_steps(steps: Steps[T], fetch: Callable[[Sequence[Range]], None]) -> T:
    """Hold a conversation: fetch what it wants, until it wants nothing more."""
    while True:
        try:
            wanted = next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        fetch(wanted)


def fetcher(source: Source, pieces: SparseFile) -> Callable[[Sequence[Range]], None]:
    """Return what fetches ranges of a source into pieces."""
    return functools.partial(fetch, source, pieces)


def fetch(source: Source, pieces: SparseFile, ranges: Sequence[Range], *, known: Sequence[Range] = ()) -> None:
    """Fetch ranges of a source into pieces, all at once, by the requests that cost least.

    Raises
    ------
    StaleIndex
        What pieces hold of the `known` ones is not what came.
    """
    asked = coalesced(ranges, source.profile, pieces.may_cross)
    for start, data in source.read_many([(r.start, r.stop) for r in asked]):
        for one in known:
            first, last = max(start, one.start), min(start + len(data), one.stop)
            if first < last and pieces.read(first, last) != data[first - start : last - start]:
                raise StaleIndex(f"bytes {first} to {last} are not what was known of them")
        pieces.fill(start, data)


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Let errors of the format layer name the path, which it does not know."""
    try:
        yield
    except Jp2BatchError as error:
        if error.path:
            raise
        raise error.at(path) from error.__cause__


def memory_needed(opened: OpenImage, selection: Selection) -> int:
    """Estimate the memory that a read takes, in bytes: what is fetched, what decoding a tile needs, the result."""
    fetched = expected_bytes(opened.image.header, opened.image.container.codestream, selection)
    limit, store = config.max_whole_file(), opened.source.profile
    if rank_strategies(opened.pieces, opened.image, selection, store, limit, places=opened.places)[0] == "whole":
        fetched = opened.pieces.size
    return fetched + sum(_memory(opened, selection, "packets"))


def _memory(opened: OpenImage, selection: Selection, unit: Precision) -> tuple[int, int]:
    """Return the bytes of the result, and of what the decoder needs for a tile, or for the image as a whole."""
    header = opened.image.header
    area, tiles = image_area(header.siz), tile_count(header.siz)
    if unit != "file":
        tiles = 1
        area = Rect(0, 0, min(header.siz.ytsiz, area.height), min(header.siz.xtsiz, area.width))
    result = selection.area.height * selection.area.width * len(opened.channels) * opened.dtype.itemsize
    return result, opened.decoder.memory(header, area, selection.rlevel, tiles=tiles, dropped=unit != "packets")


def check_size(opened: OpenImage, selection: Selection, unit: Precision) -> None:
    """Refuse what takes too much memory."""
    limit = config.max_result()
    result, decoded = _memory(opened, selection, unit)
    if result > limit or decoded > 2 * limit:
        raise too_large(max(result, decoded), limit)


def too_large(needed: int, limit: int) -> ImageTooLarge:
    """Return the error for what takes more bytes of memory than the limit."""
    problem = f"reading it would take {needed:.3g} bytes, more than jp2batch.max-result ({limit:.3g})"
    return ImageTooLarge("", problem, "give a window or a higher rlevel")
