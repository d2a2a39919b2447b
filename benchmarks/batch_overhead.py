"""Overhead of a batch: time per request, with the read replaced by an empty function.

Compared with dask running a function that returns the same record, on the same cluster and in turns.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

import jp2batch
from benchmarks.setting import Setting
from benchmarks.table import DEMANDED, Demand, Table, cells_of, times
from jp2batch.compute.cluster import local_cluster
from jp2batch.image.read import Stats

if TYPE_CHECKING:
    from distributed import Client

_REQUESTS = 2000
_OF_DASK = 1.25  # of its time, at most
_STATS = Stats(1_240_000, 122, 0, 0.2, 0.06, "tlm", "packets")
_DASK = "client.map, as_completed(with_results=True)"


def measure(setting: Setting) -> Table:
    """Measure the overhead per request."""
    count = 60 if setting.quick else _REQUESTS
    requests = [jp2batch.Request(f"s3://bucket/29/U/NU/2022/10/{number:05}.jp2") for number in range(count)]
    took: dict[str, list[float]] = {}
    with local_cluster(workers=2) as client:
        client.run(leave_out_reads)
        sample = jp2batch.run(requests[:1], client, record).results[0]
        ways: dict[str, Callable[[], Iterator[Any]]] = {
            _DASK: partial(_by_dask, client, requests, sample),
            "jp2batch.run": lambda: iter(jp2batch.run(requests, client, record)),
            "jp2batch.as_completed": lambda: jp2batch.as_completed(requests, client, record),
        }
        for _ in range(setting.rounds + 1):
            for name, results in ways.items():
                took.setdefault(name, []).append(_seconds(results, count) / count)
    medians = {name: statistics.median(of_rounds[1:]) for name, of_rounds in took.items()}  # the first warms up
    demands = {
        name: Demand(name, value / medians[_DASK], "≤", _OF_DASK) for name, value in medians.items() if name != _DASK
    }
    rows = [
        (name, f"{value * 1e3:.2f}", times(value / medians[_DASK]), *cells_of(demands.get(name)))
        for name, value in medians.items()
    ]
    head = ("2 workers, no reads", "ms a request", "of dask's time", *DEMANDED)
    return Table(head, rows, demands=list(demands.values())).without_empty_columns()


def leave_out_reads() -> None:
    """Replace reads on this worker by a constant result."""
    from jp2batch.compute import task

    opened = SimpleNamespace(pieces=SimpleNamespace(size=84_000_000))
    pixels = SimpleNamespace(values=np.zeros((1, 687, 687), np.uint16), stats=_STATS, opened=opened)
    task.open_from = lambda *_, **__: None  # type: ignore[assignment]
    task._read = lambda *_: pixels  # type: ignore[assignment]


def record(_pixels: Any, request: jp2batch.Request) -> str:
    """Deliver something small."""
    return request.id


def _same(_request: jp2batch.Request, sample: jp2batch.Result) -> jp2batch.Result:
    return sample


def _by_dask(client: "Client", requests: Sequence[jp2batch.Request], sample: jp2batch.Result) -> Iterator[Any]:
    from distributed import as_completed

    futures = client.map(_same, requests, sample=sample, pure=False)
    return (result for _, result in as_completed(futures, with_results=True))


def _seconds(results: Callable[[], Iterator[Any]], count: int) -> float:
    begin = time.perf_counter()
    done = sum(result.status == "ok" for result in results())
    took = time.perf_counter() - begin
    assert done == count, f"{done} of {count} requests were done"
    return took
