"""Apply a function to items concurrently, in threads or on a cluster."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from jp2batch.compute.checked_cluster import CheckedCluster, checked
from jp2batch.compute.connection import ClientLike
from jp2batch.core import config
from jp2batch.core.location import Location
from jp2batch.core.options import SecretDict, StorageOptions, validate_for_workers

T = TypeVar("T")
U = TypeVar("U")

_THREADS = 32  # a header has few bytes: the threads only wait


def map_concurrently(
    function: Callable[..., U],
    items: Iterable[T],
    *,
    client: ClientLike | CheckedCluster | None,
    storage_options: StorageOptions,
) -> list[U]:
    """Apply a function to items concurrently, in threads or on a cluster.

    The function also receives `storage_options`.

    Raises
    ------
    Jp2BatchError
        The first error of the function; or the cluster cannot be used.
    """
    options = SecretDict.of(storage_options)
    task = partial(function, storage_options=options)
    if client is None:
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="jp2batch-open")
        try:
            return list(pool.map(task, items))
        finally:
            pool.shutdown(cancel_futures=True)
    validate_for_workers(options)
    folder = str(Path.cwd())  # workers may run in another folder
    there = [Location.of(item).absolute(folder).text if isinstance(item, str) else item for item in items]
    on_worker = partial(_there, task, config.settings())
    with checked(client) as cluster:
        futures = cluster.client.map(on_worker, there, pure=False, key="jp2batch-open", resources=cluster.resources)
        found: list[U] = cluster.client.gather(futures)
        return found


def _there(task: Callable[[T], U], settings: dict[str, object], item: T) -> U:
    """Run a task on a worker, with the configuration of the client."""
    config.apply_settings(settings)
    return task(item)
