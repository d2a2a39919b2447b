"""NDVI of a polygon without clouds, three dates at 10 m, by open_cube and by odc-stac.

Both read red and infrared of 10 m and the classes of 20 m over a slow link. odc-stac reads with its driver rio, hence
with GDAL. NDVI has to be equal digit for digit.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import shapely

import jp2batch
from benchmarks.fresh import in_fresh_process
from benchmarks.readers import GDAL_SETTINGS, import_all
from benchmarks.remote_reads import LINK
from benchmarks.scenes import Scene
from benchmarks.series import CORNER, item, linked
from benchmarks.server import Counts, counts_at, serving
from benchmarks.setting import Setting
from benchmarks.table import DEMANDED, Demand, Table, cells_of, megabytes, seconds, times
from jp2batch.sample.product import make_image

_DATES = [datetime(2022, 6, 1, 11, 54, 11, tzinfo=UTC) + timedelta(days=days) for days in (0, 5, 10)]
_CLOUDS = (3, 8, 9, 10)
_METRES = {"B04": 10, "B08": 10, "SCL": 20}
_FIELD = ((10, 5), (118, 32), (74, 121), (20, 90))  # pixels of 10 m from its upper left corner, as (x, y)
Urls = list[dict[str, str]]
"""URLs of the bands of each date."""
Images = tuple[str, Urls, int]
"""A local image to read first, URLs, and pixels a side."""
Outcome = tuple[float, Counts, bytes]
"""Seconds, counts of the server, and NDVI as bytes."""


def measure(setting: Setting) -> Table:
    """Measure NDVI of a polygon through time."""
    scene, folder = setting.scene, setting.folder / "ndvi"
    paths = images(scene, folder)
    start = int(scene.size * 0.55)
    field = [(CORNER[0] + 10 * (start + x) + 3.1, CORNER[1] - 10 * (start + y) - 1.7) for x, y in _FIELD]
    ways = {"odc.stac.load, driver rio": by_odc, "jp2batch.open_cube": by_jp2batch}
    outcomes: dict[str, list[Outcome]] = {label: [] for label in ways}
    with serving(folder, LINK) as server:
        urls = [{band: server.url(path) for band, path in of_date.items()} for of_date in paths]
        for _ in range(setting.rounds):
            for label, way in ways.items():
                images_of = str(setting.warm_up), urls, scene.size
                outcomes[label].append(in_fresh_process(timed, way, server.address, images_of, field))
    assert len({ndvi for found in outcomes.values() for _, _, ndvi in found}) == 1, "NDVI differs"
    medians = [sorted(found, key=lambda one: one[0])[len(found) // 2] for found in outcomes.values()]
    (slow, theirs, _), (fast, ours, _) = medians
    demands = [
        Demand("odc's time beside jp2batch's", slow / fast, "≥", 3),
        Demand("odc's bytes beside jp2batch's", theirs.bytes / ours.bytes, "≥", 4),
    ]
    rows = [
        (label, seconds(took), str(counts.requests), megabytes(counts.bytes), times(took / fast), *cells_of(*limits))
        for label, (took, counts, _), limits in zip(ways, medians, (demands, ()), strict=True)
    ]
    head = (f"NDVI of a polygon, {len(_DATES)} dates, 10 m", "time", "requests", "MB", "of jp2batch's time", *DEMANDED)
    note = f"Over {LINK}, with TLM; opening included. Demands are of time and of bytes. NDVI is equal digit for digit."
    return Table(head, rows, [note], demands).without_empty_columns()


def images(scene: Scene, folder: Path) -> list[dict[str, Path]]:
    """Return images of each date: links to red, infrared and classes."""
    folder.mkdir(exist_ok=True)
    infrared, classes = folder / f"infrared_{scene.size}.jp2", folder / f"classes_{scene.size}.jp2"
    if not infrared.exists():
        make_image(infrared.with_suffix(".part"), scene.pixels[::-1], 10, tlm=True).replace(infrared)
    if not classes.exists():
        patches = np.random.default_rng(1).integers(1, 12, (-(-scene.size // 20),) * 2).astype(np.uint8)
        pixels = np.kron(patches, np.ones((10, 10), np.uint8))[: scene.size // 2, : scene.size // 2]
        make_image(classes.with_suffix(".part"), pixels, 20, tlm=True).replace(classes)
    sources = {"B04": scene.tlm, "B08": infrared, "SCL": classes}
    return linked(sources, folder, _DATES, _METRES)


def timed(way: Callable[..., Any], server: str, images_of: Images, field: Sequence[tuple[float, float]]) -> Outcome:
    """Return time and costs of NDVI, after imports and a first read."""
    compute = way(*images_of, shapely.Polygon(field))
    before, begin = counts_at(server), time.perf_counter()
    ndvi = np.asarray(compute(), np.float32)
    took = time.perf_counter() - begin
    assert np.isnan(ndvi).mean() < 0.9
    return took, counts_at(server).since(before), ndvi.tobytes()


def by_jp2batch(warm_up: str, urls: Urls, _size: int, field: Any) -> Callable[[], Any]:
    """Return a function that opens a cube and computes NDVI."""
    import_all()
    jp2batch.open(warm_up, 1).load()

    def compute() -> Any:
        paths = [url for of_date in urls for url in of_date.values()]
        options: dict[str, Any] = {"resolution": 10, "geometry": field, "crs": 32629, "mask": "clouds"}
        cube = jp2batch.open_cube(paths, bands=["B04", "B08"], **options).compute()
        numbers = cube.astype("f4").where(cube > 0)
        red, infrared = numbers.sel(band="B04"), numbers.sel(band="B08")
        return ((infrared - red) / (infrared + red)).values

    return compute


def by_odc(warm_up: str, urls: Urls, size: int, field: Any) -> Callable[[], Any]:
    """Return a function that loads items with odc-stac and computes NDVI."""
    import odc.stac
    import rasterio
    from odc.geo.geobox import GeoBox

    items = [item(when, of_date, size, _METRES) for when, of_date in zip(_DATES, urls, strict=True)]
    x0, y0, x1, y1 = (value / 10 for value in field.bounds)
    (left, top), (a, c) = CORNER, (x0 * 10, y1 * 10)
    column, row = int((a - left) // 10), int((top - c) // 10)
    shape = int(-(-(top - y0 * 10) // 10)) - row, int(-(-(x1 * 10 - left) // 10)) - column
    transform = rasterio.Affine(10, 0, left + 10 * column, 0, -10, top - 10 * row)
    odc.stac.configure_rio(cloud_defaults=True, **GDAL_SETTINGS)
    with rasterio.open(warm_up) as opened:
        opened.read(1, window=((0, 9), (0, 9)))

    def compute() -> Any:
        grid = GeoBox(shape, transform, "EPSG:32629")
        options: dict[str, Any] = {"dtype": "uint16", "nodata": 0, "pool": 16, "driver": "rio"}
        found = odc.stac.load(items, bands=[*_METRES], geobox=grid, **options)
        inside = shapely.contains_xy(field, *np.meshgrid(found.x, found.y))
        numbers = found.where(inside & ~found.SCL.isin(_CLOUDS) & (found.B04 > 0) & (found.B08 > 0)).astype("f4")
        return ((numbers.B08 - numbers.B04) / (numbers.B08 + numbers.B04)).values

    return compute
