"""Clusters of dask on this machine, and connections to their schedulers."""

import contextlib
import importlib
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from dask.utils import parse_bytes

from jp2batch.core import config
from jp2batch.core.config import threads
from jp2batch.core.errors import ClusterLost, ConfigurationError

if TYPE_CHECKING:
    from distributed import Client

_NO_PAGES: dict[str, object] = {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}
_OWN_MEMORY = 150e6  # bytes: a worker takes some 130 MB before it reads anything


def load_distributed() -> None:
    """Import distributed, which adds handlers to its loggers.

    A caller may replace them afterwards.
    """
    importlib.import_module("distributed")


@contextlib.contextmanager
def without_connection_logs() -> Iterator[None]:
    """Silence distributed about broken connections for a `with` block."""
    load_distributed()
    loggers = [logging.getLogger(f"distributed.{name}") for name in ("batched", "client")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.asynccontextmanager
async def async_client(client: "Client") -> AsyncIterator["Client"]:
    """Connect an asynchronous client to the same cluster for a `with` block.

    Its connections to workers are direct.
    """
    from distributed import Client

    address = client.scheduler_info()["address"]
    async with Client(address, security=client.security, asynchronous=True, direct_to_workers=True) as found:
        yield found
    await found.scheduler_comm.close()  # dask leaves its timer behind if the scheduler has closed it before


@contextlib.contextmanager
def local_cluster(
    workers: int | None = None, threads: int = 1, memory_limit: str | int = "auto", *, private: bool = False
) -> Iterator["Client"]:
    """Start a cluster of local processes for a `with` block.

    Parameters
    ----------
    workers : int, optional
        Number of processes; by default the number of cores.
    threads : int
        Threads per process.
    memory_limit : str or int
        Memory per process, in dask's notation.
    private : bool
        True to accept only connections with the certificate of this cluster, which is in no file, and to serve no
        dashboard. Other users of the machine can otherwise run code in its processes.

    Raises
    ------
    ConfigurationError
        Each process would run the calling script again; or the memory is too little for a process to start.
    """
    from distributed import Client, LocalCluster

    _check_script()
    _check_memory(memory_limit)
    # A task is suspect as soon as a worker dies while running it; by default dask would let it kill three more.
    with (
        own_cluster(),
        config.with_dask_values(_NO_PAGES if private else {}),
        LocalCluster(
            n_workers=workers or config.threads(),
            threads_per_worker=threads,
            memory_limit=memory_limit,
            processes=True,
            silence_logs=logging.CRITICAL,  # the records tell of workers that die
            host="127.0.0.1",
            security=private or None,
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": not private},
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _check_script() -> None:
    """Refuse to start processes for a script without `__name__ == "__main__"`.

    Each process would import the script, and start processes in turn; dask reports this in hundreds of lines.
    """
    main = sys.modules["__main__"]
    path, spec = getattr(main, "__file__", None), getattr(main, "__spec__", None)
    as_package = spec is not None and spec.name.endswith("__main__")  # a package's __main__ is not imported again
    if path is None or as_package or hasattr(sys, "ps1") or processes_are_forked():
        return
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if "__name__" not in Path(path).read_text(encoding="utf-8"):
            hint = 'move its statements below `if __name__ == "__main__":`, or work in threads'
            raise ConfigurationError(path, "this script starts processes, which begin by running it again", hint)


def _check_memory(limit: str | int) -> None:
    """Refuse a memory limit too small for a worker to start."""
    given = 0 if limit == "auto" else parse_bytes(limit)
    if 1 < given < _OWN_MEMORY:  # for dask, a number up to 1 is a share of the machine's memory
        problem = f"workers with {limit} of memory die before they read anything"
        raise ConfigurationError("", problem, f"give them {_OWN_MEMORY / 1e6:.0f} MB or more")


@contextlib.contextmanager
def reaching() -> Iterator[None]:
    """Turn connection errors of a client into `ClusterLost`.

    Raises
    ------
    ClusterLost
        The scheduler cannot be reached.
    """
    from distributed.client import ClosedClientError

    try:
        yield
    except (OSError, ClosedClientError, CancelledError) as error:
        raise ClusterLost("", f"the scheduler does not answer: {_reason(error)}", "start it again") from None


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:300]


def dask_threads() -> int:
    """Return the number of threads of dask without a cluster."""
    found = config.dask_value("num_workers")
    return int(found) if found else threads()


def own_cluster() -> AbstractContextManager[object]:
    """Configure clusters started in a `with` block for batches.

    The scheduler gives up a task when the first worker dies while running it. Workers ignore the interrupt key, which a
    terminal sends to all processes: the process that started them handles it.
    """
    preload = config.dask_value("distributed.worker.preload") or []
    deaf = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    values = {
        "deploy.lost-worker-timeout": "1000 days",  # by default, dask ends nannies of workers that die twice in 15 s
        "scheduler.allowed-failures": 0,
        "worker.preload": [*([preload] if isinstance(preload, str) else preload), deaf],
    }
    return config.with_dask_values({f"distributed.{key}": value for key, value in values.items()})


def processes_are_forked() -> bool:
    """Return whether dask forks its processes, rather than starting new programs."""
    return bool(config.dask_value("distributed.worker.multiprocessing-method") == "fork")
