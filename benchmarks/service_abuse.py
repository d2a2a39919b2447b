"""Measure the service under abuse: clients that leave, killed workers, a greedy client, reads that are given up.

`python -m benchmarks.service_abuse` prints only the table.
"""

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path

import psutil

from benchmarks.load import Load, load
from benchmarks.service import OURS, classes, link, serving
from benchmarks.setting import Setting
from benchmarks.table import DEMANDED, Demand, Table, cells_of, circumstances

_CROWD, _STAY = 200, 2.0  # connections, and seconds until they leave
_GREEDY = 120  # connections of a greedy client
_TOKENS = ("g" * 32, "p" * 32)  # of a greedy and a polite client


def measure(setting: Setting) -> Table:
    """Measure what others notice of abuse."""
    root = setting.folder / "service"
    root.mkdir(parents=True, exist_ok=True)
    name, large = classes(root).name, link(setting.scene.plain, root).name
    demands = list[Demand]()
    with serving(OURS, root, "--max-pixels", str(2**27)) as port:
        demands += _crowds(port, name, 2 if setting.quick else 20)
        demands += _giving_up(port, large, 3 if setting.quick else 10)
        demands += _kills(port, name, 5 if setting.quick else 30)
    with serving(OURS, root, tokens=_TOKENS) as port:
        demands += _fairness(port, name, 3.0 if setting.quick else 15.0)
    rows = [(demand.what, f"{demand.figure:.3g} {demand.unit}", *cells_of(demand)) for demand in demands]
    return Table(("", "measured", *DEMANDED), rows, [f"The image is {name}."], demands)


def _body(name: str, rlevel: int = -1) -> bytes:
    return json.dumps({"Path": name, "rlevel": rlevel}).encode()


def metric(port: int, name: str) -> float:
    """Return the sum of a metric over its labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split()[0] == name)


def free_places(port: int, places: float) -> float:
    """Return the number of free places, once all are free or some time has passed."""
    end = time.monotonic() + 10
    while (free := metric(port, "jp2batch_free_places")) < places and time.monotonic() < end:
        time.sleep(0.1)
    return free


def ask(port: int, name: str, seconds: float = 2.0, token: str = "") -> Load:
    """Load the server with a single client."""
    return asyncio.run(load(port, _body(name), clients=1, seconds=seconds, warm_up=0.5, token=token))


def _crowds(port: int, name: str, rounds: int) -> list[Demand]:
    """Let crowds of clients leave in the middle of their requests."""
    places, before = metric(port, "jp2batch_free_places"), ask(port, name).quantile(0.5)
    for _ in range(rounds):
        asyncio.run(_crowd(port, name))
    free, after = free_places(port, places), ask(port, name).quantile(0.5)
    return [
        Demand(f"places free after {rounds} crowds of {_CROWD} have left", free, "≥", places, ""),
        Demand("p50 after these crowds, beside before", after / before, "<", 1.5),
    ]


async def _crowd(port: int, name: str) -> None:
    await asyncio.gather(*(_leave(port, _body(name), _STAY) for _ in range(_CROWD)))


def _giving_up(port: int, name: str, times: int) -> list[Demand]:
    """Disconnect during reads of a full image; wait until its place is free."""
    seconds = []
    for number in range(times):
        places = metric(port, "jp2batch_free_places")
        asyncio.run(_leave(port, _body(name, 0), 0.3 + number / 10))
        begin = time.perf_counter()
        while metric(port, "jp2batch_free_places") < places:
            time.sleep(0.01)
        seconds.append(time.perf_counter() - begin)
    return [Demand("seconds of work after a client has left, at most", max(seconds), "<", 0.5, "s")]


async def _leave(port: int, body: bytes, seconds: float) -> None:
    """Request again and again over a connection; reset it after some seconds, in the middle of a request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    message = b"POST /api/jp2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                writer.write(message)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await _read_body(reader, head)
                await asyncio.sleep(0.2 if b" 503 " in head[:20] else 0)
    writer.transport.abort()


async def _read_body(reader: asyncio.StreamReader, head: bytes) -> None:
    """Read a body, whole or in chunks."""
    if length := head.partition(b"content-length: ")[2].split(b"\r\n")[0]:
        await reader.readexactly(int(length))
        return
    while size := int(await reader.readuntil(b"\r\n"), 16):
        await reader.readexactly(size + 2)
    await reader.readexactly(2)


def _kills(port: int, name: str, times: int) -> list[Demand]:
    """Kill a worker each second under load."""

    async def killed() -> Load:
        loading = asyncio.ensure_future(load(port, _body(name), clients=8, seconds=times))
        for number in range(times):
            await asyncio.sleep(1)
            _, *workers = server_and_workers(port)
            if workers:
                with contextlib.suppress(psutil.NoSuchProcess):
                    workers[number % len(workers)].send_signal(signal.SIGKILL)
        return await loading

    found = asyncio.run(killed())
    told = ", ".join(f"{count} times {status}" for status, count in sorted(found.statuses.items()))
    others = Counter({status: count for status, count in found.statuses.items() if status not in (200, 503, 504)})
    note = f"answers but 200, 503, 504 while {times} workers are killed ({told})"
    return [Demand(note, others.total(), "≤", 0, ""), Demand("503 without Retry-After", found.without_wait, "≤", 0, "")]


def server_and_workers(port: int) -> list[psutil.Process]:
    """Return the process that listens at a port, and its workers."""
    listening = (one for one in psutil.net_connections("tcp") if one.status == "LISTEN")
    server = psutil.Process(next(one.pid for one in listening if one.laddr and one.laddr.port == port))
    with contextlib.suppress(psutil.NoSuchProcess):
        return [
            server,
            *(child for child in server.children() if any("spawn_main" in part for part in child.cmdline())),
        ]
    return [server]


def _fairness(port: int, name: str, seconds: float) -> list[Demand]:
    """Ask politely beside a greedy client."""
    greedy, polite = _TOKENS
    alone = ask(port, name, seconds, token=polite)

    async def beside() -> Load:
        crowd = asyncio.ensure_future(load(port, _body(name), clients=_GREEDY, seconds=seconds + 1, token=greedy))
        await asyncio.sleep(0.5)
        found = await load(port, _body(name), clients=1, seconds=seconds, warm_up=0.5, token=polite)
        await crowd
        return found

    found = asyncio.run(beside())
    ratio = found.quantile(0.99) / alone.quantile(0.99)
    refused = found.statuses[503]
    return [
        Demand(f"p99 of a polite client beside {_GREEDY} connections of a greedy one, beside alone", ratio, "≤", 3),
        Demand("503 for the polite client", refused, "≤", 0, ""),
    ]


def main() -> None:
    """Print the table."""
    setting = Setting(Path(tempfile.gettempdir(), "jp2batch-benchmarks"), "--quick" in sys.argv[1:])
    print(f"{measure(setting)}\n\n{circumstances()}")


if __name__ == "__main__":
    main()
