"""Records in a store: segments of a run whose last requests arrive late."""

from dataclasses import replace

import pytest

from jp2batch.batch.records.log import SegmentLog
from jp2batch.batch.state import lease
from jp2batch.batch.state.lease import OutputLease
from jp2batch.batch.state.place import StatePlace
from jp2batch.batch.state.run_state import RunState
from jp2batch.core.errors import LeaseLost
from jp2batch.storage.directory import Directory


@pytest.fixture
def log(tmp_path) -> SegmentLog:
    return SegmentLog(Directory(f"memory://{tmp_path.name}"), "records")


def segments(tmp_path) -> dict[str, bytes]:
    folder = Directory(f"memory://{tmp_path.name}/records")
    return dict(folder.read_many(sorted(folder.files())))


def put_late(tmp_path, number: int) -> None:
    Directory(f"memory://{tmp_path.name}/records").write(f"{number:08}.ndjson", b"late\n")


def test_a_segment_that_arrives_late_is_kept_and_passed_over(log, tmp_path):
    log.open()
    put_late(tmp_path, 1)
    log.append([b"own\n"])
    assert segments(tmp_path) == {"00000001.ndjson": b"late\n", "00000002.ndjson": b"own\n"}


def test_an_append_that_is_repeated_makes_one_segment(log, tmp_path):
    log.open()
    log._folder.put("00000001.ndjson", b"own\n", None)  # its reply was lost
    log.append([b"own\n"])
    log.append([b"next\n"])
    assert list(segments(tmp_path).values()) == [b"own\n", b"next\n"]


def test_a_segment_of_a_run_that_has_taken_over_ends_this_run(tmp_path, monkeypatch):
    place = StatePlace.inside(f"memory://{tmp_path.name}")
    state = RunState.begin("items", overwrite=False, since=None)
    monkeypatch.setattr(lease, "_SETTLE", 0)
    monkeypatch.setattr(lease, "_EVERY", 600)
    own = OutputLease(place)
    own.take(state, lambda: None, lambda _: None)
    log = place.log(None, own.confirm)
    log.open()
    put_late(tmp_path, 1)
    log.append([b"own\n"])
    place.directory.write(place.run, replace(state, owner="other").dumps())
    put_late(tmp_path, 3)
    with pytest.raises(LeaseLost, match="another run has taken over"):
        log.append([b"more\n"])
    assert len(segments(tmp_path)) == 3
    own.release("interrupted")
