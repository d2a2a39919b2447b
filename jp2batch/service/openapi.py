"""The OpenAPI 3.1 document: `openapi.yaml` and settings of the operator."""

from importlib.resources import files
from typing import Any

import yaml

from jp2batch.core.request import LONGEST_PATH
from jp2batch.core.version import __version__
from jp2batch.service.problems import STATUS, meaning
from jp2batch.service.representations import TYPES
from jp2batch.service.settings import Settings

_ID = {"X-Request-ID": {"description": "Id of the request, also in the log", "schema": {"type": "string"}}}
_TEXT = files("jp2batch.service").joinpath("openapi.yaml").read_text(encoding="utf-8")
_IMAGES = "/api/"


def document(settings: Settings) -> dict[str, object]:
    """Return the OpenAPI document of a server."""
    told: dict[str, Any] = yaml.safe_load(_TEXT)
    told["info"]["version"] = __version__
    schemas = told["components"]["schemas"]
    schemas["Key"]["maxLength"] = LONGEST_PATH
    schemas["Root"]["enum"] = [*settings.roots, None]
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            if path.startswith(_IMAGES):
                operation.update({"security": [{"token": []}]} if settings.tokens else {})
                operation["responses"] |= _refusals(settings, method)
            operation["responses"] = {status: _answer(found) for status, found in operation["responses"].items()}
    return told


def _answer(found: dict[str, Any]) -> dict[str, Any]:
    content = {
        kind: schema for kind, schema in found.get("content", {}).items() if kind in TYPES or kind[:5] != "image"
    }
    return {**found, "headers": {**found.get("headers", {}), **_ID}} | ({"content": content} if content else {})


def _refusals(settings: Settings, method: str) -> dict[str, object]:
    """Return the responses to refused requests."""
    of_bodies = {408, 411, 415} if method == "get" else set()
    statuses = sorted({*STATUS.values()} - {405} - of_bodies - (set() if settings.tokens else {401}))
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {str(status): {"description": meaning(status), "content": problem} for status in statuses}
