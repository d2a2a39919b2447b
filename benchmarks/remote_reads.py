"""Read overviews, windows and a pixel over a slow link, with jp2batch and its peers.

Each figure is of a new process with an empty cache folder. "Known" means that the process has read the image at another
resolution before.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.readers import Pixels, TileIndex
from benchmarks.scenes import Scene
from benchmarks.server import Link, Server, serving
from benchmarks.setting import Setting
from benchmarks.table import DEMANDED, Demand, Table, cells_of, megabytes, seconds, times
from benchmarks.timed import Read, Taken, digest, in_turns
from jp2batch.core.window import Window
from jp2batch.image import openjpeg

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
    """A reader with its settings."""

    reader: str
    tlm: bool = False
    known: bool = False

    @property
    def label(self) -> str:
        """Its name in a table."""
        known = ", known" if self.known else ""
        return f"{LABELS[self.reader]}{', TLM' if self.tlm else ''}{known}"


_GDAL, _GDAL_TLM = Way(GDAL), Way(GDAL, tlm=True)


@dataclass(frozen=True, slots=True)
class Case:
    """A read, and the readers to compare; the last is jp2batch."""

    title: str
    rlevel: int
    window: Window | None
    ways: Sequence[Way]
    faster: Mapping[Way, tuple[float, float | None]] = field(default_factory=dict)
    """Ratio of the others' time to ours: minimum, and aim."""
    megabytes: tuple[float, float | None] | None = None
    """Megabytes jp2batch fetches: maximum, and aim."""


def overviews(setting: Setting) -> Table:
    """Measure the lowest resolution of the whole image."""
    side = -(-setting.scene.size >> LOWEST)
    cases = [
        Case(
            f"overview {side}², no TLM",
            LOWEST,
            None,
            [_GDAL, Way(WHOLE), Way(JP2BATCH)],
            {_GDAL: (9, 14), Way(WHOLE): (3.5, None)},
            (12, 8),
        ),
        Case(
            f"overview {side}², TLM",
            LOWEST,
            None,
            [_GDAL_TLM, Way(JP2BATCH, tlm=True)],
            {_GDAL_TLM: (12, 18)},
            (1.4, None),
        ),
        Case(
            f"overview {side}², known",
            LOWEST,
            None,
            [_GDAL_TLM, Way(JP2BATCH, known=True)],
            {_GDAL_TLM: (15, 22)},
            (1.4, None),
        ),
    ]
    return compared(setting, cases)


def windows(setting: Setting) -> Table:
    """Measure parts of the image in full resolution."""
    window = usual_window(setting.scene.size)
    row, column, side = window.rows.start, window.columns.start, window.rows.size
    pixel = Window((row, row + 1), (column, column + 1))
    peers, known = [_GDAL_TLM, Way(GDAL, tlm=True, known=True)], Way(JP2BATCH, known=True)
    cases = [
        Case(f"window {side}², no TLM", 0, window, [_GDAL, Way(JP2BATCH)], {_GDAL: (7, 11)}, (8, 3)),
        Case(
            f"window {side}², TLM",
            0,
            window,
            [_GDAL_TLM, Way(JP2BATCH, tlm=True)],
            {_GDAL_TLM: (1.2, 1.6)},
            (0.8, None),
        ),
        Case(f"window {side}², known", 0, window, [*peers, Way(TILES), known], {_GDAL_TLM: (1.6, 2)}, (0.8, None)),
        Case("one pixel, known", 0, pixel, [*peers, known], {_GDAL_TLM: (2.2, 3.5)}, (0.2, None)),
    ]
    return compared(setting, cases)


def full(setting: Setting) -> Table:
    """Measure time and memory of the whole image in full resolution."""
    case = Case(f"full {setting.scene.size}², no TLM", 0, None, [_GDAL, Way(WHOLE), Way(JP2BATCH)])
    return compared(setting, [case], rounds=setting.few_rounds, memory=True)


def compared(setting: Setting, cases: Sequence[Case], *, rounds: int | None = None, memory: bool = False) -> Table:
    """Measure all readers of all cases in rounds; `memory` adds their memory."""
    scene = setting.scene
    with serving(setting.folder, LINK) as server:
        reads = {(case.title, way): read_of(case, way, scene, server) for case in cases for way in case.ways}
        unique = list({repr(read): read for read in reads.values()}.values())
        found = dict(
            zip(map(repr, unique), in_turns(unique, rounds or setting.rounds, str(setting.warm_up)), strict=True)
        )
    rows: list[Sequence[str]] = []
    demands: list[Demand] = []
    for case in cases:
        title, taken = case.title, [found[repr(reads[case.title, way])] for way in case.ways]
        for way, one, demand in zip(case.ways, taken, demands_of(case, taken), strict=True):
            figures = seconds(one.seconds), str(one.counts.requests), megabytes(one.counts.bytes)
            ratio = "–" if one is taken[-1] else times(one.seconds / taken[-1].seconds)
            rows.append(
                (title, way.label, *figures, ratio, f"{one.memory / 1e6:.0f}" if memory else "", *cells_of(demand))
            )
            demands += [] if demand is None else [demand]
            title = ""
    head = ("read", "with", "time", "requests", "MB", "of jp2batch's time", "peak memory beyond imports, MB", *DEMANDED)
    return Table(head, rows, [f"Over {LINK}."], demands).without_empty_columns()


def demands_of(case: Case, taken: Sequence[Taken]) -> Iterator[Demand | None]:
    """Return the limits of a case: the others' time relative to ours, and our bytes."""
    for way, one in zip(case.ways, taken, strict=True):
        what = f"{case.title}, {way.label}"
        if way in case.faster:
            least, aim = case.faster[way]
            yield Demand(f"{what} beside jp2batch", one.seconds / taken[-1].seconds, "≥", least, aim=aim)
        elif one is taken[-1] and case.megabytes is not None:
            most, aim = case.megabytes
            yield Demand(what, one.counts.bytes / 1e6, "≤", most, "MB", aim)
        else:
            yield None


def read_of(case: Case, way: Way, scene: Scene, server: Server, options: Mapping[str, Any] | None = None) -> Read:
    """Return the read of a reader."""
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
    return Window((row, row + side), (column, column + side))


def what_is_known(reader: str, rlevel: int, size: int) -> tuple[int, Window | None]:
    """Return the read before: another resolution, or for GDAL another window.

    GDAL would otherwise have the file in memory.
    """
    if reader == GDAL:
        part = size // 4, size // 4 + 100
        return 0, Window(part, part)
    return LOWEST - 1 if rlevel == LOWEST else LOWEST, None


def expected(scene: Scene, rlevel: int, window: Window | None) -> Pixels:
    """Return the expected pixels: as painted, or OpenJPEG's decode of the whole file."""
    whole = scene.pixels if rlevel == 0 else decoded(scene.plain, scene.size, rlevel)
    if window is None:
        return whole
    rows, columns = window.at_level(rlevel)
    return whole[slice(*rows), slice(*columns)]


def decoded(path: Path, size: int, rlevel: int) -> Pixels:
    """Return OpenJPEG's decode of a whole file."""
    side = -(-size >> rlevel)
    pixels = np.empty((1, side, side), np.uint16)
    openjpeg.decode(path.read_bytes(), pixels, reduce=rlevel)
    (band,) = pixels
    return np.asarray(band)
