"""Read overviews, windows and a pixel over a slow link, with jp2batch and its peers.

Each figure is of a new process with an empty cache folder. "Known" means that the process has read the image at another
resolution before; "sibling known", that it has read the overview of another band of the same time and tile.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.readers import Pixels, TileIndex
from benchmarks.scenes import Kind, Scene
from benchmarks.server import Link, Server, serving
from benchmarks.setting import Setting
from benchmarks.table import DEMANDED, Demand, Table, cells_of, megabytes, seconds, times
from benchmarks.timed import Read, Taken, digest, in_turns, median_of_places
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
    sibling: bool = False

    @property
    def label(self) -> str:
        """Its name in a table."""
        known = ", known" if self.known else ", sibling known" if self.sibling else ""
        return f"{LABELS[self.reader]}{', TLM' if self.tlm else ''}{known}"


_GDAL, _GDAL_TLM, _SIBLING = Way(GDAL), Way(GDAL, tlm=True), Way(JP2BATCH, sibling=True)


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
    kind: Kind = "even"
    """The scene."""
    places: Sequence[Window] = ()
    """Windows to read in place of `window`; figures are their medians."""
    computing: float | None = None
    """Maximum of jp2batch's processor time, in multiples of its decoder's."""

    @property
    def label(self) -> str:
        """Its title, with the scene."""
        return f"{self.kind}: {self.title}"

    @property
    def windows(self) -> Sequence[Window | None]:
        """Windows to read."""
        return self.places or (self.window,)


def overviews(setting: Setting) -> Table:
    """Measure the lowest resolution of the whole image."""
    title = f"overview {-(-setting.scene.size >> LOWEST)}²"
    ours, tlm, known, sibling = Way(JP2BATCH), Way(JP2BATCH, tlm=True), Way(JP2BATCH, known=True), _SIBLING
    plain, with_tlm = f"{title}, no TLM", f"{title}, TLM"
    cases = [
        Case(plain, LOWEST, None, [_GDAL, Way(WHOLE), ours], {_GDAL: (10, None)}, (6, None), "uneven"),
        Case(f"{plain}, sibling known", LOWEST, None, [_GDAL, sibling], {_GDAL: (14, None)}, (3.5, None), "uneven"),
        Case(with_tlm, LOWEST, None, [_GDAL_TLM, tlm], {}, (1.4, None), "uneven", computing=1.4),
        Case(f"{title}, known", LOWEST, None, [_GDAL_TLM, known], {}, (1.4, None), "uneven"),
        Case(plain, LOWEST, None, [_GDAL, Way(WHOLE), ours], {_GDAL: (9, 14), Way(WHOLE): (3.5, None)}, (12, 8)),
        Case(with_tlm, LOWEST, None, [_GDAL_TLM, tlm], {_GDAL_TLM: (12, 18)}, (1.4, None)),
        Case(f"{title}, known", LOWEST, None, [_GDAL_TLM, known], {_GDAL_TLM: (15, 22)}, (1.4, None)),
        Case(plain, LOWEST, None, [_GDAL, ours], kind="TCI"),
        Case(with_tlm, LOWEST, None, [_GDAL_TLM, tlm], kind="TCI"),
    ]
    return compared(setting, cases)


def windows(setting: Setting) -> Table:
    """Measure parts of the image in full resolution."""
    size = setting.scene.size
    ours, tlm, known = Way(JP2BATCH), Way(JP2BATCH, tlm=True), Way(JP2BATCH, known=True)
    peers = [_GDAL_TLM, Way(GDAL, tlm=True, known=True)]
    window, even = usual_window(size, "uneven"), usual_window(size)
    pixel, even_pixel = pixel_of(window), pixel_of(even)
    side = window.rows.size
    title = f"window {side}²"
    plain = f"{title}, no TLM"
    fast, faster, cold = {_GDAL: (6, None)}, {_GDAL: (8, None)}, {_GDAL_TLM: (2.5, None)}
    cases = [
        Case(plain, 0, window, [_GDAL, ours], fast, (2, None), "uneven"),
        Case(f"{plain}, sibling known", 0, window, [_GDAL, _SIBLING], faster, (2, None), "uneven"),
        Case(f"{title}, TLM", 0, window, [_GDAL_TLM, tlm], cold, (0.8, None), "uneven"),
        Case(f"{title}, known", 0, window, [*peers, Way(TILES), known], {}, (0.8, None), "uneven"),
        Case("one pixel, no TLM", 0, pixel, [_GDAL, ours], fast, None, "uneven"),
        Case("one pixel, known", 0, pixel, [*peers, known], {}, (0.2, None), "uneven"),
        Case(plain, 0, even, [_GDAL, ours], {_GDAL: (7, 11)}, (8, 3)),
        Case(f"{title}, TLM", 0, even, [_GDAL_TLM, tlm], {_GDAL_TLM: (1.2, 1.6)}, (0.8, None)),
        Case(f"{title}, known", 0, even, [*peers, Way(TILES), known], {_GDAL_TLM: (1.6, 2)}, (0.8, None)),
        Case("one pixel, known", 0, even_pixel, [*peers, known], {_GDAL_TLM: (2.2, 3.5)}, (0.2, None)),
        Case(plain, 0, window, [_GDAL, ours], kind="TCI"),
        Case(f"{title}, TLM", 0, window, [_GDAL_TLM, tlm], kind="TCI"),
    ]
    return compared(setting, cases)


def places(setting: Setting) -> Table:
    """Measure windows and pixels at nine places of the uneven scene."""
    places = setting.scene_of("uneven").windows[: 2 if setting.quick else None]
    title = f"{len(places)} windows {places[0].rows.size}²"
    ours, tlm, known = Way(JP2BATCH), Way(JP2BATCH, tlm=True), Way(JP2BATCH, known=True)
    cases = [
        Case(f"{title}, no TLM", 0, None, [_GDAL, ours], {_GDAL: (6, None)}, (2, None)),
        Case(f"{title}, no TLM, sibling known", 0, None, [_GDAL, _SIBLING], {_GDAL: (8, None)}, (2, None)),
        Case(f"{title}, TLM", 0, None, [_GDAL_TLM, tlm], {_GDAL_TLM: (2.5, None)}, (0.8, None)),
        Case(f"{title}, known", 0, None, [_GDAL_TLM, known], {}, (0.8, None)),
    ]
    cases = [replace(case, kind="uneven", places=places) for case in cases]
    pixels = [pixel_of(window) for window in places]
    dots = Case(f"{len(pixels)} pixels, no TLM", 0, None, [_GDAL, ours], {_GDAL: (6, None)}, None, "uneven", pixels)
    return compared(setting, [*cases, dots], rounds=1)


def full(setting: Setting) -> Table:
    """Measure time and memory of the whole image in full resolution."""
    title, ours = f"full {setting.scene.size}², no TLM", Way(JP2BATCH)
    cases = [Case(title, 0, None, [_GDAL, Way(WHOLE), ours], kind=kind) for kind in ("uneven", "even")]
    cases += [Case(title, 0, None, [_GDAL, ours], kind="TCI")]
    return compared(setting, cases, rounds=setting.few_rounds, memory=True)


def compared(setting: Setting, cases: Sequence[Case], *, rounds: int | None = None, memory: bool = False) -> Table:
    """Measure all readers of all cases in rounds; `memory` adds their memory."""
    scenes = {kind: setting.scene_of(kind) for kind in dict.fromkeys(case.kind for case in cases)}
    if any(way.sibling for case in cases for way in case.ways):
        _ = scenes["uneven"].sibling  # made before the clock starts
    with serving(setting.folder, LINK) as server:
        reads: dict[tuple[str, Way], list[Read]] = {}
        for case in cases:
            for way, window in itertools.product(case.ways, case.windows):
                read = read_of(replace(case, window=window), way, scenes[case.kind], server)
                reads.setdefault((case.label, way), []).append(read)
        unique = list({repr(read): read for several in reads.values() for read in several}.values())
        found = dict(
            zip(map(repr, unique), in_turns(unique, rounds or setting.rounds, str(setting.warm_up)), strict=True)
        )
    rows: list[Sequence[str]] = []
    demands: list[Demand] = []
    for case in cases:
        title = case.label
        taken = [median_of_places([found[repr(read)] for read in reads[case.label, way]]) for way in case.ways]
        for way, one, told in zip(case.ways, taken, demands_of(case, taken), strict=True):
            figures = seconds(one.seconds), str(one.counts.requests), megabytes(one.counts.bytes)
            ratio = "–" if one is taken[-1] else times(one.seconds / taken[-1].seconds)
            more = (f"{one.cpu * 1000:.0f} ms", times(one.cpu / one.decoding)) if one.decoding else ("", "")
            more = more if case.computing else ("", "")
            peak = f"{one.memory / 1e6:.0f}" if memory else ""
            rows.append((title, way.label, *figures, ratio, *more, peak, *cells_of(*told)))
            demands += told
            title = ""
    computing = "CPU", "of OpenJPEG's", "peak memory beyond imports, MB"
    head = ("scene: read", "with", "time", "requests", "MB", "of jp2batch's time", *computing, *DEMANDED)
    notes = [f"Over {LINK}. {gdal()}."]
    return Table(head, rows, notes, demands).without_empty_columns()


def demands_of(case: Case, taken: Sequence[Taken]) -> Iterator[list[Demand]]:
    """Return the limits of a case: the others' time relative to ours, our bytes and computing."""
    for way, one in zip(case.ways, taken, strict=True):
        what = f"{case.label}, {way.label}"
        told = []
        if way in case.faster:
            least, aim = case.faster[way]
            told.append(Demand(f"{what} beside jp2batch", one.seconds / taken[-1].seconds, "≥", least, aim=aim))
        if one is taken[-1] and case.megabytes is not None:
            most, aim = case.megabytes
            told.append(Demand(what, one.counts.bytes / 1e6, "≤", most, "MB", aim))
        if one is taken[-1] and case.computing is not None:
            told.append(
                Demand(f"{what}, CPU beside OpenJPEG's", one.cpu / (one.decoding or 1), "≤", case.computing, "x CPU")
            )
        yield told


def read_of(case: Case, way: Way, scene: Scene, server: Server, options: Mapping[str, Any] | None = None) -> Read:
    """Return the read of a reader."""
    file = scene.tlm if way.tlm else scene.plain
    before = what_is_known(way.reader, case.rlevel, scene.size) if way.known else None
    sibling = server.url(scene.sibling.plain) if way.sibling else ""
    if way.reader == TILES:
        options = {"index": TileIndex.of(file)}
    return Read(
        way.reader,
        server.url(file),
        case.rlevel,
        case.window,
        digest(expected(scene, case.rlevel, case.window)),
        options or {},
        (LOWEST, None) if sibling else before,
        sibling,
        server.address,
    )


def usual_window(size: int, kind: Kind = "even") -> Window:
    """Return a window of 500 x 500 pixels of a full image, on several tiles, far from the file's beginning."""
    shares = (0.865, 0.546) if kind == "even" else (0.643, 0.356)
    row, column, side = (round(size * share) for share in (*shares, 500 / 10980))
    return Window((row, row + side), (column, column + side))


def pixel_of(window: Window) -> Window:
    """Return the first pixel of a window."""
    row, column = window.rows.start, window.columns.start
    return Window((row, row + 1), (column, column + 1))


def gdal() -> str:
    """Return the versions of GDAL and rasterio."""
    import rasterio

    return f"GDAL {rasterio.__gdal_version__} of rasterio {rasterio.__version__}"


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
    whole = scene.pixels if rlevel == 0 else decoded(scene.plain, scene.size, rlevel, 3 if scene.kind == "TCI" else 1)
    if window is None:
        return whole
    rows, columns = window.at_level(rlevel)
    return whole[..., slice(*rows), slice(*columns)]


def decoded(path: Path, size: int, rlevel: int, bands: int = 1) -> Pixels:
    """Return OpenJPEG's decode of a whole file."""
    side = -(-size >> rlevel)
    pixels = np.empty((bands, side, side), np.uint16 if bands == 1 else np.uint8)
    openjpeg.decode(path.read_bytes(), pixels, reduce=rlevel)
    return pixels[0] if bands == 1 else pixels
