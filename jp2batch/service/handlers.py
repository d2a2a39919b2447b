"""Handlers of the pages beside the images."""

import base64
import hashlib
import json
import re
from importlib.resources import files

from jp2batch.service.handler import Handler
from jp2batch.service.metrics import TYPE
from jp2batch.service.openapi import document
from jp2batch.service.problems import NoSuchPage

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
