"""Memory of a long batch: many requests for parts of small images.

The scheduler runs in its own process.

The client compares the pixels of each result, and drops it.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import jp2batch
from benchmarks.fresh import in_fresh_process
from benchmarks.setting import Setting
from benchmarks.table import Table, times
from jp2batch.image import openjpeg
from jp2batch.sample import landscape
from jp2batch.sample.product import make_image

_SIZE = 384  # pixels a side, in 4 tiles
_IMAGES = 40
_REQUESTS = 5000
_WORKERS = 2


@dataclass(frozen=True, slots=True)
class Held:
    """Memory of a process, in bytes."""

    name: str
    """Name of the process."""
    early: int
    """Memory after a fifth of the requests."""
    end: int
    """Memory after all requests."""
    peak: int
    """Largest sample."""


def measure(setting: Setting) -> Table:
    """Measure the memory of client and scheduler."""
    number, count = (4, 40) if setting.quick else (_IMAGES, _REQUESTS)
    paths = images(setting.folder / "small", number)
    held, took = in_fresh_process(run, paths, count)
    rows = [
        (one.name, *(f"{value >> 20}" for value in (one.early, one.end, one.peak)), times(one.end / one.early))
        for one in held
    ]
    head = (
        f"MiB, {_WORKERS} workers",
        f"after {count // 5} requests",
        f"after {count}",
        "peak",
        "end / early",
    )
    note = f"{count} requests, none failed, all pixels equal, {took:.0f} s."
    return Table(head, rows, [note])


def images(folder: Path, count: int) -> list[Path]:
    """Make missing images."""
    paths = [folder / f"small_{number:02}.jp2" for number in range(count)]
    for number, path in enumerate(paths):
        if not path.exists():
            pixels = landscape.scene(_SIZE, seed=number, bands=("B04",))["B04"]
            make_image(path.with_suffix(".part"), pixels, 60).replace(path)
    return paths


def run(paths: list[Path], count: int) -> tuple[list[Held], float]:
    """Run the requests; return memory and seconds."""
    from distributed import Client, SubprocessCluster

    with (
        SubprocessCluster(n_workers=_WORKERS, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        scheduler: Any = client.run_on_scheduler(os.getpid)
        processes = {"client": psutil.Process(), "scheduler": psutil.Process(scheduler)}
        looks: dict[str, list[int]] = {name: [] for name in processes}
        begin = time.perf_counter()
        for _ in checked(jp2batch.as_completed(list(requests(paths, count)), client), paths):
            for name, process in processes.items():
                looks[name].append(process.memory_info().rss)
        took = time.perf_counter() - begin
    assert all(len(found) == count for found in looks.values())
    return [Held(name, found[count // 5 - 1], found[-1], max(found)) for name, found in looks.items()], took


def requests(paths: list[Path], count: int) -> Iterator[jp2batch.Request]:
    """Iterate over requests that differ: levels and windows of all images."""
    places = product(range(5), range(0, _SIZE - 64, 64), range(0, _SIZE - 64, 64), paths)
    for (rlevel, row, column, path), _ in zip(places, range(count), strict=False):
        yield jp2batch.Request(str(path), rlevel, ((row, row + 100), (column, column + 64)))


def checked(results: Iterator[jp2batch.Result], paths: list[Path]) -> Iterator[jp2batch.Result]:
    """Compare results with OpenJPEG's decode of the whole file, and pass them on."""
    decoded: dict[tuple[str, int], Any] = {}
    for path, rlevel in product(paths, range(5)):
        whole = np.zeros((1, -(-_SIZE >> rlevel), -(-_SIZE >> rlevel)), np.uint16)
        openjpeg.decode(path.read_bytes(), whole, reduce=rlevel)
        decoded[str(path), rlevel] = whole[0]
    for result in results:
        if result.error is not None:
            raise result.error
        request = result.request
        assert request.window is not None
        rows, columns = request.window.at_level(request.rlevel)
        expected = decoded[request.path, request.rlevel][slice(*rows), slice(*columns)]
        assert np.array_equal(result.value, expected), request
        yield result
