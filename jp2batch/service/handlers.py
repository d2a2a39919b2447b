"""Handlers of all routes."""

import asyncio
import base64
import hashlib
import json
import re
import secrets
from importlib.resources import files

from tornado.web import Finish

from jp2batch.compute.result import Result
from jp2batch.core.location import redact
from jp2batch.service.handler import Handler
from jp2batch.service.metrics import TYPE
from jp2batch.service.openapi import document
from jp2batch.service.problems import NoSuchPage, NotInTime
from jp2batch.service.representations import Content, accepts_gzip, form_for
from jp2batch.service.request_body import parse_body
from jp2batch.service.worker_actor import Job

_PAGE = files("jp2batch.service").joinpath("page.html").read_text(encoding="utf-8")


def _policy(page: str) -> str:
    """Return a Content-Security-Policy: own style, script and server only."""

    def hashes(tag: str) -> str:
        parts = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in parts]
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    own = f"script-src {hashes('script')}; style-src {hashes('style')}; connect-src 'self'; img-src blob: data:"
    return f"default-src 'none'; {own}; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"


_POLICY = _policy(_PAGE)


class ImageHandler(Handler):
    """`POST /api/jp2`, with the contract of the old service."""

    route = "image"
    protected = True

    async def post(self) -> None:
        """Read an image."""
        job = self._job(self.check_body())
        self._work: asyncio.Future[Result] = asyncio.ensure_future(self._result(job))
        try:
            result = await self._work
        except asyncio.CancelledError:
            if self._accounted:  # the client has disconnected
                raise Finish from None
            raise
        if result.error is not None:
            raise result.error
        self._tell(result)
        self.respond(result.value.data, result.value.type)

    def on_connection_close(self) -> None:
        """Cancel the read."""
        super().on_connection_close()
        if hasattr(self, "_work"):
            self._work.cancel()

    def _job(self, body: bytes) -> Job:
        root, request = parse_body(body, self.service.settings.roots)
        self.notes |= {"Path": redact(request.path), "rlevel": request.rlevel, "root": root.name}
        headers = self.request.headers
        form = form_for(headers.get("Accept", "*/*"))
        compress = accepts_gzip(headers.get("Accept-Encoding", ""))
        end = asyncio.get_running_loop().time() + self.service.settings.limits.deadline
        return Job(secrets.token_hex(8), root.name, request, form, compress, end)

    @property
    def _client(self) -> str:
        """Client for fair shares: its token, or else its address."""
        token = self.request.headers.get("Authorization", "").strip().rpartition(" ")[2]
        return token if self.service.settings.tokens else str(self.request.remote_ip)

    async def _result(self, job: Job) -> Result:
        try:
            async with asyncio.timeout_at(job.end):
                result = await self.service.pool.run(job, self._client)
        except TimeoutError:
            seconds = self.service.settings.limits.deadline
            hint = "try again later, or request fewer pixels"
            raise NotInTime(job.request.shown_path, f"not done within {seconds:g} s", hint) from None
        self.service.metrics.read(result)
        return result

    def _tell(self, result: Result) -> None:
        """Set headers and log fields with statistics of a read.

        The body has no room for them: its contract is the old service's.
        """
        content: Content = result.value
        if content.encoding:
            self.set_header("Content-Encoding", content.encoding)
        self.notes["type"] = content.type
        self.set_header("Vary", "Accept, Accept-Encoding" + (", Origin" if self.service.settings.cors_origins else ""))
        stats = result.stats
        if stats is None:
            return
        download, processing = stats.time_download, stats.time_processing
        *bands, rows, columns = result.shape or ()
        self.set_header("Jp2-Shape", ", ".join(map(str, (rows, columns, *bands))))
        self.set_header("Jp2-Bytes-Read", str(stats.bytes_read))
        self.set_header("Jp2-File-Size", str(result.size))
        self.set_header("Server-Timing", f"download;dur={download * 1e3:.1f}, processing;dur={processing * 1e3:.1f}")
        self.notes |= {
            "bytes_read": stats.bytes_read,
            "time_download": round(download, 6),
            "time_processing": round(processing, 6),
            "attempts": result.attempts,
        }


class _Readable(Handler):
    """Base of routes with GET and HEAD."""

    def head(self) -> None:
        """Answer like GET, without a body."""
        self.get()


class PageHandler(_Readable):
    """`GET /`: the page to try the service."""

    route = "page"

    def get(self) -> None:
        """Send the page."""
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("Referrer-Policy", "no-referrer")
        self.respond(_PAGE.encode(), "text/html; charset=utf-8")


class HealthHandler(_Readable):
    """`GET /healthz`: liveness of the server."""

    route = "health"

    def get(self) -> None:
        """Send the status."""
        self.respond(b'{"status":"ok"}', "application/json")


class ReadyHandler(_Readable):
    """`GET /readyz`: readiness for requests."""

    route = "ready"

    def get(self) -> None:
        """Send the status."""
        service = self.service
        state = "draining" if service.draining else "ok" if service.canary.ready else "no read has succeeded lately"
        self.set_status(200 if state == "ok" else 503)
        self.respond(json.dumps({"status": state}).encode(), "application/json")


class MetricsHandler(_Readable):
    """`GET /metrics`: counters for Prometheus."""

    route = "metrics"

    def get(self) -> None:
        """Send the counters."""
        self.respond(self.service.metrics.text(), TYPE)


class OpenApiHandler(_Readable):
    """`GET /openapi.json`: description of all routes."""

    route = "openapi"

    def get(self) -> None:
        """Send the document."""
        self.respond(json.dumps(document(self.service.settings)).encode(), "application/json")


class NothingHandler(Handler):
    """Handler of all other paths."""

    def _refuse_early(self) -> None:
        """Do nothing: the body is read first."""

    def nothing(self) -> None:
        """Answer 404."""
        raise NoSuchPage("", "nothing at this address", "POST /api/jp2, or see /openapi.json")

    get = head = post = put = patch = delete = options = nothing
