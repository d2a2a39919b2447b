"""Runs that stop early, because too many items fail, or all would."""

import pytest

from jp2batch.batch.failures import FailureLimit
from jp2batch.compute.result import Result
from jp2batch.core.errors import CorruptImage, ImageNotFound, InvalidRequest, PermissionDenied, TooManyFailures
from jp2batch.core.request import Request
from support.runs import lines, run, write_rows

OK = Result(Request("a.jp2"), "ok")
DAMAGED = Result(Request("a.jp2"), "failed", error=CorruptImage("a.jp2", "it is cut short"))
DENIED = Result(Request("a.jp2"), "failed", error=PermissionDenied("a.jp2", "the store refuses access", "log in"))
NO_BUCKET = Result(Request("a.jp2"), "failed", error=ImageNotFound("a.jp2", "no such object: 404 NoSuchBucket"))
MISSING = Result(Request("a.jp2"), "failed", error=ImageNotFound("a.jp2", "no such object: 404 NoSuchKey"))


def stopped_after(most: str | int | None, results: list[Result]) -> int | None:
    """Return after how many results a run stops; None if it does not."""
    limit = FailureLimit(most)
    for number, result in enumerate(results, 1):
        try:
            limit.add(result)
        except TooManyFailures:
            return number
    return None


@pytest.mark.parametrize(
    ("most", "results", "number"),
    [
        (2, [DAMAGED, OK, DAMAGED, OK, DAMAGED, OK], 5),
        ("0", [OK, DAMAGED], 2),
        ("5%", [DAMAGED] * 5 + [OK] * 200, None),
        ("5%", [DAMAGED] * 50 + [OK] * 200, 100),
        ("5%", [OK] * 100 + [DAMAGED] * 10, 106),
        ("100%", [DAMAGED] * 300, None),
        (None, [DENIED] * 30, 10),
        (None, [NO_BUCKET] * 30, 10),
        (None, [MISSING] * 30, None),
        (None, [DAMAGED] * 30, None),
        (None, [OK] + [DENIED] * 30, None),
        (None, [DENIED, NO_BUCKET] * 30, None),
        (30, [DENIED] * 30, None),
    ],
)
def test_a_run_stops_at_its_limit_and_at_failures_of_all(most, results, number):
    assert stopped_after(most, results) == number


@pytest.mark.parametrize("most", ["-1", "many", "101%", "5 %%", ""])
def test_a_limit_is_a_number_or_a_percentage(most):
    with pytest.raises(InvalidRequest, match="max_failures= is neither"):
        FailureLimit(most)


def test_refused_access_stops_a_run_that_can_be_resumed(http_server, image, tmp_path):
    http_server.fault = 403
    http_server.files["image.jp2"] = image.read_bytes()
    rows = [{"Path": http_server.url("image.jp2"), "window": f"0:{row},0:9"} for row in range(3, 33)]
    manifest = write_rows(tmp_path / "m.ndjson", rows)
    done = run(manifest, tmp_path / "r.ndjson")
    *_, last = done.stderr.splitlines()
    assert (done.exit_code, "the first 10 items failed alike: the store refuses access: 403" in last) == (1, True)
    assert last.endswith("records are kept: continue with --resume")
    assert len(lines(tmp_path / "r.ndjson.records.ndjson")) == 10
    done = run(manifest, tmp_path / "r.ndjson", "--resume", "--max-failures", 15)
    assert (done.exit_code, "16 items failed, more than 15" in done.stderr) == (1, True)
    assert "or raise --max-failures" in done.stderr
    http_server.fault = ""
    assert run(manifest, tmp_path / "r.ndjson", "--resume").exit_code == 0
