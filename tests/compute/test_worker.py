"""A process knows whether it is a worker of dask, whatever its threads import meanwhile."""

import sys
from types import ModuleType

import pytest

from jp2batch.compute.worker import memory_to_spare, worker_name
from jp2batch.storage.cluster_limits import cluster_lease


@pytest.fixture(params=["not imported", "partly imported"])
def distributed(request, monkeypatch) -> None:
    """Let `distributed` be absent, or what a thread finds while another one imports it."""
    if request.param == "not imported":
        monkeypatch.delitem(sys.modules, "distributed", raising=False)
    else:
        monkeypatch.setitem(sys.modules, "distributed", ModuleType("distributed"))


@pytest.mark.usefixtures("distributed")
def test_a_process_without_dask_is_no_worker():
    assert ":" in worker_name()
    assert memory_to_spare() is None
    assert cluster_lease("s3", 4) is None
