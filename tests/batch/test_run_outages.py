"""Batches on clusters whose scheduler or workers go, come back, crash or hang."""

import json
import os
from pathlib import Path

import dask
import pytest
from click.testing import CliRunner
from distributed import Client

import jp2batch
from jp2batch import cli
from jp2batch.batch.executors.patience import Patience
from jp2batch.compute.checked_cluster import WorkerCounts
from jp2batch.core.errors import ClusterLost, DecoderCrashed, DecodeTimedOut
from jp2batch.core.request import Request
from support.clusters import Cluster, cluster_by_hand
from support.deliveries import dangerous, slow
from support.images import PLAIN
from support.processes import kill_family
from support.runs import Errors, check_lines, start, wait_for_records, write_rows
from support.waiting import wait_until

TESTS = Path(__file__).resolve().parents[1]
IMPORTABLE = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
PAUSED = IMPORTABLE | {"DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE": "0.000001"}


@pytest.fixture
def many(band) -> list[Request]:
    return [Request(band, 0, ((row, row + 1), (0, 40))) for row in range(100)]


@pytest.fixture
def manifest(http_server, band, tmp_path) -> Path:
    """Return a manifest of 200 items, of which two workers read some 20 a second."""
    http_server.files["band.jp2"] = Path(band).read_bytes()
    http_server.delay = 0.1
    url = http_server.url("band.jp2")
    windows = [f"{row}:{row + 1},{column}:40" for row in range(100) for column in (0, 1)]
    rows = [{"Path": url, "rlevel": 0, "window": window} for window in windows]
    return write_rows(tmp_path / "manifest.ndjson", rows)


def wait_for_workers(cluster: Cluster) -> None:
    with Client(cluster.address, timeout=60) as client:
        client.wait_for_workers(2, timeout=60)


# The scheduler


def test_a_scheduler_that_is_killed_ends_a_run_that_can_be_resumed(http_server, manifest, tmp_path):
    with cluster_by_hand(tmp_path / "cluster", env=IMPORTABLE) as cluster:
        wait_for_workers(cluster)
        place = "--scheduler", cluster.address, "--wait-workers", "9s"
        process = start(manifest, "-o", tmp_path / "r.ndjson", *place, env=IMPORTABLE)
        wait_for_records(tmp_path / "r.ndjson.records.ndjson", 20)
        cluster.scheduler.kill()
        _, errors = process.communicate(timeout=100)
    assert process.returncode == 1, errors
    *_, last = told = errors.decode().splitlines()
    assert "jp2batch: waiting for the scheduler" in told
    assert last.startswith("jp2batch: the scheduler does not answer for 9 s (start it again, or raise --wait-workers)")
    assert last.endswith("records are kept: continue with --resume")
    assert "Traceback" not in errors.decode()
    http_server.delay = 0
    done = CliRunner().invoke(
        cli.main, ["run", str(manifest), "-o", str(tmp_path / "r.ndjson"), "--resume", "--local-threads", "--json"]
    )
    assert (done.exit_code, json.loads(done.stdout)["kept"] >= 20) == (0, True)
    check_lines(tmp_path / "r.ndjson", manifest)


def test_a_scheduler_started_again_at_its_address_costs_no_item(http_server, manifest, tmp_path):
    with cluster_by_hand(tmp_path / "cluster", env=IMPORTABLE) as cluster:
        wait_for_workers(cluster)
        process = start(manifest, "-o", tmp_path / "r.ndjson", "--scheduler", cluster.address, env=IMPORTABLE)
        errors = Errors(process)
        wait_for_records(tmp_path / "r.ndjson.records.ndjson", 20)
        cluster.restart_scheduler()
        errors.wait_for("waiting for workers: 0 of 2")
        cluster.add_worker(env=IMPORTABLE)
        assert errors.wait_for_end() == 0, errors.lines
    http_server.delay = 0
    check_lines(tmp_path / "r.ndjson", manifest)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_client_that_has_given_up_is_replaced(many, tmp_path):
    with (
        cluster_by_hand(tmp_path / "cluster", 1, env=IMPORTABLE) as cluster,
        Client(cluster.address, timeout=60) as client,
    ):
        results = jp2batch.as_completed(many, client, output=slow)
        found = [next(results)]
        client._timeout = 0.1  # of its attempts to connect again
        cluster.restart_scheduler(lambda: wait_until(lambda: client.status == "closed"))
        cluster.add_worker(env=IMPORTABLE)
        found += results
    assert {result.request for result in found} == set(many)
    assert [result.error for result in found if result.error] == []


# Workers


def test_workers_that_leave_and_come_back_cost_no_item(http_server, manifest, tmp_path):
    with cluster_by_hand(tmp_path / "cluster", env=IMPORTABLE) as cluster:
        wait_for_workers(cluster)
        process = start(manifest, "-o", tmp_path / "r.ndjson", "--scheduler", cluster.address, env=IMPORTABLE)
        errors = Errors(process)
        wait_for_records(tmp_path / "r.ndjson.records.ndjson", 20)
        for worker in cluster.workers:
            kill_family(worker)
        errors.wait_for("waiting for workers: 0 of 2")
        cluster.add_worker(env=PAUSED)
        errors.wait_for("waiting for workers: 0 of 2, 1 paused")
        cluster.add_worker(env=IMPORTABLE)
        assert errors.wait_for_end() == 0, errors.lines
    http_server.delay = 0
    check_lines(tmp_path / "r.ndjson", manifest)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_cluster_without_workers_is_waited_for_only_so_long(many, tmp_path):
    with (
        cluster_by_hand(tmp_path / "cluster", 1, env=IMPORTABLE) as cluster,
        Client(cluster.address, timeout=10) as client,
    ):
        client.wait_for_workers(1, timeout=60)
        results = jp2batch.as_completed(many, client, output=slow, wait_workers="1s")
        next(results)
        kill_family(cluster.workers[0])
        with pytest.raises(ClusterLost, match="has had no running worker for 1 s"):
            list(results)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_crash_and_a_hang_on_a_worker_without_nanny_cost_their_items_only(many, tmp_path):
    for name in ("poison.jp2", "hangs.jp2"):
        (tmp_path / name).write_bytes(PLAIN.data)
    marked = [Request(str(tmp_path / name)) for name in ("poison.jp2", "hangs.jp2")]
    requests = [*many[:30], marked[0], *many[30:60], marked[1], *many[60:]]
    with cluster_by_hand(tmp_path / "cluster", 0) as cluster:
        worker = cluster.add_worker("--no-nanny", env=IMPORTABLE)
        with Client(cluster.address, timeout=10) as client, dask.config.set({"jp2batch.deadline": "2s"}):
            report = jp2batch.run(requests, client, output=dangerous)
        assert worker.poll() is None
    assert [result.request for result in report] == requests
    assert [(type(result.error), result.attempts) for result in report.failed] == [
        (DecoderCrashed, 2),
        (DecodeTimedOut, 1),
    ]


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        (WorkerCounts(8, 4, 0, 0, 0), ""),
        (WorkerCounts(6, 3, 0, 0, 0), "3 of 4 workers"),
        (WorkerCounts(4, 2, 2, 0, 0), "2 of 4 workers, 2 paused"),
        (WorkerCounts(8, 4, 0, 1, 0), "4 of 4 workers, 1 refused"),
        (WorkerCounts(0, 0, 3, 1, 0), "waiting for workers: 0 of 4, 3 paused, 1 refused"),
        (None, "waiting for the scheduler"),
    ],
)
def test_missing_workers_are_told_once(counts, text):
    told: list[str] = []
    patience = Patience(60, told.append)
    patience.note(WorkerCounts(8, 4, 0, 0, 0))
    for _ in range(2):
        patience.note(counts)
    assert told == ([text] if text else [])
