"""The OpenAPI 3.1 document of the service."""

from collections.abc import Mapping

from jp2batch.core.request import LONGEST_PATH
from jp2batch.core.version import __version__
from jp2batch.service.problems import STATUS
from jp2batch.service.representations import JSON, NPY, PNG
from jp2batch.service.settings import Settings

_TITLES = {
    400: "The body or the path is malformed",
    401: "A token is required",
    403: "The store or the server refuses access",
    404: "Image not found",
    405: "Method not allowed",
    406: "The client accepts no media type of the response",
    408: "The body did not arrive in time",
    411: "Content-Length is missing",
    413: "The body or the requested image is too large; `rlevel` is the lowest level that fits",
    415: "The body is compressed",
    422: "The image has no such rlevel or window, or cannot be decoded as JPEG 2000",
    431: "The headers are too large",
    500: "Unexpected error",
    502: "The object store failed",
    503: "The server is busy",
    504: "The request took too long",
}
_TEXT = {"type": "string"}
_NUMBER = {"type": "number", "minimum": 0}
_WHOLE = {"type": "integer", "minimum": 0}

Schema = Mapping[str, object]
"""A part of the document."""


def document(settings: Settings) -> dict[str, object]:
    """Return the OpenAPI document of a server."""
    secured: dict[str, object] = {"security": [{"token": []}]} if settings.tokens else {}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "jp2batch",
            "version": __version__,
            "description": "Pixels of Sentinel-2 JPEG 2000 images, at any resolution level.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/api/jp2": {"post": {**_image(settings), **secured}},
            "/": _page("A page to try the service", "text/html", _TEXT),
            "/healthz": _page("Liveness of the server", JSON, _state("ok")),
            "/readyz": _page("Readiness for requests", JSON, _state("ok"), ready=True),
            "/metrics": _page("Counters, for Prometheus", "text/plain", _TEXT),
            "/openapi.json": _page("This document", JSON, {"type": "object"}),
        },
        "components": {
            "schemas": {"Answer": _answer(), "Problem": _problem(), "Request": _request(settings)},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _image(settings: Settings) -> dict[str, object]:
    headers: Mapping[str, tuple[str, Schema]] = {
        "Jp2-Shape": ("Rows, columns[, bands]", _TEXT),
        "Jp2-Bytes-Read": ("Bytes fetched from the store", _WHOLE),
        "Jp2-File-Size": ("Size of the file in bytes", _WHOLE),
        "Server-Timing": ("Download and processing time in milliseconds", _TEXT),
        **_COMMON,
    }
    statuses = sorted({*STATUS.values()} - {405} - (set() if settings.tokens else {401}))
    return {
        "summary": "Read an image",
        "operationId": "read",
        "requestBody": {
            "required": True,
            "description": "Any Content-Type is accepted, as long as the body is this JSON.",
            "content": {JSON: {"schema": {"$ref": "#/components/schemas/Request"}}},
        },
        "responses": {
            "200": {
                "description": "The image; compressed with gzip if the client accepts it",
                "headers": _headers(headers),
                "content": {
                    JSON: {"schema": {"$ref": "#/components/schemas/Answer"}},
                    NPY: {"schema": {"type": "string", "format": "binary", "description": "A NumPy array file"}},
                    PNG: {"schema": {"type": "string", "format": "binary", "description": "A stretched picture, PNG"}},
                },
            },
            **{str(status): _refusal(status) for status in statuses},
        },
    }


def _page(summary: str, media_type: str, schema: Schema, *, ready: bool = False) -> dict[str, object]:
    def answer(text: str, schema: Schema) -> dict[str, object]:
        return {"description": text, "headers": _headers(_COMMON), "content": {media_type: {"schema": schema}}}

    responses = {"200": answer(summary, schema)}
    if ready:
        responses["503"] = answer("Not ready", _state("draining", "no worker is ready"))
    return {"get": {"summary": summary, "responses": responses}}


def _refusal(status: int) -> dict[str, object]:
    headers = dict(_COMMON)
    if status in (502, 503):
        headers["Retry-After"] = "Seconds to wait before retrying", _WHOLE
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer", _TEXT
    return {
        "description": _TITLES[status],
        "headers": _headers(headers),
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _request(settings: Settings) -> dict[str, object]:
    span = {"type": "array", "items": _WHOLE, "minItems": 2, "maxItems": 2}
    key = {"type": "string", "minLength": 1, "maxLength": LONGEST_PATH}
    about = "its key relative to the root; in a folder or on the web, without '..' or scheme"
    window = {
        "description": "Part to read, in pixels of the full image: [[row, row], [column, column]], or as text",
        "oneOf": [
            {"type": "null"},
            {"type": "string", "maxLength": 99, "pattern": r"^\s*\d+:\d+\s*,\s*\d+:\d+\s*$"},
            {"type": "array", "items": span, "minItems": 2, "maxItems": 2},
        ],
    }
    return {
        "type": "object",
        "properties": {
            "Path": {**key, "description": f"The image: {about}"},
            "path": {**key, "description": "Alias of Path, as in the old service's code"},
            "rlevel": {
                "type": "integer",
                "minimum": -1,
                "maximum": 32,
                "default": -1,
                "description": "Resolution levels to drop: 0 = full, -1 = the lowest",
            },
            "window": window,
            "root": {"enum": [*settings.roots, None], "description": "Name of the root; null: the default"},
        },
        "oneOf": [{"required": ["Path"]}, {"required": ["path"]}],
        "examples": [{"Path": "tiles/33/U/UP/…/T33UUP_B8A.jp2", "rlevel": -1}],
    }


def _answer() -> dict[str, object]:
    pixel = {"oneOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]}
    properties = {
        "img_data": {"type": "array", "items": {"type": "array", "items": pixel}},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2, "maxItems": 3},
        "time_download": _NUMBER,
        "time_processing": _NUMBER,
    }
    return {
        "type": "object",
        "description": "Rows of grey values; with several bands, each pixel is a list of values. Times are in seconds.",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _problem() -> dict[str, object]:
    properties: dict[str, object] = {
        "type": {"type": "string", "format": "uri"},
        "title": _TEXT,
        "status": {"type": "integer", "enum": sorted({*STATUS.values()})},
        "detail": _TEXT,
        "request_id": _TEXT,
        "retryable": {"type": "boolean"},
    }
    more = {"rlevel": {"type": ["integer", "null"], "description": "The lowest level that fits"}}
    return {"type": "object", "properties": properties | more, "required": list(properties)}


def _state(*states: str) -> dict[str, object]:
    return {"type": "object", "properties": {"status": {"enum": list(states)}}, "required": ["status"]}


def _headers(described: Mapping[str, tuple[str, Schema]]) -> dict[str, object]:
    return {name: {"description": text, "schema": schema} for name, (text, schema) in described.items()}


_COMMON: Mapping[str, tuple[str, Schema]] = {"X-Request-ID": ("Id of the request, also in the log", _TEXT)}
