"""Azure Blob Storage: a fake of the REST calls for one blob, and Azurite where it is installed."""

import base64
import hashlib
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

ACCOUNT = "devstoreaccount1"
KEY = base64.b64encode(b"sesame, open, sesame").decode()
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The well-known key of Azurite's only account."""


class BlobServer(ThreadingHTTPServer):
    """Serves `blobs` by their paths; refuses requests that are neither signed nor for a container in `public`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.blobs: dict[str, bytes] = {}
        self.public: set[str] = set()
        self.asked: list[str] = []
        self.faults: list[int] = []

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that are gone."""

    @property
    def endpoint(self) -> str:
        """Address of the account."""
        return f"http://127.0.0.1:{self.server_address[1]}/{ACCOUNT}"

    @property
    def options(self) -> dict[str, Any]:
        """Storage options with the account's key."""
        return {"account_name": ACCOUNT, "account_key": KEY, "endpoint_url": self.endpoint}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BlobServer

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers.get("content-length") or 0))
        name = self._begin()
        if name is not None:
            self.server.blobs[name] = data
            self._send(201, etag=_etag(data))

    def _begin(self) -> str | None:
        """Note a request; return the name of its blob, or None if it is answered already."""
        self.server.asked.append(f"{self.command} {self.path}")
        address = urlsplit(self.path)
        name = unquote(address.path).removeprefix(f"/{ACCOUNT}/")
        signed = self.headers.get("authorization", "").startswith(f"SharedKey {ACCOUNT}:") or "sig=" in address.query
        if self.server.faults:
            self._send(self.server.faults.pop(), code="ServerBusy")
        elif not signed and name.partition("/")[0] not in self.server.public:
            self._send(403, code="AuthorizationFailure")
        else:
            return name
        return None

    def _answer(self, body: bool) -> None:
        name = self._begin()
        if name is None:
            return
        if (data := self.server.blobs.get(name)) is None:
            self._send(404, code="BlobNotFound")
        elif self.headers.get("if-match", tag := _etag(data)) != tag:
            self._send(412, code="ConditionNotMet")
        elif self.headers.get("if-none-match") == tag:
            self._send(304, code="ConditionNotMet")
        elif span := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("x-ms-range", "")):
            start, stop = int(span[1]), min(len(data), int(span[2] or len(data)) + 1)
            if start >= len(data):
                self._send(416, code="InvalidRange", content_range=f"bytes */{len(data)}")
            else:
                self._send(206, data[start:stop], etag=tag, content_range=f"bytes {start}-{stop - 1}/{len(data)}")
        else:
            self._send(200, data, body=body, etag=tag)

    def _send(self, status: int, data: bytes = b"", *, body: bool = True, code: str = "", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if code:
            self.send_header("x-ms-error-code", code)
        self.send_header("x-ms-blob-type", "BlockBlob")
        self.send_header("last-modified", "Wed, 05 Oct 2022 11:54:11 GMT")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


@contextmanager
def blob_server() -> Iterator[BlobServer]:
    """Run a fake of Azure Blob Storage."""
    with BlobServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def find_azurite() -> str | None:
    """Return the program of Azurite: of JP2BATCH_AZURITE, or on the path (`npm install -g azurite`)."""
    return os.environ.get("JP2BATCH_AZURITE") or shutil.which("azurite-blob")


@contextmanager
def azurite(program: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Run Azurite; the value is its storage options."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    command = [program, "--location", str(folder), "--blobPort", str(port), "--silent", "--skipApiVersionCheck"]
    process = subprocess.Popen([*command, "--disableTelemetry"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
        yield {"account_name": ACCOUNT, "account_key": AZURITE_KEY, "endpoint_url": endpoint}
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port), timeout=1)):
            return
        time.sleep(0.05)
    raise RuntimeError("Azurite does not start")
