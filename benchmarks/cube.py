"""Open a cube of many dates and bands, and read a time series of a field.

Each image is the same generated band of 10 m, under another name. Opened from local files; and over a server without
latency, which counts requests and bytes.
"""

import os
import pickle
import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

import jp2batch
from benchmarks.fresh import in_fresh_process
from benchmarks.readers import import_all
from benchmarks.remote_reads import expected
from benchmarks.scenes import Scene
from benchmarks.server import Counts, Link, counts_at, serving
from benchmarks.setting import Setting
from benchmarks.table import DEMANDED, Demand, Table, cells_of
from benchmarks.timed import digest
from jp2batch.core.window import Window

_DATES, _BANDS = 50, ("B02", "B03", "B04")
_FIRST = datetime(2022, 1, 1, 11, 54, 11, tzinfo=UTC)
_FIELD = 100  # pixels a side


def measure(setting: Setting) -> Table:
    """Measure a cube."""
    scene = setting.scene
    folder = setting.folder / "cube"
    paths = images(scene, folder, 2 if setting.quick else _DATES)
    start = int(scene.size * 0.55)
    field = Window((start, start + _FIELD), (start, start + _FIELD))
    dates = len(paths) // len(_BANDS)
    wanted = digest(np.stack([expected(scene, 0, field)] * len(paths)))
    local = [in_fresh_process(opened, str(setting.warm_up), list(map(str, paths))) for _ in range(setting.rounds)]
    with serving(folder, Link()) as server:
        urls = [server.url(path) for path in paths]
        headers, series, found = in_fresh_process(read_series, server.address, urls, start)
    assert found == wanted, "the series has other pixels than it should"
    share = 100 * (headers.bytes + series.bytes) / sum(path.stat().st_size for path in paths)
    demands = [
        Demand("seconds to open", statistics.median(seconds for seconds, _ in local), "<", 3, "s"),
        Demand("requests a file to open", headers.requests / len(paths), "≤", 3, ""),
        Demand("the graph, pickled", local[0][1] / 1e6, "<", 2, "MB"),
        Demand(f"a field of {_FIELD}² through time, of all bytes", share, "<", 2, "%"),
    ]
    rows = [(demand.what, f"{demand.figure:.3g} {demand.unit}".strip(), *cells_of(demand)) for demand in demands]
    head = (f"{dates} dates x {len(_BANDS)} bands of {scene.size}²", "", *DEMANDED)
    note = "Opened from local files, in a fresh process; requests and bytes as a server counts them."
    return Table(head, rows, [note], demands).without_empty_columns()


def images(scene: Scene, folder: Path, dates: int) -> list[Path]:
    """Return links to a scene, by the names of images of several dates and bands."""
    folder.mkdir(exist_ok=True)
    times = [_FIRST + timedelta(days=5 * number) for number in range(dates)]
    paths = [folder / f"T29UNU_{time:%Y%m%dT%H%M%S}_{band}_10m.jp2" for time in times for band in _BANDS]
    for path in paths:
        path.unlink(missing_ok=True)  # it may be of a scene of another size
        os.link(scene.tlm, path)
    return paths


def opened(warm_up: str, paths: list[str]) -> tuple[float, int]:
    """Open a cube; return the seconds, and the bytes of its graph."""
    import_all()
    jp2batch.open(warm_up)
    begin = time.perf_counter()
    cube = jp2batch.open_cube(paths)
    return time.perf_counter() - begin, len(pickle.dumps(dict(cube.__dask_graph__())))


def read_series(server: str, urls: list[str], start: int) -> tuple[Counts, Counts, str]:
    """Open a cube and read a field; return the time of each, and digests of pixels."""
    before = counts_at(server)
    cube = jp2batch.open_cube(urls)
    between = counts_at(server)
    part = slice(start, start + _FIELD)
    values: Any = cube.isel(y=part, x=part).values
    after = counts_at(server)
    return between.since(before), after.since(between), digest(values.reshape(-1, _FIELD, _FIELD))
