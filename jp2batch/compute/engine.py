"""Engine: threads of this process, processes of this machine, or a dask cluster elsewhere."""

import contextlib
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jp2batch.compute.cluster import cluster_at, local_cluster
from jp2batch.core.errors import ConfigurationError, InvalidRequest, Jp2BatchError

if TYPE_CHECKING:
    from distributed import Client

_GROWING = 60  # seconds that a cluster has to get its first worker: an adaptive one starts it when there is work


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Where tasks run: in threads of this process, if nothing else is said.

    Raises
    ------
    InvalidRequest
        The options contradict each other.
    """

    client: "Client | str | None" = None
    """An open client, or the address of a scheduler."""
    processes: bool = False
    """Whether to start processes on this machine; ignored with a client."""
    workers: int | None = None
    """Processes to start; by default as many as there are cores."""
    threads: int | None = None
    """Threads of each process; by default 1."""
    memory_limit: str | None = None
    """Memory of each process, as dask has it."""

    def __post_init__(self) -> None:
        if self._own and not self._starts_processes:
            other = "without processes=True" if self.client is None else "with client="
            raise InvalidRequest("", f"{self._own[0]}= means nothing {other}", "leave one of them out")

    def start(self, stack: contextlib.ExitStack) -> "Client | None":
        """Start the engine for the time of a stack; None: threads of this process.

        Raises
        ------
        ConfigurationError
            It does not start.
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
            return "check the address of the scheduler"
        check = f"check {' and '.join(f'{name}=' for name in self._own)}, or " if self._own else ""
        return f"{check}work in threads of this process"
