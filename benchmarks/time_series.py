"""Read a time series of a field, over a slow link.

Compares jp2batch on a cluster of two processes with GDAL in as many threads.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import jp2batch
from benchmarks.fresh import in_fresh_process
from benchmarks.readers import by_gdal, import_all
from benchmarks.remote_reads import LINK, LOWEST, expected
from benchmarks.server import counts_at, serving
from benchmarks.setting import Setting
from benchmarks.table import DEMANDED, Demand, Table, cells_of, megabytes, seconds, times
from benchmarks.timed import Taken, digest, median
from jp2batch.compute.cluster import local_cluster
from jp2batch.core.window import Window

_DATES = 20
_WORKERS = 2
Digests = list[str]
Way = Callable[[str, str, Sequence[str], Window], tuple[Taken, Digests]]
"""(server, local file, URLs, window) -> statistics, digests"""


def measure(setting: Setting) -> Table:
    """Measure a time series of a field."""
    count = 2 if setting.quick else _DATES
    scene = setting.scene
    start = int(scene.size * 0.55)
    field = Window((start, start + 100), (start, start + 100))
    ways: dict[str, tuple[Way, bool]] = {
        f"GDAL /vsicurl, {_DATES} threads, TLM": (by_threads_of_gdal, True),
        f"jp2batch.run, {_WORKERS} workers, known": (by_jp2batch, False),
    }
    wanted = [digest(expected(scene, 0, field))] * count
    taken: dict[str, list[Taken]] = {label: [] for label in ways}
    with serving(setting.folder, LINK) as server:
        for _ in range(setting.rounds):
            for label, (way, tlm) in ways.items():
                urls = [server.url(path) for path in scene.copies(count, tlm=tlm)]
                arguments = server.address, str(setting.warm_up), urls, field
                one, found = in_fresh_process(way, *arguments)
                assert found == wanted, f"{label} gives other pixels than it should"
                taken[label].append(one)
    medians = {label: median(found) for label, found in taken.items()}
    gdal, ours = (one.seconds for one in medians.values())
    demand = Demand("GDAL beside jp2batch", gdal / ours, "≥", 2.5, aim=4)
    rows = [
        (
            *(label, seconds(one.seconds), str(one.counts.requests), megabytes(one.counts.bytes)),
            *(times(one.seconds / ours), *cells_of(told)),
        )
        for (label, one), told in zip(medians.items(), (demand, None), strict=True)
    ]
    head = (f"{count} dates, 100 x 100 pixels", "time", "requests", "MB", "of jp2batch's time", *DEMANDED)
    return Table(head, rows, [f"Over {LINK}."], [demand])


def by_threads_of_gdal(server: str, warm_up: str, urls: Sequence[str], field: Window) -> tuple[Taken, Digests]:
    """Read with GDAL, each date in its own thread."""
    read = by_gdal({"GDAL_NUM_THREADS": 1})
    with ThreadPoolExecutor(_DATES) as pool:
        list(pool.map(lambda _: read(warm_up, 1, None), range(_DATES)))
        return clocked(server, lambda: list(pool.map(lambda url: digest(read(url, 0, field)), urls)))


def by_jp2batch(server: str, warm_up: str, urls: Sequence[str], field: Window) -> tuple[Taken, Digests]:
    """Read on a cluster of two processes that has read the overviews before."""
    with local_cluster(workers=_WORKERS, threads=_DATES // _WORKERS) as client:
        client.run(import_all)
        client.run(jp2batch.read, warm_up, 1)
        jp2batch.run([jp2batch.Request(url, LOWEST) for url in urls], client, on_error="raise")
        requests = [jp2batch.Request(url, 0, field) for url in urls]
        return clocked(server, lambda: [digest(one.value.values) for one in jp2batch.run(requests, client)])


def clocked(server: str, work: Callable[[], Digests]) -> tuple[Taken, Digests]:
    """Call a function; return its statistics and its value."""
    before = counts_at(server)
    begin = time.perf_counter()
    found = work()
    took = time.perf_counter() - begin
    return Taken(took, counts_at(server).since(before), memory=0), found
