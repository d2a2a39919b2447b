"""A cube of 10 x 10 km on 89 dates, from a store with the quota of the profile `cdse`, enforced by the server.

B08 of 10 m, B11 and the classes of 20 m, on the grids of 20 and 10 m. Opening is
included. odc-stac reads a tenth of the dates with its driver rio; its time is scaled, and its values are compared: GDAL
may go on without what the server refused.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import jp2batch
from benchmarks.fresh import in_fresh_process
from benchmarks.readers import GDAL_SETTINGS, import_all
from benchmarks.scenes import Scene
from benchmarks.series import CORNER, item, linked
from benchmarks.server import Counts, counts_at, serving
from benchmarks.setting import Setting
from benchmarks.store_limits import quota
from benchmarks.table import DEMANDED, Demand, Table, cells_of, megabytes
from benchmarks.timed import digest
from jp2batch.sample.product import make_image

_DATES = 89
_TENTH = 10
_METRES = {"B08": 10, "B11": 20, "SCL": 20}
_FIRST = datetime(2022, 1, 4, 10, 30, 31, tzinfo=UTC)
_SHARE = 0.3  # of the image, from its upper left corner to that of the field
_KM = 10
_STORES = {"127.0.0.1": "cdse"}
Urls = list[dict[str, str]]
"""URLs of the bands of each date."""
Outcome = tuple[float, Counts, list[str]]
"""Seconds, counts of the server, and digests of values: of each band, or of each band at each date."""


def measure(setting: Setting) -> Table:
    """Measure the cube on two grids: cold and known, with TLM and without."""
    dates = 3 if setting.quick else _DATES
    scene, folder = setting.scene_of("uneven"), setting.folder / "series"
    sources = images(scene, folder)
    rows: list[Sequence[str]] = []
    demands: list[Demand] = []
    for metres, cold, plain, known, most in ((20, 40, 70, 25, 700), (10, 60, 95, 30, 800)):
        wanted = expected(scene, sources, metres)
        for tlm, limit in ((True, cold), (False, plain)):
            paths = links(sources, folder, dates, tlm=tlm)
            first, again = run(setting, paths, metres, by_jp2batch)
            assert first[2] == again[2] == wanted, "jp2batch gives other pixels than it should"
            label = "TLM" if tlm else "no TLM"
            told = [Demand(f"{metres} m, {label}, cold", first[0], "≤", limit, "s")]
            rows.append(row(f"{metres} m", f"jp2batch.open_cube, {label}, cold", first, told))
            more = [
                Demand(f"{metres} m, {label}, known", again[0], "≤", known, "s"),
                Demand(f"{metres} m, {label}, known", again[1].requests, "≤", most, "requests"),
            ]
            rows.append(row("", f"jp2batch.open_cube, {label}, known", again, more))
            demands += told + more
    few = max(1, dates // _TENTH)
    for tlm in (True, False):
        paths = links(sources, folder, few, tlm=tlm)
        (outcome,) = run(setting, paths, 10, by_odc)
        wrong = sum(
            one != right for one, right in zip(outcome[2], wanted * few, strict=True)
        )  # both of the grid of 10 m
        label = f"odc.stac.load, rio, {'TLM' if tlm else 'no TLM'}, {few} of {dates} dates, scaled"
        label += f"; {wrong} of {len(wanted) * few} images have other values" if wrong else ""
        rows.append(row("10 m", label, scaled(outcome, dates / few), ()))
    head = (f"{dates} dates x {', '.join(_METRES)}", "with", "s", "requests", "refused", "MB", *DEMANDED)
    return Table(head, rows, [f"Over {quota()}; opening included."], demands).without_empty_columns()


def row(grid: str, label: str, outcome: Outcome, limits: Sequence[Demand]) -> Sequence[str]:
    """Return a line of the table."""
    took, counts, _ = outcome
    figures = f"{took:.1f}", str(counts.requests), str(counts.refused), megabytes(counts.bytes)
    return (grid, label, *figures, *cells_of(*limits))


def scaled(outcome: Outcome, factor: float) -> Outcome:
    """Return an outcome with its figures multiplied."""
    took, counts, digests = outcome
    requests, refused, size = (round(factor * one) for one in (counts.requests, counts.refused, counts.bytes))
    more = Counts(requests=requests, refused=refused, bytes=size, most_at_once=counts.most_at_once)
    return took * factor, more, digests


def run(setting: Setting, paths: list[dict[str, Path]], metres: int, way: Callable[..., Any]) -> list[Outcome]:
    """Run a way in a fresh process, with a server in a new minute."""
    with serving(paths[0]["B08"].parent, quota()) as server:
        urls = [{band: server.url(path) for band, path in of_date.items()} for of_date in paths]
        size = setting.scene.size
        outcomes: list[Outcome] = in_fresh_process(way, server.address, str(setting.warm_up), urls, size, metres)
    return outcomes


def images(scene: Scene, folder: Path) -> dict[str, dict[bool, Path]]:
    """Return an image of each band, with TLM and without."""
    folder.mkdir(exist_ok=True)
    half, found = scene.size // 2, dict[str, dict[bool, Path]]()
    patches = np.random.default_rng(1).integers(1, 12, (-(-half // 10),) * 2).astype(np.uint8)
    classes = np.kron(patches, np.ones((10, 10), np.uint8))[:half, :half]
    for band, pixels in (("B11", scene.pixels[:half, half - half // 2 : half + half - half // 2]), ("SCL", classes)):
        found[band] = {tlm: folder / f"source_{band}_{scene.size}{'_tlm' if tlm else ''}.jp2" for tlm in (True, False)}
        for tlm, path in found[band].items():
            if not path.exists():
                make_image(path.with_suffix(".part"), np.ascontiguousarray(pixels), 20, tlm=tlm).replace(path)
    return {"B08": {True: scene.tlm, False: scene.plain}, **found}


def links(sources: Mapping[str, Mapping[bool, Path]], folder: Path, dates: int, *, tlm: bool) -> list[dict[str, Path]]:
    """Return images of each date, with TLM or without."""
    return linked({band: of[tlm] for band, of in sources.items()}, folder, dates_of(dates, tlm=tlm), _METRES)


def dates_of(count: int, *, tlm: bool = True) -> list[datetime]:
    """Return the times of the images, others with TLM than without."""
    return [_FIRST + timedelta(days=5 * number, seconds=int(tlm)) for number in range(count)]


def box(size: int) -> tuple[int, int, int, int]:
    """Return the bounds of the field, in metres of its UTM zone: whole pixels of 20 m."""
    start, side = round(size * _SHARE) // 2 * 20, min(_KM * 1000, size * 5 // 20 * 20)
    left, top = CORNER[0] + start, CORNER[1] - start
    return left, top - side, left + side, top


def expected(scene: Scene, sources: Mapping[str, Mapping[bool, Path]], metres: int) -> list[str]:
    """Return digests of the true values of each band, from local files read whole."""
    left, bottom, right, _ = box(scene.size)
    start, side = (left - CORNER[0]) // 10, (right - left) // 10
    del bottom
    found = []
    for band, own in _METRES.items():
        level = 1 if own < metres else 0
        pixels = np.asarray(jp2batch.read(str(sources[band][True]), level))
        scale = max(own, metres) // 10
        part = pixels[start // scale : (start + side) // scale, start // scale : (start + side) // scale]
        repeat = own // metres
        if repeat > 1:
            part = part.repeat(repeat, 0).repeat(repeat, 1)
        found.append(values_of(part))
    return found


def values_of(values: NDArray[Any]) -> str:
    """Return a digest of values of any type."""
    return digest(np.ascontiguousarray(values).astype(np.uint16))


def by_jp2batch(server: str, warm_up: str, urls: Urls, size: int, metres: int) -> list[Outcome]:
    """Open and compute a cube twice: cold, then with all images known."""
    import dask

    import_all()
    jp2batch.open(warm_up, 1).load()
    paths = [url for of_date in urls for url in of_date.values()]
    outcomes = []
    with dask.config.set({"jp2batch.stores": _STORES}):
        for _ in range(2):
            before, begin = counts_at(server), time.perf_counter()
            options: dict[str, Any] = {"bbox": box(size), "crs": 32629, "resolution": metres, "mask": False}
            cube = jp2batch.open_cube(paths, bands=[*_METRES], **options).compute()
            took = time.perf_counter() - begin
            digests = {tuple(values_of(band.values) for band in date) for date in cube}
            assert len(digests) == 1, "dates differ"
            outcomes.append((took, counts_at(server).since(before), list(digests.pop())))
    return outcomes


def by_odc(server: str, warm_up: str, urls: Urls, size: int, metres: int) -> list[Outcome]:
    """Load the same with odc-stac and its driver rio."""
    import odc.stac
    import rasterio
    from odc.geo.geobox import GeoBox

    left, bottom, right, top = box(size)
    grid = GeoBox(
        ((top - bottom) // metres, (right - left) // metres),
        rasterio.Affine(metres, 0, left, 0, -metres, top),
        "EPSG:32629",
    )
    items = [item(when, of_date, size, _METRES) for when, of_date in zip(dates_of(len(urls)), urls, strict=True)]
    retries = {"GDAL_HTTP_MAX_RETRY": 20, "GDAL_HTTP_RETRY_DELAY": 2}
    odc.stac.configure_rio(cloud_defaults=True, **{**GDAL_SETTINGS, **retries})
    with rasterio.open(warm_up) as opened:
        opened.read(1, window=((0, 9), (0, 9)))
    before, begin = counts_at(server), time.perf_counter()
    options: dict[str, Any] = {"dtype": "uint16", "nodata": 0, "pool": 4, "driver": "rio", "resampling": "nearest"}
    found = odc.stac.load(items, bands=[*_METRES], geobox=grid, **options)
    took = time.perf_counter() - begin
    digests = [values_of(found[band].values[date]) for date in range(len(items)) for band in _METRES]
    return [(took, counts_at(server).since(before), digests)]
