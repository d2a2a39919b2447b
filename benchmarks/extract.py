"""Extract the values of many fields from many images, over a slow link.

Compares `jp2batch.extract` with loops over windows of rasterio, of some images and fields, scaled to all; and its table
with rasterio and rasterstats.
"""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import jp2batch
from benchmarks.cube import images
from benchmarks.fresh import in_fresh_process
from benchmarks.readers import GDAL_SETTINGS, import_all
from benchmarks.remote_reads import LINK
from benchmarks.server import Counts, counts_at, serving
from benchmarks.setting import Setting
from benchmarks.table import DEMANDED, Demand, Table, cells_of, megabytes, seconds, times
from benchmarks.timed import Taken, peak_memory
from jp2batch.image.open import OpenImage
from jp2batch.jpeg2000.geometry.grid import tile_count
from jp2batch.storage.source import open_source

_DATES, _POINTS, _POLYGONS = 20, 10_000, 1_000
_STATS = ("mean", "median", "count")
_ALONE = 20  # fields of the loop that opens the image for each
_SIZES = 20, 150  # metres from the centre of a field to its sides


def measure(setting: Setting) -> Table:
    """Measure an extraction, beside loops over windows."""
    scene, quick = setting.scene, setting.quick
    points, polygons = (300, 30) if quick else (_POINTS, _POLYGONS)
    folder = setting.folder / "extract"
    paths = images(scene, folder, 2 if quick else _DATES)
    fields = make_fields(paths[0], points, polygons)
    expected = by_rasterstats(paths[0], fields, points)
    with serving(folder, LINK) as server:
        urls = [server.url(path) for path in paths]
        ours, table = in_fresh_process(by_jp2batch, server.address, str(setting.warm_up), urls, fields)
        once = in_fresh_process(by_windows, server.address, urls[:1], fields)
        alone = in_fresh_process(by_windows, server.address, urls[:1], fields[:: len(fields) // _ALONE], True)
    assert len(table) == len(paths) * len(fields)
    for number in range(len(paths)):
        part = table[number * len(fields) : (number + 1) * len(fields)]
        np.testing.assert_allclose(part, expected, rtol=1e-12)
    reads, touched = len(paths) * len(fields), len(paths) * tiles(paths[0])
    loops = {
        "rasterio: a window a field, an image opened once": scaled(once, len(paths)),
        "rasterio: a window a field, opened for each": scaled(alone, reads / len(fields[:: len(fields) // _ALONE])),
    }
    demands = {
        label: Demand(f"{label}, beside jp2batch", loop.seconds / ours.seconds, "≥", least)
        for (label, loop), least in zip(loops.items(), (2, 20), strict=True)
    }
    requests = Demand("requests a tile", ours.counts.requests / touched, "≤", 1.5, "a tile")
    rows = [
        (label, *_cells(loop, touched), times(loop.seconds / ours.seconds), *cells_of(demands[label]))
        for label, loop in loops.items()
    ]
    rows += [("jp2batch.extract", *_cells(ours, touched), "–", *cells_of(requests))]
    head = (f"{points} points, {polygons} polygons x {len(paths)} images", "time", "requests", "a tile", "MB")
    notes = [
        f"Over {LINK}. Peak memory of jp2batch beyond imports, table included: {megabytes(ours.memory)} MB. The loops "
        f"are measured on an image, and on {_ALONE} windows, and scaled. {touched} tiles hold fields."
    ]
    return Table((*head, "of jp2batch's time", *DEMANDED), rows, notes, [*demands.values(), requests])


def _cells(taken: Taken, touched: int) -> tuple[str, ...]:
    requests = taken.counts.requests
    return seconds(taken.seconds), str(requests), f"{requests / touched:.2f}", megabytes(taken.counts.bytes)


def make_fields(path: Path, points: int, polygons: int) -> list[Any]:
    """Return points, then polygons, in the reference system of an image."""
    import rasterio
    import shapely

    rng = np.random.default_rng(5)
    with rasterio.open(path) as image:
        left, bottom, right, top = image.bounds
    places = rng.uniform((left + 200, bottom + 200), (right - 200, top - 200), (points + polygons, 2))
    sizes = rng.uniform(*_SIZES, polygons)
    fields = [shapely.Point(xy).buffer(size, quad_segs=2) for xy, size in zip(places[points:], sizes, strict=True)]
    return [*shapely.points(places[:points]), *fields]


def by_rasterstats(path: Path, fields: list[Any], points: int) -> Any:
    """Return the statistics of points by rasterio, and of polygons by rasterstats."""
    import rasterio
    import rasterstats

    with rasterio.open(path) as image:
        samples = np.array([value[0] for value in image.sample([(one.x, one.y) for one in fields[:points]])], float)
        pixels, transform = image.read(1), image.transform
    samples[samples == 0] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zones = rasterstats.zonal_stats(fields[points:], pixels, affine=transform, stats=[*_STATS], nodata=0)
    of_points = np.column_stack([samples, samples, np.isfinite(samples)])
    return np.concatenate([of_points, np.array([[zone[name] for name in _STATS] for zone in zones], float)])


@contextmanager
def _measured(server: str, taken: list[Taken]) -> Iterator[None]:
    imported, before, begin = peak_memory(), counts_at(server), time.perf_counter()
    yield
    took = time.perf_counter() - begin
    taken.append(Taken(took, counts_at(server).since(before), peak_memory() - imported))


def by_jp2batch(server: str, warm_up: str, urls: list[str], fields: list[Any]) -> tuple[Taken, Any]:
    """Extract with jp2batch; return the statistics in the order of images and fields."""
    import_all()
    taken: list[Taken] = []
    crs = jp2batch.inspect(warm_up).crs
    jp2batch.extract(warm_up, fields[:1], crs=crs, progress=False)
    with _measured(server, taken):
        table = jp2batch.extract(urls, fields, crs=crs, stats=_STATS, on_error="raise", progress=False)
    return taken[0], table[[*_STATS]].to_numpy(float)


def by_windows(server: str, urls: list[str], fields: list[Any], each: bool = False) -> Taken:
    """Read the window of each field with rasterio; if `each`, open the image for each."""
    import rasterio
    from rasterio.features import geometry_mask, geometry_window

    def values(image: Any, field: Any) -> Any:
        if field.geom_type == "Point":
            row, column = image.index(field.x, field.y)
            return image.read(1, window=((row, row + 1), (column, column + 1)))
        window = geometry_window(image, [field])
        pixels = image.read(1, window=window)
        return pixels[~geometry_mask([field], pixels.shape, image.window_transform(window))]

    taken: list[Taken] = []
    with rasterio.Env(**GDAL_SETTINGS), _measured(server, taken):
        for url in urls:
            for some in [[field] for field in fields] if each else [fields]:
                with rasterio.open(f"/vsicurl/{url}") as image:
                    for field in some:
                        values(image, field).mean()
    return taken[0]


def scaled(taken: Taken, factor: float) -> Taken:
    """Return figures of a part, scaled to the whole."""
    counts = taken.counts
    requests, size = round(counts.requests * factor), round(counts.bytes * factor)
    return Taken(taken.seconds * factor, Counts(requests, bytes=size), taken.memory)


def tiles(path: Path) -> int:
    """Return the number of tiles of an image; fields are everywhere in it."""
    return tile_count(OpenImage.start(open_source(str(path))).image.header.siz)
