"""Clients that leave: none keeps a place, whenever it does so, and the service goes on and ends as if none had been."""

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import struct
from pathlib import Path

import pytest

from support.services import serving

CROWD = 200  # connections at once


@pytest.fixture(scope="module")
def root(image_of, tmp_path_factory) -> Path:
    """Return a folder with one image by names that `deliveries.dangerous_open` knows."""
    root = tmp_path_factory.mktemp("root")
    for name in ("plain", "slow"):
        shutil.copy(image_of("B8A_60m"), root / f"{name}.jp2")
    return root


def message(name: str) -> bytes:
    body = json.dumps({"Path": f"{name}.jp2"}).encode()
    return b"POST /api/jp2 HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def crowd(port: int, seconds: float) -> None:
    """Ask again and again over many connections; leave after some seconds, one after the other; half are reset."""
    begin = asyncio.get_running_loop().time()

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(begin + seconds * (1 + number / CROWD) / 2):
                await asks(reader, writer, message("slow" if number % 50 == 0 else "plain"))
        if number % 2:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    await asyncio.gather(*(client(number) for number in range(CROWD)))


async def asks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    """Ask the same without end; who is refused waits a little."""
    while True:
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
        await asyncio.sleep(0.05 if b" 503 " in head[:20] else 0)


@pytest.mark.parametrize(
    ("rounds", "seconds"), [(6, 1.0), pytest.param(20, 4.0, marks=pytest.mark.exhaustive)], ids=["short", "long"]
)
def test_crowds_that_leave_take_no_place_along(root, rounds, seconds):
    with serving("--root", str(root), "--workers", "1", "--drain", "10", dangerous=True) as service:
        places = service.metric("jp2batch_free_places")
        for _ in range(rounds):
            asyncio.run(crowd(service.port, seconds))
        service.wait_for_metric("jp2batch_free_places", places)
        assert service.metric("jp2batch_requests_in_flight") == service.metric("jp2batch_queue_length") == 0
        assert [service.image(f"{name}.jp2").status for name in ("plain", "slow")] == [200, 200]
        assert service.metric("jp2batch_workers_lost_total") == 0
        assert not [line for line in service.lines if line["message"] == "unexpected"]
        assert service.stop(timeout=15) == 0


def test_a_crowd_that_has_left_before_it_is_heard_takes_no_place_along(root):
    options = ["--root", str(root), "--workers", "1", "--queue", str(2 * CROWD), "--drain", "20"]
    with serving(*options, dangerous=True) as service:
        service.process.send_signal(signal.SIGSTOP)  # it will find requests and their ends together
        for _ in range(CROWD):
            with service.connect() as connection:
                connection.sendall(message("slow"))
        service.process.send_signal(signal.SIGCONT)
        assert service.image("plain.jp2").status == 200
        service.wait_until_idle()
        assert len([line for line in service.lines if line.get("status") == 499]) == CROWD
        assert service.stop(timeout=15) == 0, "it waits for nobody"
