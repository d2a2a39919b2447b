"""What there is, for programs: the document of OpenAPI 3.1."""

from typing import Any

from jp2batch.core.request import LONGEST_PATH
from jp2batch.core.version import __version__
from jp2batch.service.problems import STATUS
from jp2batch.service.representations import JSON, NPY, PNG
from jp2batch.service.settings import Settings

_ESCAPE = "%(25)*"  # of what follows in hexadecimal, however often it was escaped
_DOT = rf"(\.|{_ESCAPE}2[eE])"
_SLASH = rf"(/|{_ESCAPE}2[fF])"
_BACKSLASH = rf"(\\|{_ESCAPE}5[cC])"
_COLON = rf"(:|{_ESCAPE}3[aA])"
_LETTER = rf"([A-Za-z]|{_ESCAPE}([46][1-9a-fA-F]|[57][\daA]))"
_SCHEME = rf"{_LETTER}({_LETTER}|[\d+.-]|{_ESCAPE}(3\d|2[bBdDeE]))*{_COLON}"
_CONTROL = rf"([\u0000-\u001f\u007f-\u009f]|{_ESCAPE}([01][\da-fA-F]|7[fF]|[cC]2{_ESCAPE}[89][\da-fA-F]))"
_ANY = r"[\s\S]*"
_KEY = (
    rf"^(?!/)(?!(\./+)*({_ESCAPE}2[fF]|{_SCHEME}))"
    rf"(?!{_ANY}({_BACKSLASH}|{_CONTROL}|{_COLON}({_COLON}|{_SLASH}{_SLASH})))"
    rf"(?!({_ANY}{_SLASH})?{_DOT}{_DOT}({_SLASH}|$))(?!({_ANY}/)?\.?$)(?!(\./+)*\s*$)"
)
_KEY_ON_THE_WEB = rf"^(?!{_ANY}[?#])" + _KEY.removeprefix("^")
_TITLES = {
    400: "The body or the path is malformed",
    401: "A token is needed",
    403: "The store or the server refuses access",
    404: "There is no such image",
    405: "The method means nothing here",
    408: "The body did not come in time",
    411: "There is no Content-Length",
    413: "The body, or what is asked for, is too large; `rlevel` is the lowest that would fit",
    415: "The body is compressed",
    422: "The image has no such rlevel or window, or is no JPEG 2000 image that can be decoded",
    431: "The headers are too long",
    500: "Something went wrong that the server does not know of",
    502: "The store failed",
    503: "The server is busy",
    504: "Not done in time",
}
_TEXT = {"type": "string"}
_NUMBER = {"type": "number", "minimum": 0}
_WHOLE = {"type": "integer", "minimum": 0}


def document(settings: Settings) -> dict[str, Any]:
    """Return the document of a server."""
    secured: dict[str, Any] = {"security": [{"token": []}]} if settings.tokens else {}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "jp2batch",
            "version": __version__,
            "description": "Pixels of Sentinel-2's JPEG 2000 images, at any resolution level.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/api/jp2": {"post": {**_image(settings), **secured}},
            "/": _page("A page to try it", "text/html", _TEXT),
            "/healthz": _page("Whether the server is alive", JSON, _state("ok")),
            "/readyz": _page("Whether the server takes requests", JSON, _state("ok"), ready=True),
            "/metrics": _page("Counts, for Prometheus", "text/plain", _TEXT),
            "/openapi.json": _page("This document", JSON, {"type": "object"}),
        },
        "components": {
            "schemas": {"Answer": _answer(), "Problem": _problem(), "Request": _request(settings)},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _image(settings: Settings) -> dict[str, Any]:
    headers: dict[str, tuple[str, dict[str, Any]]] = {
        "Jp2-Shape": ("Rows, columns[, bands]", _TEXT),
        "Jp2-Bytes-Read": ("Bytes that were fetched", _WHOLE),
        "Jp2-File-Size": ("Bytes that the file has", _WHOLE),
        "Server-Timing": ("Milliseconds of download and of processing", _TEXT),
        **_COMMON,
    }
    statuses = sorted({*STATUS.values()} - {405} - (set() if settings.tokens else {401}))
    return {
        "summary": "Read an image",
        "operationId": "read",
        "requestBody": {
            "required": True,
            "description": "Any Content-Type is taken, as long as the body is this JSON.",
            "content": {JSON: {"schema": {"$ref": "#/components/schemas/Request"}}},
        },
        "responses": {
            "200": {
                "description": "The image; gzip is used where the client accepts it",
                "headers": _headers(headers),
                "content": {
                    JSON: {"schema": {"$ref": "#/components/schemas/Answer"}},
                    NPY: {"schema": {"type": "string", "format": "binary", "description": "An array of NumPy"}},
                    PNG: {"schema": {"type": "string", "format": "binary", "description": "A stretched picture"}},
                },
            },
            **{str(status): _refusal(status) for status in statuses},
        },
    }


def _page(summary: str, media_type: str, schema: dict[str, Any], *, ready: bool = False) -> dict[str, Any]:
    def answer(text: str, schema: dict[str, Any]) -> dict[str, Any]:
        return {"description": text, "headers": _headers(_COMMON), "content": {media_type: {"schema": schema}}}

    responses = {"200": answer(summary, schema)}
    if ready:
        responses["503"] = answer("It does not", _state("draining", "no worker is ready"))
    return {"get": {"summary": summary, "responses": responses}}


def _refusal(status: int) -> dict[str, Any]:
    headers = dict(_COMMON)
    if status in (502, 503):
        headers["Retry-After"] = "Seconds to wait before the next try", _WHOLE
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer", _TEXT
    return {
        "description": _TITLES[status],
        "headers": _headers(headers),
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _request(settings: Settings) -> dict[str, Any]:
    span = {"type": "array", "items": _WHOLE, "minItems": 2, "maxItems": 2}
    on_the_web = all(root.on_the_web for root in settings.roots.values())
    pattern = _KEY_ON_THE_WEB if on_the_web else _KEY
    key = {"type": "string", "minLength": 1, "maxLength": LONGEST_PATH, "pattern": pattern}
    about = (
        "its key below the root, without '..', backslash, control characters or scheme; escapes count as what they are"
    )
    window = {
        "description": "The part to read, in pixels of the full image: [[row, row], [column, column]], or as text",
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
            "path": {**key, "description": "The same, as the old service's code had it"},
            "rlevel": {
                "type": "integer",
                "minimum": -1,
                "maximum": 32,
                "default": -1,
                "description": "Resolution levels to drop: 0 = full, -1 = the lowest there is",
            },
            "window": window,
            "root": {"enum": [*settings.roots, None], "description": "Where the image is; null: as if left out"},
        },
        "oneOf": [{"required": ["Path"]}, {"required": ["path"]}],
        "examples": [{"Path": "tiles/33/U/UP/…/T33UUP_B8A.jp2", "rlevel": -1}],
    }


def _answer() -> dict[str, Any]:
    pixel = {"oneOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]}
    properties = {
        "img_data": {"type": "array", "items": {"type": "array", "items": pixel}},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2, "maxItems": 3},
        "time_download": _NUMBER,
        "time_processing": _NUMBER,
    }
    return {
        "type": "object",
        "description": "Rows of grey values; with several bands, each pixel is the list of its values. Times: seconds.",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _problem() -> dict[str, Any]:
    properties: dict[str, Any] = {
        "type": {"type": "string", "format": "uri"},
        "title": _TEXT,
        "status": {"type": "integer", "enum": sorted({*STATUS.values()})},
        "detail": _TEXT,
        "request_id": _TEXT,
        "retryable": {"type": "boolean"},
    }
    more = {"rlevel": {"type": ["integer", "null"], "description": "The lowest that would fit"}}
    return {"type": "object", "properties": properties | more, "required": list(properties)}


def _state(*states: str) -> dict[str, Any]:
    return {"type": "object", "properties": {"status": {"enum": list(states)}}, "required": ["status"]}


def _headers(described: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    return {name: {"description": text, "schema": schema} for name, (text, schema) in described.items()}


_COMMON: dict[str, tuple[str, dict[str, Any]]] = {"X-Request-ID": ("The id that the log has as well", _TEXT)}
