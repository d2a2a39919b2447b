"""Batches into a store that does not answer for a while, or any more."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.gate import Gate, gate
from support.images import PLAIN
from support.runs import Errors, start, write_rows
from support.waiting import wait_until

pytestmark = [
    pytest.mark.seaweedfs,
    pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX"),
]
ITEMS = 40


@pytest.fixture
def store(away: str, s3_server, monkeypatch) -> Iterator[Gate]:
    """Put a gate in front of the store."""
    with gate(s3_server.endpoint) as made:
        monkeypatch.setenv("AWS_ENDPOINT_URL", made.address)
        yield made


@pytest.fixture
def manifest(http_server, tmp_path) -> Path:
    """Return a manifest of items on a web server, each of which takes a while."""
    http_server.files["image.jp2"], http_server.delay = PLAIN.data, 0.2
    url = http_server.url("image.jp2")
    rows = [{"Path": url, "rlevel": 0, "window": f"{n}:{n + 9},0:20"} for n in range(ITEMS)]
    return write_rows(tmp_path / "m.ndjson", rows)


class Case:
    """A run of a manifest into a store behind a gate."""

    def __init__(self, store: Gate, manifest: Path, output: str, fs) -> None:
        self.store, self.output, self._manifest, self._fs = store, output, manifest, fs

    def begin(self, *arguments: str) -> tuple[Errors, int]:
        """Start the run, and wait for its first records; return its stderr and process id."""
        process = start(self._manifest, "-o", self.output, "--local-threads", *arguments)
        errors = Errors(process)
        wait_until(lambda: self._fs.find(f"{self.output}records", refresh=True) or process.poll() is not None)
        return errors, process.pid

    def resume(self) -> None:
        """Resume the run to its end."""
        errors = Errors(start(self._manifest, "-o", self.output, "--local-threads", "--resume", "--quiet"))
        assert errors.wait_for_end() == 0, errors.lines

    def check(self) -> None:
        """Check that each item has one record, and a result."""
        names = self._fs.find(f"{self.output}records", refresh=True)
        ids = [json.loads(line)["id"] for name in names for line in self._fs.cat_file(name).splitlines()]
        assert len(ids) == len(set(ids)) == ITEMS
        assert len([name for name in self._fs.find(self.output, refresh=True) if name.endswith(".npy")]) == ITEMS


@pytest.fixture
def case(store, manifest, away, fs) -> Case:
    """Return a run of the manifest into the store."""
    return Case(store, manifest, f"{away}/out/", fs)


def test_two_outages_are_told_and_cost_no_item(case):
    errors, _ = case.begin()
    for number in (1, 2):
        case.store.shut()
        errors.wait_for("waiting for the store", number)
        case.store.open()
        errors.wait_for("the store answers again", number)
    assert errors.wait_for_end() == 0, errors.lines
    told = [line for line in errors.lines if line.startswith("jp2batch: ")]
    assert set(told) == {"jp2batch: waiting for the store\n", "jp2batch: the store answers again\n"}
    case.check()


def test_a_store_that_is_gone_ends_a_run_that_can_be_resumed(case, http_server):
    errors, _ = case.begin("--wait-workers", "2s")
    case.store.shut()
    assert errors.wait_for_end() == 1, errors.lines
    *summary, last = errors.lines
    assert last.startswith(f"jp2batch: {case.output}: the store does not answer for 2 s (check its host and the")
    assert last.endswith(", or raise --wait-workers); records are kept: continue with --resume\n")
    assert any(line.startswith("requests ") for line in summary)
    assert "Traceback" not in "".join(errors.lines)
    case.store.open()
    http_server.delay = 0
    case.resume()
    case.check()


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.exhaustive), signal.SIGTERM])
def test_an_interrupt_ends_a_run_whose_store_is_gone(number, case, http_server):
    errors, pid = case.begin()
    case.store.shut()
    errors.wait_for("waiting for the store")
    os.kill(pid, number)
    assert errors.wait_for_end() == 130, errors.lines
    assert errors.lines[-1] == "jp2batch: interrupted; records are kept: continue with --resume\n"
    assert "Traceback" not in "".join(errors.lines)
    case.store.open()
    http_server.delay = 0
    case.resume()
    case.check()


def test_an_interrupt_ends_a_run_whose_images_do_not_come(http_server, manifest, tmp_path):
    http_server.delay = 600
    process = start(manifest, "-o", f"{tmp_path}/out/", "--local-threads")
    errors = Errors(process)
    wait_until(lambda: http_server.requests > 0)
    process.terminate()
    assert errors.wait_for_end() == 130, errors.lines
    assert errors.lines[-1] == "jp2batch: interrupted; records are kept: continue with --resume\n"


@pytest.mark.exhaustive
def test_a_run_does_not_begin_without_its_store(case, manifest):
    case.store.shut()
    process = start(manifest, "-o", case.output, "--local-threads")
    errors = Errors(process)
    assert errors.wait_for_end() == 3, errors.lines
    assert errors.lines[:-1] == ["jp2batch: waiting for the store\n"]
    assert "cannot be" in errors.lines[-1]
