"""Connections that are too many, too slow or no HTTP: what is said of them, and that nobody else notices."""

import contextlib
import json
import re
import shutil
import socket
import time
from pathlib import Path

import pytest

from support.services import Service, certificate, parsed, serving

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n"


@pytest.fixture(scope="module")
def root(image_of, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("root")
    shutil.copy(image_of("TCI_10m"), root / "plain.jp2")
    for name in ("hangs", "slow"):
        shutil.copy(image_of("B8A_60m"), root / f"{name}.jp2")
    return root


def serving_with(root: Path, *options: str, **limits: float) -> contextlib.AbstractContextManager[Service]:
    """Run a service with one worker and such limits."""
    env = {"LIMITS": json.dumps(limits)}
    return serving("--root", str(root), "--workers", "1", *options, dangerous=True, env=env)


def message(name: str, rlevel: int = -1, length: int | None = None) -> bytes:
    body = json.dumps({"Path": f"{name}.jp2", "rlevel": rlevel}).encode()
    return b"POST /api/jp2 HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n%s" % (length or len(body), body)


@pytest.mark.parametrize("sent", [HEALTH, message("plain")])
def test_too_many_connections_are_turned_away(root, sent):
    with serving_with(root, "--max-connections", "5") as service, contextlib.ExitStack() as stack:
        held = held_connections(service, stack, 5)
        for _ in range(20):
            received, end = service.raw(sent)
            if received:  # else the connection was reset before the client had read
                assert parsed(received).status == 503
                assert parsed(received).headers["retry-after"] == "5"
            assert end in ("closed", "reset")
        for connection in held[:4]:
            connection.close()
        assert eventually(lambda: service.raw(HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))[0][9:12])
        text = service.ask("/metrics").body.decode()
        count = int(re.search(r'requests_total{route="connection",status="503"} (\d+)', text)[1])
        assert count >= 20


def held_connections(service: Service, stack: contextlib.ExitStack, count: int) -> list[socket.socket]:
    """Open connections until there are so many that have been answered and stay open."""
    held: list[socket.socket] = []
    end = time.monotonic() + 20
    while len(held) < count and time.monotonic() < end:  # that of the question whether it is ready may be there yet
        connection = stack.enter_context(service.connect())
        connection.sendall(HEALTH)
        if connection.recv(4096).startswith(b"HTTP/1.1 200"):
            held.append(connection)
    assert len(held) == count
    return held


def eventually(status) -> bool:
    end = time.monotonic() + 15
    while time.monotonic() < end:
        if status() == b"200":
            return True
    return False


def test_who_is_silent_where_tls_is_spoken_is_turned_away_too(root, tmp_path):
    files = certificate(tmp_path)
    options = ["--root", str(root), "--workers", "1", "--max-connections", "3", *files]
    with serving(*options, ready=False) as service, contextlib.ExitStack() as stack:
        service.wait_until_listening()
        silent = [stack.enter_context(service.connect(timeout=10)) for _ in range(40)]
        for connection in silent[3:]:
            assert connection.recv(100) == b"", "it is closed"
        silent[0].settimeout(0.1)
        with pytest.raises(TimeoutError):
            silent[0].recv(1)


def test_half_a_body_ends_at_its_time(root):
    with serving_with(root, receiving=0.5) as service:
        received, end = service.raw(message("plain", length=100), timeout=10)
        answer = parsed(received)
        assert answer.status == 408
        assert "did not arrive within 0.5 s" in answer.detail
        assert end == "closed"
        line = service.logged(answer.headers["x-request-id"])
        assert (line["status"], line["error"]) == (408, "BodyTooSlow")
        assert service.image("plain.jp2").status == 200


@pytest.mark.parametrize("limits", [{"sending": 1.0}, {"unsent": 2_000_000}], ids=str)
def test_who_does_not_take_an_answer_is_dropped_and_others_are_served(root, limits):
    with serving_with(root, **limits) as service, contextlib.ExitStack() as stack:
        for _ in range(3):
            slow = stack.enter_context(socket.socket())
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", service.port))
            slow.sendall(message("plain", 0))
            assert slow.recv(100).startswith(b"HTTP/1.1 200")
        dropped = 3 if "sending" in limits else 2
        service.wait_for_metric("jp2batch_answers_dropped_total", dropped)
        assert service.image("plain.jp2").status == 200
        lines = [line for line in service.lines if line["message"] == "dropped"]
        assert len(lines) == dropped
        assert service.logged(lines[0]["id"])["Path"] == "plain.jp2"


def test_half_a_request_does_not_hold_up_the_end(root):
    with serving_with(root, "--drain", "30") as service, service.connect() as half, service.connect() as idle:
        half.sendall(message("plain", length=100))
        idle.sendall(HEALTH)
        assert idle.recv(4096).startswith(b"HTTP/1.1 200")
        assert service.stop(timeout=15) == 0
