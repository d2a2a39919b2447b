"""Run a batch in threads of this process."""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice

from jp2batch.compute.cluster import dask_threads
from jp2batch.compute.result import Result
from jp2batch.compute.task import TaskSpec, run_task
from jp2batch.core.request import Request

_POLL = 0.1  # seconds between calls of `check`


def in_threads(
    requests: Iterator[Request], order: TaskSpec, check: Callable[[], object]
) -> Generator[Result, None, None]:
    """Run requests in threads of this process, with dask's thread count."""
    threads = dask_threads()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="jp2batch")
    try:
        pending: set[Future[Result]] = set()
        while True:
            check()
            pending |= {
                pool.submit(run_task, request, order) for request in islice(requests, 2 * threads - len(pending))
            }
            if not pending:
                return
            done, pending = wait(pending, timeout=_POLL, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
