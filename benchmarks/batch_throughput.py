"""Throughput of a batch: overviews on a cluster of two processes, over a slow link.

Compared with a naive batch: `dask.delayed` around "download the whole file, then glymur".
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jp2batch
from benchmarks.fresh import in_fresh_process
from benchmarks.readers import by_gdal, by_whole_file, import_all
from benchmarks.remote_reads import LINK, LOWEST, expected
from benchmarks.server import Counts, serving
from benchmarks.setting import Setting
from benchmarks.table import DEMANDED, Demand, Table, cells_of, megabytes, times
from benchmarks.timed import digest
from jp2batch.compute.cluster import local_cluster

if TYPE_CHECKING:
    from distributed import Client

_REQUESTS = 60
_WORKERS = 2
Way = Callable[["Client", Sequence[str]], list[str]]
"""(client, URLs) -> the digests of the overviews"""


def measure(setting: Setting) -> Table:
    """Measure the throughput of a batch."""
    count = 2 if setting.quick else _REQUESTS
    scene = setting.scene_of("uneven")
    ways: list[tuple[str, Way, list[Path]]] = [
        ("dask.delayed: whole file, then glymur", naively, scene.copies(count, tlm=True)),
        ("jp2batch.run, TLM", by_jp2batch, scene.copies(count, tlm=True)),
        ("jp2batch.run, no TLM", by_jp2batch, scene.copies(count, tlm=False)),
    ]
    wanted = [digest(expected(scene, LOWEST, None))] * count
    taken: list[tuple[str, float, Counts]] = []
    with serving(setting.folder, LINK) as server:
        for label, way, paths in ways:
            before = server.counts()
            took, found = in_fresh_process(run, way, str(setting.warm_up), [server.url(path) for path in paths])
            assert found == wanted, f"{label} gives other pixels than it should"
            taken.append((label, took, server.counts().since(before)))
    naive, size = taken[0][1], count * scene.tlm.stat().st_size
    (_, with_tlm, fetched) = taken[1]
    demands = [
        Demand("throughput, TLM", naive / with_tlm, "≥", 4),
        Demand("of all bytes, TLM", 100 * fetched.bytes / size, "≤", 3, "%"),
    ]
    rows = [
        (
            *(label, f"{took:.1f}", f"{count / took:.1f}", times(naive / took)),
            *(str(counts.requests), megabytes(counts.bytes), f"{counts.bytes / size:.1%}", *cells_of(*told)),
        )
        for (label, took, counts), told in zip(taken, ([], demands, []), strict=True)
    ]
    first = f"{count} overviews, {_WORKERS} workers"
    head = (first, "s", "a second", "faster by", "requests", "MB", "of all bytes", *DEMANDED)
    return Table(head, rows, [f"Over {LINK}."], demands).without_empty_columns()


def run(way: Way, warm_up: str, urls: Sequence[str]) -> tuple[float, list[str]]:
    """Run a batch on a new cluster; return seconds and digests of pixels."""
    with local_cluster(workers=_WORKERS) as client:
        client.run(jp2batch.read, warm_up)
        client.run(import_all)
        begin = time.perf_counter()
        found = way(client, urls)
        return time.perf_counter() - begin, found


def naively(client: "Client", urls: Sequence[str]) -> list[str]:
    """Run the naive batch."""
    from dask.delayed import delayed

    task = delayed(_download_and_decode)
    futures: Any = client.compute([task(url) for url in urls])
    return [digest(pixels) for pixels in client.gather(futures)]


def with_gdal(client: "Client", urls: Sequence[str]) -> list[str]:
    """Run it with GDAL instead of the download."""
    from dask.delayed import delayed

    task = delayed(_read_by_gdal)
    futures: Any = client.compute([task(url) for url in urls])
    return [digest(pixels) for pixels in client.gather(futures)]


def by_jp2batch(client: "Client", urls: Sequence[str]) -> list[str]:
    """Run it with jp2batch."""
    report = jp2batch.run([jp2batch.Request(url) for url in urls], client, on_error="raise")
    return [digest(result.value.values) for result in report]


def _read_by_gdal(url: str) -> Any:
    return by_gdal({"GDAL_NUM_THREADS": 1})(url, LOWEST, None)


def _download_and_decode(url: str) -> Any:
    return by_whole_file({})(url, -1, None)
