"""The time limit of a run's requests to the store of its output."""

import threading

import pytest

from jp2batch.batch.state import store_watch
from jp2batch.batch.state.store_watch import StoreWatch
from jp2batch.core.errors import OutputError, StoreUnavailable
from jp2batch.storage.directory import Directory
from support.waiting import wait_until

NEVER = threading.Event()


def hang() -> None:
    NEVER.wait()


class Flaky:
    """A request that fails some times, then succeeds."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.calls, self._failures = 0, failures
        self._error = error or StoreUnavailable("s3://b/o", "503")

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error
        return "done"


@pytest.fixture(autouse=True)
def haste(monkeypatch) -> None:
    """Shorten all waits."""
    for name, seconds in {"_QUIET": 0.1, "_START": 0.1, "_POLL": 0.01, "_PAUSE": 0.02, "_LAST": 0.1}.items():
        monkeypatch.setattr(store_watch, name, seconds)


@pytest.fixture
def told() -> list[str]:
    """Return the texts told."""
    return []


def begun(seconds: float, told: list[str], check=lambda: None) -> StoreWatch:
    watch = StoreWatch("s3://b/out/", seconds, check, told.append)
    watch.begin(told.append)
    return watch


def test_a_request_that_hangs_is_told_and_ends_the_run(told):
    watch = begun(0.3, told)
    with pytest.raises(OutputError, match=r"^s3://b/out/: the store does not answer for 0\.3 s \(check its host"):
        watch(hang, is_long=False)
    assert told == ["waiting for the store"]


def test_a_failed_request_is_repeated_until_the_store_answers(told):
    watch, request = begun(60, told), Flaky(20)
    assert watch(request, is_long=False) == "done"
    assert request.calls == 21
    assert told == ["waiting for the store", ""]


def test_a_request_that_always_fails_ends_the_run(told):
    with pytest.raises(OutputError, match="does not answer for"):
        begun(0.3, told)(Flaky(10**9), is_long=False)
    with pytest.raises(OutputError, match="does not answer for"):
        begun(0.3, told)(Flaky(10**9), is_long=True)


def test_a_long_request_may_take_longer_than_the_limit(told):
    answer = threading.Timer(0.4, NEVER.is_set)
    answer.start()
    begun(0.05, told)(answer.join, is_long=True)


@pytest.mark.parametrize("error", [PermissionError("no"), OutputError("s3://b/o", "the store refuses access")])
def test_other_errors_are_raised_at_once(error, told):
    request = Flaky(1, error)
    with pytest.raises(type(error)):
        begun(60, told)(request, is_long=False)
    assert (request.calls, told) == (1, [])


def test_nothing_is_repeated_before_the_run_begins(told):
    request = Flaky(1)
    with pytest.raises(StoreUnavailable):
        StoreWatch("s3://b/out/", 60, lambda: None, told.append)(request, is_long=False)
    assert request.calls == 1


def test_an_interrupt_ends_a_request_that_hangs(told):
    checks = []

    def check() -> None:
        checks.append(1)
        if len(checks) > 3:
            raise KeyboardInterrupt

    watch = begun(600, told, check)
    with pytest.raises(KeyboardInterrupt):
        watch(hang, is_long=False)
    watch.hurry()
    assert watch(lambda: "last words", is_long=False) == "last words"
    with pytest.raises(OutputError):
        watch(hang, is_long=False)


def test_a_store_that_is_given_up_is_not_waited_for_again(told, monkeypatch):
    watch = begun(0.2, told)
    with pytest.raises(OutputError):
        watch(hang, is_long=False)
    monkeypatch.setattr(store_watch, "_LAST", 600)
    watch.hurry()
    with pytest.raises(OutputError):
        watch(hang, is_long=False)


def look_until(watch: StoreWatch, told: list[str], number: int) -> None:
    wait_until(lambda: watch.look() or len(told) == number)


def test_requests_of_another_thread_are_told_and_end_the_run(told):
    watch = begun(0.5, told)
    for number in (1, 3):
        watch.note_request()
        look_until(watch, told, number)
        watch.note_answer()
        watch.look()
    assert told == ["waiting for the store", ""] * 2
    watch.note_request()
    with pytest.raises(OutputError, match="does not answer for"):
        look_until(watch, told, 9)


def test_time_in_which_the_process_was_frozen_does_not_count(told, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(store_watch.time, "monotonic", lambda: now[0])
    watch = begun(20, told)
    watch.note_request()
    watch.look()
    now[0] += 900
    watch.look()
    now[0] += 4
    watch.look()
    now[0] += 900
    watch.look()
    watch.note_answer()
    watch.look()
    assert told == ["waiting for the store", ""]


def test_requests_of_a_folder_in_a_request_are_not_watched_again(tmp_path, told):
    from jp2batch.storage.callers import called_by

    (tmp_path / "a").write_bytes(b"1")
    with called_by(begun(60, told)):
        folder = Directory(str(tmp_path))
        assert folder.read("a") == b"1"
        assert dict(folder.read_many(["a"])) == {"a": b"1"}
        folder.remove(["a", "b"])
        assert folder.names() == set()
