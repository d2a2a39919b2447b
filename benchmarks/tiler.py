"""Map tiles and previews by rio-tiler's own reader, with GDAL, and by `TilerReader`.

Both read over a slow link. Tiles of the full resolution have to be equal digit for digit.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.fresh import in_fresh_process
from benchmarks.readers import GDAL_SETTINGS, import_all
from benchmarks.remote_reads import LINK
from benchmarks.server import Counts, counts_at, serving
from benchmarks.setting import Setting
from benchmarks.table import Table, megabytes, seconds

_READERS = {"Reader": "rio_tiler.io.Reader", "TilerReader": "jp2batch's TilerReader"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A tile of a band at a zoom, or a preview of colours."""

    title: str
    zoom: int | None = None
    """Zoom of the tile; None: a preview."""
    exact: bool = False
    """Whether both readers give the same pixels."""


PICTURES = (Picture("tile at zoom 8", 8), Picture("tile at zoom 14", 14, exact=True), Picture("preview of TCI"))
Outcome = tuple[float, Counts, NDArray[Any]]
"""Seconds, counts of the server, and pixels."""


def measure(setting: Setting) -> Table:
    """Measure tiles and a preview, of files with and without TLM."""
    rows = []
    for picture in PICTURES:
        scene = setting.scene_of("uneven" if picture.zoom else "TCI")
        with serving(scene.folder, LINK) as server:
            for path, tlm in ((scene.plain, ""), (scene.tlm, ", TLM")):
                found: dict[str, Outcome] = {
                    reader: in_fresh_process(
                        draw, reader, str(setting.warm_up), server.url(path), server.address, picture
                    )
                    for reader in _READERS
                }
                if picture.exact:
                    (_, _, theirs), (_, _, ours) = found.values()
                    assert np.array_equal(theirs, ours), "pixels differ"
                rows += [
                    (
                        f"{picture.title}{tlm}",
                        _READERS[reader],
                        seconds(took),
                        str(counts.requests),
                        megabytes(counts.bytes),
                    )
                    for reader, (took, counts, _) in found.items()
                ]
    head = ("picture", "reader", "time", "requests", "MB")
    note = f"Images of {scene.size} x {scene.size} over {LINK}; opening included. Tiles at zoom 14 are equal."
    return Table(head, rows, [note])


def _cells(counts: Counts) -> tuple[str, str]:
    return str(counts.requests), megabytes(counts.bytes)


def draw(name: str, warm_up: str, url: str, server: str, picture: Picture) -> Outcome:
    """Draw a picture, after imports and a first one of a local file."""
    import rasterio
    from rio_tiler.io import Reader

    from jp2batch.plugins.rio_tiler import TilerReader

    import_all()
    reader: Any = {"Reader": Reader, "TilerReader": TilerReader}[name]
    with rasterio.Env(**GDAL_SETTINGS):
        with reader(warm_up) as local:
            local.preview(max_size=64)
        before, begin = counts_at(server), time.perf_counter()
        with reader(url) as image:
            found = image.preview() if picture.zoom is None else image.tile(*_middle(image, picture.zoom))
        return time.perf_counter() - begin, counts_at(server).since(before), found.array.filled(0)


def _middle(image: Any, zoom: int) -> tuple[int, int, int]:
    """Return column, row and zoom of the tile at a third of an image."""
    west, south, east, north = image.get_geographic_bounds("EPSG:4326")
    tile = image.tms.tile(west + (east - west) / 3, south + (north - south) / 3, zoom)
    return tile.x, tile.y, zoom
