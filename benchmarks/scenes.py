"""Make full-size 10 m bands for benchmarks, coded like ESA's, with and without TLM.

A painted landscape of 1830 x 1830, in three bands and four orientations, is laid 6 x 6. Two bits less than the painter
gives, it takes as many bytes as real bands take: some 85 MB, of which the lowest resolution has 0.7 %. Its tiles are of
even lengths, unlike those of real bands. The uneven scene has no data beyond the edge of a swath, and smooth sea: as in
real bands, the standard deviation of the lengths is 0.9 of their mean, and rows end with runs of empty tiles.
"""

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from jp2batch.core.window import Window
from jp2batch.sample import landscape
from jp2batch.sample.product import make_image

FULL_SIZE = 10980
"""Pixels per side of a 10 m band."""
_BANDS = ("B02", "B03", "B04")
_PER_SIDE = 6
_SPARE_BITS = 2  # of the painter's noise
_EDGE = (0.7, 0.22)  # share of columns in the swath: in the first row, and fewer in the last
_SEA = 0.55  # share of pixels
_SEA_BAND = "B08"  # in which water is dark
_SEAS = 3  # seas a side
_BLACK, _WHITE = 250, 1140  # digital numbers of the colours of TCI
_PLACES = (0.2, 0.5, 0.8), (0.1, 0.27, 0.44)  # shares of rows and columns, in the swath

Kind = Literal["even", "uneven", "TCI"]


@dataclass(frozen=True)
class Scene:
    """One image, as two files of the same pixels."""

    folder: Path
    """Folder of the scene."""
    size: int
    """Pixels a side."""
    kind: Kind = "even"
    """Distribution of the lengths of its tiles, or "TCI": colours of the uneven scene."""
    band: str = "B03"
    """Band of the uneven scene; another band is its sibling."""

    @property
    def plain(self) -> Path:
        """The file without TLM, as the archive before 2026-02-05."""
        return self.folder / self._name(tlm=False)

    @property
    def tlm(self) -> Path:
        """The file with TLM, as products since then."""
        return self.folder / self._name(tlm=True)

    def _name(self, *, tlm: bool) -> str:
        if self.kind == "even":
            return f"scene_{self.size}{'_tlm' if tlm else ''}.jp2"
        day = 1 if self.size == FULL_SIZE else 2
        band = "TCI" if self.kind == "TCI" else self.band
        return f"T32TNT_{2026 if tlm else 2024}070{day}T103031_{band}_10m.jp2"

    @property
    def sibling(self) -> "Scene":
        """Another band of the uneven scene, at the same time."""
        return make_scene(self.folder, self.size, "uneven", "B02")

    @cached_property
    def pixels(self) -> NDArray[np.integer[Any]]:
        """Pixels of the files, of shape (rows, columns), or (3, rows, columns) of colours."""
        first = _BANDS.index(self.band)
        if self.kind == "even":
            return mosaic(self.size)
        if self.kind == "uneven":
            return uneven(self.size, first)
        bands = (uneven(self.size, first + number).astype(np.int32) for number in range(3))
        colours = [((band - _BLACK) * 255 // (_WHITE - _BLACK)).clip(1, 255) * (band > 0) for band in bands]
        return np.stack(colours).astype(np.uint8)

    @property
    def windows(self) -> list[Window]:
        """Nine windows of 500 x 500 pixels of a full image, all over its data."""
        side = round(self.size * 500 / FULL_SIZE)
        corners = itertools.product(*([round(self.size * share) for share in shares] for shares in _PLACES))
        return [Window((row, row + side), (column, column + side)) for row, column in corners]

    def copies(self, count: int, *, tlm: bool) -> list[Path]:
        """Return copies with other names, to defeat caches by name."""
        source = self.tlm if tlm else self.plain
        copies = [source.with_name(f"{source.stem}_{number:03}.jp2") for number in range(count)]
        for copy in copies:
            if not copy.exists():
                os.link(source, copy)
        return copies


def make_scene(folder: Path, size: int = FULL_SIZE, kind: Kind = "even", band: str = "B03") -> Scene:
    """Make a scene, if missing.

    Parameters
    ----------
    folder : Path
        Folder of the scene.
    size : int
        Pixels a side, a multiple of 6.
    kind : {"even", "uneven", "TCI"}
        Kind of the scene.
    band : str
        Band of the uneven scene.
    """
    scene = Scene(folder, size, kind, band)
    missing = [path for path in (scene.plain, scene.tlm) if not path.exists()]
    if not missing:
        return scene
    pixels: Any = scene.pixels

    def write(path: Path) -> None:
        half = path.with_suffix(".part")  # an interrupted run must not leave half a file by the name of a whole one
        make_image(half, pixels, 10, tlm=path == scene.tlm).replace(path)

    with ThreadPoolExecutor(len(missing)) as pool:
        list(pool.map(write, missing))
    return scene


def mosaic(size: int, first: int = 0) -> NDArray[np.uint16]:
    """Lay a landscape out in all its bands and orientations, of shape (size, size).

    `first` is the number of the first band.
    """
    painted = landscape.scene(size // _PER_SIDE, bands=_BANDS)
    tiles = []
    for number in range(_PER_SIDE**2):
        orientation, band = divmod(number, len(_BANDS))
        rows, columns = (slice(None, None, -1 if orientation >> axis & 1 else 1) for axis in (0, 1))
        tiles.append(painted[_BANDS[(band + first) % len(_BANDS)]][rows, columns])
    laid: NDArray[np.uint16] = np.block([tiles[start : start + _PER_SIDE] for start in range(0, len(tiles), _PER_SIDE)])
    return laid >> np.uint16(_SPARE_BITS)


def uneven(size: int, first: int = 0) -> NDArray[np.uint16]:
    """Lay the edge of a swath and the sea over the mosaic."""
    detailed = mosaic(size, first)
    painted: Any = landscape.scene(-(-size // (_PER_SIDE * _SEAS)), bands=[_SEA_BAND])[_SEA_BAND]
    broad = np.tile((painted >> _SPARE_BITS).repeat(_PER_SIDE, 0).repeat(_PER_SIDE, 1), (_SEAS, _SEAS))[:size, :size]
    calm = (broad > 0) & (broad < np.quantile(broad[broad > 0], _SEA))
    rows, columns = np.ogrid[:size, :size]
    seen = columns < size * _EDGE[0] - rows * _EDGE[1]
    laid: NDArray[np.uint16] = np.where(seen, np.where(calm, broad + (detailed & 3), detailed), 0).astype(np.uint16)
    return laid
