"""Windows and overviews by odc.stac.load, with its driver rio (GDAL) and with the driver "jp2batch".

Both load the same grids of the same items over a slow link; windows have to be equal digit for digit.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

import jp2batch
from benchmarks.fresh import in_fresh_process
from benchmarks.readers import GDAL_SETTINGS, import_all
from benchmarks.remote_reads import LINK
from benchmarks.server import Counts, counts_at, serving
from benchmarks.setting import Setting
from benchmarks.table import DEMANDED, Demand, Table, cells_of, megabytes, seconds

_DRIVERS = ("rio", "jp2batch")
_EPSG = 32629  # of the scenes
_TIME = datetime(2024, 7, 1, 10, 30, 31, tzinfo=UTC)
_MOST = 25  # requests a file without TLM


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid to load."""

    title: str
    epsg: int
    metres: float
    """Distance of its pixels, in units of the reference system."""
    extent: float
    """Share of the image's side that it covers."""
    exact: bool = True
    """Whether both drivers give the same pixels."""


GRIDS = (
    Grid("500 x 500, 10 m", _EPSG, 10, 500 / 10980),
    Grid("the same in EPSG:3857", 3857, 15, 500 / 10980),
    Grid("overview, 160 m", _EPSG, 160, 1, exact=False),
)
Outcome = tuple[float, Counts, NDArray[Any]]
"""Seconds, counts of the server, and pixels."""


def measure(setting: Setting) -> Table:
    """Measure grids, drivers, and files with and without TLM."""
    scene, rows, demands = setting.scene_of("uneven"), [], list[Demand]()
    with serving(scene.folder, LINK) as server:
        for grid in GRIDS:
            for path, tlm in ((scene.plain, ""), (scene.tlm, ", TLM")):
                url = server.url(path)
                found = {
                    driver: in_fresh_process(
                        load, driver, str(setting.warm_up), (url, scene.size), server.address, grid
                    )
                    for driver in _DRIVERS
                }
                if grid.exact:
                    assert np.array_equal(found["rio"][2], found["jp2batch"][2]), "pixels differ"
                demand = Demand(f"{grid.title}{tlm}", found["jp2batch"][1].requests, "≤", _MOST, "requests")
                demands += [demand] if not tlm and grid.exact else []
                for driver, (took, counts, _) in found.items():
                    limit = demand if driver == "jp2batch" and demand in demands else None
                    cells = seconds(took), str(counts.requests), megabytes(counts.bytes), *cells_of(limit)
                    rows.append((f"{grid.title}{tlm}", f"driver {driver}", *cells))
    head = ("odc.stac.load", "", "time", "requests", "MB", *DEMANDED)
    note = f"A band of {scene.size} x {scene.size} over {LINK}; opening included. Windows are equal digit for digit."
    return Table(head, rows, [note], demands).without_empty_columns()


def load(driver: str, warm_up: str, image: tuple[str, int], server: str, grid: Grid) -> Outcome:
    """Load a grid of an image, its URL and size; after imports and a first read."""
    import odc.stac
    import rasterio

    import_all()
    jp2batch.read(warm_up)
    odc.stac.configure_rio(cloud_defaults=True, **GDAL_SETTINGS)
    with rasterio.open(warm_up) as opened:
        opened.read(1, window=((0, 9), (0, 9)))
    geobox, item = _geobox_and_item(*image, grid)
    before, begin = counts_at(server), time.perf_counter()
    found = odc.stac.load([item], bands=["band"], geobox=geobox, dtype="uint16", nodata=0, driver=driver)
    pixels = found.band.values
    return time.perf_counter() - begin, counts_at(server).since(before), pixels


def _geobox_and_item(url: str, size: int, grid: Grid) -> tuple[Any, Any]:
    """Return a grid in the middle of an image, and a STAC item of the image."""
    import pystac
    import shapely
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from pyproj import Transformer

    left, top = 499980, 5900040  # of T29UNU
    box = shapely.box(left, top - 10 * size, left + 10 * size, top)
    footprint = shapely.transform(
        box, Transformer.from_crs(_EPSG, "OGC:CRS84", always_xy=True).transform, interleaved=False
    )
    item = pystac.Item("scene", footprint.__geo_interface__, list(footprint.bounds), _TIME, {})
    item.properties["proj:code"] = f"EPSG:{_EPSG}"
    item.stac_extensions.append("https://stac-extensions.github.io/projection/v2.0.0/schema.json")
    place = {"proj:transform": [10, 0, left, 0, -10, top], "proj:shape": [size, size]}
    item.add_asset("band", pystac.Asset(url, media_type="image/jp2", roles=["data"], extra_fields=place))
    start = 0 if grid.extent == 1 else 10 * round(size * 0.3)
    there: Callable[..., Any] = Transformer.from_crs(_EPSG, grid.epsg, always_xy=True).transform
    x, y = there(left + start, top - start)
    side = math.ceil(size * 10 * grid.extent / grid.metres)
    return GeoBox((side, side), Affine(grid.metres, 0, x, 0, -grid.metres, y), f"EPSG:{grid.epsg}"), item
