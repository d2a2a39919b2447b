"""Run `jp2batch serve` as a process, and send requests to it."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.processes import kill_family, workers_of

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def detail(self) -> str:
        """Detail of a problem response, after verifying its type."""
        assert self.headers["content-type"] == "application/problem+json"
        problem = self.json
        assert problem["status"] == self.status
        assert problem["request_id"] == self.headers["x-request-id"]
        assert problem["title"]
        assert "Traceback" not in self.body.decode()
        return problem["detail"]


def parsed(received: bytes) -> Answer:
    """Return the response in bytes."""
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin1").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    assert len(body) == int(headers["content-length"]), received
    return Answer(int(first.split()[1]), headers, body)


@dataclass
class Service:
    """A running service."""

    process: "subprocess.Popen[str]"
    lines: list[dict[str, Any]] = field(default_factory=list)
    """Lines of its log."""
    text: list[str] = field(default_factory=list)
    """Other output."""

    @property
    def address(self) -> str:
        return next(line["address"] for line in self.lines if line["message"] == "listening")

    @property
    def port(self) -> int:
        return urllib.parse.urlsplit(self.address).port or 0

    @property
    def workers(self) -> list[psutil.Process]:
        """Worker processes."""
        return workers_of(self.process.pid)

    def ask(
        self,
        path: str = "/api/jp2",
        body: object = None,
        headers: Mapping[str, str] = {},
        method: str | None = None,
        timeout: float = 30,
    ) -> Answer:
        """Send a request over a new connection."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request(method or ("GET" if data is None else "POST"), path, data, dict(headers))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())

    def image(self, path: str, rlevel: int = -1, **more: Any) -> Answer:
        """Request an image."""
        return self.ask(body={"Path": path, "rlevel": rlevel}, **more)

    def connect(self, timeout: float = 20) -> socket.socket:
        """Open a bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def raw(self, message: bytes, timeout: float = 5) -> tuple[bytes, str]:
        """Send bytes; return the reply, and its end: "closed", "reset", or "silent"."""
        with self.connect(timeout) as connection:
            with contextlib.suppress(OSError):  # it may refuse before it has all
                connection.sendall(message)
            received = b""
            try:
                while part := connection.recv(65536):
                    received += part
            except TimeoutError:
                return received, "silent"
            except ConnectionResetError:
                return received, "reset"
            return received, "closed"

    def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        lines = self.ask("/metrics").body.decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split()[0] == name)

    def logged(self, request_id: str, seconds: float = 5) -> dict[str, Any]:
        """Return the log line of a request."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in list(self.lines):
                if line["message"] in ("request", "refused") and line["id"] == request_id:
                    return line
            time.sleep(0.02)
        raise AssertionError(f"no line for {request_id}")

    def wait_until_listening(self, seconds: float = 60) -> None:
        """Wait until the service accepts connections."""
        end = time.monotonic() + seconds
        while not any(line["message"] == "listening" for line in list(self.lines)):
            assert time.monotonic() < end, self.text
            time.sleep(0.05)

    def wait_for_metric(self, name: str, value: float, seconds: float = 15) -> None:
        """Wait until a metric has a value."""
        end = time.monotonic() + seconds
        while (found := self.metric(name)) != value:
            assert time.monotonic() < end, f"{name} is {found}, not {value}"
            time.sleep(0.02)

    def wait_until_idle(self, seconds: float = 20) -> None:
        """Wait until no request is running."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.metric("jp2batch_requests_in_flight") + self.metric("jp2batch_queue_length") == 0:
                return
            time.sleep(0.05)
        raise AssertionError("requests are still under way")

    def stop(self, number: int = signal.SIGTERM, timeout: float = 40) -> int:
        """Stop the service; return its exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return self.process.wait(timeout)


def certificate(folder: Path, *options: str) -> list[str]:
    """Make a certificate for localhost; return its options. Skips the test without openssl."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl")
    names = ["-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "cert.pem", *(options or ["-nodes"])]
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-days", "2", *names]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return ["--certfile", str(folder / "cert.pem"), "--keyfile", str(folder / "key.pem")]


@contextlib.contextmanager
def serving(
    *options: str, dangerous: bool = False, env: Mapping[str, str] = {}, ready: bool = True
) -> Iterator[Service]:
    """Run a service in a `with` block, and verify that it writes no traceback."""
    command = [str(TESTS / "support" / "dangerous_serve.py")] if dangerous else ["-m", "jp2batch"]
    port = [] if "--port" in options or "--unix-socket" in options else ["--port", "0"]
    process = subprocess.Popen(
        [sys.executable, *command, "serve", *port, *options],
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{TESTS}"} | dict(env),
        stderr=subprocess.PIPE,
        text=True,
    )
    service = Service(process)
    reader = threading.Thread(target=_read, args=(service,), daemon=True)
    reader.start()
    try:
        if ready:
            _wait_until_ready(service)
        yield service
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(40)
        finally:
            kill_family(process)
            reader.join(10)
            process.stderr.close()  # type: ignore[union-attr]
    assert not [line for line in service.lines if "traceback" in line], service.lines
    assert "Traceback" not in "".join(service.text), "".join(service.text)


def _read(service: Service) -> None:
    assert service.process.stderr is not None
    for line in service.process.stderr:
        try:
            service.lines.append(json.loads(line))
        except ValueError:
            service.text.append(line)


def _wait_until_ready(service: Service, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and service.process.poll() is None:
        if any(line["message"] == "listening" for line in service.lines):
            with contextlib.suppress(OSError, http.client.HTTPException):
                if service.ask("/readyz").status == 200:
                    return
        time.sleep(0.1)
    raise AssertionError(f"the service is not ready: {service.text} {service.lines}")
