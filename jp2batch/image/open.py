"""Open an image, from the store or its index."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from jp2batch.core import config
from jp2batch.core.errors import CorruptImage, Jp2BatchError, ObjectChanged, RangesIgnored, StorageError
from jp2batch.core.ranges import ByteRange
from jp2batch.core.window import Window
from jp2batch.image import index
from jp2batch.image.claims import divide_claims, main_claims, updated
from jp2batch.image.decode import samples_of_file, too_large
from jp2batch.image.decoder import Decoder, default_decoder
from jp2batch.image.decoder_memory import decoder_memory
from jp2batch.image.early_decode import EarlyDecode
from jp2batch.image.fetch import fetch, fetcher, run_steps
from jp2batch.image.georeference import Georeference
from jp2batch.image.index import siblings
from jp2batch.jpeg2000.assemble import whole_file
from jp2batch.jpeg2000.geometry.grid import Selection, select, tile_count
from jp2batch.jpeg2000.locate.image_index import ImageIndex, build_index
from jp2batch.jpeg2000.locate.tile_parts import StaleIndex, TilePartExtent, TilePartHandler, ignore_part
from jp2batch.jpeg2000.plan.estimates import MANY_TILES, expected_bytes
from jp2batch.jpeg2000.plan.planner import ReadQuery, check_whole, plan_read, rank_strategies, read_image, why_whole
from jp2batch.jpeg2000.plan.resolved_read import Image, Precision, ResolvedRead
from jp2batch.jpeg2000.syntax.channels import Channel, channels
from jp2batch.jpeg2000.syntax.headers import check_supported
from jp2batch.jpeg2000.syntax.sparse_file import Ahead, SparseFile, Steps, Wanted
from jp2batch.jpeg2000.syntax.sparse_file import fetch as fetch_ranges
from jp2batch.storage.source import Source, Version

T = TypeVar("T")

_READ_WHOLE = "a file read whole is not compared with an index"


@dataclass(frozen=True, slots=True)
class OpenImage:
    """A source with its headers, read or taken from an index."""

    source: Source
    pieces: SparseFile
    image: Image
    shared_index: ImageIndex | None = None
    """Index of this version of the image, if cached."""
    from_index: bool = False
    """True if headers come from the index, whose version needs confirmation."""
    at_once: bool = False
    """True if the first read returned the whole file.

    The file is small, or the server sends only whole files.
    """
    claims: list[ByteRange] = field(default_factory=list)
    """Headers from a shared table, to compare with the file."""
    bands: list[Channel] = field(default_factory=list)
    """Bands of the image, once determined."""
    georeferences: list[Georeference | None] = field(default_factory=list)
    """Georeference of the image, once determined."""
    decoder: Decoder = field(default_factory=default_decoder)
    """Decoder of the image."""

    @classmethod
    def start(cls, source: Source, image_index: ImageIndex | None = None) -> "OpenImage":
        """Read the beginning of a file.

        A single range shows whether the server serves ranges. Extents of `image_index` are checked before use.
        """
        first = config.first_read()
        ((position, data),) = source.read_many([ByteRange(0, first)])
        pieces = SparseFile(source.size or 0)
        pieces.fill(position, data)
        image = run_steps(read_image(pieces, Ahead(first)), fetcher(source, pieces))
        told = None
        if image_index is not None and image_index.size == pieces.size:
            told = replace(image_index, etag=source.etag, header_bytes=())  # they are read from the file
        return cls(source, pieces, image, told, at_once=len(data) == pieces.size)

    @classmethod
    def recall(cls, source: Source, image_index: ImageIndex) -> "OpenImage":
        """Take the beginning of a file from its index.

        Nothing is read, unless the index lacks a part of it.
        """
        source.expect(Version(image_index.size, image_index.etag))
        pieces = image_index.pieces()
        image = run_steps(read_image(pieces, Ahead(config.first_read())), fetcher(source, pieces))
        siblings.remember(source, image.header, image_index)
        claims = main_claims(image_index, image) if image_index.unverified else []
        return cls(source, pieces, image, image_index, from_index=True, claims=claims)

    @property
    def places(self) -> tuple[TilePartExtent, ...]:
        """Extents of tile-parts, from the index."""
        return () if self.shared_index is None else self.shared_index.tile_parts

    def learned_index(self, reading: ResolvedRead | None = None) -> ImageIndex | None:
        """Return an updated index, merging the results of a read, if any.

        It is valid once the version is confirmed, or if everything was read from the store.
        """
        parts = [part for tile in reading.tiles.values() for part in tile.parts] if reading else []
        headers = reading.packet_headers if reading else ()
        try:
            now = build_index(self.pieces, self.image, parts, self.source.etag, headers)
        except ValueError as problem:  # the header came from the index
            raise StaleIndex(str(problem)) from None
        shared = self.shared_index
        return now if now is None or shared is None else updated(shared, now, self.image, reading)

    def fetch(self, ranges: Sequence[Wanted]) -> None:
        """Fetch ranges concurrently, in the cheapest requests; fetch and compare claims.

        Raises
        ------
        StaleIndex
            The shared table contradicts the file.
        """
        fetch(self.source, self.pieces, [*(entry.range for entry in ranges), *self.claims], located=self.claims)
        self.claims.clear()

    def question(self, reading: ResolvedRead) -> None:
        """Schedule a check of headers from a shared table; drop other bytes.

        Raises
        ------
        StaleIndex
            The read depends on headers that would not be checked.
        """
        if self.from_index and self.shared_index and self.shared_index.unverified:
            if reading.unit == "file":
                raise StaleIndex(_READ_WHOLE)
            claims, others = divide_claims(self.shared_index, self.image, reading)
            if others and reading.located_by == "walk":
                raise StaleIndex("the walk may have passed headers of the index")
            self.claims.extend(claims)
            self.pieces.drop(others)

    def confirm(self) -> None:
        """Check claims and the object version now, not with later reads."""
        if self.claims:
            self.fetch([])
        if self.from_index:
            self.source.verify()

    def selected(self, rlevel: int, window: Window | None = None) -> Selection:
        """Return the selection of an rlevel and window, checked for size."""
        return self.checked(select(self.image.header, rlevel, window))

    def checked(self, selection: Selection) -> Selection:
        """Return a selection, after refusing unsupported or too large images."""
        self.check()
        check_size(self, selection, "packets")
        return selection

    def check(self) -> None:
        """Refuse an image whose bands do not fit into an array."""
        check_supported(self.image.header)
        self.decoder.check(self.image.header)

    def steps(
        self,
        selection: Selection,
        at_best: Precision = "packets",
        *,
        headers_only: bool = False,
        announce: TilePartHandler = ignore_part,
    ) -> Steps[ResolvedRead]:
        """Return the planner's steps for a selection."""
        return plan_read(self.query(selection, announce), at_best, headers_only=headers_only)

    def query(self, selection: Selection, announce: TilePartHandler = ignore_part) -> ReadQuery:
        """Return the planner's question for a selection."""
        limit = config.max_whole_file()
        header, sibling = self.image.header, None
        if not (self.places or header.tile_parts):
            sibling = siblings.sibling_lengths(self.source, header)
        fits = True
        if tile_count(header.siz) >= MANY_TILES:
            fits = decoder_memory(self.decoder, header, selection, "file") <= 2 * config.max_result()
        return ReadQuery(
            self.pieces,
            self.image,
            selection,
            self.source.profile,
            limit,
            self.places,
            sibling=sibling,
            whole_fits=fits,
            announce=announce,
        )

    def reading(self, selection: Selection, at_best: Precision, early: EarlyDecode | None = None) -> ResolvedRead:
        """Resolve a selection into byte ranges.

        An earlier result is reused as long as the index is the same.

        Parameters
        ----------
        early : EarlyDecode, optional
            Decodes tiles meanwhile.
        """
        if selection.runs is not None:
            selection = replace(selection, runs=None)  # the bytes depend on its rectangles alone
        told = self.shared_index if self.from_index and at_best == "packets" else None
        if told is not None and told.unverified and why_whole(self.query(selection)):
            raise StaleIndex(_READ_WHOLE)
        if told is not None and (before := index.recall_reading(self.source, told, selection)) is not None:
            return before
        announce, fetch = (ignore_part, self.fetch) if early is None else (early.announce, early.before(self.fetch))
        reading = run_steps(self.steps(selection, at_best, announce=announce), fetch)
        if told is not None and reading.located_by == "index":
            index.keep_reading(self.source, told, reading)
        return reading

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Bands of the image."""
        if not self.bands:
            image = self.image
            found = self._decoded_channels() if image.misplaced else channels(image.container, image.header)
            self.bands.extend(found)
        return tuple(self.bands)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Common type for the samples of all bands."""
        return np.result_type(*(channel.dtype for channel in self.channels))

    def _decoded_channels(self) -> tuple[Channel, ...]:
        """Return the bands according to the decoder.

        The whole file is decoded at the lowest resolution level.
        """
        check_whole(self.pieces.size, self.image.misplaced, config.max_whole_file())
        run_steps(fetch_ranges(self.pieces, [ByteRange(0, self.pieces.size)]), self.fetch)
        data = whole_file(self.pieces, self.image, 0).data
        try:
            found = samples_of_file(self.decoder, data, self.image.header)
        except CorruptImage as error:
            raise CorruptImage("", f"{error.problem}; {self.image.misplaced}", "fetch the file again") from None
        return tuple(Channel(one.bits, one.signed, in_palette=one.signed) for one in found)


def with_image(source: Source, act: Callable[[OpenImage], T], *, image_index: ImageIndex | None = None) -> T:
    """Open an image and call `act`.

    The cached index is used. If it turns out to be stale, it is dropped and `act` is called again.

    Parameters
    ----------
    source : Source
        The image; nothing has been read of it.
    act : callable
        Receives the open image. It may be called twice.
    image_index : ImageIndex, optional
        Index of the caller: the image must still have this version.
    """
    with contextlib.closing(source):
        return _with_opened(source, act, image_index)


def _with_opened(source: Source, act: Callable[[OpenImage], T], image_index: ImageIndex | None) -> T:
    pinned = image_index if image_index is not None and image_index.etag is not None else None
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
                if isinstance(error, ObjectChanged):
                    index.forget(source)  # so that opening it again does not find the old version
                changed = isinstance(error, ObjectChanged) and pinned is None
                if held.etag is None or (isinstance(error, StorageError) and not changed):
                    raise
            index.forget(source)
            source.expect(None)
        opened = OpenImage.start(source)
        if pinned is not None and Version(pinned.size, pinned.etag).differs(Version(source.size, source.etag)):
            hint = "open it again; for mirrors, set jp2batch.mirrors"
            raise ObjectChanged(source.path, "it was replaced since it was opened", hint)
        return act(opened)


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Add the path to errors of the format layer."""
    try:
        yield
    except Jp2BatchError as error:
        if error.path:
            raise
        raise error.at(path) from error.__cause__


def memory_needed(opened: OpenImage, selection: Selection) -> int:
    """Estimate the memory of a read in bytes.

    It is the sum of the fetched bytes, the decoder's memory for a tile or the file, and the result.
    """
    query = opened.query(selection)
    fetched = expected_bytes(opened.image.header, opened.image.container.codestream, selection)
    if rank_strategies(query)[0] == "whole":
        fetched = opened.pieces.size
    return fetched + sum(_memory(opened, selection, "file" if why_whole(query) else "packets"))


def _memory(opened: OpenImage, selection: Selection, unit: Precision) -> tuple[int, int]:
    """Return the memory of the result and of the decoder, in bytes."""
    result = selection.samples * len(opened.channels) * opened.dtype.itemsize
    return result, decoder_memory(opened.decoder, opened.image.header, selection, unit)


def check_size(opened: OpenImage, selection: Selection, unit: Precision) -> None:
    """Refuse a read above the memory limit."""
    limit = config.max_result()
    result, decoded = _memory(opened, selection, unit)
    if result > limit or decoded > 2 * limit:
        raise too_large(max(result, decoded), limit)
