"""Clusters that others have started: connecting to them, and refusing what cannot do the work."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from jp2batch.errors import ClusterMismatch

if TYPE_CHECKING:
    from distributed import Client

_PATIENCE = 15  # seconds that a scheduler has to answer, and again to have a worker


@contextlib.contextmanager
def cluster_at(address: str) -> Iterator["Client"]:
    """Connect to the scheduler at an address, for the time of a `with` block; wait a little for its first worker."""
    from distributed import Client

    with Client(address, timeout=_PATIENCE) as client:
        client.wait_for_workers(1, timeout=_PATIENCE)
        yield client


def check_cluster(client: "Client") -> None:
    """Refuse a cluster that cannot do the work, before it fails at it."""
    from importlib.metadata import version

    own = version("jp2batch")
    found = cast(Any, client.get_versions(packages=["jp2batch"]))["workers"]
    others = {worker: told["packages"].get("jp2batch") for worker, told in found.items()}
    wrong = {worker: told for worker, told in others.items() if told != own}
    if wrong:
        worker, told = next(iter(wrong.items()))
        what = f"jp2batch {told}" if told else "no jp2batch"
        raise ClusterMismatch(
            "", f"worker {worker} has {what}, and the client {own}", f"pip install jp2batch=={own} there"
        )
