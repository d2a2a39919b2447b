"""Read overviews and windows of single-tile images without PLT, as of archives beside Sentinel-2.

GDAL and the naive way fetch the whole file, whatever part is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.orthophotos import LARGE, make_single_tile
from benchmarks.readers import Pixels
from benchmarks.remote_reads import LINK, gdal
from benchmarks.server import Server, serving
from benchmarks.setting import Setting
from benchmarks.table import DEMANDED, Demand, Table, cells_of, megabytes, seconds, times
from benchmarks.timed import Read, digest, in_turns
from jp2batch.core.window import Window
from jp2batch.image import openjpeg
from jp2batch.sample.orthophoto import paint

_QUICK = 1024
_BITS, _SIDE = 15, 512
_LEVELS, _QUICK_LEVELS = 5, 2  # GDAL shows no smaller overviews
_READERS = ("GDAL", "whole file", "jp2batch")
_LABELS = {"GDAL": "GDAL /vsicurl", "whole file": "whole file, then glymur", "jp2batch": "jp2batch"}
_MEMORY = 300.0  # MB


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the image to read."""

    title: str
    rlevel: int
    window: Window | None
    share: float
    """Largest share of the file for jp2batch to fetch."""
    before: tuple[int, Window | None] | None = None
    """Level and window that jp2batch has read before."""


def measure(setting: Setting) -> Table:
    """Measure overviews and windows of a single tile."""
    size = _QUICK if setting.quick else LARGE
    levels = _QUICK_LEVELS if setting.quick else _LEVELS
    whole: Pixels = paint(size, 1, _BITS)[0]
    first, second = _window(size, 0.5, 0.55), _window(size, 0.2, 0.7)
    parts = [
        Part(f"overview {size >> levels}²", levels, None, 0.005),
        Part(f"window {_SIDE}²", 0, first, 0.02),
        Part(f"window {_SIDE}², known", 0, second, 0.02, before=(0, first)),
    ]
    rows: list[Sequence[str]] = []
    demands: list[Demand] = []
    with serving(setting.folder, LINK) as server:
        for precincts, progression in ((None, "RPCL"), (None, "LRCP"), (256, "RPCL")):
            path = make_single_tile(setting.folder, size, progression=progression, precincts=precincts)
            kind = f"{progression}, {'no precincts' if precincts is None else f'precincts {precincts}²'}"
            for part in parts if precincts is None else parts[:1]:
                own, told = _compared(setting, server, path, part, expected(whole, path, part))
                rows += [(f"{kind}: {part.title}" if index == 0 else "", *row) for index, row in enumerate(own)]
                demands += told
    head = ("file: read", "with", "time", "requests", "MB", "of jp2batch's time", "peak memory beyond imports, MB")
    notes = [
        f"{size} x {size}, a single tile of {path.stat().st_size / 1e6:.0f} MB, without PLT. Over {LINK}. {gdal()}."
    ]
    return Table((*head, *DEMANDED), rows, notes, demands)


def _compared(
    setting: Setting, server: Server, path: Path, part: Part, pixels: Pixels
) -> tuple[list[Sequence[str]], list[Demand]]:
    """Measure all readers of a part of a file."""
    reads = [
        Read(
            reader,
            server.url(path),
            part.rlevel,
            part.window,
            digest(pixels),
            before=part.before,
            server=server.address,
        )
        for reader in (_READERS[-1:] if part.before else _READERS)
    ]
    taken = in_turns(reads, setting.few_rounds, str(setting.warm_up))
    ours = taken[-1]
    told = (
        []
        if setting.quick
        else [
            Demand(
                f"{path.name}, {part.title}", 100 * ours.counts.bytes / path.stat().st_size, "≤", 100 * part.share, "%"
            ),
            Demand(f"{path.name}, {part.title}, peak memory", ours.memory / 1e6, "≤", _MEMORY, "MB"),
        ]
    )
    rows: list[Sequence[str]] = [
        (
            _LABELS[read.reader],
            seconds(one.seconds),
            str(one.counts.requests),
            megabytes(one.counts.bytes),
            "–" if one is ours else times(one.seconds / ours.seconds),
            f"{one.memory / 1e6:.0f}",
            *(cells_of(*told) if one is ours else ("", "")),
        )
        for read, one in zip(reads, taken, strict=True)
    ]
    return rows, told


def expected(whole: Pixels, path: Path, part: Part) -> Pixels:
    """Return the expected pixels: as painted, or OpenJPEG's decode of the whole file."""
    if part.rlevel == 0 and part.window is not None:
        rows, columns = part.window
        part_of: Pixels = whole[slice(*rows), slice(*columns)]
        return part_of
    side = -(-whole.shape[0] >> part.rlevel)
    pixels = np.empty((1, side, side), np.uint16)
    openjpeg.decode(path.read_bytes(), pixels, reduce=part.rlevel)
    lowest: Pixels = pixels[0]
    return lowest


def _window(size: int, row: float, column: float) -> Window:
    """Return a window at shares of the image."""
    side = min(_SIDE, size // 4)
    top, left = round(size * row), round(size * column)
    return Window((top, top + side), (left, left + side))
