"""Make large single-tile images without PLT for benchmarks, as of archives beside Sentinel-2.

OpenJPEG encodes each in one go. At 16384 x 16384 that takes a minute and 3 GB of memory, and the file has 250 MB.
"""

from dataclasses import replace
from pathlib import Path

from jp2batch.sample.orthophoto import ORTHOPHOTO, make_orthophoto

LARGE = 16384
"""Pixels a side."""
_BITS = 15


def make_single_tile(
    folder: Path, size: int = LARGE, *, progression: str = "RPCL", precincts: int | None = None
) -> Path:
    """Make a single-tile image without PLT, if missing.

    It has one band and layer, the 5/3 transform and code-blocks of 64.

    Parameters
    ----------
    folder : Path
        Folder of the image, kept between runs.
    size : int
        Pixels a side.
    progression : str
        Progression order.
    precincts : int, optional
        Width and height of precincts at all resolutions; None: the maximum size.
    """
    path = folder / f"orthophoto_{size}_{progression}_{precincts or 'none'}.jp2"
    if not path.exists():
        sizes = None if precincts is None else (precincts, precincts)
        coding = replace(ORTHOPHOTO, bits=_BITS, progression=progression, precincts=sizes)
        half = path.with_suffix(".part")  # an interrupted run must not leave half a file by the name of a whole one
        make_orthophoto(half, size, bands=1, coding=coding).replace(path)
    return path
