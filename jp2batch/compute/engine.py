"""The engine of tasks: threads, processes of this machine, or a cluster."""

import contextlib
import math
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask.utils import parse_timedelta

from jp2batch.compute.checked_cluster import CheckedCluster
from jp2batch.compute.cluster import local_cluster, without_connection_logs
from jp2batch.compute.connection import ClientLike, connected
from jp2batch.core.errors import ClusterLost, ConfigurationError, InvalidRequest, Jp2BatchError

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Where tasks run; by default in threads of this process.

    Raises
    ------
    InvalidRequest
        The options contradict each other.
    """

    client: ClientLike | None = None
    """Client, cluster object, address, or path of a scheduler file."""
    processes: bool = False
    """True to start processes on this machine; ignored with a client."""
    workers: int | None = None
    """Number of processes to start; by default the number of cores."""
    threads: int | None = None
    """Threads per process; by default 1."""
    memory_limit: str | None = None
    """Memory per process, in dask's notation."""
    wait_workers: str | float = "10 minutes"
    """Time to wait for workers while a cluster has none."""

    def __post_init__(self) -> None:
        if self._own and not self._starts_processes:
            other = "without processes=True" if self.client is None else "with client="
            raise InvalidRequest("", f"{self._own[0]}= means nothing {other}", "leave one of them out")
        if self._duration is None:
            raise InvalidRequest("", "wait_workers= is not a duration", 'give a duration such as "2h"')

    def start(
        self,
        stack: contextlib.ExitStack,
        packages: Iterable[str] = (),
        check: Callable[[], object] = lambda: None,
        *,
        private: bool = False,
    ) -> CheckedCluster | None:
        """Start the engine until a stack is closed; None means threads.

        Parameters
        ----------
        stack : contextlib.ExitStack
            Closes the connection, and the processes started.
        packages : iterable of str
            Packages required on workers besides this package.
        check : callable
            Called while waiting for workers; an exception it raises ends the waiting.
        private : bool
            True to keep other users from processes of this machine; see `local_cluster`.

        Raises
        ------
        ConfigurationError
            The cluster does not start or cannot be reached, has no worker in time, or all its workers lack a package.
        """
        try:
            if self.client is not None or self.processes:
                stack.enter_context(without_connection_logs())
            client = stack.enter_context(self._engine(private))
            if client is None:
                return None
            return stack.enter_context(
                CheckedCluster(client, packages, self.patience, check, is_own=self.client is None)
            )
        except ClusterLost as error:
            raise ConfigurationError(*error.args) from None
        except Jp2BatchError:
            raise
        except (OSError, RuntimeError, ValueError, CancelledError) as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise ConfigurationError("", f"the cluster does not start: {reason}", self._hint) from error

    def _engine(self, private: bool) -> contextlib.AbstractContextManager["Client | None"]:
        if self.client is not None:
            return connected(self.client)
        if self.processes:
            return local_cluster(self.workers, self.threads or 1, self.memory_limit or "auto", private=private)
        return contextlib.nullcontext()

    @property
    def patience(self) -> float:
        """Seconds of `wait_workers`."""
        return self._duration or 0.0

    @property
    def _duration(self) -> float | None:
        """Seconds of `wait_workers`; None if it is no duration."""
        with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError):
            seconds = float(parse_timedelta(self.wait_workers))
            return seconds if seconds >= 0 and math.isfinite(seconds) else None
        return None

    @property
    def _starts_processes(self) -> bool:
        return self.processes and self.client is None

    @property
    def _own(self) -> list[str]:
        """Names of the options for processes of this machine."""
        values = {"workers": self.workers, "threads": self.threads, "memory_limit": self.memory_limit}
        return [name for name, value in values.items() if value is not None]

    @property
    def _hint(self) -> str:
        check = f"check {' and '.join(f'{name}=' for name in self._own)}, or " if self._own else ""
        return f"{check}work in threads of this process"
