"""Many requests: one result for each, in local threads, in processes, on a cluster; whatever happens to workers."""

import importlib
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import dask
import pytest
import xarray as xr

import jp2batch
from jp2batch.batch import run as batch
from jp2batch.batch.executors import cluster as cluster_executor
from jp2batch.compute import checked_cluster, task
from jp2batch.compute.cluster import local_cluster
from jp2batch.core.errors import (
    ClusterMismatch,
    ConfigurationError,
    CorruptImage,
    DecoderCrashed,
    DecodeTimedOut,
    ImageNotFound,
    ImageTooLarge,
    InvalidRequest,
    UnexpectedError,
)
from jp2batch.core.request import Request
from support.deliveries import NoteEach, dangerous, slow, surprise
from support.images import PLAIN


@pytest.fixture(scope="module")
def client():
    """A cluster of two processes."""
    with local_cluster(workers=2) as started:
        yield started


@pytest.fixture(params=["threads", "cluster"])
def place(request):
    """Return where a batch is done: None, or a client."""
    return request.getfixturevalue("client") if request.param == "cluster" else None


@pytest.fixture(scope="module")
def paths(product) -> list[str]:
    """Return the paths of all images of the product."""
    return sorted(str(path) for path in product.glob("**/*.jp2"))


def check_complete(report: jp2batch.BatchReport, requests: list[Request]) -> None:
    assert [result.request for result in report] == requests
    assert len(report) == len(requests)


def check_released(client) -> None:
    deadline = time.monotonic() + 5  # dask lets go of futures in a thread of its own
    while client.futures and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(client.futures) == 0


def test_every_request_has_its_result_in_its_place(place, paths):
    requests = [Request(path, rlevel) for path in paths for rlevel in (-1, 1)]
    report = jp2batch.run(requests, place)
    check_complete(report, requests)
    for result in report:
        xr.testing.assert_identical(result.value, jp2batch.read(result.request.path, result.request.rlevel))
        assert result.stats.bytes_read <= result.size
        assert result.worker


def test_results_can_be_the_dicts_of_the_web_service(place, paths):
    report = jp2batch.run([Request(paths[0])], place, output="response")
    expected = jp2batch.respond({"Path": paths[0]})
    assert report.results[0].value["img_data"] == expected["img_data"]


def test_what_fails_is_told_and_costs_nothing_else(place, paths, tmp_path):
    cut = tmp_path / "cut.jp2"
    cut.write_bytes(PLAIN.data[:-500])
    requests = [Request(paths[0]), Request("nowhere.jp2"), Request(str(cut)), Request(paths[1], 9), Request(paths[1])]
    report = jp2batch.run(requests, place)
    check_complete(report, requests)
    assert [result.status for result in report] == ["ok", "failed", "failed", "failed", "ok"]
    assert [type(result.error) for result in report.failed[:2]] == [ImageNotFound, CorruptImage]
    assert "nowhere.jp2" in str(report.failed[0].error)
    kept = [(r.error.__traceback__, r.error.__context__, r.error.__cause__) for r in report.failed]
    assert kept == [(None, None, None)] * 3  # they would keep alive what was at hand: pixels, files


def test_the_first_failure_can_end_the_batch(place, paths):
    with pytest.raises(ImageNotFound):
        jp2batch.run([Request("nowhere.jp2"), *map(Request, paths)], place, on_error="raise")


def test_what_is_asked_twice_is_done_once_and_recorded_for_each(place, paths, tmp_path):
    requests = [Request(paths[0], id="a"), Request(paths[0], id="b"), Request(paths[0], -1)]

    report = jp2batch.run(requests, place, output=NoteEach(str(tmp_path)))
    assert [result.request.id for result in report] == ["a", "b", requests[2].id]
    assert len(list(tmp_path.iterdir())) == 1


def test_results_come_as_they_are_done(place, paths):
    requests = [Request(path) for path in paths]
    results = list(jp2batch.as_completed(requests, place))
    assert {result.request for result in results} == set(requests)


def test_only_a_few_requests_are_under_way(client, paths):
    requests = [Request(paths[0], window=((row, row + 2), (0, 30)), rlevel=0) for row in range(150)]
    most = 0
    for _ in jp2batch.as_completed(requests, client):
        most = max(most, len(client.futures))
    assert 0 < most <= 2 * cluster_executor._PER_THREAD + 1
    check_released(client)


def test_a_batch_can_be_given_up(client, paths):
    requests = [Request(path, 0) for path in paths]
    results = jp2batch.as_completed(requests, client)
    next(results)
    results.close()
    check_released(client)


def test_delayed_tasks_have_readable_stable_keys(paths):
    requests = [Request(path, rlevel) for path in paths[:3] for rlevel in (0, 1)]
    tasks = jp2batch.to_delayed(requests)
    keys = [task.key for task in tasks]
    assert len(set(keys)) == len(keys)
    assert all(Path(request.path).stem in key for request, key in zip(requests, keys, strict=True))
    assert [task.key for task in jp2batch.to_delayed(requests)] == keys
    assert keys[0] != jp2batch.to_delayed(requests[:1], "response")[0].key
    graph = dict(tasks[0].__dask_graph__())
    assert len(graph) == 1
    assert len(pickle.dumps(graph)) < 5000
    xr.testing.assert_identical(dask.compute(*tasks)[0], jp2batch.read(paths[0], 0))


def test_a_delayed_task_raises_the_error_of_its_request():
    (task,) = jp2batch.to_delayed([Request("nowhere.jp2")])
    with pytest.raises(ImageNotFound, match=r"nowhere\.jp2"):
        task.compute()


def test_secrets_are_in_no_key_and_no_repr(paths):
    options = {"key": "AKIAEXAMPLE", "secret": "hush-hush"}
    (task,) = jp2batch.to_delayed([Request("s3://bucket/a.jp2")], storage_options=options)
    shown = f"{task.key} {task!r} {dict(task.__dask_graph__())!r} {batch._order('xarray', options, local=True)!r}"
    assert "hush" not in shown
    assert "AKIA" not in shown


def test_an_unknown_output_is_told(paths):
    with pytest.raises(ConfigurationError, match="unknown value of output"):
        jp2batch.run([Request(paths[0])], output="csv")


def test_a_surprise_costs_one_item(place, paths):
    report = jp2batch.run([Request(paths[0])], place, output=surprise)
    (failed,) = report.failed
    assert isinstance(failed.error, UnexpectedError)
    assert "ZeroDivisionError: by" in str(failed.error)
    assert "\n" not in str(failed.error)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of resources that a killed worker leaves behind
def test_a_crash_and_a_hang_cost_their_own_items_and_no_other(client, paths, tmp_path):
    for name in ("poison.jp2", "hangs.jp2"):
        (tmp_path / name).write_bytes(PLAIN.data)
    requests = [Request(path, rlevel) for path in paths[:12] for rlevel in (-1, 2, 1)]
    requests[20:20] = [Request(str(tmp_path / "poison.jp2"))]
    requests[30:30] = [Request(str(tmp_path / "hangs.jp2"))]
    with dask.config.set({"jp2batch.deadline": "3s"}):
        report = jp2batch.run(requests, client, output=dangerous)
    check_complete(report, requests)
    assert {Path(result.request.path).name: type(result.error) for result in report.failed} == {
        "poison.jp2": DecoderCrashed,
        "hangs.jp2": DecodeTimedOut,
    }
    assert "signal 11" in str(report.failed[0].error)
    expected = {request: int(jp2batch.read(request.path, request.rlevel).sum()) for request in requests[:5]}
    assert all(result.value == expected[result.request] for result in report.results[:5])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_workers_killed_from_outside_cost_no_item(client, paths):
    requests = [Request(paths[0], 0, ((row, row + 1), (0, 40))) for row in range(80)]
    kills = 0
    for done, result in enumerate(jp2batch.as_completed(requests, client, output=slow)):
        assert result.status == "ok", result.error
        if done % 30 == 20 and kills < 2:
            pids = list(client.run(os.getpid).values())
            os.kill(pids[0], signal.SIGKILL)
            kills += 1
            client.wait_for_workers(1, timeout=30)
    assert (done, kills) == (79, 2)


def test_an_item_too_large_for_its_worker_is_refused_before_it_is_fetched(paths, monkeypatch):
    monkeypatch.setattr(task, "memory_to_spare", lambda: 10_000)
    (failed,) = jp2batch.run([Request(paths[0], 0)]).failed
    assert isinstance(failed.error, ImageTooLarge)
    assert "its worker has 10 kB to spare" in str(failed.error)


def test_a_cluster_with_another_version_is_refused(client, paths, monkeypatch):
    monkeypatch.setattr(checked_cluster, "__version__", "99.0")
    with pytest.raises(ClusterMismatch, match=r"pip install jp2batch==99\.0"):
        jp2batch.run([Request(paths[0])], client)


def test_configuration_travels_to_the_workers(client, paths):
    with dask.config.set({"jp2batch.max-result": 10}):
        (failed,) = jp2batch.run([Request(paths[0])], client).failed
    assert isinstance(failed.error, ImageTooLarge)
    assert jp2batch.run([Request(paths[0])], client).failed == []


class OnlyHere:
    """A delivery that comes from a package that workers do not have."""

    def __call__(self, _pixels, _request):
        """Deliver nothing."""

    def __reduce__(self):
        return importlib.import_module, ("only_here",)


def test_a_function_that_workers_cannot_load_is_told(client, paths):
    report = jp2batch.run([Request(path) for path in paths[:3]], client, output=OnlyHere())
    assert len(report.failed) == 3
    assert "cannot unpickle the task: ModuleNotFoundError" in str(report.failed[0].error)


def test_the_report_counts_and_can_be_retried(paths, tmp_path):
    late = tmp_path / "late.jp2"
    report = jp2batch.run([Request(paths[0]), Request(str(late))])
    assert report.summary()["failures"] == {"ImageNotFound": 1}
    assert report.summary()["bytes_whole"] == Path(paths[0]).stat().st_size
    assert "1 ok, 1 failed" in str(report)
    assert "ImageNotFound" in report._repr_html_()
    late.write_bytes(PLAIN.data)
    again = report.retry()
    assert again.failed == []
    assert [result.request for result in again] == [result.request for result in report]
    assert again.retry() is again


def test_a_report_is_a_table(paths):
    requests = [Request(paths[0], columns=(("site", "coast"), ("status", "mine"))), Request("nowhere.jp2")]
    table = jp2batch.run(requests).to_dataframe()
    assert table.Path.tolist() == [paths[0], "nowhere.jp2"]
    assert table.status.tolist() == ["ok", "failed"]
    assert table.site.iloc[0] == "coast"
    assert table.error.isna().tolist() == [True, False]
    assert table.error.iloc[1] == "ImageNotFound"


@pytest.mark.parametrize(
    ("guard", "problem"),
    [("if True:", "this script starts processes"), ('if __name__ == "__main__":', "")],
    ids=["unguarded", "guarded"],
)
def test_a_script_whose_processes_would_run_it_again_is_told_so_in_one_line(tmp_path, band, guard, problem):
    script = tmp_path / "script.py"
    call = f"print(jp2batch.run([jp2batch.Request({band!r})], processes=True))"
    script.write_text(f"import jp2batch\n{guard}\n    {call}\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert ("1 ok" in done.stdout) == (not problem)
    assert problem in (done.stderr.splitlines() or [""])[-1]
    assert "multiprocessing" not in done.stderr


def test_paths_and_bodies_are_taken_as_requests_and_one_as_one(paths):
    for asked in (paths[0], Path(paths[0]), Request(paths[0]), {"Path": paths[0]}, [Path(paths[0])]):
        report = jp2batch.run(asked)
        assert (len(report), report.failed) == (1, [])
        assert [result.status for result in jp2batch.as_completed(asked)] == ["ok"]
        assert len(jp2batch.to_delayed(asked)) == 1
    with pytest.raises(InvalidRequest, match="a request must not be of type int"):
        jp2batch.run([7])


@pytest.mark.parametrize("function", ["read", "open", "inspect", "plan", "Request"])
def test_a_path_object_is_taken_as_text(function, paths):
    assert getattr(jp2batch, function)(Path(paths[0])) is not None


def test_a_cluster_is_taken_by_its_address(client, paths):
    report = jp2batch.run(paths[:1], client.scheduler.address)
    assert report.failed == []
    assert report.results[0].worker


def test_what_to_do_with_errors_is_checked(paths):
    with pytest.raises(ConfigurationError, match="on_error"):
        jp2batch.run(paths[:1], on_error="bogus")


def test_keys_tell_stores_apart_and_no_secret(paths):
    keys = {
        jp2batch.to_delayed(paths[:1], storage_options=options)[0].key
        for options in (None, {"endpoint_url": "http://a"}, {"endpoint_url": "http://b", "secret": "hidden-word"})
    }
    assert len(keys) == 3
    assert "hidden-word" not in "".join(keys)


def test_what_is_shown_of_many_results_is_short(paths):
    report = jp2batch.run([Request(paths[0], id=str(number)) for number in range(300)])
    assert len(repr(report)) < 1000
    assert repr(report) == str(report)
    for value in (report.results[0], jp2batch.plan(paths[0]), jp2batch.inspect(paths[0])):
        assert repr(value) == str(value)
        assert len(repr(value)) < 2000


def test_what_was_there_when_a_batch_is_interrupted_is_not_lost(place, paths):
    def interrupt(_: jp2batch.Result) -> None:
        came.append(1)
        if len(came) == 3:
            raise KeyboardInterrupt

    came: list[int] = []
    requests = [Request(path) for path in paths]
    with pytest.raises(KeyboardInterrupt) as interrupted:
        jp2batch.run(requests, place, on_result=interrupt)
    assert isinstance(interrupted.value, jp2batch.BatchInterrupted)
    report = interrupted.value.report
    assert [result.status for result in report] == ["ok"] * 3
    assert {result.request for result in report} < set(requests)
    if place is not None:
        check_released(place)


def test_processes_too_small_to_live_are_not_started():
    with (
        pytest.raises(ConfigurationError, match=r"workers with 60MB of memory die .* \(give them 150 MB"),
        local_cluster(workers=1, memory_limit="60MB"),
    ):
        pass


def test_results_that_are_consumed_take_no_memory(client, paths):
    """Of a thousand results, each a picture of 250 kB, the client keeps none."""
    import psutil

    requests = [Request(paths[0], 0, window=((row, row + 60), (0, 1000))) for row in range(500)] * 2
    process, sizes = psutil.Process(), []
    for number, result in enumerate(jp2batch.as_completed(requests, client)):
        assert result.error is None
        if number % 100 == 99:
            sizes.append(process.memory_info().rss)
    assert len(sizes) == 10
    assert max(sizes[2:]) - sizes[1] < 30e6


def test_a_client_works_while_a_newer_one_is_open(client, paths):
    requests = [Request(path, rlevel) for path in paths for rlevel in (-1, 1, 2)]
    with local_cluster(workers=1) as newer:
        for where in (client, newer, client):
            check_complete(report := jp2batch.run(requests, where), requests)
            assert {result.status for result in report} == {"ok"}
