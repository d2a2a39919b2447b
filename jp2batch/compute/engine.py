"""The engine of tasks: threads, processes of this machine, or a cluster."""

import contextlib
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jp2batch.compute.cluster import cluster_at, local_cluster
from jp2batch.core.errors import ConfigurationError, InvalidRequest, Jp2BatchError

if TYPE_CHECKING:
    from distributed import Client

_GROWING = 60  # seconds to wait for the first worker: an adaptive cluster starts it on demand


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Where tasks run; by default in threads of this process.

    Raises
    ------
    InvalidRequest
        The options contradict each other.
    """

    client: "Client | str | None" = None
    """An open client, or the address of a scheduler."""
    processes: bool = False
    """True to start processes on this machine; ignored with a client."""
    workers: int | None = None
    """Number of processes to start; by default the number of cores."""
    threads: int | None = None
    """Threads per process; by default 1."""
    memory_limit: str | None = None
    """Memory per process, in dask's notation."""

    def __post_init__(self) -> None:
        if self._own and not self._starts_processes:
            other = "without processes=True" if self.client is None else "with client="
            raise InvalidRequest("", f"{self._own[0]}= means nothing {other}", "leave one of them out")

    def start(self, stack: contextlib.ExitStack) -> "Client | None":
        """Start the engine until a stack is closed; None means threads.

        Raises
        ------
        ConfigurationError
            The cluster does not start.
        """
        try:
            return stack.enter_context(self._engine())
        except Jp2BatchError:
            raise
        except (OSError, RuntimeError, ValueError, CancelledError) as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise ConfigurationError("", f"the cluster does not start: {reason}", self._hint) from error

    def _engine(self) -> contextlib.AbstractContextManager["Client | None"]:
        if isinstance(self.client, str):
            return cluster_at(self.client, patience=_GROWING)
        if self._starts_processes:
            return local_cluster(self.workers, self.threads or 1, self.memory_limit or "auto")
        return contextlib.nullcontext(self.client)

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
        if isinstance(self.client, str):
            return "check client=, the address of the scheduler"
        check = f"check {' and '.join(f'{name}=' for name in self._own)}, or " if self._own else ""
        return f"{check}work in threads of this process"
