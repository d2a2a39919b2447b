"""The same key and the same reply give the same object, or the same error, by every driver."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import dask
import pytest

from jp2batch.core.errors import (
    ConfigurationError,
    ImageNotFound,
    InvalidPath,
    Jp2BatchError,
    ObjectChanged,
    PermissionDenied,
    RangesIgnored,
    StorageError,
    StoreUnavailable,
)
from support.contract import DATA, DENIED, STORES, Case, Refusal, outcome_of
from support.plays import Play, PlayServer, play_server

WHOLE = {"status": 200, "headers": {"Content-Range": None}, "body": lambda _: DATA}
NOTHING = {"Content-Range": None}
TRY = "try again"
NO_RANGE = Refusal(StoreUnavailable, "a partial reply has no Content-Range", TRY)
MIRRORS = Refusal(
    ObjectChanged,
    "was replaced while it was being read, or has mirrors: only its ETag changed",
    "read it again; for mirrors with different ETags, set jp2batch.mirrors",
)
CIRCLES = Refusal(StorageError, "the server redirects in circles", "check the URL")
ELSEWHERE = 'give endpoint_url, or {"client_kwargs": {"region_name": …}}, in storage_options'


def strange(status: int) -> Refusal:
    """Return the refusal of a status without a meaning."""
    return Refusal(
        StorageError, f"the store does not deliver the object: {status}", "check the path and storage_options"
    )


def received(text: str) -> Refusal:
    """Return the refusal of other bytes than those requested."""
    return Refusal(StoreUnavailable, f"requested bytes 0:100 (100), but received {text}", TRY)


def not_read_by_obstore(text: str) -> tuple[Refusal, str]:
    """Return the refusal of a reply that obstore does not show."""
    problem = f"jp2batch.driver is obstore, but it does not read this reply: Generic S3 error: {text}"
    return Refusal(ConfigurationError, problem, "take the driver fsspec"), "obstore refuses to show it"


def not_parsed() -> tuple[Refusal, str]:
    """Return the refusal of a header that botocore does not parse."""
    problem = 'the store does not deliver the object: ValueError: Invalid timestamp "yesterday": '
    refusal = Refusal(StorageError, f"{problem}Unknown string format: yesterday", "check the path and storage_options")
    return refusal, "botocore parses all headers"


REPLIES = {
    "as usual": Case((Play(),), "part"),
    "no Last-Modified": Case((Play(headers={"Last-Modified": None}),), "part"),
    "no ETag": Case((Play(tag=""),), "part"),
    "neither": Case((Play(tag="", headers={"Last-Modified": None}),), "part"),
    "odd Last-Modified": Case(
        (Play(headers={"Last-Modified": "yesterday"}),),
        "part",
        {
            "s3fs": not_parsed(),
            "auto": not_parsed(),
            "obstore": not_read_by_obstore("Invalid last modified 'yesterday': input contains invalid characters"),
        },
    ),
    "a weak ETag": Case((Play(tag='W/"x"'),), "part"),
    "names of headers in lower case": Case(
        (Play(headers={"Content-Range": None, "content-range": f"bytes 0-99/{len(DATA)}"}),), "part"
    ),
    "conditions that are ignored": Case((Play(conditional=False),), "part"),
    "another ETag in each reply": Case((Play(tag="a", conditional=False), Play(tag="b", conditional=False)), MIRRORS),
    "another ETag, and conditions": Case((Play(tag="a"), Play(tag="b")), MIRRORS),
    "another ETag and time": Case(
        (Play(tag="a"), *5 * [Play(tag="b", headers={"Last-Modified": "Wed, 05 Oct 2022 11:54:12 GMT"})]),
        Refusal(ObjectChanged, "was replaced while it was being read", "read it again"),
    ),
    "no ranges": Case((Play(**WHOLE),), "whole"),  # type: ignore[arg-type]
    "no ranges any more": Case(
        (Play(), Play(**WHOLE)),  # type: ignore[arg-type]
        Refusal(RangesIgnored, "the server stopped honouring Range", TRY),
    ),
    "416": Case((Play(416),), "empty"),
    "416 with a size": Case(
        (Play(416, headers={"Content-Range": f"bytes */{len(DATA)}"}),),
        received("only 0"),
        {"obstore": ("empty", "obstore does not tell the headers of a refusal")},
    ),
    "Transfer-Encoding: chunked": Case(
        (Play(chunked=True),), "part", {"obstore": not_read_by_obstore("Content-Length Header missing from response")}
    ),
    "too short": Case((Play(body=lambda body: body[:-3]),), received("only 97")),
    "too long": Case((Play(body=lambda body: body + b"xyz"),), received("more")),
    "a broken connection": Case(
        (Play(sent=5),), Refusal(StoreUnavailable, "the connection broke when reading bytes 0:100 (100)", TRY)
    ),
    "206 without Content-Range": Case((Play(headers=NOTHING),), NO_RANGE),
    "another unit": Case((Play(headers={"Content-Range": f"items 0-99/{len(DATA)}"}),), NO_RANGE),
    "another range": Case(
        (Play(headers={"Content-Range": f"bytes 1-100/{len(DATA)}"}),), received("bytes 1:101 (100)")
    ),
    "multipart/byteranges": Case(
        (
            Play(
                headers={"Content-Range": None, "Content-Type": "multipart/byteranges; boundary=X"},
                body=lambda body: b"--X\r\nContent-Range: bytes 0-99/10240\r\n\r\n" + body + b"\r\n--X--",
            ),
        ),
        NO_RANGE,
    ),
    "an unknown total": Case(
        (Play(headers={"Content-Range": "bytes {span}/*"}),),
        "part",
        {
            "obstore": not_read_by_obstore('Failed to parse value for CONTENT_RANGE header: "bytes 0-99/*"'),
            "az": (
                Refusal(StorageError, "the store does not tell the object's size", "copy it to another store"),
                "Azure has no requests for the last byte, and always tells the size",
            ),
        },
    ),
    "202": Case(
        (Play(202, headers=NOTHING, body=lambda _: b""),),
        strange(202),
        {"obstore": ("empty", "obstore does not tell 202 from 200")},
    ),
    "203": Case(
        (Play(203, headers=NOTHING, body=lambda _: DATA),),
        strange(203),
        {"obstore": ("whole", "obstore does not tell 203 from 200")},
    ),
    "204": Case(
        (Play(204),), strange(204), {"obstore": not_read_by_obstore("Content-Length Header missing from response")}
    ),
    "304 without a condition": Case((Play(304),), strange(304)),
    "412 without a condition": Case(
        (Play(412),), Refusal(ObjectChanged, "was replaced while it was being read", "read it again")
    ),
    "a redirect in circles": Case((Play(302, headers={"Location": "{host}{path}"}),), CIRCLES),
    "a redirect to nowhere": Case(
        (Play(301),),
        strange(301),
        {
            "obstore": (
                Refusal(
                    StorageError,
                    "the bucket is in another region or at another endpoint: 301 PermanentRedirect",
                    ELSEWHERE,
                ),
                "obstore hides the body of a redirect",
            )
        },
    ),
    "a redirect to the same server": Case(
        (Play(307, headers={"Location": "{host}{path}"}), Play(), *3 * [Play()], Play()), "part"
    ),
    **{
        f"Content-Encoding: {coding}": Case((Play(headers={"Content-Encoding": coding}),), "part")
        for coding in ("gzip", "x-gzip", "deflate", "br", "zstd", "identity", "aws-chunked", "gzip, gzip", "none")
    },
}


def refused(text: str, hint: str = DENIED) -> tuple[type[Jp2BatchError], str, str]:
    return PermissionDenied, text, hint


BUSY = StoreUnavailable, "the store is busy when reading bytes 0:100 (100)", TRY
FAILED = StoreUnavailable, "the store did not answer as it should when reading bytes 0:100 (100)", TRY
EXPIRED = refused("the credentials expired", "renew them")
NO_ACCESS = refused("the store refuses access")
MISSING = ImageNotFound, "there is no such object", "check the path; a folder is not an image"
NO_BUCKET = ImageNotFound, "there is no such bucket", "check its name"
BAD_NAME = InvalidPath, "the name of the bucket or key is invalid", "check the path"
ARCHIVED = StorageError, "the object is archived", "restore it first"
OTHER_REGION = StorageError, "the bucket is in another region or at another endpoint", ELSEWHERE
OTHER = StorageError, "the store does not deliver the object", "check the path and storage_options"

CODES: Mapping[tuple[int, str], tuple[type[Jp2BatchError], str, str]] = {
    # Amazon's
    (400, "ExpiredToken"): EXPIRED,
    (403, "ExpiredToken"): EXPIRED,
    (403, "InvalidAccessKeyId"): refused("the store does not know these credentials"),
    (403, "SignatureDoesNotMatch"): refused("the secret key does not fit the access key"),
    (403, "RequestTimeTooSkewed"): refused("the clocks of store and machine differ", "set the clock of this machine"),
    (403, "AccessDenied"): NO_ACCESS,
    (403, "InvalidObjectState"): ARCHIVED,
    (404, "NoSuchBucket"): NO_BUCKET,
    (404, "NoSuchKey"): MISSING,
    (404, "NoSuchVersion"): MISSING,
    (400, "InvalidBucketName"): BAD_NAME,
    (400, "KeyTooLongError"): BAD_NAME,
    (301, "PermanentRedirect"): OTHER_REGION,
    (400, "AuthorizationHeaderMalformed"): OTHER_REGION,
    (400, "IllegalLocationConstraintException"): OTHER_REGION,
    (400, "RequestTimeout"): FAILED,
    (400, "Throttling"): BUSY,
    (500, "InternalError"): FAILED,
    (503, "SlowDown"): BUSY,
    (503, "ServiceUnavailable"): FAILED,
    (405, "MethodNotAllowed"): OTHER,
    (501, "NotImplemented"): FAILED,
    # Google's
    (401, "authError"): NO_ACCESS,
    (401, "required"): NO_ACCESS,
    (400, "userProjectMissing"): NO_ACCESS,
    (403, "forbidden"): NO_ACCESS,
    (403, "userRateLimitExceeded"): BUSY,
    (429, "rateLimitExceeded"): BUSY,
    (404, "notFound"): MISSING,
    (503, "backendError"): FAILED,
    # Azure's
    (403, "AuthenticationFailed"): NO_ACCESS,
    (403, "AuthorizationFailure"): NO_ACCESS,
    (409, "PublicAccessNotPermitted"): NO_ACCESS,
    (409, "BlobArchived"): ARCHIVED,
    (404, "BlobNotFound"): MISSING,
    (404, "ContainerNotFound"): NO_BUCKET,
    (400, "InvalidResourceName"): BAD_NAME,
    (500, "OperationTimedOut"): FAILED,
    (503, "ServerBusy"): BUSY,
    # without a code
    **{(status, ""): NO_ACCESS for status in (401, 403, 407)},
    **{(status, ""): MISSING for status in (404, 410)},
    **{(status, ""): OTHER for status in (400, 402, 405, 409, 451, 499)},
    **{(status, ""): FAILED for status in (408, 425, 429, 500, 502, 503, 504, 599)},
}
"""Meanings of statuses and error codes: class, problem and hint."""


@pytest.fixture(scope="module")
def server() -> Iterator[PlayServer]:
    """A server for all cases."""
    with play_server() as server:
        yield server


@pytest.fixture(autouse=True)
def once(server: PlayServer) -> Iterator[None]:
    """Let nothing be tried twice, and the server be as new."""
    server.objects = {"bucket/x.jp2": DATA}
    server.asked.clear()
    server.names.clear()
    server.plays = [Play()]
    server.raw = None
    with dask.config.set({"jp2batch.retries.attempts": 1}):
        yield


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize("case", REPLIES.values(), ids=REPLIES)
def test_a_reply_means_the_same_by_every_driver(server: PlayServer, case: Case, name: str) -> None:
    server.plays = list(case.plays)
    with STORES[name].chosen():
        assert outcome_of(STORES[name], server, STORES[name].url(server)) == case.expected(name)


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize(("status", "code"), CODES)
def test_a_refusal_means_the_same_by_every_driver(server: PlayServer, status: int, code: str, name: str) -> None:
    kind, problem, hint = CODES[status, code]
    server.plays = [Play(status, code)]
    with STORES[name].chosen():
        told = outcome_of(STORES[name], server, STORES[name].url(server))
    assert told == Refusal(kind, f"{problem}: {status} {code}".rstrip(), hint).of(STORES[name].scheme)


NO_HTTP = {
    "nothing": b"",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/0.9": b"<html>hi</html>",
    "half of a head": b"HTTP/1.1 206 Partial Content\r\nContent-",
    "a line without a colon": b"HTTP/1.1 206 Partial Content\r\nContent-Range bytes 0-99/10240\r\n\r\n",
    "a length in letters": b"HTTP/1.1 206 Partial Content\r\nContent-Length: abc\r\n\r\n" + DATA[:100],
}


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize("reply", NO_HTTP.values(), ids=NO_HTTP)
def test_a_reply_other_than_http_is_a_broken_connection(server: PlayServer, reply: bytes, name: str) -> None:
    server.raw = reply
    with STORES[name].chosen():
        told = outcome_of(STORES[name], server, STORES[name].url(server))
    assert told == Refusal(StoreUnavailable, "the connection broke when reading bytes 0:100 (100)", TRY)


DIFFERENT_KEYS = (
    "| a key with empty segments or a control character | obstore | it would ask for another |",
    "| a key with segments `.` or `..` | obstore, Azure | they would ask for another |",
    "| a key with a control character | Azure | it would ask for another |",
    "| a URL with segments `.` or `..` | web | they are removed before it is asked (RFC 3986) |",
    "| the store's Retry-After | obstore | obstore does not tell the headers of a refusal |",
    "| the host cannot be reached | all | the detail is that of the library |",
)
"""Differences that `test_contract_keys` holds."""

DRIVER_NAMES = {
    "http": "web",
    "aiohttp": "aiohttp",
    "s3fs": "s3fs",
    "obstore": "obstore",
    "auto": "auto",
    "gs": "Google",
    "az": "Azure",
}


def test_the_documentation_lists_the_differences() -> None:
    cells: dict[tuple[str, str], list[str]] = {}
    for case, told in REPLIES.items():
        for name, (_, reason) in told.but.items():
            cells.setdefault((case, reason), []).append(DRIVER_NAMES[name])
    lines = [f"| {case} | {', '.join(names)} | {reason} |" for (case, reason), names in cells.items()]
    text = Path(__file__).parents[2].joinpath("docs/reading.md").read_text(encoding="utf-8")
    shown = text.partition("<!-- differences -->")[2].partition("<!-- end of differences -->")[0]
    for line in [*lines, *DIFFERENT_KEYS]:
        assert line in shown, f"docs/reading.md lacks:\n{line}"
    assert shown.count("\n| ") == 1 + len(lines) + len(DIFFERENT_KEYS)
