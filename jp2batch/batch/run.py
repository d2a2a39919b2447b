"""Run many requests: delayed, in local threads, or on a dask cluster."""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from dask.base import tokenize
from dask.delayed import Delayed, delayed

from jp2batch.batch.deduplicate import ReadQueue
from jp2batch.batch.executors.cluster import key_of, on_cluster
from jp2batch.batch.executors.threads import in_threads
from jp2batch.batch.progress import progress_bar
from jp2batch.batch.report import BatchInterrupted, BatchReport
from jp2batch.compute.checked_cluster import CheckedCluster
from jp2batch.compute.connection import ClientLike
from jp2batch.compute.engine import EngineOptions
from jp2batch.compute.result import Result
from jp2batch.compute.task import Delivery, TaskSpec, as_response, open_from, open_request, run_task
from jp2batch.core import config
from jp2batch.core.errors import ConfigurationError
from jp2batch.core.options import SecretDict, StorageOptions
from jp2batch.core.request import Request, as_requests
from jp2batch.image.read import Pixels, select_request

if TYPE_CHECKING:
    import xarray as xr

OutputForm = Literal["xarray", "response"] | Delivery
"""Form of results: DataArray, response dict, or a function's return value."""
OnError = Literal["collect", "raise"]
One = Request | str | os.PathLike[str] | Mapping[str, object]
Asked = Iterable[One] | One
"""Requests, paths or request bodies; a single item or several."""


_HERE = "the environment of this machine"  # in hints of stores


def as_dataarray(pixels: Pixels, _request: Request) -> "xr.DataArray":
    """Deliver an `xarray.DataArray`."""
    from jp2batch.array.dataarray import to_dataarray  # slow: the largest share of the imports of a short process

    return to_dataarray(pixels)


_DELIVERIES: dict[str, Delivery] = {"xarray": as_dataarray, "response": as_response}


def to_delayed(
    requests: Asked, output: OutputForm = "xarray", *, storage_options: StorageOptions = None
) -> list[Delayed]:
    """Return a `dask.delayed` for each request: a task with a readable key.

    Parameters
    ----------
    requests : iterable of Request, paths or mappings
        Requests to read; a single request is accepted, too.
    output : {"xarray", "response"} or callable
        Value of each: a DataArray, a response dict of the web service, or the return value of a function called with
        (Pixels, Request).
    storage_options : mapping, optional
        fsspec's options for the store.

    Returns
    -------
    list of dask.delayed.Delayed
        Computing a `Delayed` raises the error of its request; `run` collects errors instead.

    Raises
    ------
    ConfigurationError
        The output is unknown.
    """
    order = _order(output, storage_options, local=True)
    task = delayed(_value_of, pure=True)
    secret = _digest(storage_options)  # the same path at another endpoint is another image
    return [task(request, order, dask_key_name=key_of(request, output, secret)) for request in as_requests(requests)]


def run(
    requests: Asked,
    client: ClientLike | None = None,
    output: OutputForm = "xarray",
    *,
    on_error: OnError = "collect",
    storage_options: StorageOptions = None,
    processes: bool = False,
    wait_workers: str | float = "10 minutes",
    on_result: Callable[[Result], object] | None = None,
    progress: bool = True,
) -> BatchReport:
    """Read all requests; return a report with their results, in order.

    Parameters
    ----------
    requests : iterable of Request, paths or mappings
        Requests to read; a single request is accepted, too. Equal requests are read once.
    client : distributed.Client, cluster, str or path, optional
        Cluster to run on: an open client, a cluster object such as `LocalCluster`, the address of a scheduler, or the
        path of its file as a `Path`. By default threads of this process: a file that crashes the decoder ends this
        process, too; use `processes=True` to avoid it. dask's variable DASK_SCHEDULER_ADDRESS is ignored here: pass
        `Client()`.
    output : {"xarray", "response"} or callable
        Value of results: a DataArray, a response dict of the web service, or the return value of a function called with
        (Pixels, Request).
    on_error : {"collect", "raise"}
        "collect" makes a failed request a failed result; "raise" ends the batch with its error. A request with an area
        that does not meet its image has not failed: the status of its result is "outside".
    storage_options : mapping, optional
        fsspec's options for the store.
    processes : bool
        True to start a cluster of local processes for this run, if there is no client.
    wait_workers : str or float
        Time to wait while the cluster has no workers, such as "2h", or in seconds.
    on_result : callable, optional
        Called with each result as it arrives.
    progress : bool
        True to show a progress bar on stderr, in a terminal or notebook.

    Raises
    ------
    BatchInterrupted
        Raised instead of KeyboardInterrupt; its `report` has the finished results.
    Jp2BatchError
        The error of the first failed request, with `on_error="raise"`.
    ConfigurationError
        `processes=True` in a script without `if __name__ == "__main__":`, which each process would run again.
    ClusterMismatch
        All workers have another version of this package, or none. Such a worker among others is logged, and gets no
        work.
    """
    if on_error not in get_args(OnError):
        raise ConfigurationError("", "unknown value of on_error", 'give "collect" or "raise"')
    engine = EngineOptions(client=client, processes=processes, wait_workers=wait_workers)
    return _Batch(engine, output, storage_options, on_error, on_result, progress).run(requests)


@dataclass(frozen=True, slots=True)
class _Batch:
    """How to run requests whose results are kept in memory."""

    engine: EngineOptions
    output: OutputForm
    storage_options: StorageOptions
    on_error: OnError
    on_result: Callable[[Result], object] | None
    progress: bool

    def run(self, requests: Asked) -> BatchReport:
        """Run requests; return the report of their results."""
        items = as_requests(requests)
        start = time.perf_counter()
        by_place: dict[int, Result] = {}
        try:
            self._collect(items, by_place)
        except KeyboardInterrupt:
            raise BatchInterrupted(self._report(by_place, start)) from None
        return self._report(by_place, start)

    def _collect(self, items: Sequence[Request], by_place: dict[int, Result]) -> None:
        with progress_bar(len(items), visible=self.progress and None) as bar:
            for place, result in _results(items, self.engine, self.output, self.storage_options, bar.tell):
                by_place[place] = result
                bar.add(result)
                if self.on_result is not None:
                    self.on_result(result)
                if self.on_error == "raise" and result.error is not None and result.status == "failed":
                    raise result.error

    def _report(self, by_place: Mapping[int, Result], start: float) -> BatchReport:
        results = [by_place[place] for place in sorted(by_place)]
        return BatchReport(results, time.perf_counter() - start, self.run)


def as_completed(
    requests: Asked,
    client: ClientLike | None = None,
    output: OutputForm = "xarray",
    *,
    storage_options: StorageOptions = None,
    processes: bool = False,
    wait_workers: str | float = "10 minutes",
) -> Generator[Result, None, None]:
    """Iterate over results as they arrive; few requests run at a time.

    Parameters
    ----------
    requests, client, output, storage_options, processes, wait_workers
        As for `run`.

    Raises
    ------
    ClusterMismatch
        All workers have another version of this package, or none. Such a worker among others is logged, and gets no
        work.
    """
    engine = EngineOptions(client=client, processes=processes, wait_workers=wait_workers)
    for _, result in _results(as_requests(requests), engine, output, storage_options):
        yield result


def _results(
    items: Sequence[Request],
    engine: EngineOptions,
    output: OutputForm,
    storage_options: StorageOptions,
    tell: Callable[[str], object] = lambda _: None,
) -> Generator[tuple[int, Result], None, None]:
    """Iterate over (index, result) of items as results arrive."""
    reads = ReadQueue.of(items)
    with contextlib.ExitStack() as stack:
        stream = results(reads, engine.start(stack), output, storage_options, tell=tell)
        for found in stack.enter_context(contextlib.closing(stream)):
            yield from reads.results(found)


def results(
    reads: ReadQueue,
    cluster: CheckedCluster | None,
    output: OutputForm,
    storage_options: StorageOptions,
    *,
    check: Callable[[], object] = lambda: None,
    tell: Callable[[str], object] = lambda _: None,
) -> Generator[Result, None, None]:
    """Iterate over the results of different requests as they arrive.

    Without a cluster, they run in threads. Reads are taken as there is room for them, and may become known later.
    `check` is called periodically; an exception it raises ends the batch. `tell` is called with a text about missing or
    paused workers, empty if all run. Other parameters are as for `run`.
    """
    order = _order(output, storage_options, local=cluster is None)
    stream = in_threads(reads, order, check) if cluster is None else on_cluster(reads, order, cluster, check, tell)
    with contextlib.closing(stream):
        yield from stream if cluster is None or cluster.is_own else map(_with_worker, stream)


def _with_worker(result: Result) -> Result:
    """Name the worker in a hint about its environment."""
    error = result.error
    if error is None or _HERE not in error.hint:
        return result
    error.hint = error.hint.replace(_HERE, f"the environment of worker {result.worker}")
    error.args = (*error.args[:2], error.hint, *error.args[3:])
    return result


def _order(output: OutputForm, storage_options: StorageOptions, *, local: bool) -> TaskSpec:
    deliver = output if callable(output) else _DELIVERIES.get(str(output))
    if deliver is None:
        raise ConfigurationError("", "unknown value of output", 'give "xarray", "response" or a function')
    return TaskSpec(
        deliver=deliver,
        storage_options=SecretDict.of(storage_options),
        settings=None if local else config.settings(),
        deadline=None if local else config.deadline(),
        select=getattr(deliver, "select", select_request),
        open=open_request if local else partial(open_from, folder=str(Path.cwd())),
    )


def _digest(storage_options: StorageOptions) -> str:
    """Return a digest of options, from which secrets cannot be recovered."""
    return hashlib.sha256(tokenize(SecretDict.of(storage_options)).encode()).hexdigest() if storage_options else ""


def _value_of(request: Request, order: TaskSpec) -> object:
    result = run_task(request, order)
    if result.error is not None:
        raise result.error
    return result.value if result.output is None else result.output
