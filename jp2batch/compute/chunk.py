"""Run a chunk of requests as a single dask task.

The scheduler handles tasks, not items: with many items in a task, it has little to do for each. Requests and results
travel as bytes, which it neither unpickles nor copies.
"""

import pickle
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jp2batch.compute.isolated import run_task_in_child
from jp2batch.compute.result import Result
from jp2batch.compute.task import PickledSpec, run_task, stored
from jp2batch.compute.worker import is_irreplaceable
from jp2batch.core.request import Request

_LONGEST = 2.0  # seconds after which a chunk starts no further request
_LARGEST = 4 << 20  # bytes of results, likewise: all must fit into the memory of the client


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """Results of the first requests of a chunk."""

    packed: Sequence[bytes]
    """Results by `Result.pack`; fewer than requests, if they took long."""
    seconds: float
    """Seconds taken by them."""

    def results(self, requests: Iterable[Request]) -> list[Result]:
        """Return the results of the requests."""
        return [Result.unpack(request, data) for request, data in zip(requests, self.packed, strict=False)]


def run_chunk(requests: bytes, order: PickledSpec, isolated: bool) -> ChunkResult:
    """Run pickled requests in turn, up to limits of time and size.

    They run in a child process, if `isolated`, or if the end of this process would cost the cluster a worker.
    """
    begin, size, packed, results = time.monotonic(), 0, list[bytes](), list[Result]()
    isolated = isolated or is_irreplaceable()
    for request in pickle.loads(requests):  # noqa: S301  # from our own client
        if order.stores:
            results.append(_result_of(request, order, isolated))
            size += 0 if results[-1].value is None else len(results[-1].value)
        else:
            packed.append(run_task_in_child(request, order) if isolated else run_task(request, order).pack())
            size += len(packed[-1])
        if time.monotonic() - begin > _LONGEST or size > _LARGEST:
            break
    packed += [result.pack() for result in stored(results, order)]
    return ChunkResult(packed, time.monotonic() - begin)


def _result_of(request: Request, order: PickledSpec, isolated: bool) -> Result:
    return Result.unpack(request, run_task_in_child(request, order)) if isolated else run_task(request, order)
