"""Load the service with mixed requests for ten minutes, and watch its memory.

`python -m benchmarks.service_soak` prints the table; `--seconds 60` shortens it.
"""

import argparse
import asyncio
import contextlib
import json
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from benchmarks.service import OURS, classes, serving
from benchmarks.service_abuse import server_and_workers
from benchmarks.setting import Setting
from benchmarks.table import DEMANDED, Demand, Table, cells_of, circumstances

_GROWTH = 1.15  # of memory, from a third of the time to the end
_EVERY = 5.0  # seconds between looks at memory
_ALLOWED = {200, 304, 404, 413, 422, 503}


def measure(setting: Setting, seconds: float) -> Table:
    """Load a server with all kinds of requests at once."""
    root = setting.folder / "service"
    root.mkdir(parents=True, exist_ok=True)
    small, large = classes(root).name, setting.scene.plain
    if not (root / large.name).exists():
        os.link(large, root / large.name)
    with serving(OURS, root) as port:
        statuses, memory = asyncio.run(_load(port, small, large.name, seconds))
    third = len(memory) // 3
    names = ["server", *(f"worker {number}" for number in range(1, len(memory[0])))]
    demands = list[Demand]()
    for number, name in enumerate(names):
        sizes = [look[number] / 2**20 for look in memory[third:] if len(look) == len(names)]
        early, late = (max(part) for part in (sizes[: len(sizes) // 2], sizes[len(sizes) // 2 :]))
        demands.append(Demand(f"memory of the {name}, late ({late:.0f} MiB) beside early", late / early, "<", _GROWTH))
    told = ", ".join(f"{count} times {status}" for status, count in sorted(statuses.items()))
    others = Counter({status: count for status, count in statuses.items() if status not in _ALLOWED})
    demands.append(Demand(f"other statuses ({told})", others.total(), "≤", 0, ""))
    rows = [(demand.what, f"{demand.figure:.3g} {demand.unit}", *cells_of(demand)) for demand in demands]
    return Table(("", "measured", *DEMANDED), rows, [f"{seconds:.0f} s of mixed requests."], demands)


async def _load(port: int, small: str, large: str, seconds: float) -> tuple[Counter[int], list[list[int]]]:
    """Return the statuses, and the memory of the server and its workers at each look."""
    end = time.monotonic() + seconds
    statuses, memory = Counter[int](), list[list[int]]()
    kinds = [
        _post({"Path": small, "rlevel": -1}),
        _post({"Path": small, "rlevel": 2}, "Accept: application/x-npy\r\n"),
        _post({"Path": small, "rlevel": 1}, "Accept: image/png\r\nAccept-Encoding: gzip\r\n"),
        _post({"Path": large, "rlevel": 3, "window": "0:4000,0:4000"}),
        _post({"Path": "missing.jp2"}),
        _post({"Path": small, "rlevel": 99}),
        _get(f"/api/jp2?path={small}&window=0:500,0:500"),
        _get(f"/api/jp2/info?path={large}"),
        _get("/metrics"),
        _get("/"),
        _post({"Path": large, "rlevel": 0}, "Accept: application/x-npy\r\n"),  # sent in parts
    ]
    stays = [*[60.0] * (len(kinds) - 1), 3.0]
    clients = [_client(port, kind, stay, end, statuses) for kind, stay in zip(kinds, stays, strict=True)]
    await asyncio.gather(_watch(port, end, memory), *clients)
    return statuses, memory


def _post(body: dict[str, object], headers: str = "") -> bytes:
    data = json.dumps(body).encode()
    return f"POST /api/jp2 HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {len(data)}\r\n\r\n".encode() + data


def _get(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


async def _client(port: int, message: bytes, stay: float, end: float, statuses: Counter[int]) -> None:
    """Send a request over a new connection again and again; leave after some seconds."""
    while time.monotonic() < end:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.timeout(stay):
                writer.write(message.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
                head = await reader.readuntil(b"\r\n\r\n")
                statuses[int(head[9:12])] += 1
                while await reader.read(2**18):
                    pass
        except TimeoutError:
            writer.transport.abort()
        except (OSError, asyncio.IncompleteReadError):
            statuses[0] += 1
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        await asyncio.sleep(0.05)


async def _watch(port: int, end: float, memory: list[list[int]]) -> None:
    while time.monotonic() < end:
        with contextlib.suppress(psutil.NoSuchProcess):
            memory.append([one.memory_info().rss for one in server_and_workers(port)])
        await asyncio.sleep(_EVERY)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    setting = Setting(Path(tempfile.gettempdir(), "jp2batch-benchmarks"), quick=False)
    print(f"{measure(setting, parser.parse_args().seconds)}\n\n{circumstances()}")


if __name__ == "__main__":
    main()
