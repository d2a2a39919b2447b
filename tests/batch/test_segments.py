"""Records in a store: segments of a run whose last requests arrive late."""

import pytest

from jp2batch.batch.records.log import SegmentLog
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


def test_a_run_that_meets_many_foreign_segments_stops(log, tmp_path):
    log.open()
    for number in range(1, 9):
        put_late(tmp_path, number)
    with pytest.raises(LeaseLost, match="another run is writing records"):
        log.append([b"own\n"])
