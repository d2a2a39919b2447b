"""Connections to dask clusters: by client, cluster object, address or scheduler file."""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Union

from jp2batch.core import config
from jp2batch.core.errors import ConfigurationError
from jp2batch.core.redaction import redact

if TYPE_CHECKING:
    from distributed import Client

_PATIENCE = 15.0  # seconds to wait for a scheduler's answer, or for its file
_PAUSE = 0.1  # seconds between looks at a scheduler file
FAREWELL = 3.0
"""Seconds to leave a cluster."""

_HINT = "check client=, the address of the scheduler, and firewalls"


class DaskCluster(Protocol):
    """A cluster object of dask: LocalCluster, of jobqueue, Kubernetes, gateway."""

    @property
    def scheduler_address(self) -> str:
        """Address of its scheduler."""


ClientLike = Union["Client", DaskCluster, str, os.PathLike[str]]
"""Client, cluster object, address, or path of a scheduler file."""


@contextlib.contextmanager
def connected(cluster: ClientLike) -> Iterator["Client"]:
    """Connect to a cluster for a `with` block.

    The caller's own client or cluster object stays open.

    Raises
    ------
    ConfigurationError
        The client or the cluster object is closed or asynchronous; or the scheduler cannot be reached.
    """
    from distributed import Client

    _check_open(cluster)
    if isinstance(cluster, Client):
        yield cluster
        return
    try:
        client = _connect(cluster)
    except (OSError, RuntimeError, TypeError, ValueError, CancelledError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ConfigurationError("", f"the scheduler cannot be reached: {redact(reason)}", _HINT) from None
    try:
        yield client
    finally:
        close_client(client)


def close_client(client: "Client") -> None:
    """Close a client within a few seconds.

    It would wait for half a minute for a scheduler that does not answer, and then raise an error.
    """
    with contextlib.suppress(Exception):
        client.close(timeout=FAREWELL)


def configured_address() -> str | None:
    """Return the address in dask's configuration.

    Its variable is DASK_SCHEDULER_ADDRESS.
    """
    found = config.dask_value("scheduler-address")
    return str(found) if found else None


def _connect(cluster: "DaskCluster | str | os.PathLike[str]") -> "Client":
    """Open a client.

    The TLS settings are dask's, or of the cluster object.
    """
    from distributed import Client

    address = _address_in(Path(cluster)) if isinstance(cluster, os.PathLike) else cluster
    if isinstance(address, str):
        _check_address(address)
    if isinstance(address, str) or isinstance(getattr(address, "scheduler_address", None), str):
        return Client(address, timeout=_PATIENCE, set_as_default=False)
    if hasattr(address, "get_client"):
        client: Client = address.get_client()
        return client
    problem = f"client= is neither a client nor a cluster: {type(address).__name__}"
    raise ConfigurationError("", problem, "give a distributed.Client, a cluster object, an address or a Path")


def _check_address(address: str) -> None:
    """Refuse a malformed address, and TLS without a configuration."""
    from distributed import Security
    from distributed.comm.addressing import get_address_host

    try:
        _ = address.startswith("inproc:") or get_address_host(address)
    except (ValueError, TypeError):  # its text repeats the address, which may be a signed link by mistake
        raise ValueError("this is not its address") from None
    if not address.startswith("tls:"):
        return
    if Security().get_connection_args("client").get("ssl_context") is None:
        hint = "set distributed.comm.tls.ca-file, client.cert and client.key in dask's configuration"
        raise ConfigurationError("", "client= is a tls:// address, but dask has no TLS configuration", hint)


def _check_open(cluster: object) -> None:
    """Refuse an asynchronous or closed client or cluster object."""
    name = type(cluster).__name__
    if getattr(cluster, "asynchronous", False):  # called in its event loop, which the call would block
        hint = "call in another thread, as by asyncio.to_thread, or give the address of its scheduler"
        raise ConfigurationError("", f"client= is an asynchronous {name}", hint)
    status = getattr(cluster, "status", None)
    status = getattr(status, "name", status)
    if status in ("closed", "closing", "failed"):
        raise ConfigurationError("", f"client= is a {status} {name}", "open it again")


def _address_in(file: Path) -> str:
    """Return the address in a scheduler file; wait until it is written."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return str(json.loads(file.read_text(encoding="utf-8"))["address"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            if time.monotonic() > end:
                problem = error.strerror if isinstance(error, OSError) else "it has no address"
                hint = "start the scheduler with its option scheduler-file"
                raise ConfigurationError(str(file), f"the scheduler file cannot be read: {problem}", hint) from None
        time.sleep(_PAUSE)
