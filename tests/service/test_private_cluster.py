"""The service's own cluster: other users of the machine cannot use it, nor read secrets in it."""

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator

import psutil
import pytest

from support.services import serving

TOKEN = "a" * 32
NOBODY = 65534


@contextlib.contextmanager
def another_user() -> Iterator[None]:
    """Be another user in a `with` block, if root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    with serving("--root", str(root), "--workers", "1", env={"JP2BATCH_TOKENS": TOKEN}) as running:
        yield running


@pytest.fixture(scope="module")
def processes(service) -> list[psutil.Process]:
    return [service.process, *psutil.Process(service.process.pid).children(recursive=True)]


@pytest.fixture(scope="module")
def ports(service, processes) -> list[int]:
    """Return the ports on which scheduler, nanny and worker listen."""
    pids = {process.pid for process in processes}
    found = [one for one in psutil.net_connections("tcp") if one.pid in pids and one.status == psutil.CONN_LISTEN]
    assert {one.laddr.ip for one in found} == {"127.0.0.1"}
    ports = sorted({one.laddr.port for one in found} - {service.port})
    assert len(ports) >= 3
    return ports


def received(connection: socket.socket, message: bytes) -> bytes:
    with contextlib.suppress(OSError):
        connection.sendall(message)
        return connection.recv(1000)
    return b""


def test_a_connection_without_the_certificate_gets_nothing(ports):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    encrypted = 0
    for port in ports:
        with another_user(), socket.create_connection(("127.0.0.1", port), timeout=2) as plain:
            reply = received(plain, b"GET /json/counts.json HTTP/1.0\r\n\r\n")
            assert not reply or reply.startswith(b"HTTP/1.1 404 ")
        with (
            another_user(),
            socket.create_connection(("127.0.0.1", port), timeout=2) as connection,
            contextlib.suppress(OSError),
            context.wrap_socket(connection) as wrapped,
        ):
            encrypted += 1
            assert received(wrapped, bytes(16)) == b""
    assert encrypted >= 3, "scheduler, nanny and worker"


def test_tokens_are_in_the_environment_of_no_worker(service, processes):
    assert service.image("a.jp2").status == 401
    workers = [process for process in processes if process.pid != service.process.pid]
    assert workers
    assert not [process for process in workers if TOKEN in process.environ().values()]
