"""Read images of many tiles and of many packets, and open cubes of many images: time and memory, in proportion.

Each large figure is of a new process. Processor time is compared with that of OpenJPEG alone, which decodes the same
area of the whole file, already in memory.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import jp2batch
from benchmarks.fresh import in_fresh_process
from benchmarks.readers import import_all
from benchmarks.remote_reads import JP2BATCH
from benchmarks.setting import Setting
from benchmarks.table import DEMANDED, Demand, Table, cells_of, seconds, times
from benchmarks.timed import Read, digest, in_turns, peak_memory
from jp2batch.core.window import Window
from jp2batch.image import openjpeg
from jp2batch.jpeg2000.syntax.markers import SOT_SIZE, Marker, Sot, encode_segment
from jp2batch.sample.coding import Coding
from jp2batch.sample.encode import encode

_TILES = (32, 127, 255)  # a side: a thousand, sixteen thousand, and nearly the most
_PACKETS = (350, 1110, 3500)  # pixels a side, in precincts of 4 x 4
_TILE, _WINDOW = 16, 100  # pixels a side
_TILED = Coding(tile=(_TILE, _TILE), bits=12, levels=2, precincts=None)
_WITH_PRECINCTS = Coding(tile=None, bits=12, levels=3, precincts=(4, 4))
_ENTRIES = 10_000  # of a TLM
_LENGTHS_OF_32_BITS, _TILES_OF_16_BITS = 0x40, 0x20  # Stlm, A.7.1
_IMAGES = (300, 5000)
_MOST_PYTHON = 0.1  # of OpenJPEG's time, for the most tiles
_FIRST = datetime(1990, 1, 1, 11, 54, 11, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Case:
    """A part of an image to read."""

    image: str
    side: int
    """Rows and columns of the image."""
    parts: int
    """Number of tiles or packets."""
    what: str
    path: Path
    plain: Path
    """The same without TLM, to be decoded by OpenJPEG alone."""
    rlevel: int
    window: Window | None = None


def measure(setting: Setting) -> Table:
    """Measure images of many tiles, and of many packets in a tile."""
    cases = [*_of_tiles(setting, _TILES[:1] if setting.quick else _TILES)]
    cases += _of_packets(setting, _PACKETS[:1] if setting.quick else _PACKETS)
    rows, demands = [], list[Demand]()
    for case in cases:
        wanted, alone = in_fresh_process(by_openjpeg, case)
        read = Read(JP2BATCH, str(case.path), case.rlevel, case.window, wanted)
        (taken,) = in_turns([read], setting.few_rounds, str(setting.warm_up))
        python, largest = max(0.0, taken.cpu - taken.decoding), case.parts == max(_TILES) ** 2
        own = Demand(f"Python for {case.image}, {case.what}", python / alone, "≤", _MOST_PYTHON) if largest else None
        demands += [own] if own else []
        figures = (seconds(taken.cpu), seconds(python), seconds(alone), times(taken.cpu / alone))
        each = (f"{python / case.parts * 1e6:.1f} µs", f"{taken.memory / 1e6:.0f}")
        rows.append((case.image, case.what, *figures, *each, *cells_of(own)))
    head = ("image", "read", "CPU", "of it Python", "OpenJPEG alone", "of OpenJPEG's", "Python, each", "MB", *DEMANDED)
    note = (
        f"Processor time. Tiles of {_TILE} x {_TILE} pixels, 3 packets each, or precincts of 4 x 4. OpenJPEG decodes "
        "the same area of the whole file, which is in memory. Python, each: a tile or packet of the image. Memory "
        f"beyond imports. Medians of {setting.few_rounds}. Demanded: Python's time of OpenJPEG's."
    )
    return Table(head, rows, [note], demands).without_empty_columns()


def cubes(setting: Setting) -> Table:
    """Measure opening cubes of many images."""
    rows = []
    for count in (6,) if setting.quick else _IMAGES:
        paths = _links(setting, count)
        taken, memory = in_fresh_process(opened, paths)
        rows.append((str(count), seconds(taken), f"{taken / count * 1e3:.2f} ms", f"{memory / 1e6:.0f}"))
    return Table(("images", "time to open", "an image", "MB"), rows, ["Local files; memory beyond imports."])


def by_openjpeg(case: Case) -> tuple[str, float]:
    """Decode by OpenJPEG alone; return the digest, and the processor time."""
    data, window, rlevel = case.plain.read_bytes(), case.window, case.rlevel
    rows, columns = (window or Window((0, case.side), (0, case.side))).at_level(rlevel)
    out = np.empty((1, rows[1] - rows[0], columns[1] - columns[0]), np.uint16)
    area = None if window is None else (window.columns.start, window.rows.start, window.columns.stop, window.rows.stop)
    openjpeg.binding()
    begin = time.process_time()
    openjpeg.decode(data, out, reduce=rlevel, area=area)
    return digest(out[0]), time.process_time() - begin


def opened(paths: Sequence[str]) -> tuple[float, int]:
    """Open a cube; return the seconds, and the memory beyond imports."""
    import_all()
    jp2batch.open_cube(paths[:1])
    before, begin = peak_memory(), time.perf_counter()
    cube = jp2batch.open_cube(paths)
    assert cube.sizes["time"] == len(paths)
    return time.perf_counter() - begin, peak_memory() - before


def with_tlm(data: bytes) -> bytes:
    """Return a file with TLM; OpenJPEG writes none for so many tiles."""
    first = position = data.index(Marker.SOT.code + b"\0\x0a")
    entries = []
    while (sot := Sot.parse(data[position : position + SOT_SIZE])) is not None:
        entries.append(sot.tile.to_bytes(2, "big") + sot.length.to_bytes(4, "big"))
        position += sot.length
    kind = _LENGTHS_OF_32_BITS | _TILES_OF_16_BITS
    bodies = [entries[start : start + _ENTRIES] for start in range(0, len(entries), _ENTRIES)]
    tlm = [encode_segment(Marker.TLM, bytes([number, kind]) + b"".join(body)) for number, body in enumerate(bodies)]
    return b"".join([data[:first], *tlm, data[first:]])


def _of_tiles(setting: Setting, sides: Sequence[int]) -> list[Case]:
    cases = []
    for side in sides:
        plain = setting.folder / f"tiles_{side}.jp2"
        tlm = setting.folder / f"tiles_{side}_tlm.jp2"
        if not tlm.exists():
            plain.write_bytes(encode(_pixels(side * _TILE), _TILED))
            tlm.write_bytes(with_tlm(plain.read_bytes()))
        name = f"{side**2:,} tiles"
        cases += [
            Case(name, side * _TILE, side**2, "half resolution, TLM", tlm, plain, 1),
            Case(name, side * _TILE, side**2, "half resolution", plain, plain, 1),
            Case(name, side * _TILE, side**2, "full, TLM", tlm, plain, 0),
        ]
    return cases


def _of_packets(setting: Setting, sides: Sequence[int]) -> list[Case]:
    cases = []
    for side in sides:
        path = setting.folder / f"packets_{side}.jp2"
        if not path.exists():
            path.write_bytes(encode(_pixels(side), _WITH_PRECINCTS))
        start = side // 3
        window = Window((start, start + _WINDOW), (start, start + _WINDOW))
        packets = sum((-(-side >> level) + 3 >> 2) ** 2 for level in range(_WITH_PRECINCTS.levels + 1))
        name = f"{packets:,} packets"
        cases += [
            Case(name, side, packets, "half resolution", path, path, 1),
            Case(name, side, packets, f"window {_WINDOW}²", path, path, 0, window),
        ]
    return cases


def _links(setting: Setting, count: int) -> list[str]:
    """Return links to a small image, by the names of images of several dates."""
    folder = setting.folder / "scaling_cubes"
    folder.mkdir(exist_ok=True)
    days = (_FIRST + timedelta(days=number) for number in range(count))
    paths = [folder / f"T29UNU_{day:%Y%m%dT%H%M%S}_B03_10m.jp2" for day in days]
    for path in paths:
        if not path.exists():
            os.link(setting.warm_up, path)
    return list(map(str, paths))


def _pixels(side: int) -> NDArray[np.uint16]:
    y, x = np.ogrid[:side, :side]
    noise = np.random.default_rng(0).integers(0, 30, (side, side), np.uint16)
    pixels: NDArray[np.uint16] = ((y * 3 + x * 5) // 7 % 1000).astype(np.uint16) + noise
    return pixels
