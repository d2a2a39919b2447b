"""A fake of Google Cloud Storage: its JSON API, for reading."""

import json
import re
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from benchmarks.range_server import parse_range

PUBLIC, PRIVATE = "public", "private"
"""Buckets: objects of the first can be read by everybody, of the second by nobody."""


class GoogleServer(ThreadingHTTPServer):
    """Serves `objects` by bucket and name; `asked` has its requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.asked: list[str] = []

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that are gone."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: GoogleServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        found = re.fullmatch(r"(?:/download)?/storage/v1/b/([^/]+)(?:/o/([^/]+))?", urlsplit(self.path).path)
        if found is None:
            return self._refuse(400, "no such method")
        bucket, name = found[1], unquote(found[2] or "")
        data = self.server.objects.get(f"{bucket}/{name}")
        if bucket not in (PUBLIC, PRIVATE):
            return self._refuse(404, "The specified bucket does not exist.")
        if bucket == PRIVATE or not name:
            return self._refuse(401, "Anonymous caller does not have access.")
        return self._refuse(404, f"No such object: {bucket}/{name}") if data is None else self._found(name, data)

    def _found(self, name: str, data: bytes) -> None:
        if "alt=media" not in self.path:
            told = {"name": name, "size": str(len(data)), "generation": str(zlib.crc32(data))}
            return self._send(200, json.dumps({"kind": "storage#object", **told}).encode())
        if f"ifGenerationNotMatch={zlib.crc32(data)}" in self.path:
            return self._send(304, b"")
        first, stop = parse_range(self.headers["Range"], len(data)) or (0, 0)
        told = {"Content-Range": f"bytes {first}-{stop - 1}/{len(data)}", "X-Goog-Generation": str(zlib.crc32(data))}
        return self._send(206, data[first:stop], told)

    def _refuse(self, status: int, message: str) -> None:
        self._send(status, json.dumps({"error": {"code": status, "message": message}}).encode())

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def google() -> Iterator[GoogleServer]:
    """Run the fake in a `with` block."""
    with GoogleServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()
