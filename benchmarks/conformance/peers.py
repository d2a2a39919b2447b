"""Readers of JPEG 2000 for Python, and how each is asked."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.readers import by_gdal
from jp2batch.core.window import Window

Planes = Sequence[NDArray[Any]]
"""Samples of each component."""
Read = Callable[[str, int, Window | None], Planes]
"""(path or URL, rlevel, window) -> planes"""


class NotOffered(Exception):
    """The reader has no such function."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A reader to compare."""

    title: str
    package: str
    """Package that has to be installed."""
    make: Callable[[], Read]
    """Imports what it needs, and returns a function that reads."""
    asked: str
    """How it is asked, in Markdown."""
    offers: Sequence[str]
    """Views it offers: of "full", "lowest", "window", "remote"."""

    @property
    def version(self) -> str:
        """Version of its package; empty: not installed."""
        with suppress(PackageNotFoundError):
            return version(self.package)
        return ""


def _jp2batch(**costs: str) -> Read:
    import dask

    from jp2batch import read as read_image

    def read(path: str, rlevel: int, window: Window | None) -> Planes:
        with dask.config.set({"jp2batch.stores": {"127.0.0.1": costs}} if costs else {}):
            return _planes(read_image(path, rlevel, window).values)

    return read


def _gdal(threads: str = "ALL_CPUS") -> Read:
    import rasterio

    by_rasterio = by_gdal({"CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".jp2,.j2k", "GDAL_NUM_THREADS": threads})

    def read(path: str, rlevel: int, window: Window | None) -> Planes:
        if rlevel:
            with rasterio.open(path) as image:
                if rlevel > len(image.overviews(1)):
                    raise NotOffered(f"{len(image.overviews(1))} overviews")
        return _planes(by_rasterio(path, rlevel, window))

    return read


def _imagecodecs() -> Read:
    from imagecodecs import jpeg2k_decode

    def read(path: str, rlevel: int, window: Window | None) -> Planes:
        assert window is None
        return _planes(jpeg2k_decode(Path(path).read_bytes(), planar=True, skipres=rlevel))

    return read


def _glymur() -> Read:
    from jp2batch.image.openjpeg import library

    library()  # lets glymur find OpenJPEG
    import glymur

    def read(path: str, rlevel: int, window: Window | None) -> Planes:
        (r0, r1), (c0, c1) = window or ((None, None), (None, None))
        step, image = 1 << rlevel, glymur.Jp2k(path)
        try:
            return _planes(image[r0:r1:step, c0:c1:step], last=True)
        except RuntimeError as error:
            if "read_bands" not in str(error):
                raise
            area = None if window is None else (r0, c0, r1, c1)
            return [np.asarray(plane) for plane in image.read_bands(rlevel=rlevel, area=area)]

    return read


def _pillow() -> Read:
    from PIL import Image

    def read(path: str, rlevel: int, window: Window | None) -> Planes:
        assert window is None
        with Image.open(path) as image:
            image.reduce = rlevel  # type: ignore[method-assign, assignment]
            image.load()
            return _planes(np.asarray(image), last=True)

    return read


def _osml() -> Read:
    from aws.osml.io import IO, imread

    def read(path: str, rlevel: int, window: Window | None) -> Planes:
        if not rlevel:
            if window is None:
                return _planes(imread(path))
            (r0, r1), (c0, c1) = window
            return _planes(imread(path, window=(c0, r0, c1 - c0, r1 - r0)))
        with IO.open(path, "r") as file:
            image = file.get_asset(file.get_asset_keys()[0])
            rows, columns = image.block_grid_size
            blocks = [[image.get_block(row, column, rlevel) for column in range(columns)] for row in range(rows)]
            return _planes(np.concatenate([np.concatenate(line, axis=2) for line in blocks], axis=1))

    return read


def _planes(pixels: Any, *, last: bool = False) -> Planes:
    """Return the planes of an array with the bands at its first axis, or the last."""
    pixels = np.asarray(pixels)
    if pixels.ndim == 2:
        return [pixels]
    return list(np.moveaxis(pixels, -1, 0) if last else pixels)


PEERS: Mapping[str, Peer] = {
    "jp2batch": Peer(
        "jp2batch",
        "jp2batch",
        _jp2batch,
        "`jp2batch.read(path, rlevel, window)`",
        ("full", "lowest", "window", "remote"),
    ),
    "jp2batch-near": Peer(
        "jp2batch, told 1 ms",
        "jp2batch",
        lambda: _jp2batch(latency="1ms", bandwidth="10 MB"),
        "the same with `jp2batch.stores: {127.0.0.1: {latency: 1ms, bandwidth: 10 MB}}`",
        ("remote",),
    ),
    "GDAL": Peer(
        "GDAL",
        "rasterio",
        _gdal,
        "`rasterio.open(path, OVERVIEW_LEVEL=…).read(window=…)`, driver JP2OpenJPEG; remote: `/vsicurl/` with the"
        " settings of the other benchmarks",
        ("full", "lowest", "window", "remote"),
    ),
    "GDAL-1": Peer(
        "GDAL, 1 thread",
        "rasterio",
        lambda: _gdal("1"),
        "the same with `GDAL_NUM_THREADS=1`; by default, rasterio does not see the errors of GDAL's threads",
        ("full", "lowest", "window"),
    ),
    "imagecodecs": Peer(
        "imagecodecs", "imagecodecs", _imagecodecs, "`jpeg2k_decode(data, planar=True, skipres=…)`", ("full", "lowest")
    ),
    "glymur": Peer(
        "glymur",
        "glymur",
        _glymur,
        "`Jp2k(path)[r0:r1, c0:c1]`, `[::8, ::8]`; components of several sizes: `read_bands`",
        ("full", "lowest", "window"),
    ),
    "Pillow": Peer("Pillow", "pillow", _pillow, "`Image.open(path)`; `image.reduce = …`", ("full", "lowest")),
    "osml": Peer(
        "osml-imagery-io",
        "osml-imagery-io",
        _osml,
        "`imread(path or URL, window=…)`; lowest: all `get_block(row, column, level)`, joined, because"
        " `imread(resolution_level=…)` takes its blocks from other places",
        ("full", "lowest", "window", "remote"),
    ),
}
"""Readers by name."""
