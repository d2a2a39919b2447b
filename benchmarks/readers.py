"""Readers to compare: jp2batch and its peers.

They return pixels of shape (rows, columns). A reader is made in the process that reads, before the clock starts, and
imports all it needs.
"""

import importlib
import os
import shutil
import struct
import tempfile
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jp2batch.core.window import Window

Pixels = NDArray[Any]
Reader = Callable[[str, int, Window | None], Pixels]
"""(path or URL, rlevel, window) -> pixels"""

GDAL_SETTINGS: Mapping[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".jp2",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_INGESTED_BYTES_AT_OPEN": 32768,
    "CPL_VSIL_CURL_CACHE_SIZE": 200_000_000,
    "GDAL_NUM_THREADS": 2,
}
"""Settings recommended by GDAL for remote files, without VSI_CACHE, which made these reads slower."""


def by_jp2batch(options: Mapping[str, Any]) -> Reader:
    """Read with jp2batch; `options`: fsspec's."""
    from jp2batch import read as read_image  # which imports what it takes

    import_all()
    if options:  # of an object store: its drivers are not what is measured
        for name in ("s3fs", "obstore.store"):
            importlib.import_module(name)

    def read(path: str, rlevel: int, window: Window | None) -> Pixels:
        pixels: Pixels = read_image(path, rlevel, window, storage_options=options).values
        return pixels

    return read


def by_gdal(options: Mapping[str, Any]) -> Reader:
    """Read with GDAL through rasterio; `options`: GDAL's, besides the recommended ones."""
    import rasterio
    from rasterio.windows import Window as GdalWindow

    settings = {**GDAL_SETTINGS, **{name: value for name, value in options.items() if not name.startswith("AWS_")}}
    os.environ.update({name: value for name, value in options.items() if name.startswith("AWS_")})  # rasterio's wish

    def read(path: str, rlevel: int, window: Window | None) -> Pixels:
        level = {"OVERVIEW_LEVEL": rlevel - 1} if rlevel else {}
        place = GdalWindow.from_slices(*(slice(*bounds) for bounds in window)) if window else None
        with rasterio.Env(**settings), rasterio.open(_gdal_path(path), **level) as image:
            pixels: Pixels = image.read(1 if image.count == 1 else None, window=place)
        return pixels

    return read


def by_whole_file(_options: Mapping[str, Any]) -> Reader:
    """Read naively: download the whole file, then decode with glymur."""
    import_all()
    import glymur

    def read(path: str, rlevel: int, window: Window | None) -> Pixels:
        with tempfile.NamedTemporaryFile(suffix=".jp2") as file:
            with urllib.request.urlopen(path) as body:
                shutil.copyfileobj(body, file, 1 << 20)
            file.flush()
            (r0, r1), (c0, c1) = window or ((None, None), (None, None))
            step = -1 if rlevel < 0 else 1 << rlevel
            pixels: Pixels = glymur.Jp2k(file.name)[r0:r1:step, c0:c1:step]
        return pixels

    return read


def by_whole_tiles(options: Mapping[str, Any]) -> Reader:
    """Read like jp2io: fetch whole tiles of known positions at once, decode in threads."""
    import fsspec

    index: TileIndex = options["index"]
    http = fsspec.filesystem("http")
    pool = ThreadPoolExecutor(2)

    def read(path: str, rlevel: int, window: Window | None) -> Pixels:
        assert rlevel == 0, "this way has full resolution only"
        assert window is not None, "this way is for windows"
        (r0, r1), (c0, c1) = window
        tiles = index.touched(window)
        spans = [index.spans[tile] for tile in tiles]
        bodies = http.cat_ranges([path] * len(tiles), *map(list, zip(*spans, strict=True)))
        pixels = np.empty((r1 - r0, c1 - c0), np.uint16)
        for tile, decoded in zip(tiles, pool.map(index.decode, tiles, bodies), strict=True):
            top, left = index.corner(tile)
            rows = slice(max(r0, top), min(r1, top + decoded.shape[0]))
            columns = slice(max(c0, left), min(c1, left + decoded.shape[1]))
            inside = decoded[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
            pixels[rows.start - r0 : rows.stop - r0, columns.start - c0 : columns.stop - c0] = inside
        return pixels

    return read


def import_all() -> None:
    """Import the decoder.

    Modules for web servers are imported by the first remote read, and so are part of its time.
    """
    from jp2batch.image.openjpeg import library

    library()  # lets glymur find OpenJPEG
    importlib.import_module("glymur")


READERS: dict[str, Callable[[Mapping[str, Any]], Reader]] = {
    "jp2batch": by_jp2batch,
    "GDAL": by_gdal,
    "whole file": by_whole_file,
    "whole tiles": by_whole_tiles,
}
"""Functions that make the readers."""


@dataclass(frozen=True, slots=True)
class TileIndex:
    """Positions of the tiles of a file, with a tile-part each."""

    header: bytes
    """The main header, without TLM."""
    spans: tuple[tuple[int, int], ...]
    """Start and stop of each tile-part."""
    size: int
    """Columns and rows of the image."""
    tile: int
    """Columns and rows of a tile."""

    @classmethod
    def of(cls, path: Path) -> "TileIndex":
        """Return the index of a local file."""
        with path.open("rb") as file:
            data = file.read(64 * 1024)
            begin = data.index(b"jp2c") + 4
            header, spans, position = data[begin : data.index(b"\xff\x90", begin)], [], data.index(b"\xff\x90", begin)
            while True:
                file.seek(position)
                sot = file.read(12)
                if not sot.startswith(b"\xff\x90"):
                    break
                (length,) = struct.unpack_from(">I", sot, 6)
                spans.append((position, position + length))
                position += length
        size, tile = struct.unpack_from(">I", header, 8)[0], struct.unpack_from(">I", header, 24)[0]
        return cls(header.partition(b"\xff\x55")[0], tuple(spans), size, tile)

    def touched(self, window: Window) -> list[int]:
        """Return the tiles of a window."""
        rows, columns = (range(start // self.tile, -(-stop // self.tile)) for start, stop in window)
        return [row * -(-self.size // self.tile) + column for row in rows for column in columns]

    def corner(self, tile: int) -> tuple[int, int]:
        """Return row and column of the upper left pixel of a tile."""
        row, column = divmod(tile, -(-self.size // self.tile))
        return row * self.tile, column * self.tile

    def decode(self, tile: int, body: bytes) -> Pixels:
        """Decode a tile-part as a separate image."""
        from jp2batch.image import openjpeg

        top, left = self.corner(tile)
        bottom, right = (min(start + self.tile, self.size) for start in (top, left))
        header = bytearray(self.header)
        struct.pack_into(">4I", header, 8, right, bottom, left, top)  # SIZ: the image is this tile
        struct.pack_into(">2I", header, 32, left, top)
        pixels = np.empty((1, bottom - top, right - left), np.uint16)
        openjpeg.decode(bytes(header) + body[:4] + bytes(2) + body[6:] + b"\xff\xd9", pixels)
        (band,) = pixels
        return np.asarray(band)


def _gdal_path(path: str) -> str:
    if path.startswith("http"):
        return f"/vsicurl/{path}"
    return path.replace("s3://", "/vsis3/", 1)
