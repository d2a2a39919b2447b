"""Headers of many images, read at once: in threads, or on a cluster."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from jp2batch import config, georeference
from jp2batch.batch.cluster import check_cluster
from jp2batch.batch.work import Hidden, absolute
from jp2batch.georeference import Georeference
from jp2batch.jpeg2000.codestream import Header, check_supported
from jp2batch.jpeg2000.known import Known
from jp2batch.opening import Opened, with_opened
from jp2batch.reader import StorageOptions
from jp2batch.storage.options import checked_options
from jp2batch.storage.source import open_source

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")
U = TypeVar("U")

_THREADS = 32  # a header is few bytes, so that only waiting counts


@dataclass(frozen=True, slots=True)
class Head:
    """What the header of an image tells; it travels between processes."""

    url: str
    """Where the image lies."""
    path: str
    """The same without credentials, for messages."""
    header: Header
    """The main header of its codestream."""
    place: Georeference | None
    """Where its pixels lie on the Earth."""
    channels: int
    """Number of its bands."""
    dtype: np.dtype[Any]
    """Type of its samples."""
    known: Known | None
    """What spares reads of it a round."""


def read_head(url: str, *, storage_options: StorageOptions = None) -> Head:
    """Read the header of an image.

    Raises
    ------
    Jp2BatchError
        It cannot be read, or its pixels could not.
    """
    source = open_source(url, storage_options=storage_options)

    def act(opened: Opened) -> Head:
        opened.confirm()
        check_supported(opened.image.header)
        place = georeference.from_boxes(opened.image.container.boxes)
        bands = len(opened.channels)
        return Head(url, source.path, opened.image.header, place, bands, opened.dtype, opened.known())

    return with_opened(source, act)


def at_once(
    function: Callable[..., U], items: Iterable[T], *, client: "Client | None", storage_options: StorageOptions
) -> list[U]:
    """Return what a function, with `storage_options`, makes of each item: in threads, or on a client's cluster.

    Raises
    ------
    Jp2BatchError
        The first that the function raises.
    """
    task = partial(function, storage_options=Hidden(checked_options(storage_options)))
    if client is None:
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="jp2batch-open")
        try:
            return list(pool.map(task, items))
        finally:
            pool.shutdown(cancel_futures=True)
    check_cluster(client)
    folder = str(Path.cwd())  # workers may run in another
    there = [absolute(item, folder) if isinstance(item, str) else item for item in items]
    futures = client.map(partial(_there, task, config.settings()), there, pure=False, key="jp2batch-open")
    found: list[U] = client.gather(futures)
    return found


def _there(task: Callable[[T], U], settings: dict[str, Any], item: T) -> U:
    """Do a task on a worker, with the configuration of the client."""
    config.adopt(settings)
    return task(item)
