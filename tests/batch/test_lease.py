"""The lease of an output: a run at a time, also on other machines, and in stores without conditional writes."""

import dataclasses
import json
import os
import signal

import pytest

from jp2batch.batch.state import lease
from jp2batch.batch.state.lease import OutputLease
from jp2batch.batch.state.place import StatePlace
from jp2batch.batch.state.run_state import RunState, process_identity
from jp2batch.core.errors import LeaseLost, StorageError
from jp2batch.storage.conditional import VersionedBytes
from jp2batch.storage.directory import Directory
from support.images import PLAIN
from support.runs import lines, run, start, write_rows
from support.waiting import wait_until

STATE = RunState.begin("items", overwrite=False, since=None)
ELSEWHERE = dataclasses.replace(STATE, owner="other", host="far", pid=7, process="another boot:pid:[1]:5")


@pytest.fixture
def haste(monkeypatch) -> None:
    """Shorten all waits of this process."""
    monkeypatch.setattr(lease, "_EVERY", 0.05)
    monkeypatch.setattr(lease, "_EXPIRY", 0.6)
    monkeypatch.setattr(lease, "_GLANCE", 0.02)
    monkeypatch.setattr(lease, "_SETTLE", 0.2)


@pytest.fixture(params=["local", "memory", pytest.param("s3", marks=pytest.mark.seaweedfs)])
def beside(request, haste, tmp_path) -> StatePlace:
    """Return the place of a lease: local, in a store without conditional replacement, in S3."""
    if request.param == "s3":
        request.getfixturevalue("away")
    (tmp_path / "out").mkdir()
    url = {"local": f"{tmp_path}/out", "memory": f"memory://{tmp_path.name}/out"}.get(request.param)
    return StatePlace.inside(url or f"{request.getfixturevalue('away')}/out")


def taken(place: StatePlace, state: RunState = STATE) -> OutputLease:
    own = OutputLease(place)
    own.take(state, lambda: None, lambda _: None)
    return own


def put(place: StatePlace, state: RunState) -> None:
    place.directory.write(place.run, state.dumps())


def test_a_lease_is_renewed_and_tells_its_end(beside):
    own = taken(beside)
    wait_until(lambda: own.look().beat > 2)
    own.update(since=5.0)
    own.outcome = "complete"
    with own:
        own.check()
    found = own.look()
    assert (found.owner, found.since, found.ended) == (STATE.owner, 5.0, "complete")
    assert taken(beside, ELSEWHERE).look().owner == "other"


def test_a_renewed_lease_is_refused_with_its_holder(beside):
    own = taken(beside, ELSEWHERE)
    with pytest.raises(StorageError, match="another run is writing to it: process 7 on far, since 20"):
        taken(beside)
    own.check()
    own.release("complete")


def test_a_lease_of_another_machine_expires(beside):
    put(beside, ELSEWHERE)
    waits: list[RunState] = []
    own = OutputLease(beside)
    assert own.take(STATE, lambda: None, waits.append) == ELSEWHERE
    assert waits == [ELSEWHERE]
    own.release("complete")


def test_a_lease_of_a_process_that_is_gone_is_free_at_once(beside):
    machine = process_identity(os.getpid()).rpartition(":")[0]
    put(beside, dataclasses.replace(ELSEWHERE, process=f"{machine}:1"))
    waits: list[RunState] = []
    own = OutputLease(beside)
    own.take(STATE, lambda: None, waits.append)
    assert waits == []
    own.release("complete")


def test_a_damaged_lease_is_free(beside):
    beside.directory.write(beside.run, b"\0\0\0")
    taken(beside).release("complete")


def test_a_lost_lease_is_noticed_and_left_alone(beside):
    own = taken(beside)
    put(beside, ELSEWHERE)
    wait_until(lambda: own._lost is not None)
    with pytest.raises(LeaseLost, match="another run has taken over"):
        own.check()
    own.release("interrupted")
    assert own.look() == ELSEWHERE


def test_of_two_runs_that_begin_together_one_has_the_lease(beside, monkeypatch):
    """The other one looks when there is no lease yet, and writes last where the store allows it."""
    put_one, other = Directory.put, dataclasses.replace(STATE, owner="other")

    def put_another_first(folder: Directory, name: str, data: bytes, old: VersionedBytes | None):
        if b'"owner":"other"' not in data and not rivals:
            rivals.append(taken(beside, other))
        return put_one(folder, name, data, old)

    rivals: list[OutputLease] = []
    monkeypatch.setattr(Directory, "put", put_another_first)
    with pytest.raises(StorageError, match="another run is writing to it"):
        taken(beside)
    rivals[0].check()
    rivals[0].release("complete")


def test_a_store_that_ignores_conditions_has_the_last_writer(haste, tmp_path, monkeypatch):
    beside = StatePlace.inside(f"memory://{tmp_path.name}/out")

    def ignoring(folder: Directory, name: str, data: bytes, _old: VersionedBytes | None) -> VersionedBytes:
        folder.write(name, data)
        return VersionedBytes(data, None)

    def sleep(_: float) -> None:
        put(beside, ELSEWHERE)

    monkeypatch.setattr(Directory, "put", ignoring)
    monkeypatch.setattr(lease.time, "sleep", sleep)
    with pytest.raises(StorageError, match="process 7 on far"):
        taken(beside)


# In a run


@pytest.mark.seaweedfs
@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_a_second_run_into_a_store_is_refused_and_takes_over_when_the_first_is_killed(away, fs, http_server, tmp_path):
    http_server.files["image.jp2"], http_server.delay = PLAIN.data, 0.3
    rows = [{"Path": http_server.url("image.jp2"), "rlevel": 0, "window": f"0:{n + 9},0:20"} for n in range(80)]
    manifest = write_rows(tmp_path / "m.ndjson", rows)
    first = start(manifest, "-o", f"{away}/out/", "--local-threads")
    try:
        wait_until(lambda: fs.find(f"{away}/out/records", refresh=True))
        second = run(manifest, f"{away}/out/", "--resume", "--quiet")
        assert (second.exit_code, second.stderr.count("\n")) == (3, 1)
        assert f"another run is writing to it: process {first.pid} on " in second.stderr
        assert first.poll() is None
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
    http_server.delay = 0.0
    done = run(manifest, f"{away}/out/", "--resume", "--json")
    assert (done.exit_code, json.loads(done.stdout)["ok"]) == (0, 80)


def test_a_run_that_has_lost_its_lease_stops_with_a_line(haste, http_server, tmp_path, monkeypatch):
    http_server.files["image.jp2"], http_server.delay = PLAIN.data, 0.05
    rows = [{"Path": http_server.url("image.jp2"), "rlevel": 0, "window": f"0:{n + 9},0:20"} for n in range(200)]
    manifest = write_rows(tmp_path / "m.ndjson", rows)
    update = OutputLease.update

    def robbed(own: OutputLease, **changes: object) -> None:
        update(own, **changes)
        put(StatePlace.inside(f"{tmp_path}/out"), ELSEWHERE)

    monkeypatch.setattr(OutputLease, "update", robbed)
    done = run(manifest, f"{tmp_path}/out/", "--quiet")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "another run has taken over this output" in done.stderr
    assert len(lines(tmp_path / "out/records.ndjson")) < 200
