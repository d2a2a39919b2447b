"""A child of `os.fork` reads from all kinds of stores, whatever lock a thread of its parent holds."""

import itertools
import os
import sys
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dask
import fsspec.asyn
import numpy as np
import pytest
from fsspec.registry import get_filesystem_class

from jp2batch.compute.task import PickledSpec, TaskSpec, as_response, run_task
from jp2batch.core.errors import ConfigurationError
from jp2batch.core.options import SecretDict
from jp2batch.core.request import Request
from jp2batch.core.runtime import Runtime, uninterrupted_by_fork
from jp2batch.image.index.table_writer import write_table
from jp2batch.image.read import read_pixels
from jp2batch.storage.cluster_limits import cluster_lease, current_worker
from support.forking import fork_and_do, held_by_a_thread
from support.images import MANY_TILES
from support.tile_part_rows import learn

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")

STATE = (
    "gauge",
    "hedge_budget",
    "_limiter",
    "_memory",
    "_file_at",
    "background_writer",
    "_connections",
    "_loaded",
    "_opened",
    "group_cache",
    "_store",
    "pending_calls",
    "_lost_its_threads",
    "repair_after_fork",
)
OTHERS = {
    "Runtime._lock": lambda: [Runtime.current._lock],
    "loop of fsspec": lambda: [fsspec.asyn.get_lock()],
    "file systems of fsspec": lambda: [
        cls._instantiation_lock
        for cls in map(get_filesystem_class, ("http", "s3"))
        if hasattr(cls, "_instantiation_lock")  # older ones have none
    ],
    "dask.config": lambda: [dask.config.config_lock],
}
LOCKS = [
    *(f"{name} in the making" for name in STATE),
    "LatencyEstimator._lock",
    "_Busy._lock",
    "_Memory._lock",
    "GroupCache._lock",
    "_CachedGroup.lock",
    "LocalSource._lock",
    "BackgroundWriter._changed",
    *OTHERS,
]


@pytest.fixture
def requests(http_server, tmp_path) -> Iterator[list[tuple[Request, dict[str, Any]]]]:
    """Requests for a file, from a web server, and from an S3 store, all of which this process has read."""
    (tmp_path / "image.jp2").write_bytes(MANY_TILES.data)
    http_server.files["image.jp2"] = http_server.files["bucket/image.jp2"] = MANY_TILES.data
    around = dict.fromkeys(("!", "~"), learn(MANY_TILES))  # every path may be between these
    write_table(str(tmp_path / "table.parquet"), around)
    store = {"anon": True, "endpoint_url": http_server.url("").rstrip("/")}
    index = {"enabled": True, "folder": str(tmp_path / "index"), "shared": str(tmp_path / "table.parquet")}
    urls = [(str(tmp_path / "image.jp2"), {}), (http_server.url("image.jp2"), {}), ("s3://bucket/image.jp2", store)]
    requests = [(Request(url, 1), options) for url, options in urls]
    with dask.config.set({"jp2batch.index": index, "jp2batch.max-whole-file": 0, "jp2batch.measure": True}):
        read_all(requests)
        yield requests


def read_all(requests: list[tuple[Request, dict[str, Any]]]) -> None:
    """Read each image, then all again as a worker does."""
    for request, options in requests:
        np.testing.assert_array_equal(read_pixels(request, storage_options=options).values, MANY_TILES.oracle.at(1))
    for request, options in requests:
        spec = PickledSpec.of(TaskSpec(as_response, SecretDict(options), settings=None, deadline=None))
        assert run_task(request, spec).error is None


def locks_of(thing: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Iterate over the locks that an object of the package owns, by their names."""
    if hasattr(thing, "acquire") and hasattr(thing, "release"):
        yield name, thing
    elif isinstance(thing, dict):
        yield from itertools.chain.from_iterable(locks_of(value, name) for value in list(thing.values()))
    elif isinstance(thing, list | tuple | set | OrderedDict):
        yield from itertools.chain.from_iterable(locks_of(value, name) for value in list(thing))
    elif type(thing).__module__.startswith("jp2batch") and hasattr(thing, "__dict__"):
        for attribute, value in vars(thing).items():
            yield from locks_of(value, f"{type(thing).__name__}.{attribute}")


def locks() -> dict[str, list[Any]]:
    """Return the locks of the runtime, and those of other packages that reads take, by their names."""
    found: dict[str, list[Any]] = {name: find() for name, find in OTHERS.items()}
    for state, cells in Runtime.current._cells.items():
        for name, lock in locks_of(dict(cells)):
            key = f"{state.__name__} in the making" if name == "_Cell._lock" else name
            found.setdefault(key, []).append(lock)
    return found


def test_these_are_all_locks(requests):
    assert sorted(locks()) == sorted(LOCKS)
    assert sys.modules["obstore"]  # has read from the S3 store


@pytest.mark.parametrize("name", LOCKS)
def test_a_child_reads_while_a_lock_of_its_parent_is_held(requests, name):
    with held_by_a_thread(locks()[name]):
        assert fork_and_do(lambda: read_all(requests)) == ""


def test_a_child_reads_while_all_locks_of_its_parent_are_held(requests):
    with held_by_a_thread(itertools.chain.from_iterable(locks().values())):
        assert fork_and_do(lambda: read_all(requests)) == ""


def test_a_fork_waits_for_the_lock_that_it_may_not_interrupt(requests):
    with held_by_a_thread([uninterrupted_by_fork()], at_most=0.5):
        assert fork_and_do(lambda: read_all(requests)) == ""


def test_children_read_that_are_forked_while_threads_read(requests):
    def keep_reading() -> None:
        while not end:
            read_all(requests)

    end: list[int] = []
    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(keep_reading) for _ in range(3)]
        try:
            assert [fork_and_do(lambda: read_all(requests)) for _ in range(8)] == [""] * 8
        finally:
            end.append(1)
        for reader in readers:
            reader.result(60)


def test_a_child_may_have_children_that_read(requests):
    def act() -> None:
        read_all(requests)
        failure = fork_and_do(lambda: read_all(requests))
        assert failure == "", failure

    assert fork_and_do(act) == ""


def test_a_child_says_that_it_cannot_use_obstore(requests):
    request, options = requests[-1]

    def act() -> None:
        with dask.config.set({"jp2batch.driver": "obstore"}), pytest.raises(ConfigurationError, match="was forked"):
            read_pixels(request, storage_options=options)

    assert fork_and_do(act) == ""


def test_a_worker_is_none_of_a_child():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster:
        assert cluster_lease("store", 2) is not None

        def act() -> None:
            assert cluster_lease("store", 2) is None
            assert current_worker() is None

        def fork_in_a_task() -> tuple[bool, str]:
            return current_worker() is not None, fork_and_do(act)

        assert fork_and_do(act) == ""
        with distributed.Client(cluster) as client:
            assert client.submit(fork_in_a_task).result(120) == (True, "")
