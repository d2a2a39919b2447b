"""Build a shared index table from the headers of many images."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from jp2batch.compute.checked_cluster import CheckedCluster, checked
from jp2batch.compute.connection import ClientLike
from jp2batch.compute.parallel import map_concurrently
from jp2batch.core.errors import Jp2BatchError, UnsupportedImage
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import Request
from jp2batch.core.traffic import Traffic
from jp2batch.image import index
from jp2batch.image.fetch import run_steps
from jp2batch.image.index.parquet_table import check_pyarrow
from jp2batch.image.index.table_layouts import KAYRROS
from jp2batch.image.index.table_writer import TableWriter, table_writer
from jp2batch.image.open import OpenImage, with_image
from jp2batch.jpeg2000.geometry.grid import select
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.jpeg2000.plan.tile_packets import all_packet_headers
from jp2batch.storage.source import open_source

_TOGETHER = 128  # images per concurrent group


@dataclass(frozen=True, slots=True)
class IndexedImage:
    """Outcome of indexing an image."""

    path: str
    """Path or URL of the image, without credentials."""
    key: str
    """Key of the image in the table."""
    index: ImageIndex | None
    """Index from its headers; None if it failed."""
    error: Jp2BatchError | None
    """Error, if it failed."""
    requests: int
    """Number of store requests made for it."""
    bytes_read: int
    """Bytes fetched for it."""


@dataclass(slots=True)
class IndexSummary:
    """Counts and sums of an index build."""

    images: int
    """Number of images to index."""
    learned: int = 0
    """Number of images in the table."""
    errors: list[Jp2BatchError] = field(default_factory=list)
    """Errors of the other images."""
    traffic: Traffic = field(default_factory=Traffic)
    """Store requests and bytes."""
    seconds: float = 0.0
    """Wall time in seconds."""

    def add(self, lesson: IndexedImage) -> None:
        """Add the outcome of an image."""
        self.traffic.add(lesson.requests, lesson.bytes_read, 0 if lesson.index is None else lesson.index.size)
        self.learned += lesson.index is not None
        if lesson.error is not None:
            self.errors.append(lesson.error)

    def summary(self) -> dict[str, object]:
        """Return counts and sums as a JSON-compatible dict."""
        return {
            "images": self.images,
            "learned": self.learned,
            "failed": len(self.errors),
            **asdict(self.traffic),
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        took = f"fetched {self.traffic} in {self.traffic.requests} requests and {self.seconds:.1f} s"
        return f"learned {self.learned} of {self.images} images; {took}"


def build_index(
    requests: Sequence[Request],
    output: str,
    *,
    layout: Literal["kayrros"] | None = None,
    client: ClientLike | CheckedCluster | None = None,
    storage_options: StorageOptions = None,
    output_options: StorageOptions = None,
    on_lesson: Callable[[IndexedImage], object] = lambda _: None,
) -> IndexSummary:
    """Index the tile-parts and packets of images; write Parquet tables.

    A folder has a table for each tile on the ground, with positions of tile-parts and main headers. Its tables keep the
    rows of other images. A single file also has packet lengths, and replaces an existing file.

    Parameters
    ----------
    requests : sequence of Request
        Requests for the images; levels and windows are ignored.
    output : str
        Path or URL of a file; or of a folder, with a slash at its end; or of files for each tile, such as
        `s3://bucket/{level}-{tile}.parquet`.
    layout : {"kayrros"}, optional
        Write Kayrros' tables instead.
    client : optional
        Cluster to run on, as for `jp2batch.run`, or checked; by default threads of this process.
    storage_options, output_options : mapping, optional
        fsspec's options for the store of the images, and for the store of the table.
    on_lesson : callable, optional
        Called with the outcome of each image.

    Raises
    ------
    ConfigurationError
        pyarrow is missing.
    StorageError
        A table cannot be written, or has another layout. An image that cannot be read is counted as failed and left out
        of the table.
    """
    check_pyarrow()
    start = time.perf_counter()
    urls = list(dict.fromkeys(request.url for request in requests))
    summary = IndexSummary(len(urls))
    writer = table_writer(output, output_options, KAYRROS if layout == "kayrros" else None)
    with contextlib.nullcontext() if client is None else checked(client) as cluster:
        for first in range(0, len(urls), _TOGETHER):
            some = urls[first : first + _TOGETHER]
            for lesson in map_concurrently(learn_image, some, client=cluster, storage_options=storage_options):
                added = _added(writer, lesson)
                summary.add(added)
                on_lesson(added)
    writer.finish()
    summary.seconds = time.perf_counter() - start
    return summary


def _added(writer: TableWriter, lesson: IndexedImage) -> IndexedImage:
    """Add an image to its table; return its outcome."""
    if lesson.index is None:
        return lesson
    try:
        writer.add(lesson.key, lesson.index)
    except ValueError as problem:
        fault = UnsupportedImage(lesson.path, f"does not fit into the table: {problem}", "it is read without an index")
        return replace(lesson, index=None, error=fault)
    return lesson


def learn_image(url: str, *, storage_options: StorageOptions = None) -> IndexedImage:
    """Read all headers of an image, without packets; keep its index."""
    known: ImageIndex | None = None
    error: Jp2BatchError | None = None
    try:
        source = open_source(url, storage_options=storage_options)
    except Jp2BatchError as fault:
        return IndexedImage(fault.path, "", None, fault, 0, 0)
    try:
        known = with_image(source, _all_headers)
    except Jp2BatchError as fault:
        error = fault
    else:
        index.keep(source, known)
    return IndexedImage(source.path, source.key, known, error, source.meter.requests, source.meter.bytes_read)


def _all_headers(opened: OpenImage) -> ImageIndex:
    opened.check()
    selection = select(opened.image.header, 0)  # at a low level, small tiles have no samples
    reading = run_steps(opened.steps(selection, headers_only=True), opened.fetch)
    steps = all_packet_headers(opened.pieces, opened.image.header, reading.tiles, opened.source.profile)
    reading = replace(reading, tiles=run_steps(steps, opened.fetch))
    opened.question(reading)
    opened.confirm()
    known = opened.learned_index(reading)
    if known is None:
        raise UnsupportedImage("", "its headers are too large for an index", "it is read without an index")
    return known
