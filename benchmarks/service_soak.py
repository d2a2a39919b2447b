"""Load the service with mixed requests for ten minutes, and watch its memory.

`python -m benchmarks.service_soak` prints the table, and each minute a line of progress; `--seconds 60` shortens it.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median

import psutil

from benchmarks.service import OURS, classes, link, serving
from benchmarks.service_abuse import ask, free_places, metric, server_and_workers
from benchmarks.setting import Setting
from benchmarks.table import DEMANDED, Demand, Table, cells_of, circumstances

_GROWTH = 1.15  # of memory, from a third of the time to the end
_LOOKS = 120  # at memory
_LINES = 10  # of progress
_PATIENCE = 60.0  # seconds of a client for a response
_ALLOWED = {200, 304, 404, 422, 503}
_SLOWER = 1.5  # p50 afterwards, beside before


def measure(setting: Setting, seconds: float) -> Table:
    """Load a server with all kinds of requests at once."""
    root = setting.folder / "service"
    root.mkdir(parents=True, exist_ok=True)
    small, large = classes(root).name, link(setting.scene.plain, root).name
    with serving(OURS, root) as port:
        places, before = metric(port, "jp2batch_free_places"), _p50(port, small)
        statuses, memory = asyncio.run(_load(port, _kinds(small, large), seconds))
        free, after = free_places(port, places), _p50(port, small)
        lost = metric(port, "jp2batch_workers_lost_total")
    told = ", ".join(f"{count} times {status}" for status, count in sorted(statuses.items()))
    others = sum(count for status, count in statuses.items() if status not in _ALLOWED)
    demands = [
        *_growth(memory),
        Demand("places free afterwards", free, "≥", places, ""),
        Demand("p50 afterwards, beside before", after / before, "<", _SLOWER),
        Demand("lost workers", lost, "≤", 0, ""),
        Demand(f"other statuses ({told})", others, "≤", 0, ""),
    ]
    rows = [(demand.what, f"{demand.figure:.3g} {demand.unit}", *cells_of(demand)) for demand in demands]
    return Table(("", "measured", *DEMANDED), rows, [f"{seconds:.0f} s of mixed requests."], demands)


def _kinds(small: str, large: str) -> list[tuple[bytes, float]]:
    """Return requests, and the seconds after which their clients leave."""
    patient = [
        _post({"Path": small, "rlevel": -1}),
        _post({"Path": small, "rlevel": 2}, "Accept: application/x-npy\r\n"),
        _post({"Path": small, "rlevel": 1}, "Accept: image/png\r\nAccept-Encoding: gzip\r\n"),
        _post({"Path": large, "rlevel": 3, "window": "0:4000,0:4000"}),
        _post({"Path": "missing.jp2"}),
        _post({"Path": small, "rlevel": 99}),
        _post([{"Path": small}, {"Path": large}, {"Path": "missing.jp2"}], target="/api/jp2/batch"),
        _get(f"/api/jp2?path={small}&window=0:500,0:500"),
        _get(f"/api/jp2/info?path={large}"),
        _get("/metrics"),
        _get("/"),
    ]
    in_parts = _post({"Path": large, "rlevel": 0}, "Accept: application/x-npy\r\n")
    return [*((kind, _PATIENCE) for kind in patient), (in_parts, _PATIENCE), (in_parts, 3.0)]


def _post(body: object, headers: str = "", target: str = "/api/jp2") -> bytes:
    data = json.dumps(body).encode()
    return f"POST {target} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {len(data)}\r\n\r\n".encode() + data


def _get(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


async def _load(
    port: int, kinds: list[tuple[bytes, float]], seconds: float
) -> tuple[Counter[int], list[dict[str, float]]]:
    """Return the statuses, and the memory of the processes at each look."""
    end = time.monotonic() + seconds
    statuses, memory = Counter[int](), list[dict[str, float]]()
    clients = [_client(port, kind, stay, end, statuses) for kind, stay in kinds]
    await asyncio.gather(_watch(port, seconds, memory, statuses), *clients)
    return statuses, memory


async def _client(port: int, message: bytes, stay: float, end: float, statuses: Counter[int]) -> None:
    """Send a request over a new connection again and again; 0 counts missing responses."""
    while (now := time.monotonic()) < end:
        try:
            async with asyncio.timeout(min(stay, end - now)):
                await _exchange(port, message, statuses)
        except TimeoutError:
            statuses[0] += stay == _PATIENCE and time.monotonic() < end
        except (OSError, asyncio.IncompleteReadError):
            statuses[0] += 1
        await asyncio.sleep(0.05)


async def _exchange(port: int, message: bytes, statuses: Counter[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(message.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        head = await reader.readuntil(b"\r\n\r\n")
        statuses[int(head[9:12])] += 1
        while await reader.read(2**18):
            pass
    finally:
        writer.transport.abort()


async def _watch(port: int, seconds: float, memory: list[dict[str, float]], statuses: Counter[int]) -> None:
    """Look at the memory, and print some of the looks."""
    start = time.monotonic()
    for number in range(_LOOKS):
        await asyncio.sleep(start + number * seconds / _LOOKS - time.monotonic())
        with contextlib.suppress(psutil.NoSuchProcess):
            server, *workers = (one.memory_info().rss / 2**20 for one in server_and_workers(port))
            memory.append({"server": server} | {f"worker {i}": size for i, size in enumerate(workers, 1)})
            if not number % (_LOOKS // _LINES) or number == _LOOKS - 1:
                told = ", ".join(f"{name} {size:.0f} MiB" for name, size in memory[-1].items())
                print(f"{number * seconds / _LOOKS:.0f} s: {told}; {dict(statuses)}", file=sys.stderr, flush=True)


def _growth(memory: list[dict[str, float]]) -> list[Demand]:
    """Return the growth of each process after a third of the time."""
    late = memory[len(memory) // 3 :]
    demands = list[Demand]()
    for name in memory[0]:
        sizes = [look[name] for look in late if name in look]
        first, second = (median(half) for half in (sizes[: len(sizes) // 2], sizes[len(sizes) // 2 :]))
        what = f"memory of the {name}, median of the last third ({second:.0f} MiB), beside the third before"
        demands.append(Demand(what, second / first, "<", _GROWTH))
    return demands


def _p50(port: int, name: str) -> float:
    """Return the least p50 of some measurements: other work on the machine only adds to it."""
    return min(ask(port, name).quantile(0.5) for _ in range(3))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    setting = Setting(Path(tempfile.gettempdir(), "jp2batch-benchmarks"), quick=False)
    print(f"{measure(setting, parser.parse_args().seconds)}\n\n{circumstances()}")


if __name__ == "__main__":
    main()
