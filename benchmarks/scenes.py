"""Make full-size 10 m bands for benchmarks, coded like ESA's, with and without TLM.

A painted landscape of 1830 x 1830, in three bands and four orientations, is laid 6 x 6. Two bits less than the painter
gives, it takes as many bytes as real bands take: some 85 MB, of which the lowest resolution has 0.7 %.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jp2batch.sample import landscape
from jp2batch.sample.product import make_image

FULL_SIZE = 10980
"""Pixels per side of a 10 m band."""
_BANDS = ("B02", "B03", "B04")
_PER_SIDE = 6
_SPARE_BITS = 2  # of the painter's noise


@dataclass(frozen=True)
class Scene:
    """One image, as two files of the same pixels."""

    folder: Path
    """Folder of the scene."""
    size: int
    """Pixels a side."""

    @property
    def plain(self) -> Path:
        """The file without TLM, as the archive before 2026-02-05."""
        return self.folder / f"scene_{self.size}.jp2"

    @property
    def tlm(self) -> Path:
        """The file with TLM, as products since then."""
        return self.folder / f"scene_{self.size}_tlm.jp2"

    @cached_property
    def pixels(self) -> NDArray[np.uint16]:
        """Pixels of the files, of shape (rows, columns)."""
        return mosaic(self.size)

    def copies(self, count: int, *, tlm: bool) -> list[Path]:
        """Return copies with other names, to defeat caches by name."""
        source = self.tlm if tlm else self.plain
        copies = [source.with_name(f"{source.stem}_{number:03}.jp2") for number in range(count)]
        for copy in copies:
            if not copy.exists():
                os.link(source, copy)
        return copies


def make_scene(folder: Path, size: int = FULL_SIZE) -> Scene:
    """Make a scene, if missing.

    Parameters
    ----------
    folder : Path
        Folder of the scene.
    size : int
        Pixels a side, a multiple of 6.
    """
    scene = Scene(folder, size)
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


def mosaic(size: int) -> NDArray[np.uint16]:
    """Lay a landscape out in all its bands and orientations, of shape (size, size)."""
    painted = landscape.scene(size // _PER_SIDE, bands=_BANDS)
    tiles = []
    for number in range(_PER_SIDE**2):
        orientation, band = divmod(number, len(_BANDS))
        rows, columns = (slice(None, None, -1 if orientation >> axis & 1 else 1) for axis in (0, 1))
        tiles.append(painted[_BANDS[band]][rows, columns])
    laid: NDArray[np.uint16] = np.block([tiles[start : start + _PER_SIDE] for start in range(0, len(tiles), _PER_SIDE)])
    return laid >> np.uint16(_SPARE_BITS)
