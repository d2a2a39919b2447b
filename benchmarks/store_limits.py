"""Read overviews from a store with the quota of the profile `cdse`, enforced by the server.

The store refuses requests over its quota, with Retry-After. Compared with one request per tile, at known positions,
over as many connections as allowed.
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
from benchmarks.table import DEMANDED, Demand, Table, cells_of, megabytes, times
from benchmarks.timed import digest
from jp2batch.compute.cluster import local_cluster
from jp2batch.core.store_settings import store_costs

_IMAGES = 30
_WORKERS = 2
_FASTER = 1.5  # than one request a tile, at least
_STORES = {"127.0.0.1": "cdse"}
_PREFIX = 8_000  # bytes of a tile that its header and its lowest resolution take


def quota() -> Link:
    """Return a link with the costs of the profile `cdse`."""
    profile = store_costs("https", "dataspace.copernicus.eu")
    return Link(profile.latency, profile.bandwidth, profile.connections, int(profile.requests_per_minute or 0))


def measure(setting: Setting) -> Table:
    """Measure overviews under a quota."""
    count = 2 if setting.quick else _IMAGES
    scene = setting.scene
    wanted = digest(expected(scene, LOWEST, None))
    link, rows, first, demands = quota(), list[Sequence[str]](), 0.0, list[Demand]()
    for label, way, tlm in (
        ("one request a tile, known", one_request_a_tile, True),
        ("jp2batch.run, TLM", by_jp2batch, True),
        ("jp2batch.run, no TLM", by_jp2batch, False),
    ):
        paths = scene.copies(count, tlm=tlm)
        with serving(setting.folder, link) as server:  # a new one each time: with a new minute
            urls = [server.url(path) for path in paths]
            took, found = in_fresh_process(way, str(setting.warm_up), urls, TileIndex.of(paths[0]))
            counts = server.counts()
        first = first or took
        assert set(found) <= {wanted}, f"{label} gives other pixels than it should"
        told, failed = list[Demand](), 0
        if way is by_jp2batch:
            failed = count - len(found)
            told = [Demand(label, first / took, "≥", _FASTER), Demand(label, failed, "≤", 0, "failed")]
        demands += told
        figures = f"{took:.1f}", times(first / took), str(failed), str(counts.requests), str(counts.refused)
        rows.append((label, *figures, megabytes(counts.bytes), *cells_of(*told)))
    head = (f"{count} overviews", "s", "faster by", "failed", "requests", "refused", "MB", *DEMANDED)
    return Table(head, rows, [f"Over {link}."], demands).without_empty_columns()


def one_request_a_tile(_warm_up: str, urls: Sequence[str], index: TileIndex) -> tuple[float, list[str]]:
    """Fetch the bytes of an overview tile by tile, without decoding."""
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
    with ThreadPoolExecutor(quota().at_once) as pool:
        list(pool.map(fetch_many, range(quota().at_once)))
    return time.perf_counter() - begin, []


def fetched(connection: http.client.HTTPConnection, target: str, headers: dict[str, str]) -> int | None:
    """Send a request; return None, or seconds to wait if it was refused."""
    connection.request("GET", target, headers=headers)
    answer = connection.getresponse()
    answer.read()
    return int(answer.headers["Retry-After"]) if answer.status == 429 else None


def by_jp2batch(warm_up: str, urls: Sequence[str], _index: TileIndex) -> tuple[float, list[str]]:
    """Read overviews on a cluster configured with the quota."""
    import dask

    with dask.config.set({"jp2batch.stores": _STORES}), local_cluster(workers=_WORKERS) as client:
        client.run(import_all)
        client.run(jp2batch.read, warm_up)
        begin = time.perf_counter()
        report = jp2batch.run([jp2batch.Request(url) for url in urls], client)
        found = [digest(result.value.values) for result in report if result.error is None]
        return time.perf_counter() - begin, found
