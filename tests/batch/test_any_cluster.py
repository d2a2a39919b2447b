"""Any kind of cluster: clients, cluster objects, addresses, files; workers that come late, and wrong ones."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from distributed import Client, LocalCluster, Security

import jp2batch
from jp2batch import cli
from jp2batch.core.errors import ConfigurationError, InvalidRequest
from jp2batch.core.request import Request
from support.clusters import cluster_by_hand
from support.deliveries import slow
from support.runs import check_lines, lines, start, write_rows
from support.waiting import wait_until

NOT_STARTED, USAGE = 3, 2
TESTS = Path(__file__).resolve().parents[1]
IN_THREADS = {"processes": False, "protocol": "tcp://", "dashboard_address": ":0", "threads_per_worker": 1}


def importable() -> dict[str, str]:
    """Return an environment with this package and the tests' modules."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of distributed, about ports and versions


@pytest.fixture
def requests(band) -> list[Request]:
    return [Request(band, 0, ((row, row + 1), (0, 40))) for row in range(40)]


@pytest.fixture
def manifest(requests, tmp_path) -> Path:
    rows = [{"Path": one.path, "rlevel": 0, "window": str(one.window)} for one in requests]
    return write_rows(tmp_path / "manifest.ndjson", rows)


# What `client=` takes


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=1, **IN_THREADS) as started:
        yield started


@pytest.fixture
def any_kind(request, cluster, tmp_path) -> Iterator[object]:
    """The cluster, as a user may name it."""
    if request.param == "client":
        with Client(cluster) as client:
            yield client
    elif request.param == "scheduler file":
        file = tmp_path / "scheduler.json"
        file.write_text(json.dumps({"address": cluster.scheduler_address}))
        yield file
    elif request.param == "only get_client, as of dask-gateway":
        yield SimpleNamespace(get_client=lambda: Client(cluster), asynchronous=False, status="running")
    elif request.param == "adaptive, without workers":
        with LocalCluster(n_workers=0, **IN_THREADS) as adaptive:
            adaptive.adapt(minimum=0, maximum=1, interval="100ms")
            yield adaptive
    else:
        yield {"cluster object": cluster, "address": cluster.scheduler_address}[request.param]


KINDS = (
    "client",
    "cluster object",
    "address",
    "scheduler file",
    "only get_client, as of dask-gateway",
    "adaptive, without workers",
)


@pytest.mark.parametrize("any_kind", KINDS, indirect=True)
def test_a_cluster_may_be_named_in_any_way(any_kind, requests, tmp_path):
    assert not jp2batch.run(requests[:3], any_kind).failed
    summary = jp2batch.run_to(requests[:3], tmp_path / "r.ndjson", any_kind, progress=False)
    assert (summary.ok, summary.failed) == (3, 0)
    assert jp2batch.open_cube([requests[0].path], client=any_kind).shape[:2] == (1, 1)
    if isinstance(any_kind, Client):
        assert any_kind.status == "running"


def test_a_cluster_of_a_loop_is_used_from_another_thread(cluster, requests):
    async def in_a_program_of_coroutines() -> None:
        async with Client(cluster.scheduler_address, asynchronous=True) as client:
            with pytest.raises(ConfigurationError, match="client= is an asynchronous Client"):
                jp2batch.run(requests[:1], client)
            report = await asyncio.to_thread(jp2batch.run, requests[:1], client)
            assert not report.failed

    asyncio.run(in_a_program_of_coroutines())


def test_a_worker_without_credentials_is_named(cluster, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    options = {"endpoint_url": "http://127.0.0.1:9"}
    (there,) = jp2batch.run([Request("s3://bucket/a.jp2")], cluster, storage_options=options)
    (here,) = jp2batch.run([Request("s3://bucket/a.jp2")], storage_options=options)
    assert f"give credentials in the environment of worker {there.worker};" in str(there.error)
    assert "give credentials in the environment of this machine;" in str(here.error)


def closed_client(cluster: LocalCluster) -> Client:
    client = Client(cluster)
    client.close()
    return client


def closed_cluster(_cluster: LocalCluster) -> LocalCluster:
    other = LocalCluster(n_workers=0, **IN_THREADS)
    other.close()
    return other


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (closed_client, "client= is a closed Client"),
        (closed_cluster, "client= is a closed LocalCluster"),
        (lambda _: 8786, "neither a client nor a cluster: int"),
        (lambda _: "nonsense://x", "the scheduler cannot be reached: this is not its address"),
        (lambda _: "tls://127.0.0.1:1", "dask has no TLS configuration"),
    ],
)
def test_what_is_no_open_cluster_is_refused_in_one_line(make, said, cluster, requests):
    with pytest.raises(ConfigurationError) as refused:
        jp2batch.run(requests[:1], make(cluster))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("wait", ["soon", -1, "inf", None])
def test_a_time_that_is_none_is_refused(wait, requests):
    with pytest.raises(InvalidRequest, match="wait_workers= is not a duration"):
        jp2batch.run(requests[:1], wait_workers=wait)


def test_flags_that_contradict_each_other_are_refused(manifest, tmp_path):
    flags = ["--scheduler", "tcp://x:1", "--scheduler-file", "y"]
    done = CliRunner().invoke(cli.main, ["run", str(manifest), "-o", str(tmp_path / "r.ndjson"), *flags])
    assert (done.exit_code, done.stderr.count("\n")) == (USAGE, 1)


def test_a_cluster_that_gets_no_worker_in_time_ends_a_run_before_it_begins(manifest, tmp_path):
    with LocalCluster(n_workers=0, **IN_THREADS) as empty:
        flags = ["--scheduler", empty.scheduler_address, "--wait-workers", "300ms"]
        done = CliRunner().invoke(cli.main, ["run", str(manifest), "-o", str(tmp_path / "r.ndjson"), *flags])
    assert (done.exit_code, done.stderr.count("\n")) == (NOT_STARTED, 1)
    assert "no worker came within 0.3 s (start workers, or raise --wait-workers)" in done.stderr
    assert not (tmp_path / "r.ndjson").exists()


# Clusters of processes


def test_a_run_finds_its_cluster_by_certificates_and_by_dasks_variable(manifest, tmp_path, monkeypatch):
    security = Security.temporary()
    for name in (
        "ca_file",
        *(f"{role}_{part}" for role in ("scheduler", "worker", "client") for part in ("cert", "key")),
    ):
        file = tmp_path / f"{name}.pem"
        file.write_text(getattr(security, f"tls_{name}"))
        variable = name.upper() if name == "ca_file" else name.upper().replace("_", "__")
        monkeypatch.setenv(f"DASK_DISTRIBUTED__COMM__TLS__{variable}", str(file))
    with cluster_by_hand(tmp_path / "cluster", 0, protocol="tls") as cluster:
        assert cluster.address.startswith("tls://")
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.address)
        process = start(manifest, "-o", tmp_path / "r.ndjson")  # before there is any worker
        cluster.add_worker(env=importable())
        _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert f"scheduler: {cluster.address}" in errors.decode()
    check_lines(tmp_path / "r.ndjson", manifest)
    assert {line["worker"].partition(":")[0] for line in lines(tmp_path / "r.ndjson.records.ndjson")} == {"tls"}


def test_a_worker_of_another_version_that_joins_a_run_gets_no_work(band, tmp_path, caplog):
    requests = [Request(band, 0, ((row, row + 1), (column, 183))) for row in range(183) for column in range(30)]
    other = tmp_path / "other" / "jp2batch" / "__init__.py"
    other.parent.mkdir(parents=True)
    other.write_text("__version__ = '0.0.9'")
    wrong = os.environ | {"PYTHONPATH": str(other.parents[1])}
    with cluster_by_hand(tmp_path / "cluster", 1, env=importable()) as cluster:
        results = jp2batch.as_completed(requests, cluster.address, output=slow)
        found = [next(results)]
        cluster.add_worker("--nthreads", "4", env=wrong)
        cluster.add_worker(env=wrong)
        wait_until(lambda: found.append(next(results)) or len(caplog.messages) == 2)
        cluster.add_worker(env=importable())
        wait_until(lambda: found.append(next(results)) or found[-1].worker != found[0].worker)
        results.close()
    assert not [result.error for result in found if result.error]
    for message in caplog.messages:
        address = message.split()[1]
        assert message.startswith(f"worker {address} gets no work: it has jp2batch 0.0.9, and the client ")
        assert address not in {result.worker for result in found}
    assert len(caplog.messages) == 2
