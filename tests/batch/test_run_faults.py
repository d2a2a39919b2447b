"""`jp2batch run` among faults, in real processes: each item has one final record, none is lost, no pixel is wrong."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import jp2batch
from jp2batch.core import config
from jp2batch.sample.encode import Coding, encode
from support.processes import children_of, workers_of
from support.runs import check_lines, check_pixels, check_records, lines, run, start, wait_for_records, write_rows

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and limits are those of POSIX")

TESTS = Path(__file__).resolve().parents[1]
CRASHING = TESTS / "support" / "crashing"
PATIENT = {"DASK_JP2BATCH__RETRIES__FIRST_WAIT": "10ms", "DASK_JP2BATCH__RETRIES__ATTEMPTS": "10"}
"""Of every fifth request, a few fail twice, and hardly one ten times."""


@pytest.fixture(scope="module")
def images(product) -> list[Path]:
    """Return a few images, one of them with three bands."""
    return sorted(product.glob("**/*_60m.jp2"))[:6]


@pytest.fixture
def manifest(images, tmp_path) -> Path:
    """Return a manifest of 200 different items."""
    return write_rows(tmp_path / "manifest.ndjson", windows(images, 17)[:200])


def windows(images: list[Path], count: int) -> list[dict[str, object]]:
    """Return rows of `count` windows, up to 50, of each image at two levels."""
    return [
        {"Path": str(image), "rlevel": level, "window": f"{row}:{row + 70},{3 * row}:170"}
        for image in images
        for level in (0, 1)
        for row in range(count)
    ]


# The store

FAULTS = {
    "503 to each fifth": ({"fault": 503, "every": 5}, ["--workers", "2"]),
    "429 with Retry-After": ({"fault": 429, "every": 10, "retry_after": "1"}, ["--local-threads"]),
    "bodies cut": ({"fault": "cut", "every": 5}, ["--local-threads"]),
    "bodies too short": ({"fault": "short", "every": 5}, ["--local-threads"]),
    "connections reset": ({"fault": "reset", "every": 5}, ["--workers", "2"]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_store_that_stumbles_costs_no_item(name, images, http_server, tmp_path):
    faults, engine = FAULTS[name]
    for setting, value in faults.items():
        setattr(http_server, setting, value)
    for image in images:
        http_server.files[image.name] = image.read_bytes()
    rows = [{"Path": http_server.url(image.name), "rlevel": level} for image in images for level in (-1, 2, 1, 0)]
    rows += [row | {"rlevel": 0, "window": "20:90,30:99"} for row in rows[::4]]
    manifest = write_rows(tmp_path / "manifest.ndjson", rows)
    process = start(manifest, "-o", f"{tmp_path}/out/", *engine, env=os.environ | PATIENT)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    records = tmp_path / "out/records.ndjson"
    local = {http_server.url(image.name): str(image) for image in images}
    check_pixels(records, manifest, {}, local.__getitem__)
    assert http_server.requests // faults["every"] > 3  # so often it has stumbled
    if "retry_after" in faults:
        assert np.diff(http_server.times).max() > 0.9  # it was left alone for as long as it had asked


def test_a_store_that_is_down_fails_items_that_can_be_retried(images, http_server, tmp_path):
    http_server.fault = 503
    http_server.files["image.jp2"] = images[0].read_bytes()
    url = http_server.url("image.jp2")
    manifest = write_rows(tmp_path / "m.ndjson", [{"Path": url, "rlevel": level} for level in (0, 1)])
    assert run(manifest, f"{tmp_path}/out/").exit_code == 1
    records = tmp_path / "out/records.ndjson"
    found = lines(records)
    assert {(r["error"]["type"], r["error"]["retryable"]) for r in found} == {("StoreUnavailable", True)}
    tries = config.retry_policy().attempts
    assert [(r["attempts"], r["requests"], r["retries"]) for r in found] == [(1, tries, tries - 1)] * 2
    assert http_server.requests == 2 * tries
    assert all(record["time_download"] > 0 for record in found)
    http_server.fault = ""
    assert run(manifest, f"{tmp_path}/out/", "--retry-failed").exit_code == 0
    check_pixels(records, manifest, {}, lambda _: str(images[0]))


# The disk


def can_mount() -> bool:
    unshare = shutil.which("unshare")
    command = ["unshare", "-Urm", "mount", "-t", "tmpfs", "-o", "size=1m", "none", "/mnt"]
    return unshare is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="needs a disk of its own: Linux, and unshare allowed to mount one")
@pytest.mark.parametrize(
    ("output", "engine"),
    [("r.ndjson", "--local-threads"), ("out/", "--workers=2"), ("results.zarr", "--local-threads")],
)
def test_a_full_disk_ends_a_run_that_can_be_resumed(output, engine, manifest, tmp_path):
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    command = f"{sys.executable} -m jp2batch run {manifest} -o {disk}/{output} --resume --quiet --json {engine}"
    script = f"""
        mount -t tmpfs -o size=600k none {disk} || exit 99
        {command} > {tmp_path}/first.json; echo $? >> {tmp_path}/codes
        mount -o remount,size=99m {disk}
        {command} > {tmp_path}/second.json; echo $? >> {tmp_path}/codes
        cp -r {disk} {kept}
    """
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", script], capture_output=True, timeout=200, check=False)
    assert (tmp_path / "codes").read_text() == "1\n0\n", done.stderr
    assert done.stderr.count(b"\n") == 1
    assert b"No space left on device" in done.stderr
    assert b"continue with --resume" in done.stderr
    second = json.loads((tmp_path / "second.json").read_text())
    assert (second["ok"], second["failed"], second["kept"] > 0) == (200, 0, True)
    if output == "r.ndjson":
        check_lines(kept / output, manifest)
    elif output == "out/":
        records = kept / "out/records.ndjson"
        records.write_text(records.read_text().replace(str(disk), str(kept)))
        check_pixels(records, manifest, {})
    else:
        assert len(check_records(kept / "results.zarr.records.ndjson", manifest)) == 200


def test_a_limit_of_file_sizes_does_what_a_full_disk_does(manifest, tmp_path):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    process = start(manifest, "-o", tmp_path / "r.ndjson", "--local-threads", preexec_fn=limit)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.decode().splitlines()[-1].endswith("continue with --resume")
    done = run(manifest, tmp_path / "r.ndjson", "--resume", "--json")
    assert (done.exit_code, json.loads(done.stdout)["kept"] > 0) == (0, True)
    check_lines(tmp_path / "r.ndjson", manifest)


# Workers


def test_workers_killed_five_times_cost_no_item(images, tmp_path):
    """Kill them early in a long run: it must not end before the last kill, however late this process is."""
    manifest = write_rows(tmp_path / "manifest.ndjson", windows(images, 50))
    records, chance = tmp_path / "out/records.ndjson", random.Random(4)
    process = start(manifest, "-o", f"{tmp_path}/out/", "--workers", 2)
    kills = 0
    for number in (5, 35, 70, 100, 130):
        wait_for_records(records, number)
        while not (alive := workers_of(process.pid)) and process.poll() is None:
            time.sleep(0.01)  # both have just been killed
        if process.poll() is None:
            chance.choice(alive).kill()
            kills += 1
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert kills == 5
    check_pixels(records, manifest, {})


def test_a_crash_and_a_hang_among_a_hundred_cost_their_own_items(images, tmp_path):
    for name, size in (("deadly.jp2", 61), ("endless.jp2", 62)):
        (tmp_path / name).write_bytes(encode(np.ones((1, size, size), np.int32), Coding(tile=None)))
    rows = [{"Path": str(images[n % 6]), "rlevel": 0, "window": f"{n}:{n + 40},9:99"} for n in range(98)]
    rows[30:30] = [{"Path": str(tmp_path / "deadly.jp2"), "rlevel": 0}]
    rows[60:60] = [{"Path": str(tmp_path / "endless.jp2"), "rlevel": 0}]
    manifest = write_rows(tmp_path / "manifest.ndjson", rows)
    paths = [str(CRASHING), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    settings = {"PYTHONPATH": os.pathsep.join(paths), "DASK_JP2BATCH__DEADLINE": "5s"}
    process = start(manifest, "-o", f"{tmp_path}/out/", "--workers", 2, env=os.environ | settings)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 1, errors
    assert b"98 ok, 2 failed" in errors
    failed = {"deadly.jp2": "DecoderCrashed", "endless.jp2": "DecodeTimedOut"}
    check_pixels(tmp_path / "out/records.ndjson", manifest, failed)
    found = {Path(record["Path"]).name: record["attempts"] for record in lines(tmp_path / "out/records.ndjson")}
    # Each took its worker along once; a chunk can also be lost with the worker of the other.
    assert found["deadly.jp2"] in (3, 4)
    assert found["endless.jp2"] in (2, 3)
    assert b"distributed" not in errors


HANGING = """
from support.deliveries import dangerous
from jp2batch.compute.isolated import run_task_in_subprocess
from jp2batch.compute.task import TaskSpec
from jp2batch.core.options import SecretDict
from jp2batch.core.request import Request
run_task_in_subprocess(Request("{path}", 0), TaskSpec(dangerous, SecretDict(), None, None))
"""


def test_a_process_of_one_request_ends_with_its_worker(images, tmp_path):
    path = tmp_path / "hangs.jp2"
    path.symlink_to(images[0])
    paths = [str(TESTS), str(TESTS.parent)]
    settings = {"PYTHONPATH": os.pathsep.join(paths)}
    worker = subprocess.Popen([sys.executable, "-c", HANGING.format(path=path)], env=os.environ | settings)
    deadline = time.monotonic() + 60
    while not (children := children_of(worker.pid)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    worker.kill()
    worker.wait()
    assert psutil.wait_procs(children, timeout=60)[1] == []


# The run itself


@pytest.mark.parametrize(
    ("engine", "kill"),
    [(["--local-threads"], os.killpg), (["--workers", "2"], os.killpg), (["--workers", "2"], os.kill)],
    ids=["threads", "with its workers", "its workers survive"],
)
def test_a_run_killed_five_times_is_resumed(engine, kill, manifest, tmp_path):
    records, chance = tmp_path / "out/records.ndjson", random.Random(str(engine))
    for number in range(5):
        process = start(manifest, "-o", f"{tmp_path}/out/", "--resume", *engine)
        wait_for_records(records, 30 * number + chance.randrange(1, 30))
        time.sleep(chance.random() / 50)
        kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
        assert process.returncode == -signal.SIGKILL
    done = run(manifest, f"{tmp_path}/out/", "--resume", "--clean", "--json")
    summary = json.loads(done.stdout)
    assert (done.exit_code, summary["ok"], summary["kept"] > 30) == (0, 200, True)
    check_pixels(records, manifest, {})
    outputs = {Path(record["output"]) for record in lines(records)}
    assert {*outputs, records, tmp_path / "out/.jp2batch-run.json"} == set((tmp_path / "out").iterdir())
    assert len(jp2batch.read_manifest(manifest)) == 200
