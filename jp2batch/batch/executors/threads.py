"""Run a batch in threads of this process."""

import time
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from jp2batch.batch.deduplicate import ReadQueue
from jp2batch.compute.cluster import dask_threads
from jp2batch.compute.result import Result
from jp2batch.compute.task import TaskSpec, run_task

_POLL = 0.1  # seconds between calls of `check`
_PAUSE = 0.02  # seconds between looks for reads that become known


def in_threads(reads: ReadQueue, order: TaskSpec, check: Callable[[], object]) -> Generator[Result, None, None]:
    """Run requests in threads of this process, with dask's thread count."""
    threads = dask_threads()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="jp2batch")
    try:
        pending: set[Future[Result]] = set()
        while True:
            check()
            pending |= {pool.submit(run_task, read, order) for read in reads.take(2 * threads - len(pending))}
            if not pending:
                if reads.exhausted:
                    return
                time.sleep(_PAUSE)
            done, pending = wait(pending, timeout=_POLL, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
