"""Batches on clusters started by hand: one that is lost, lacks the package, or is elsewhere."""

import hashlib
import json
import os
import urllib.request
from pathlib import Path

import dask
import numpy as np
import pytest
from distributed import Client

import jp2batch
from jp2batch.batch.outputs.folder import Folder
from jp2batch.compute.cluster import local_cluster
from jp2batch.compute.isolated import run_task_in_subprocess
from jp2batch.compute.result import Result
from jp2batch.compute.task import PickledSpec, TaskSpec, as_response
from jp2batch.core.errors import DecoderCrashed, ImageTooLarge, OutputError
from jp2batch.core.options import SecretDict
from jp2batch.core.request import Request
from jp2batch.sample.encode import Coding, encode
from support.clusters import cluster_by_hand
from support.deliveries import dangerous, digest, surprise
from support.images import PLAIN
from support.oracle import Oracle
from support.runs import check_pixels, lines, start, write_rows

FAILED, NOT_STARTED = 1, 3
TESTS = Path(__file__).resolve().parents[1]
IMPORTABLE = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}


@pytest.fixture
def many(band) -> list[Request]:
    return [Request(band, 0, ((row, row + 1), (0, 40))) for row in range(100)]


@pytest.fixture
def manifest(many, tmp_path) -> Path:
    rows = [{"Path": one.path, "rlevel": 0, "window": one.window and str(one.window)} for one in many]
    return write_rows(tmp_path / "manifest.ndjson", rows * 5)


# Memory


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_item_too_large_for_a_worker_is_refused_before_it_dies_of_it(tmp_path):
    image = tmp_path / "large.jp2"
    image.write_bytes(encode(np.ones((1, 2048, 2048), np.int32), Coding(tile=None)))
    request = Request(str(image), 0)
    with local_cluster(workers=1, memory_limit="350MB") as client:
        before = client.run(os.getpid)
        (result,) = jp2batch.run([request], client, output="response")
        order = PickledSpec.of(TaskSpec(as_response, SecretDict(), None, None))
        alone = client.submit(run_task_in_subprocess, request, order).result()
        assert client.run(os.getpid) == before
    for refused in (result, alone):
        assert isinstance(refused.error, ImageTooLarge)
        assert 0 < refused.stats.bytes_read <= 8192


# What workers have


def hidden(folder: Path, name: str, text: str) -> dict[str, str]:
    """Return an environment whose Python finds a module of this text."""
    path = folder / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(TESTS.parent)])}


LACKING = {
    "no package": ("jp2batch/__init__.py", "raise ModuleNotFoundError('jp2batch')", "has no jp2batch", "r.ndjson"),
    "another version": ("jp2batch/__init__.py", "__version__ = '0.0.9'", "has jp2batch 0.0.9", "r.ndjson"),
    "half of it": ("jp2batch/__init__.py", f"__version__ = {jp2batch.__version__!r}", "cannot import", "r.ndjson"),
    "no package of the output": (
        "sitecustomize.py",
        "from importlib import metadata\n_version = metadata.version\n"
        "def version(name):\n    if name == 'zarr':\n        raise metadata.PackageNotFoundError(name)\n"
        "    return _version(name)\nmetadata.version = version",
        "lacks zarr",
        "r.zarr",
    ),
}


@pytest.mark.parametrize("name", LACKING)
def test_workers_that_lack_a_package_are_refused_in_one_line(name, manifest, tmp_path):
    module, text, said, output = LACKING[name]
    environment = hidden(tmp_path / "hiding", module, text)
    with cluster_by_hand(tmp_path / "cluster", 1, env=environment) as cluster:
        process = start(manifest, "-o", tmp_path / output, "--scheduler", cluster.address, "--quiet")
        _, errors = process.communicate(timeout=100)
    assert process.returncode == NOT_STARTED, errors
    assert errors.count(b"\n") == 1
    assert said in errors.decode()
    assert "pip install" in errors.decode()
    assert not (tmp_path / output).exists()


# A cluster elsewhere


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
    """A cluster of two workers, which run in a folder of their own."""
    with cluster_by_hand(tmp_path_factory.mktemp("by-hand") / "cluster", env=IMPORTABLE) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(by_hand):
    with Client(by_hand.address, timeout=30) as started:
        started.wait_for_workers(2, timeout=60)
        yield started


def test_relative_paths_are_those_of_the_client(by_hand, tmp_path):
    (tmp_path / "image.jp2").write_bytes(PLAIN.data)
    manifest = write_rows(tmp_path / "m.ndjson", [{"Path": "image.jp2", "rlevel": 0}])
    process = start("m.ndjson", "-o", "out/", "--scheduler", by_hand.address, cwd=tmp_path)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    (record,) = lines(tmp_path / "out/records.ndjson")
    assert (record["Path"], record["status"]) == ("image.jp2", "ok")
    check_pixels(tmp_path / "out/records.ndjson", manifest, {}, lambda name: str(tmp_path / name))


def test_files_that_workers_write_on_disks_of_their_own_are_missed(tmp_path):
    folder = Folder(f"{tmp_path}/out", ".npy")
    there = Result(Request("a.jp2"), "ok", worker="tcp://elsewhere:1", output=f"{tmp_path}/out/a.npy")
    with pytest.raises(OutputError, match="tcp://elsewhere:1 has written it, but it is missing on this machine"):
        folder.put(there)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_crash_on_a_cluster_of_others_costs_its_own_item(client, many, tmp_path):
    (tmp_path / "poison.jp2").write_bytes(PLAIN.data)
    requests = [*many[:10], Request(str(tmp_path / "poison.jp2")), *many[10:20]]
    report = jp2batch.run(requests, client, output=dangerous)
    (failed,) = report.failed
    assert isinstance(failed.error, DecoderCrashed)
    assert failed.attempts in (3, 4)  # dask may start it on a second worker before the first is known to be lost
    assert len(report) == 21


def test_secrets_are_not_shown_by_a_cluster(client, by_hand, many, tmp_path):
    secret, key = "hush-hush-secret", "AKIAHUSHHUSH"
    options = {"key": key, "secret": secret, "endpoint_url": "http://127.0.0.1:9"}
    with dask.config.set({"jp2batch.retries.attempts": 2}):
        report = jp2batch.run([Request("s3://bucket/a.jp2"), many[0]], client, storage_options={"s3": options})
        jp2batch.run([many[0]], client, storage_options={"s3": options}, output=surprise)
    assert len(report.failed) == 1
    home = client.dashboard_link.rpartition("/")[0]
    pages = [f"{home}/{page}" for page in ("info/main/workers.html", "info/main/logs.html")]
    told = [json.dumps([result.record() for result in report]), by_hand.log(), str(client.futures), str(report)]
    told += [urllib.request.urlopen(page).read().decode() for page in pages]
    assert "tcp://" in told[4]
    for word in (secret, key):
        assert not [text for text in told if word in text]


# The same everywhere


def real_product() -> Path | None:
    """Return a product of ESA's, where it lies beside the repository."""
    return next((TESTS.parents[1] / "shared/data").glob("*.SAFE"), None)


@pytest.fixture(params=["made", "real"])
def all_images(request, product) -> list[str]:
    """Return the images of a whole product."""
    folder = product if request.param == "made" else real_product()
    if folder is None:
        pytest.skip("there is no product of ESA's in ../shared/data")
    return sorted(map(str, folder.glob("**/*.jp2")))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_all_images_at_all_levels_are_the_same_in_threads_in_processes_and_on_a_cluster(all_images, client, tmp_path):
    levels = {path: range(len(jp2batch.inspect(path).levels)) for path in all_images}
    rows = [{"Path": path, "rlevel": level} for path in all_images for level in levels[path]]
    text = "".join(f"{row['Path']},{row['rlevel']}\n" for row in rows)
    (tmp_path / "m.csv").write_text(f"Path,rlevel\n{text}")
    requests = jp2batch.read_manifest(write_rows(tmp_path / "m.ndjson", rows))
    assert requests == jp2batch.read_manifest(tmp_path / "m.csv")
    with local_cluster(workers=2) as own:
        found = [
            [result.value for result in jp2batch.run(requests, where, output=digest)] for where in (None, own, client)
        ]
    expected = []
    for path in all_images:
        info = jp2batch.inspect(path)
        oracle = Oracle(Path(path).read_bytes(), (0, 0), (info.bands, *info.shape), info.dtype)
        expected += [hashlib.sha256(oracle.at(level)).hexdigest() for level in levels[path]]
    assert found == [expected] * 3
