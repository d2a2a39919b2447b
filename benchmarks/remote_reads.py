"""One image over a link of 30 ms and 60 MB/s a connection: overviews, windows, a pixel; by jp2batch and its peers.

Each figure is of a fresh process with an empty cache folder. "Known" means that the process has read the image at
another resolution before.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.readers import Pixels, TileIndex, Window
from benchmarks.scenes import Scene
from benchmarks.server import Link, Server, serving
from benchmarks.setting import Setting
from benchmarks.table import Table, megabytes, seconds, times
from benchmarks.timed import Read, Taken, digest, in_turns
from jp2batch import openjpeg

LOWEST = 4
"""The rlevel of overviews, which drops all decomposition levels."""
LINK = Link(latency=0.03, bandwidth=60e6)
JP2BATCH, GDAL, WHOLE, TILES = "jp2batch", "GDAL", "whole file", "whole tiles"
LABELS = {
    JP2BATCH: "jp2batch",
    GDAL: "GDAL /vsicurl",
    WHOLE: "whole file, then glymur",
    TILES: "whole tiles at known places",
}


@dataclass(frozen=True, slots=True)
class Way:
    """One way to a result."""

    reader: str
    tlm: bool = False
    known: bool = False

    @property
    def label(self) -> str:
        """Its name in a table."""
        known = ", known" if self.known else ""
        return f"{LABELS[self.reader]}{', TLM' if self.tlm else ''}{known}"


@dataclass(frozen=True, slots=True)
class Case:
    """What is read, and the ways to compare; the last is jp2batch's."""

    title: str
    rlevel: int
    window: Window | None
    ways: Sequence[Way]


def overviews(setting: Setting) -> Table:
    """Measure the lowest resolution of the whole image."""
    side = -(-setting.scene.size >> LOWEST)
    cases = [
        Case(f"overview {side}², no TLM", LOWEST, None, [Way(GDAL), Way(WHOLE), Way(JP2BATCH)]),
        Case(f"overview {side}², TLM", LOWEST, None, [Way(GDAL, tlm=True), Way(JP2BATCH, tlm=True)]),
        Case(f"overview {side}², known", LOWEST, None, [Way(GDAL, tlm=True), Way(JP2BATCH, known=True)]),
    ]
    return compared(setting, cases)


def windows(setting: Setting) -> Table:
    """Measure parts of the image in full resolution."""
    window = usual_window(setting.scene.size)
    (row, stop), (column, _) = window
    side, pixel = stop - row, ((row, row + 1), (column, column + 1))
    known_ways = [Way(GDAL, tlm=True), Way(GDAL, tlm=True, known=True), Way(JP2BATCH, known=True)]
    cases = [
        Case(f"window {side}², no TLM", 0, window, [Way(GDAL), Way(JP2BATCH)]),
        Case(f"window {side}², TLM", 0, window, [Way(GDAL, tlm=True), Way(JP2BATCH, tlm=True)]),
        Case(f"window {side}², known", 0, window, [*known_ways[:2], Way(TILES), known_ways[2]]),
        Case("one pixel, known", 0, pixel, known_ways),
    ]
    return compared(setting, cases)


def compared(setting: Setting, cases: Sequence[Case]) -> Table:
    """Measure all ways of all cases, each once before any is measured again."""
    scene = setting.scene
    with serving(setting.folder, LINK) as server:
        reads = {(case.title, way): read_of(case, way, scene, server) for case in cases for way in case.ways}
        unique = list({repr(read): read for read in reads.values()}.values())
        found = dict(zip(map(repr, unique), in_turns(unique, setting.rounds, str(setting.warm_up)), strict=True))
    rows: list[Sequence[str]] = []
    for case in cases:
        taken = [found[repr(reads[case.title, way])] for way in case.ways]
        rows += rows_of(case.title, [way.label for way in case.ways], taken)
    return Table(HEAD, rows, [f"Over {LINK}."])


HEAD = ("read", "with", "time", "requests", "MB", "of jp2batch's time")


def rows_of(title: str, labels: Sequence[str], taken: Sequence[Taken]) -> Iterator[Sequence[str]]:
    """Return the rows of a read; the last is jp2batch's."""
    ours = taken[-1].seconds
    for label, one in zip(labels, taken, strict=True):
        figures = seconds(one.seconds), str(one.counts.requests), megabytes(one.counts.bytes)
        yield (title, label, *figures, times(one.seconds / ours) if one is not taken[-1] else "–")
        title = ""


def read_of(case: Case, way: Way, scene: Scene, server: Server, options: Mapping[str, Any] | None = None) -> Read:
    """Return the read that a way is."""
    file = scene.tlm if way.tlm else scene.plain
    before = what_is_known(way.reader, case.rlevel, scene.size) if way.known else None
    if way.reader == TILES:
        options = {"index": TileIndex.of(file)}
    return Read(
        way.reader,
        server.url(file),
        case.rlevel,
        case.window,
        digest(expected(scene, case.rlevel, case.window)),
        options or {},
        before,
        server.address,
    )


def usual_window(size: int) -> Window:
    """Return a window of 500 x 500 pixels of a full image, on two tiles, far from the file's beginning."""
    row, column, side = (round(size * share) for share in (0.865, 0.546, 500 / 10980))
    return (row, row + side), (column, column + side)


def what_is_known(reader: str, rlevel: int, size: int) -> tuple[int, Window | None]:
    """Return what is read before: another resolution; with GDAL, which would then hold the file, another window."""
    if reader == GDAL:
        return 0, ((size // 4, size // 4 + 100), (size // 4, size // 4 + 100))
    return LOWEST - 1 if rlevel == LOWEST else LOWEST, None


def expected(scene: Scene, rlevel: int, window: Window | None) -> Pixels:
    """Return the pixels that a read must give: as painted, or as OpenJPEG decodes the whole file."""
    whole = scene.pixels if rlevel == 0 else decoded(scene.plain, scene.size, rlevel)
    if window is None:
        return whole
    rows, columns = (slice(*(-(-bound >> rlevel) for bound in bounds)) for bounds in window)
    return whole[rows, columns]


def decoded(path: Path, size: int, rlevel: int) -> Pixels:
    """Return OpenJPEG's decode of a whole file."""
    side = -(-size >> rlevel)
    pixels = np.empty((1, side, side), np.uint16)
    openjpeg.decode(path.read_bytes(), pixels, reduce=rlevel)
    (band,) = pixels
    return np.asarray(band)
