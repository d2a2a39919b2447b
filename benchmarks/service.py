"""Compare the service with the old design: same local files, same clients, same run.

`python -m benchmarks.service` prints only the table.
"""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import numpy as np

from benchmarks import ROOT
from benchmarks.load import Load, load
from benchmarks.setting import Setting
from benchmarks.table import DEMANDED, Demand, Table, cells_of, circumstances, times
from jp2batch.sample import landscape
from jp2batch.sample.product import make_image

_CLIENTS = 4
_CROWD = 500
_FASTER = {"SCL": 4, "scene": 2.5}  # answers a second beside the old design, at least
_FASTER_AT_FIRST = {"SCL": 2, "scene": 1.5}  # the same, if no image was read before
_IMAGES = 6000  # links to an image, which to both designs are as many images
_SOON = 5  # milliseconds of an answer that needs no decode, at most
_OLD, OURS = "flask, gunicorn with 4 workers", "jp2batch serve"
_REAL = "../shared/data/**/*_SCL_20m.jp2"


def measure(setting: Setting) -> Table:
    """Measure rate and latency of both."""
    seconds = 1.0 if setting.quick else 3.0
    root = setting.folder / "service"
    root.mkdir(parents=True, exist_ok=True)
    names = [classes(root).name, link(setting.scene.plain, root).name]
    images = {name: [name] for name in names} | {f"{name}, distinct": _links(root / name) for name in names}
    found = {(what, design): Load() for what in images for design in (_OLD, OURS)}
    bodies = {(what, design): map(_body, cycle(images[what])) for what, design in found}
    with serving(_OLD, root) as old_port, serving(OURS, root) as port:
        ports = {_OLD: old_port, OURS: port}
        for _ in range(setting.rounds):  # in turns: what disturbs a machine, disturbs both
            for (what, design), one in found.items():
                one.add(_ask(ports[design], bodies[what, design], seconds))
        missing = {clients: _ask(port, _body("missing.jp2"), seconds, clients) for clients in (1, _CLIENTS)}
        crowd = _ask(port, _body("SCL_20m.jp2"), seconds, _CROWD)
    rows, demands = list[tuple[str, ...]](), list[Demand]()
    for what in images:
        old, ours = found[what, _OLD], found[what, OURS]
        assert _pixels(old) == _pixels(ours), f"the two answer differently for {what}"
        faster = (_FASTER if what in names else _FASTER_AT_FIRST)[what.partition("_")[0]]
        told = [
            Demand(f"{what}, a second", ours.rate / old.rate, "≥", faster),
            Demand(f"{what}, p99", ours.quantile(0.99) * 1e3, "<", round(old.quantile(0.99) * 1e3, 1), "ms"),
        ]
        rows += [_row(what, _OLD, _CLIENTS, old), _row(what, OURS, _CLIENTS, ours, old=old, told=told)]
        demands += told
    for clients, one in missing.items():
        told = [Demand("no such image, p50", one.quantile(0.5) * 1e3, "<", _SOON, "ms")] if clients == 1 else []
        rows.append(_row("no such image", OURS, clients, one, told=told))
        demands += told
    head = ("lowest resolution of", "", "clients", "per second", "p50, ms", "p99, ms", "faster by", *DEMANDED)
    refused = crowd.statuses[503]
    assert set(crowd.statuses) <= {200, 503}, crowd.statuses
    assert not crowd.without_wait
    note = (
        f"{_CROWD} clients at once: {crowd.statuses[200]} answers, {refused} times 503 with Retry-After, nothing else."
    )
    about = (
        f"Every request is decoded. Clients and servers share the two cores. SCL_20m.jp2 is {_origin()};"
        f" {names[1]} is the scene of all benchmarks here, made by scenes.py. Distinct: each request is for another"
        " link to the image, which neither has seen before."
    )
    return Table(head, rows, [about, note], demands).without_empty_columns()


@contextmanager
def serving(design: str, root: Path, *options: str, tokens: Sequence[str] = ()) -> Iterator[int]:
    """Run a server in a `with` block; yield its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    commands = {
        OURS: ["jp2batch", "serve", "--root", str(root), "--port", str(port), *options],
        _OLD: ["gunicorn", "--workers", "4", "--bind", f"127.0.0.1:{port}", "benchmarks.old_design:app"],
    }
    environment = os.environ | {
        "OLD_DESIGN_ROOT": str(root),
        "PYTHONPATH": str(ROOT),
        "JP2BATCH_TOKENS": " ".join(tokens),
    }
    program, *arguments = commands[design]
    launch = [sys.executable, "-m", program if program == "jp2batch" else "gunicorn", *arguments]
    with tempfile.TemporaryFile() as log, tempfile.TemporaryDirectory() as cache:
        environment["XDG_CACHE_HOME"] = cache  # no index of earlier runs
        process = subprocess.Popen(launch, env=environment, cwd=ROOT, stdout=log, stderr=log)
        try:
            _wait(port, process)
            yield port
        finally:
            process.terminate()
            process.wait(60)


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1).close()
        except urllib.error.HTTPError as error:
            if error.code == 404:  # the old design has no such address, but it answers
                return
        except OSError:
            pass
        else:
            return
        time.sleep(0.1)
    raise RuntimeError("the server does not start")


def _body(name: str) -> bytes:
    return json.dumps({"Path": name, "rlevel": -1}).encode()


def _ask(port: int, body: bytes | Iterator[bytes], seconds: float, clients: int = _CLIENTS) -> Load:
    return asyncio.run(load(port, body, clients=clients, seconds=seconds, warm_up=0.5))


def _row(
    name: str, design: str, clients: int, one: Load, *, old: Load | None = None, told: Sequence[Demand] = ()
) -> tuple[str, ...]:
    ratio = times(one.rate / old.rate) if old is not None else ""
    p50, p99 = (f"{one.quantile(share) * 1e3:.1f}" for share in (0.5, 0.99))
    return name, design, str(clients), f"{one.rate:.1f}", p50, p99, ratio, *cells_of(*told)


def _pixels(one: Load) -> object:
    answer = json.loads(one.answer)
    return answer["shape"], answer["img_data"]


def classes(root: Path) -> Path:
    """Return a band of classes of 5490 x 5490: real, if beside the repository."""
    path = root / "SCL_20m.jp2"
    if not path.exists():
        if (real := _real()) is not None:
            shutil.copy(real, path)
        else:
            make_image(path, np.tile(landscape.scene(1830, bands=("B8A",))["SCL"], (3, 3)), 20)
    return path


def _real() -> Path | None:
    return next(ROOT.glob(_REAL), None)


def _origin() -> str:
    return "a painted one" if _real() is None else "of a real product"


def _links(image: Path) -> list[str]:
    """Return the paths, in its folder, of many links to an image."""
    folder = image.with_suffix("")
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number}.jp2" for number in range(_IMAGES)]
    for path in paths:
        if not path.exists():
            os.link(image, path)
    return [f"{folder.name}/{path.name}" for path in paths]


def link(image: Path, root: Path) -> Path:
    """Return the image's hard link in a folder, made if missing."""
    path = root / image.name
    if not path.exists():
        os.link(image, path)
    return path


def main() -> None:
    """Print the table."""
    setting = Setting(Path(tempfile.gettempdir(), "jp2batch-benchmarks"), "--quick" in sys.argv[1:])
    print(f"{measure(setting)}\n\n{circumstances()}")


if __name__ == "__main__":
    main()
