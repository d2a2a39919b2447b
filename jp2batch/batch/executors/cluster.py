"""Run requests on a cluster in chunks; isolate chunks of dead workers.

A dead worker loses all its chunks, and nothing tells which request caused the crash. Therefore their requests are run
again in child processes of workers (`run_task_in_child`): only a request that crashes its child as well has failed.
"""

import pickle
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace

from dask.base import tokenize

from jp2batch.batch.deduplicate import ReadQueue
from jp2batch.batch.executors.chunk_size import ChunkSize
from jp2batch.batch.executors.link import ClusterLink, Ended
from jp2batch.batch.executors.patience import Patience
from jp2batch.compute.checked_cluster import CheckedCluster
from jp2batch.compute.chunk import ChunkResult, run_chunk
from jp2batch.compute.result import Result
from jp2batch.compute.task import PickledSpec, TaskSpec
from jp2batch.core.errors import ClusterLost, UnexpectedError
from jp2batch.core.location import Location
from jp2batch.core.request import Request

_PER_THREAD = 3  # chunks: one runs, one waits on the worker, one is on its way
_MOST_DEATHS = 5  # of workers that ran a request: most are killed from outside


def key_of(request: Request, *more: object) -> str:
    """Return a readable task key, equal for equal requests."""
    return f"{_prefix_of(request)}-{tokenize(request, *more)[:12]}"


def on_cluster(
    reads: ReadQueue,
    order: TaskSpec,
    cluster: CheckedCluster,
    check: Callable[[], object],
    tell: Callable[[str], object] = lambda _: None,
) -> Generator[Result, None, None]:
    """Run requests on a cluster.

    Parameters
    ----------
    reads : ReadQueue
        Requests to run; taken as the cluster has room for them.
    order : TaskSpec
        Settings of all tasks.
    cluster : CheckedCluster
        The cluster; only workers that have passed its check run requests.
    check : callable
        Called periodically; an exception it raises ends the batch.
    tell : callable
        Called with a text about missing or paused workers; empty if all run.

    Raises
    ------
    ClusterLost
        The scheduler, or all workers, were lost for longer than `wait_workers`.
    """
    with ClusterLink(cluster, check, Patience(cluster.wait_workers, tell)) as link:
        yield from ClusterExecutor(reads, order, link).results()


@dataclass(frozen=True, slots=True)
class Chunk:
    """Requests of a single task."""

    requests: tuple[Request, ...]
    runs: int = 0
    """Number of earlier runs, lost with workers or scheduler."""
    deaths: int = 0
    """Number of workers lost while running it."""

    def parts(self) -> "list[Chunk]":
        """Return the chunks to run instead, after a worker died.

        After a second death, each request is run alone.
        """
        if self.deaths < 2:
            return [self]
        return [replace(self, requests=(request,)) for request in self.requests]


class ClusterExecutor:
    """Requests on a cluster: waiting, or in flight in chunks."""

    def __init__(self, reads: ReadQueue, order: TaskSpec, link: ClusterLink) -> None:
        self._reads, self._order, self._link = reads, PickledSpec.of(order), link
        self._again: deque[Chunk] = deque()
        self._flying: dict[str, Chunk] = {}
        self._size, self._launched = ChunkSize(), 0
        self._run = tokenize(time.time_ns())[:6]  # makes keys distinct from other runs, whose results dask would reuse

    def results(self) -> Iterator[Result]:
        """Iterate over the results of all requests."""
        while True:
            self._launch()
            if self._reads.exhausted and not self._flying and not self._again:
                return
            for end in self._link.ended():
                yield from self._results_of(end)

    def _launch(self) -> None:
        """Submit chunks while the cluster has room."""
        while self._link.ready and len(self._flying) < _PER_THREAD * self._link.threads:
            chunk = self._again.popleft() if self._again else self._next()
            if not chunk.requests:
                return
            self._launched += 1
            key = f"{_prefix_of(chunk.requests[0])}-{self._run}-{self._launched}"
            isolated = chunk.deaths > 0
            try:
                self._link.submit(key, run_chunk, pickle.dumps(chunk.requests), self._order, isolated, urgent=isolated)
            except ClusterLost:  # the link waits for it
                self._again.append(chunk)
                return
            self._flying[key] = chunk

    def _next(self) -> Chunk:
        return Chunk(tuple(self._reads.take(self._size.items)))

    def _results_of(self, end: Ended) -> Iterator[Result]:
        """Iterate over the results of a task; run again the requests without."""
        before = self._flying.pop(end.key)
        chunk = replace(before, runs=before.runs + end.runs)
        if isinstance(end.value, ChunkResult):
            yield from self._unpacked(before, chunk, end.value)
            return
        if end.error is not None:
            chunk = replace(chunk, deaths=chunk.deaths + 1)
        if chunk.deaths < _MOST_DEATHS:
            self._again.extend(chunk.parts())
        else:
            yield from (_given_up(request, chunk, end.error) for request in chunk.requests)

    def _unpacked(self, before: Chunk, chunk: Chunk, found: ChunkResult) -> Iterator[Result]:
        if not chunk.deaths:
            self._size.note(len(found.packed), found.seconds)
        for result in found.results(chunk.requests):
            yield replace(result, attempts=result.attempts + chunk.runs - 1)
        rest = chunk.requests[len(found.packed) :]
        if rest:
            self._again.appendleft(replace(before, requests=rest))


def _given_up(request: Request, chunk: Chunk, error: BaseException | None) -> Result:
    text = str(error).partition("\n")[0] or type(error).__name__
    problem = f"its worker was lost {chunk.deaths} times: {text}"[:300]
    return Result(
        request, "failed", error=UnexpectedError(request.shown_path, problem, "run it again"), attempts=chunk.runs
    )


def _prefix_of(request: Request) -> str:
    return f"jp2batch-{Location.of(request.path).stem[-60:]}-r{request.rlevel}"
