"""Many requests on dask: delayed, in local threads, or on a cluster. One result for each, whatever happens.

A worker dies with all requests that it had begun, and dask cannot tell whose fault it was. So all of them are done
again, each in a process of its own (`work.perform_alone`): only what ends that process too is blamed.
"""

import contextlib
import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from dask.base import tokenize
from dask.delayed import delayed

from jp2batch import config
from jp2batch.batch_cluster import check_cluster
from jp2batch.errors import ConfigurationError, UnexpectedError
from jp2batch.pace import Pace
from jp2batch.reader import StorageOptions
from jp2batch.report import BatchReport, Result
from jp2batch.request import Request
from jp2batch.work import Delivery, Hidden, Order, Sealed, as_dataarray, as_response, perform, perform_alone

if TYPE_CHECKING:
    from distributed import Client

OutputForm = Literal["xarray", "response"] | Delivery
"""What results hold: DataArrays, the dicts of the web service, or what a function makes of pixels."""
OnError = Literal["collect", "raise"]

_DELIVERIES: dict[str, Delivery] = {"xarray": as_dataarray, "response": as_response}
_LOOK = 1.0  # seconds after which the threads of a cluster are counted again: asking costs as much as a request


def to_delayed(
    requests: Iterable[Request], output: OutputForm = "xarray", *, storage_options: StorageOptions = None
) -> list[Any]:
    """Return a `dask.delayed` for each request: one task, with a key that tells what it is.

    Parameters
    ----------
    requests : iterable of Request
        What to read.
    output : {"xarray", "response"} or callable
        What each gives: a DataArray, the dict of the web service, or what the function makes of (Pixels, Request).
    storage_options : mapping, optional
        fsspec's options for the store.

    Returns
    -------
    list of dask.delayed.Delayed
        Computing one raises the error of its request. `run` collects errors instead.

    Raises
    ------
    ConfigurationError
        The output is not known.
    """
    order = _order(output, storage_options, local=True)
    task = delayed(_value_of, pure=True)
    return [task(request, order, dask_key_name=_key(request, output)) for request in requests]


def run(
    requests: Iterable[Request],
    client: "Client | None" = None,
    output: OutputForm = "xarray",
    *,
    on_error: OnError = "collect",
    storage_options: StorageOptions = None,
    processes: bool = False,
    on_result: Callable[[Result], object] | None = None,
) -> BatchReport:
    """Do all requests; return what became of each, in their order.

    Parameters
    ----------
    requests : iterable of Request
        What to do. A request that is there twice is done once.
    client : distributed.Client, optional
        The cluster to do it on. Without one it is done in threads of this process, which a file that crashes the
        decoder takes along; `processes=True` is the cure.
    output : {"xarray", "response"} or callable
        What results hold: DataArrays, the dicts of the web service, or what the function makes of (Pixels, Request).
    on_error : {"collect", "raise"}
        Whether a failed request becomes a failed result, or ends the batch.
    storage_options : mapping, optional
        fsspec's options for the store.
    processes : bool
        Without a client: start a cluster of processes for this run.
    on_result : callable, optional
        Is told each result as it comes.

    Raises
    ------
    Jp2BatchError
        That of the first request that failed, with `on_error="raise"`.
    ClusterMismatch
        The workers have another version of this package, or none.
    """
    wanted = list(requests)
    start = time.perf_counter()
    by_place: dict[int, Result] = {}
    for place, result in _results(wanted, client, output, storage_options, processes):
        by_place[place] = result
        if on_result is not None:
            on_result(result)
        if on_error == "raise" and result.error is not None:
            raise result.error

    def rerun(again: Iterable[Request]) -> BatchReport:
        return run(
            again,
            client,
            output,
            on_error=on_error,
            storage_options=storage_options,
            processes=processes,
            on_result=on_result,
        )

    results = [by_place[place] for place in range(len(wanted))]
    return BatchReport(results, time.perf_counter() - start, rerun)


def as_completed(
    requests: Iterable[Request],
    client: "Client | None" = None,
    output: OutputForm = "xarray",
    *,
    storage_options: StorageOptions = None,
    processes: bool = False,
) -> Generator[Result, None, None]:
    """Iterate over the results as they come; only a few requests are under way at a time.

    Parameters
    ----------
    requests, client, output, storage_options, processes
        As for `run`.

    Raises
    ------
    ClusterMismatch
        The workers have another version of this package, or none.
    """
    for _, result in _results(list(requests), client, output, storage_options, processes):
        yield result


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
    """
    from distributed import Client, LocalCluster

    # The first worker that dies makes its requests suspects; dask would let them end three more.
    with (
        config.own_cluster(),
        LocalCluster(
            n_workers=workers or config.threads(),
            threads_per_worker=threads,
            memory_limit=memory_limit,
            processes=True,
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _results(
    requests: Sequence[Request],
    client: "Client | None",
    output: OutputForm,
    storage_options: StorageOptions,
    processes: bool,
) -> Iterator[tuple[int, Result]]:
    """Iterate over (place among the requests, result); what is asked twice is done once."""
    places: dict[tuple[object, ...], list[int]] = {}
    for place, request in enumerate(requests):
        places.setdefault(request.__dask_tokenize__(), []).append(place)
    unique = (requests[found[0]] for found in places.values())
    with contextlib.ExitStack() as stack:
        if client is None and processes:
            client = stack.enter_context(local_cluster())
        order = _order(output, storage_options, local=client is None)
        stream = _in_threads(unique, order) if client is None else _on_cluster(unique, order, client)
        with contextlib.closing(stream):
            for result in stream:
                for place in places[result.request.__dask_tokenize__()]:
                    yield place, replace(result, request=requests[place])


def _order(output: OutputForm, storage_options: StorageOptions, *, local: bool) -> Order:
    deliver = output if callable(output) else _DELIVERIES.get(output)
    if deliver is None:
        raise ConfigurationError("", f"output {output!r} is not known", 'give "xarray", "response" or a function')
    return Order(
        deliver=deliver,
        storage_options=Hidden(storage_options or {}),
        settings=None if local else config.settings(),
        deadline=None if local else config.deadline(),
    )


def _value_of(request: Request, order: Order) -> Any:
    result = perform(request, order)
    if result.error is not None:
        raise result.error
    return result.value if result.output is None else result.output


def _key(request: Request, output: object) -> str:
    name = re.sub(r"[^\w.+-]", "_", PurePosixPath(request.path).stem)[-60:]
    return f"jp2batch-{name}-r{request.rlevel}-{tokenize(request, output)[:12]}"


def _in_threads(requests: Iterator[Request], order: Order) -> Generator[Result, None, None]:
    """Do requests in threads of this process, as many as dask would take."""
    threads = config.dask_threads()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="jp2batch")
    try:
        pending: set[Future[Result]] = set()
        while True:
            pending |= {
                pool.submit(perform, request, order) for request in islice(requests, 2 * threads - len(pending))
            }
            if not pending:
                return
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _on_cluster(requests: Iterator[Request], order: Order, client: "Client") -> Generator[Result, None, None]:
    """Do requests on a cluster, few at a time; those that were there when a worker died again, each alone."""
    check_cluster(client)
    flight = _Flight(client, order)
    try:
        while True:
            flight.launch(perform, islice(requests, flight.room()))
            if not flight.requests:
                return
            for request, outcome in flight.landed():
                if isinstance(outcome, Result):
                    yield outcome
                elif flight.may_try_alone(request):
                    flight.launch(perform_alone, [request])
                else:
                    yield Result(request, "failed", error=_lost(request, outcome))
    finally:
        flight.cancel()


class _Flight:
    """The requests that are under way on a cluster."""

    _MOST_TRIES_ALONE = 3  # a worker may be killed from outside at any time

    def __init__(self, client: "Client", order: Order) -> None:
        from distributed import as_completed as futures_as_completed

        self.requests: dict[str, Request] = {}
        self._client, self._order = client, Sealed.of(order)
        self._landing = futures_as_completed(with_results=True, raise_errors=False)
        self._futures: dict[str, Any] = {}
        self._alone: dict[Request, int] = {}
        self._launched = 0
        self._pace = Pace(time.monotonic())
        self._threads, self._counted = 0, 0.0
        self._run = tokenize(time.time_ns())[:6]  # keys of another run must not answer for this one

    def room(self) -> int:
        """Return how many more requests may be launched."""
        now = time.monotonic()
        if now - self._counted >= _LOOK:
            workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
            self._threads, self._counted = max(1, sum(worker["nthreads"] for worker in workers)), now
        window = self._pace.window(self._threads)
        room = window - len(self.requests)
        return room if room * 4 >= window else 0  # a few at once: each message costs the scheduler

    def launch(self, function: Callable[..., Result], requests: Iterable[Request]) -> None:
        """Submit requests."""
        batch = list(requests)
        if not batch:
            return
        keys = []
        for request in batch:
            self._launched += 1
            keys.append(f"{_key(request, None)}-{self._run}-{self._launched}")
            if function is perform_alone:
                self._alone[request] = self._alone.get(request, 0) + 1
        futures = self._client.map(function, batch, order=self._order, key=keys, pure=False)
        self.requests.update(zip(keys, batch, strict=True))
        self._futures.update(zip(keys, futures, strict=True))
        self._landing.update(futures)

    def landed(self) -> Iterator[tuple[Request, Any]]:
        """Wait for results; iterate over (request, result, or what dask says in its place)."""
        landed = self._landing.next_batch(block=True)
        self._pace.landed(len(landed), time.monotonic())
        for future, outcome in landed:
            request = self.requests.pop(future.key)
            del self._futures[future.key]
            yield request, outcome[1] if isinstance(outcome, tuple) else outcome

    def may_try_alone(self, request: Request) -> bool:
        """Tell whether a request whose worker died may be done again."""
        return self._alone.get(request, 0) < self._MOST_TRIES_ALONE

    def cancel(self) -> None:
        """Give up what is under way."""
        if self._futures:
            with contextlib.suppress(Exception):  # the cluster may be gone
                self._client.cancel(list(self._futures.values()))
        self._futures.clear()


def _lost(request: Request, outcome: object) -> UnexpectedError:
    text = str(outcome).partition("\n")[0] or type(outcome).__name__
    return UnexpectedError(request.path, f"its worker was lost again and again: {text}"[:300], "run it again")
