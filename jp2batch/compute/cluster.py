"""The clusters that batches are done on: started here or elsewhere, and refused where they cannot do the work."""

import contextlib
import importlib
import logging
import os
import pkgutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from dask.utils import parse_bytes

from jp2batch.core import config
from jp2batch.core.config import threads
from jp2batch.core.errors import ClusterLost, ClusterMismatch, ConfigurationError
from jp2batch.core.version import __version__

if TYPE_CHECKING:
    from distributed import Client

_PATIENCE = 15  # seconds that a scheduler has to answer
_ASKED = 3  # times that workers are asked, where one dies meanwhile
_PAUSE = 1.0  # seconds between, in which it is started again
_OWN_MEMORY = 150e6  # bytes: a worker takes some 130 MB before it reads anything


def load_distributed() -> None:
    """Import distributed: it gives its loggers their handlers, which a caller may then replace."""
    importlib.import_module("distributed")


def async_client(scheduler: str) -> "Client":
    """Return a client for one event loop, which speaks to workers directly."""
    from distributed import Client

    return Client(scheduler, asynchronous=True, direct_to_workers=True)


@contextlib.contextmanager
def local_cluster(workers: int | None = None, threads: int = 1, memory_limit: str | int = "auto") -> Iterator["Client"]:
    """Start a cluster of processes on this machine, for the time of a `with` block.

    Parameters
    ----------
    workers : int, optional
        Processes; by default as many as there are cores.
    threads : int
        Threads of each.
    memory_limit : str or int
        Memory of each, as dask has it.

    Raises
    ------
    ConfigurationError
        The script that asks for it would be run by each of its processes; or these would have too little memory to
        live at all.
    """
    from distributed import Client, LocalCluster

    _check_script()
    _check_memory(memory_limit)
    # The first worker that dies makes its requests suspects; dask would let them end three more.
    with (
        own_cluster(),
        LocalCluster(
            n_workers=workers or config.threads(),
            threads_per_worker=threads,
            memory_limit=memory_limit,
            processes=True,
            silence_logs=logging.CRITICAL,  # a worker that dies is told of in the records
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _check_script() -> None:
    """Refuse to start processes for a script that says nowhere what only its first process is to do.

    They begin by importing it, and so by starting processes; dask would tell that in hundreds of lines.
    """
    main = sys.modules["__main__"]
    path, spec = getattr(main, "__file__", None), getattr(main, "__spec__", None)
    as_package = spec is not None and spec.name.endswith("__main__")  # which is not imported again
    if path is None or as_package or hasattr(sys, "ps1") or processes_are_forked():
        return
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if "__name__" not in Path(path).read_text(encoding="utf-8"):
            hint = 'put what it does below `if __name__ == "__main__":`, or work in threads'
            raise ConfigurationError(path, "this script starts processes, which begin by running it again", hint)


def _check_memory(limit: str | int) -> None:
    """Refuse so little memory that a worker would die as often as it starts."""
    given = 0 if limit == "auto" else parse_bytes(limit)
    if 1 < given < _OWN_MEMORY:  # dask takes what is less than 1 for a share of the machine's
        problem = f"workers with {limit} of memory die before they read anything"
        raise ConfigurationError("", problem, f"give them {_OWN_MEMORY / 1e6:.0f} MB or more")


@contextlib.contextmanager
def cluster_at(address: str, *, patience: float = _PATIENCE) -> Iterator["Client"]:
    """Connect to the scheduler at an address, for the time of a `with` block; wait for its first worker."""
    from distributed import Client

    with Client(address, timeout=_PATIENCE) as client:
        client.submit(os.getpid, pure=False).result(timeout=patience)
        yield client


def threads_of(client: "Client") -> int:
    """Return how many tasks a cluster does at once.

    Raises
    ------
    ClusterLost
        Its scheduler does not answer.
    """
    with reaching():
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return sum(worker["nthreads"] for worker in workers)


def check_cluster(client: "Client", packages: Iterable[str] = ()) -> None:
    """Refuse a cluster that cannot do the work, before it fails at it.

    Parameters
    ----------
    client : distributed.Client
        The cluster.
    packages : iterable of str
        What else its workers need.

    Raises
    ------
    ClusterMismatch
        Workers cannot import this package, have another version of it, or lack one of `packages`.
    ClusterLost
        Its scheduler does not answer.
    ConfigurationError
        Workers die as soon as they are asked.
    """
    own = __version__
    hint = f"pip install jp2batch=={own} there"
    for worker, found in _answers(client, pkgutil.resolve_name, "jp2batch:__version__"):
        if isinstance(found, BaseException):
            raise ClusterMismatch("", f"worker {worker} has no jp2batch: {_reason(found)}", hint)
        if found != own:
            raise ClusterMismatch("", f"worker {worker} has jp2batch {found}, and the client {own}", hint)
    for worker, found in _answers(client, pkgutil.resolve_name, "jp2batch.compute.isolated:__doc__"):
        if isinstance(found, BaseException):
            raise ClusterMismatch("", f"worker {worker} cannot import jp2batch: {_reason(found)}", hint)
    for package in packages:
        for worker, found in _answers(client, metadata.version, package):
            if isinstance(found, BaseException):
                problem = f"worker {worker} lacks {package}, which the output needs"
                raise ClusterMismatch("", problem, "pip install 'jp2batch[files]' there")


@contextlib.contextmanager
def reaching() -> Iterator[None]:
    """Let calls of a client that do not reach its scheduler any more be told as such.

    Raises
    ------
    ClusterLost
        They do not.
    """
    from distributed.client import ClosedClientError

    try:
        yield
    except (OSError, ClosedClientError, CancelledError) as error:
        raise ClusterLost("", f"the scheduler does not answer: {_reason(error)}", "start it again") from None


def _answers(client: "Client", function: Callable[..., object], *arguments: object) -> Iterator[tuple[str, object]]:
    """Call a function of the standard library, which any worker has, on all; iterate over (worker, value or error).

    A worker that dies meanwhile answers with an error of its connection: then all are asked again.
    """
    for _ in range(_ASKED):
        with reaching():
            answers: dict[str, object] = client.run(function, *arguments, on_error="return")
        lost = [(worker, found) for worker, found in answers.items() if isinstance(found, OSError)]
        if not lost:
            yield from answers.items()
            return
        time.sleep(_PAUSE)
    worker, found = lost[0]
    problem = f"worker {worker} dies as soon as it has started: {_reason(found)}"
    raise ConfigurationError("", problem, "give workers more memory, or see their log")


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:300]


def dask_threads() -> int:
    """Return the threads that dask takes where there is no cluster."""
    found = config.dask_value("num_workers")
    return int(found) if found else threads()


def own_cluster() -> AbstractContextManager[object]:
    """Let a cluster that is started in a `with` block be as a batch needs it.

    Its scheduler gives up a task with the first worker that dies of it. Its workers leave the interrupt key, which
    a terminal tells all processes of, to the process that has started them.
    """
    preload = config.dask_value("distributed.worker.preload") or []
    deaf = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    values = {
        "scheduler.allowed-failures": 0,
        "worker.preload": [*([preload] if isinstance(preload, str) else preload), deaf],
    }
    return config.with_dask_values({f"distributed.{key}": value for key, value in values.items()})


def processes_are_forked() -> bool:
    """Return whether dask's processes are copies of the one that starts them, rather than new ones."""
    return bool(config.dask_value("distributed.worker.multiprocessing-method") == "fork")
