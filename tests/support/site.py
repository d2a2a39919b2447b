"""A site as operators have it: a store, a scheduler, workers and clients on hosts of their own."""

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.seaweedfs import (
    S3_KEY,
    S3_SECRET,
    find_seaweedfs,
    server_options,
    server_ports,
    write_users,
)
from jp2batch.cli import main
from support.namespaces import ROOT, Host, HostProcess, Hosts, network
from support.waiting import wait_until

IMAGES, RESULTS = "images", "results"
"""Names of the buckets."""


@dataclass(frozen=True)
class StoredObject:
    """An object as a listing has it."""

    size: int
    etag: str
    modified: str


class Site:
    """A store, and what is started beside it."""

    def __init__(self, hosts: Hosts, images: Path) -> None:
        self.hosts, store, auditor = hosts, hosts.host("store"), hosts.host("auditor")
        self._ports = hosts.stack.enter_context(server_ports())
        hosts.settings["AWS_ENDPOINT_URL"] = f"http://{store.address}:{self._ports[0]}"
        write_users(store.folder)
        options = server_options(store.here, self._ports, store.address)
        self.store = store.start(find_seaweedfs(), "-logdir", ".", "server", *options)
        shutil.copytree(images, auditor.folder / "images")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._auditor = auditor.popen(sys.executable, ROOT / "tests/support/auditor.py", **pipes)
        self.ask("fill", "images", IMAGES, RESULTS)

    def ask(self, *question: str) -> Any:
        """Call a function of the auditor."""
        stdin, stdout = self._auditor.stdin, self._auditor.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{json.dumps(question)}\n".encode())
        stdin.flush()
        return json.loads(stdout.readline())

    def listing(self, prefix: str) -> dict[str, StoredObject]:
        """Return the objects below a prefix of the results."""
        found = self.ask("listing", f"{RESULTS}/{prefix}")
        return {name: StoredObject(*values) for name, values in found.items()}

    def reads(self) -> int:
        """Return the number of GETs of images until now."""
        text = self.ask("fetch", f"http://{self.hosts.host('store').address}:{self._ports[1]}/metrics")
        lines = [line for line in text.splitlines() if line.startswith("SeaweedFS_s3_request_total{")]
        return sum(int(float(line.split()[-1])) for line in lines if f'"{IMAGES}"' in line and '"GET"' in line)

    def known(self, flag: str, value: str) -> tuple[str, ...]:
        """Return a flag of `jp2batch run` with its value; nothing if the command lacks it."""
        return (flag, value) if any(flag in option.opts for option in main.commands["run"].params) else ()

    def run(self, host: Host, rows: Sequence[Mapping[str, object]], *arguments: object, **settings: str) -> HostProcess:
        """Start `jp2batch run` of a manifest on a host."""
        text = "".join(f"{json.dumps(row)}\n" for row in rows)
        (host.folder / "manifest.ndjson").write_text(text)
        return host.python("-m", "jp2batch", "run", "manifest.ndjson", *arguments, env=settings)


class Workforce:
    """A scheduler and its workers, each on its host."""

    def __init__(self, site: Site, *, nanny: bool = True, **settings: str) -> None:
        self.hosts, self._settings, self.names = site.hosts, settings, ["w1", "w2", "w3"]
        self._options = [] if nanny else ["--no-nanny"]
        self._scheduler_host = site.hosts.host("scheduler")
        self.address = f"tcp://{self._scheduler_host.address}:8786"
        self.workers = dict[str, HostProcess]()
        self.start_scheduler()
        for name in self.names:
            self.start_worker(name)

    def start_scheduler(self) -> None:
        """Start the scheduler, at the same address as before."""
        module, host = "distributed.cli.dask_scheduler", self._scheduler_host
        options = ["--host", host.address, "--port", "8786", "--dashboard-address", ":0"]
        self.scheduler = host.python("-m", module, *options, env=self._settings)
        wait_until(lambda: "Scheduler at" in self.scheduler.stderr or not self.scheduler.runs)
        assert self.scheduler.runs, self.scheduler.stderr

    def start_worker(self, name: str, *more: str, **settings: str) -> HostProcess:
        """Start a worker, as often as it ends, as a service manager does."""
        host = self.hosts.host(name)
        words = [sys.executable, "-m", "distributed.cli.dask_worker", self.address, "--host", host.address]
        words += ["--nthreads", "1", "--name", name, "--local-directory", str(host.here), *self._options, *more]
        self.workers[name] = host.start(
            "sh",
            "-c",
            f'while :; do {shlex.join(words)}; [ -z "$ONCE" ] || exit; sleep 1; done',
            env={**self._settings, **settings},
        )
        return self.workers[name]

    def start_paused(self, name: str) -> HostProcess:
        """Start a worker that dask pauses at once."""
        return self.start_worker(name, "--memory-limit", "400MB", DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE="0.05")

    @contextmanager
    def frozen(self, *names: str) -> Iterator[None]:
        """Stop all processes of workers for a `with` block; by default of all workers."""
        with ExitStack() as stack:
            for name in names or self.names:
                stack.enter_context(self.workers[name].frozen())
            yield

    def close(self) -> None:
        """End all of its processes."""
        for process in (*self.workers.values(), self.scheduler):
            process.kill()


@contextmanager
def site(folder: Path, images: Path) -> Iterator[Site]:
    """Run a site in a `with` block, with a folder of images in its store."""
    settings = {
        "PYTHONPATH": f"{ROOT / 'tests/support/crashing'}:{ROOT}",
        "AWS_ACCESS_KEY_ID": S3_KEY,
        "AWS_SECRET_ACCESS_KEY": S3_SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with network(folder, **settings) as hosts:
        yield Site(hosts, images)


@contextmanager
def workforce(place: Site, **options: object) -> Iterator[Workforce]:
    """Run a scheduler and three workers in a `with` block."""
    force = Workforce(place, **options)  # type: ignore[arg-type]
    try:
        yield force
    finally:
        force.close()
