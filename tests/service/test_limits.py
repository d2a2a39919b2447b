"""The service under load and abuse: what it takes on, whom it lets go, and that it goes on."""

import asyncio
import concurrent.futures
import http.client
import json
import shutil
import signal
import threading
from pathlib import Path

import pytest

from support.processes import memory_of
from support.services import ROOT, serving
from support.waiting import wait_until

OK_OR_BUSY = {200, 503}


@pytest.fixture(scope="module")
def root(image_of, tmp_path_factory) -> Path:
    """Return a folder with one image by names that `deliveries.dangerous_open` knows."""
    root = tmp_path_factory.mktemp("root")
    for name in ("plain", "poison", "hangs", "slow"):
        shutil.copy(image_of("B8A_60m"), root / f"{name}.jp2")
    return root


@pytest.fixture
def notes(tmp_path) -> Path:
    """Return the file in which workers note what they begin to decode."""
    return tmp_path / "notes"


@pytest.fixture
def service(root, notes):
    """One worker, two places to wait, three seconds."""
    options = ["--workers", "1", "--queue", "2", "--deadline", "3", "--drain", "5"]
    with serving("--root", str(root), *options, dangerous=True, env={"NOTES": str(notes)}) as running:
        yield running


@pytest.fixture
def ask(service):
    """Return what asks from a thread of its own."""
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        yield lambda name, **more: pool.submit(service.image, f"{name}.jp2", **more)


def message(name: str) -> bytes:
    body = json.dumps({"Path": f"{name}.jp2"}).encode()
    return b"POST /api/jp2 HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def test_more_than_the_queue_takes_is_told_when_to_come_back(service, ask):
    first = ask("slow")
    service.wait_for_metric("jp2batch_requests_in_flight", 1)
    waiting = [ask("plain"), ask("plain")]
    service.wait_for_metric("jp2batch_queue_length", 2)
    refused = ask("plain").result()
    assert refused.status == 503
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert "busy" in refused.detail
    assert refused.json["retryable"] is True
    assert [answer.result().status for answer in (first, *waiting)] == [200, 200, 200]
    assert service.image("plain.jp2").status == 200


def test_a_request_that_takes_too_long_is_given_up_and_its_worker_replaced(service, ask):
    stuck = ask("hangs")
    service.wait_for_metric("jp2batch_requests_in_flight", 1)
    waiting = ask("plain")
    answers = [stuck.result(), waiting.result()]
    assert [answer.status for answer in answers] == [504, 503], "not what waited for it"
    assert int(answers[1].headers["retry-after"]) > 0
    assert "not done within 3 s" in answers[0].detail
    assert answers[0].json["retryable"] is True
    assert answers[0].json["type"].endswith(":not-in-time")
    service.wait_for_metric("jp2batch_workers_lost_total", 1)
    service.wait_for_metric("jp2batch_workers", 1)
    assert service.image("plain.jp2").status == 200


def test_a_client_that_goes_away_gives_up_its_place(service, ask, notes):
    running = service.connect()
    running.sendall(message("slow"))
    service.wait_for_metric("jp2batch_requests_in_flight", 1)
    waiting = [service.connect(), service.connect()]
    for connection in waiting:
        connection.sendall(message("slow"))
    service.wait_for_metric("jp2batch_queue_length", 2)
    for connection in (running, *waiting):
        connection.close()
    service.wait_for_metric("jp2batch_queue_length", 0)
    assert ask("plain").result().status == 200
    assert notes.read_text().split() == ["slow.jp2", "plain.jp2"], "those that waited were to be read by nobody"
    gone = [line for line in service.lines if line.get("status") == 499]
    assert len(gone) == 3
    service.wait_for_metric("jp2batch_requests_in_flight", 0)


def test_a_store_that_is_too_slow_costs_no_worker(http_server, root):
    http_server.files["plain.jp2"] = (root / "plain.jp2").read_bytes()
    http_server.delay = 30.0
    with serving("--root", http_server.url(""), "--workers", "1", "--deadline", "1") as service:
        late = service.image("plain.jp2")
        assert late.status == 504
        assert "not done within 1 s" in late.detail
        assert late.json["retryable"] is True
        http_server.delay = 0.0
        assert service.image("plain.jp2").status == 200
        assert service.metric("jp2batch_workers_lost_total") == 0


def test_slow_clients_hold_nothing_up(service, ask):
    """Clients that send a byte a second, or take none of their answers, have neither a worker nor a place."""
    stop = threading.Event()
    senders, takers = [service.connect() for _ in range(40)], [service.connect() for _ in range(10)]

    def dribble() -> None:
        for byte in message("plain"):
            for connection in senders:
                connection.send(bytes([byte]))
            if stop.wait(1):
                return

    thread = threading.Thread(target=dribble)
    thread.start()
    for connection in takers:
        connection.sendall(message("plain"))
        service.wait_for_metric("jp2batch_queue_length", 0)
    try:
        assert [ask("plain").result().status for _ in range(10)] == [200] * 10
        assert thread.is_alive(), "they are still sending"
        assert service.metric("jp2batch_queue_length") == 0
    finally:
        stop.set()
        thread.join()
        for connection in (*senders, *takers):
            connection.close()


def test_a_file_that_crashes_the_decoder_costs_its_own_request_alone(root):
    options = ["--root", str(root), "--workers", "1", "--deadline", "30"]
    with (
        serving(*options, dangerous=True) as service,
        concurrent.futures.ThreadPoolExecutor(3) as pool,
    ):
        poisoned = pool.submit(service.image, "poison.jp2", timeout=60)
        others = [pool.submit(service.image, "plain.jp2", timeout=60) for _ in range(2)]
        answer = poisoned.result()
        assert answer.status == 422
        assert "ends the process" in answer.detail
        line = service.logged(answer.json["request_id"])
        assert (line["Path"], line["error"]) == ("poison.jp2", "DecoderCrashed")
        assert [other.result().status for other in others] == [200, 200]


def test_a_file_that_has_crashed_a_worker_never_meets_another(root):
    with serving("--root", str(root), "--workers", "1", dangerous=True) as service:
        first = service.image("poison.jp2", timeout=60)
        assert first.status == 422
        assert "ends the process" in first.detail
        lost = service.metric("jp2batch_workers_lost_total")
        assert lost == 1
        for spelling in ("poison.jp2", "./poison.jp2", ".//poison.jp2"):
            assert service.image(spelling, timeout=60).status == 422
        assert service.metric("jp2batch_workers_lost_total") == lost
        assert service.image("plain.jp2", timeout=60).status == 200


def test_killed_workers_cost_nobody_an_answer(root):
    """kill -9 during load: no answer but 200, and at most one 503 for each request that was killed."""
    with (
        serving("--root", str(root), "--workers", "2", dangerous=True) as service,
        concurrent.futures.ThreadPoolExecutor(6) as pool,
    ):
        stop, statuses = threading.Event(), []

        def client(name: str) -> None:
            while not stop.is_set():
                statuses.append(service.image(name, timeout=60).status)

        def wait_for_answers(count: int) -> None:
            before = statuses.count(200)
            wait_until(lambda: statuses.count(200) >= before + count)

        clients = [pool.submit(client, name) for name in ("plain.jp2", "slow.jp2") * 3]
        for lost in range(3):
            wait_for_answers(6)
            victims = service.workers
            assert victims
            victims[0].send_signal(signal.SIGKILL)
            service.wait_for_metric("jp2batch_workers_lost_total", lost + 1, 60)
        wait_for_answers(12)
        stop.set()
        for running in clients:
            running.result()
        assert set(statuses) <= OK_OR_BUSY
        assert statuses.count(503) <= 3
        service.wait_for_metric("jp2batch_workers", 2, 60)
        assert service.metric("jp2batch_workers_lost_total") == 3
        assert service.image("plain.jp2").status == 200


def test_sigterm_lets_requests_finish(root):
    with (
        serving("--root", str(root), "--workers", "1", "--drain", "10", dangerous=True) as service,
        concurrent.futures.ThreadPoolExecutor(4) as pool,
    ):
        running = [pool.submit(service.image, "slow.jp2") for _ in range(4)]
        service.wait_for_metric("jp2batch_queue_length", 3)
        assert service.stop() == 0
        assert [answer.result().status for answer in running] == [200] * 4
        with pytest.raises(ConnectionRefusedError):
            service.connect()


def test_what_does_not_finish_is_given_up_at_the_end_of_the_drain(root):
    with (
        serving("--root", str(root), "--workers", "1", "--drain", "0.5", dangerous=True) as service,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        stuck = pool.submit(service.image, "hangs.jp2")
        service.wait_for_metric("jp2batch_requests_in_flight", 1)
        assert service.stop(timeout=15) == 0
        with pytest.raises((OSError, http.client.HTTPException)):
            stuck.result()


@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.exhaustive)])
def test_500_clients_at_once(root, seconds, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.load import load

    with serving("--root", str(root), "--workers", "2") as service:
        body = json.dumps({"Path": "plain.jp2"}).encode()
        asyncio.run(load(service.port, body, clients=500, seconds=2))
        moments = []
        for _ in range(5):
            moments.append(memory_of(service.process.pid))
            found = asyncio.run(load(service.port, body, clients=500, seconds=seconds / 5))
            assert set(found.statuses) == OK_OR_BUSY
            assert found.without_wait == 0
        moments.append(memory_of(service.process.pid))
        assert max(moments) - moments[0] < 60e6, moments
        assert moments[-1] - moments[2] < 20e6, f"it still grows: {moments}"
        service.wait_until_idle()
        assert service.image("plain.jp2").status == 200
