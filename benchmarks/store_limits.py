"""Thirty overviews from a store with a quota: 4 connections, 2,000 requests a minute, 20 MB/s a connection.

The store refuses what is over its quota, and says when to come again. Beside jp2batch, one request for each tile, at
places that are known, over as many connections as are allowed.
"""

import http.client
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import jp2batch
from benchmarks.fresh import in_fresh_process
from benchmarks.readers import TileIndex, import_all
from benchmarks.remote_reads import LOWEST, expected
from benchmarks.server import Link, serving
from benchmarks.setting import Setting
from benchmarks.table import Table, megabytes, times
from benchmarks.timed import digest
from jp2batch.batch.cluster import local_cluster

_IMAGES = 30
_CONNECTIONS = 4
_WORKERS = 2
LINK = Link(latency=0.03, bandwidth=20e6, at_once=_CONNECTIONS, per_minute=2000)
_PREFIX = 8_000  # bytes of a tile that its header and its lowest resolution take
# The link, as jp2batch is told of it.
_PROFILE = {"latency": "30ms", "bandwidth": "20 MB", "connections": _CONNECTIONS, "requests-per-minute": 2000}


def measure(setting: Setting) -> Table:
    """Measure overviews under a quota."""
    count = 2 if setting.quick else _IMAGES
    scene = setting.scene
    wanted = digest(expected(scene, LOWEST, None))
    rows, first = [], 0.0
    for label, way, tlm in (
        ("one request a tile, known", one_request_a_tile, True),
        ("jp2batch.run, TLM", by_jp2batch, True),
        ("jp2batch.run, no TLM", by_jp2batch, False),
    ):
        paths = scene.copies(count, tlm=tlm)
        with serving(setting.folder, LINK) as server:  # a new one each time: with a new minute
            urls = [server.url(path) for path in paths]
            took, found = in_fresh_process(way, str(setting.warm_up), urls, TileIndex.of(paths[0]))
            counts = server.counts()
        first = first or took
        assert set(found) <= {wanted}, f"{label} gives other pixels than it should"
        failed = "0" if way is one_request_a_tile else str(count - len(found))
        figures = f"{took:.1f}", times(first / took), failed, str(counts.requests), str(counts.refused)
        rows.append((label, *figures, megabytes(counts.bytes)))
    head = (f"{count} overviews", "s", "faster by", "failed", "requests", "refused", "MB")
    return Table(head, rows, [f"Over {LINK}."])


def one_request_a_tile(_warm_up: str, urls: Sequence[str], index: TileIndex) -> tuple[float, list[str]]:
    """Fetch what an overview takes of each tile, as fast as the store allows; nothing is decoded."""
    host = urls[0].split("/")[2]
    spans = [(0, len(index.header)), *((start, start + _PREFIX) for start, _ in index.spans)]
    asked = iter([(url.rpartition("/")[2], span) for url in urls for span in spans])

    def fetch_many(_: int) -> None:
        connection = http.client.HTTPConnection(host)
        for name, (start, stop) in asked:  # shared: next() of a list's iterator is atomic
            headers = {"Range": f"bytes={start}-{stop - 1}"}
            while (wait := fetched(connection, f"/{name}", headers)) is not None:
                time.sleep(wait)
        connection.close()

    begin = time.perf_counter()
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        list(pool.map(fetch_many, range(_CONNECTIONS)))
    return time.perf_counter() - begin, []


def fetched(connection: http.client.HTTPConnection, target: str, headers: dict[str, str]) -> int | None:
    """Make a request; return None where it was answered, or the seconds after which to make it again."""
    connection.request("GET", target, headers=headers)
    answer = connection.getresponse()
    answer.read()
    return int(answer.headers["Retry-After"]) if answer.status == 429 else None


def by_jp2batch(warm_up: str, urls: Sequence[str], _index: TileIndex) -> tuple[float, list[str]]:
    """Read overviews on a cluster that knows the quota."""
    import dask

    with dask.config.set({"jp2batch.stores.http": _PROFILE}), local_cluster(workers=_WORKERS) as client:
        client.run(import_all)
        client.run(jp2batch.read, warm_up)
        begin = time.perf_counter()
        report = jp2batch.run([jp2batch.Request(url) for url in urls], client)
        found = [digest(result.value.values) for result in report if result.error is None]
        return time.perf_counter() - begin, found
