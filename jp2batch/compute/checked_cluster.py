"""A connected cluster, whose tasks run on checked workers only."""

import contextlib
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from jp2batch.compute.cluster import reaching
from jp2batch.compute.connection import FAREWELL, ClientLike, close_client, connected
from jp2batch.core.errors import ClusterMismatch, ConfigurationError
from jp2batch.core.version import __version__

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

WAIT_WORKERS = 600.0
"""Seconds to wait for workers, by default."""

_SENT = 3  # attempts to send the check, if workers die meanwhile
_ANSWER = 5.0  # seconds to wait for the answers of workers: one that hangs does not stop the others
_PAUSE = 1.0  # seconds between attempts, for nannies to start workers again
_GLANCE = 0.1  # seconds between looks at a cluster without workers
_SILENCE = 10.0  # seconds until waiting is logged


@dataclass(frozen=True, slots=True)
class WorkerCounts:
    """Numbers of the workers of a cluster."""

    threads: int
    """Threads of the running workers."""
    running: int
    """Number of workers with tasks."""
    paused: int
    """Number of workers paused, for lack of memory, or about to leave."""
    refused: int
    """Number of workers refused by the check, hence without tasks."""
    unchecked: int
    """Number of workers not checked yet."""


class CheckedCluster:
    """A client of a cluster, and the check of its workers.

    The check is a plugin of the workers, for the time of a `with` block. Workers that fail are logged, each once.

    Parameters
    ----------
    client : distributed.Client
        Client of the cluster.
    packages : iterable of str
        Packages required on workers besides this package.
    wait_workers : float
        Seconds to wait for workers while there are none.
    check : callable
        Called while waiting; an exception it raises ends the waiting.
    is_own : bool
        True if its workers are processes of this one.
    """

    def __init__(
        self,
        client: "Client",
        packages: Iterable[str] = (),
        wait_workers: float = WAIT_WORKERS,
        check: Callable[[], object] = lambda: None,
        *,
        is_own: bool = False,
    ) -> None:
        self.is_own, self.client, self.wait_workers, self._check = is_own, client, wait_workers, check
        self._packages, self._name = sorted(packages), f"jp2batch-{uuid.uuid4().hex[:12]}"
        self._resource = "-".join(["jp2batch", __version__, *self._packages])
        scheduler: Any = client.scheduler
        self._scheduler = scheduler  # its methods are remote
        self._address, self._own = str(scheduler.address), contextlib.ExitStack()
        self._checked_by = ""  # id of the scheduler with the check
        self._answers = True
        self._refused: dict[str, tuple[str, str]] = {}  # problem and hint by address
        self._logged: set[str] = set()

    @property
    def resources(self) -> dict[str, float]:
        """Return `resources` for `Client.map` and `submit`: checked workers only."""
        return {self._resource: 1}

    @property
    def address(self) -> str:
        """Address of the scheduler."""
        return self._address

    def __enter__(self) -> Self:
        """Check the workers; wait for the first to pass.

        Raises
        ------
        ClusterMismatch
            All workers fail.
        ClusterLost
            The scheduler does not answer.
        ConfigurationError
            There is no worker in time, or workers die as soon as they have started.
        """
        try:
            self._send_check()
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the check; checked workers keep the resource."""
        if self._answers:
            with contextlib.suppress(Exception):  # the cluster may be gone
                self.client.sync(self._scheduler.unregister_worker_plugin, name=self._name, callback_timeout=FAREWELL)
        self._own.close()

    def connect(self) -> None:
        """Connect another client, if distributed has closed the last.

        distributed does so if the scheduler does not answer for some time.

        Raises
        ------
        OSError
            The scheduler does not answer.
        """
        from distributed import Client

        client = Client(self._address, timeout=_ANSWER, security=self.client.security, set_as_default=False)
        self._own.callback(close_client, client)
        self.client, self._scheduler = client, client.scheduler

    def counts(self) -> WorkerCounts:
        """Return the numbers of workers; log refused workers.

        Raises
        ------
        ClusterLost
            The scheduler does not answer.
        """
        counts = self._counts()
        self._log_refused()
        return counts

    def _counts(self) -> WorkerCounts:
        found = self._identity()
        if found["id"] != self._checked_by:  # another scheduler at this address
            self._send_check()
        workers: Mapping[str, Mapping[str, Any]] = found["workers"]
        passed = {address for address, worker in workers.items() if self._resource in worker["resources"]}
        if workers.keys() - passed - self._refused.keys():
            self._note_refused()
        running = [workers[address] for address in passed if workers[address]["status"] == "running"]
        refused = len(self._refused.keys() & workers.keys() - passed)
        return WorkerCounts(
            threads=sum(worker["nthreads"] for worker in running),
            running=len(running),
            paused=len(passed) - len(running),
            refused=refused,
            unchecked=len(workers) - len(passed) - refused,
        )

    def stuck(self) -> set[str]:
        """Return the keys of tasks waiting on paused workers.

        dask leaves them there, for as long as the workers are paused.

        Raises
        ------
        ClusterLost
            The scheduler does not answer.
        """
        workers: Mapping[str, Mapping[str, Any]] = self._identity()["workers"]
        idle = [
            address
            for address, worker in workers.items()
            if worker["status"] == "paused" and not worker["metrics"].get("task_counts", {}).get("executing")
        ]
        with reaching():
            ask: Any = self._scheduler.processing
            waiting = self.client.sync(ask, workers=idle, callback_timeout=_ANSWER) if idle else {}
        return {key for keys in waiting.values() for key in keys}

    def _send_check(self) -> None:
        """Send the check to all workers.

        The scheduler sends it to workers that join later, and to workers that die meanwhile, when they have started
        again.
        """
        from distributed.protocol.pickle import dumps

        from jp2batch.compute.worker_check import WorkerCheck

        self._checked_by = self._identity()["id"]
        plugin = dumps(WorkerCheck(__version__, self._packages, self._resource, self._name))
        send = self._scheduler.register_worker_plugin
        for _ in range(_SENT):
            try:
                self.client.sync(send, plugin=plugin, name=self._name, idempotent=False, callback_timeout=_ANSWER)
            except TimeoutError:
                return  # a worker hangs
            except OSError as error:
                self._identity()  # or else the scheduler is lost
                lost = f"{type(error).__name__}: {error}".partition("\n")[0][:300]
                time.sleep(_PAUSE)
            else:
                return
        problem = f"workers die as soon as they have started: {lost}"
        raise ConfigurationError("", problem, "give workers more memory, or see their log")

    def _wait(self) -> None:
        """Wait for a worker to pass the check.

        The waiting task makes an adaptive cluster start workers.
        """
        with reaching():
            task = self.client.submit(os.getpid, resources=self.resources, pure=False)
        begin, told = time.monotonic(), False
        while not task.done():
            self._check()
            counts, waited = self._counts(), time.monotonic() - begin
            if counts.refused and not (counts.running or counts.paused or counts.unchecked):
                worker, (problem, hint) = next(iter(self._refused.items()))
                raise ClusterMismatch("", f"worker {worker} {problem}", hint)
            if waited > self.wait_workers:
                problem = f"no worker came within {self.wait_workers:g} s"
                raise ConfigurationError("", problem, "start workers, or raise wait_workers=")
            if waited > _SILENCE and not told:
                logger.warning("waiting for workers, up to %g s", self.wait_workers)
                told = True
            time.sleep(_GLANCE)
        self._log_refused()

    def _note_refused(self) -> None:
        """Ask the scheduler for refused workers."""
        with reaching():
            events = self.client.sync(self._scheduler.events, topic=self._name, callback_timeout=_ANSWER)
        self._refused |= {event["worker"]: (event["problem"], event["hint"]) for _, event in events}

    def _log_refused(self) -> None:
        """Log refused workers, each once."""
        for worker in self._refused.keys() - self._logged:
            logger.warning("worker %s gets no work: it %s (%s)", worker, *self._refused[worker])
            self._logged.add(worker)

    def _identity(self) -> dict[str, Any]:
        """Return the scheduler's description of itself and its workers."""
        self._answers = False
        with reaching():  # `Client.scheduler_info` would return old values if the scheduler does not answer
            found: dict[str, Any] = self.client.sync(self._scheduler.identity, n_workers=-1, callback_timeout=_ANSWER)
        self._answers = True
        return found


@contextlib.contextmanager
def checked(cluster: ClientLike | CheckedCluster) -> Iterator[CheckedCluster]:
    """Connect to a cluster and check its workers, unless done."""
    if isinstance(cluster, CheckedCluster):
        yield cluster
        return
    with connected(cluster) as client, CheckedCluster(client) as found:
        yield found
