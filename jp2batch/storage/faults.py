"""Whatever goes wrong in a store, as one error of ours: the path, the problem, the cure, and no secret."""

import errno
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from jp2batch.errors import (
    ImageNotFound,
    InvalidPath,
    Jp2BatchError,
    ObjectChanged,
    PermissionDenied,
    StorageError,
    StoreUnavailable,
)
from jp2batch.urls import without_credentials

__all__ = [
    "HttpStatusError",
    "Place",
    "not_opened",
    "response_of",
    "status_of",
    "translated",
    "without_credentials",
]

_BY_STATUS: dict[int, type[Jp2BatchError]] = {
    401: PermissionDenied,
    403: PermissionDenied,
    404: ImageNotFound,
    407: PermissionDenied,
    408: StoreUnavailable,
    410: ImageNotFound,
    412: ObjectChanged,
    425: StoreUnavailable,
    429: StoreUnavailable,
}

# Codes of S3 that come with the status 400.
_BY_CODE: dict[str, type[Jp2BatchError]] = {
    "ExpiredToken": PermissionDenied,
    "InvalidToken": PermissionDenied,
    "RequestTimeout": StoreUnavailable,
    "TokenRefreshRequired": PermissionDenied,
}

# What a file cannot be called is not there.
_BY_ERRNO: dict[int | None, type[Jp2BatchError]] = {errno.ELOOP: ImageNotFound, errno.ENAMETOOLONG: ImageNotFound}

# By name, so that no driver has to be imported for its exceptions. The nearest base class decides.
_BY_NAME: dict[str, type[Jp2BatchError]] = {
    # Python, fsspec
    "ConnectionError": StoreUnavailable,
    "FileNotFoundError": ImageNotFound,
    "IsADirectoryError": ImageNotFound,
    "NotADirectoryError": ImageNotFound,
    "PermissionError": PermissionDenied,
    "SSLCertVerificationError": StorageError,
    "TimeoutError": StoreUnavailable,
    "gaierror": StoreUnavailable,
    # aiohttp; botocore has a ClientError too, that is known by its status before
    "ClientConnectorCertificateError": StorageError,
    "ClientError": StoreUnavailable,
    "InvalidURL": InvalidPath,
    # botocore; HTTPClientError is the base of its connection errors
    "CredentialRetrievalError": PermissionDenied,
    "HTTPClientError": StoreUnavailable,
    "IncompleteReadError": StoreUnavailable,
    "NoCredentialsError": PermissionDenied,
    "PartialCredentialsError": PermissionDenied,
    # gcsfs, adlfs, obstore
    "ClientAuthenticationError": PermissionDenied,
    "DefaultCredentialsError": PermissionDenied,
    "NotFoundError": ImageNotFound,
    "PermissionDeniedError": PermissionDenied,
    "RefreshError": PermissionDenied,
    "ResourceNotFoundError": ImageNotFound,
    "UnauthenticatedError": PermissionDenied,
}

_PROBLEMS: dict[type[Jp2BatchError], tuple[str, str]] = {
    ImageNotFound: ("there is no such object", "check the path; a folder is not an image"),
    InvalidPath: ("this is not a valid URL", "check the path"),
    ObjectChanged: ("was replaced while it was being read", "read it again"),
    PermissionDenied: ("the store refuses access", "check the credentials in storage_options"),
    StorageError: ("the store cannot give it", "check the path and storage_options"),
    StoreUnavailable: ("the store did not answer as it should", "try again"),
}

_DENIED_CURES = {
    "file": "check who may read the file",
    "gs": 'give credentials in the environment; for a public bucket, storage_options={"token": "anon"}',
    "http": 'give "headers" or "client_kwargs" in storage_options',
    "s3": "give credentials in the environment; for a public bucket, anon=True (--no-sign-request); where the requester"
    " pays, requester_pays=True (--request-payer); a missing key can look like this too",
}
_DENIED_CURES.update(gcs=_DENIED_CURES["gs"], https=_DENIED_CURES["http"], s3a=_DENIED_CURES["s3"])


class HttpStatusError(Exception):
    """A web server answered with a status that gives no bytes; `retry_after` is what that header says."""

    def __init__(self, status: int, retry_after: str | None = None) -> None:
        super().__init__(status, retry_after)
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Place:
    """What messages may say of where an object lies."""

    path: str
    """Path or URL, without credentials."""
    protocol: str
    """Its protocol; the cures differ."""
    options: Mapping[str, Any] = field(repr=False)
    """The storage options: none of their texts appears in a message."""


def translated(error: Exception, place: Place, doing: str = "") -> Jp2BatchError:
    """Return the error of ours that says what a driver's error says; `doing` such as "reading bytes 0:9"."""
    if isinstance(error, Jp2BatchError):
        return error.at(place.path)
    kind = _kind(error)
    problem, cure = _PROBLEMS[kind]
    if isinstance(error, IsADirectoryError):
        problem, cure = "this is a folder", "give the path of a file in it"
    if kind is PermissionDenied:
        cure = _DENIED_CURES.get(place.protocol, cure)
    if doing and issubclass(kind, StoreUnavailable):
        problem = f"{problem} when {doing}"
    detail = _detail(error, place.options)
    text = f"{problem}: {detail}" if detail else problem
    if issubclass(kind, StoreUnavailable):
        return kind(place.path, text, cure, _retry_after(error))
    return kind(place.path, text, cure)


def not_opened(error: Exception, place: Place) -> Jp2BatchError:
    """Return the error of ours for a file system that could not be made."""
    url = f"{place.protocol}://"
    if isinstance(error, ImportError):
        missing = error.__cause__ if isinstance(error.__cause__, ImportError) else error
        package = (missing.name or "its driver").split(".")[0]
        return StorageError(place.path, f"reading {url} needs the package {package}", f"pip install {package}")
    if str(error).startswith("Protocol not known"):
        return StorageError(place.path, f"{url} is not a known protocol", "give s3://, gs://, https:// or a local path")
    problem = f"storage_options do not fit: {_detail(error, place.options)}"
    return StorageError(place.path, problem, "see the documentation of the driver")


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an exception of aiohttp, botocore, s3fs, gcsfs or adlfs carries."""
    response = response_of(error)
    if response:
        status: int | None = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status
    codes = (getattr(error, name, None) for name in ("status", "status_code", "code"))
    return next((code for code in codes if isinstance(code, int) and code >= 100), None)


def response_of(error: BaseException) -> Mapping[str, Any]:
    """Return the response that an error of botocore, or s3fs's translation of it, holds; empty where there is none."""
    responses = (getattr(one, "response", None) for one in (error, error.__cause__))
    return next((response for response in responses if isinstance(response, Mapping)), {})


def _retry_after(error: Exception) -> float | None:
    """Return the seconds that a store asks to be left alone: a number, or the time until a date (RFC 9110, 10.2.3)."""
    headers = response_of(error).get("ResponseMetadata", {}).get("HTTPHeaders", {})
    text = str(getattr(error, "retry_after", None) or headers.get("retry-after") or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _kind(error: Exception) -> type[Jp2BatchError]:
    status, code = status_of(error), _code(error)
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status is not None and status >= 300:
        return _BY_STATUS.get(status, StoreUnavailable if status >= 500 else StorageError)
    if isinstance(error, OSError) and error.errno in _BY_ERRNO:
        return _BY_ERRNO[error.errno]
    names = (base.__name__ for base in type(error).__mro__)
    return next((_BY_NAME[name] for name in names if name in _BY_NAME), StorageError)


def _code(error: Exception) -> str:
    return str(response_of(error).get("Error", {}).get("Code", ""))


def _detail(error: Exception, options: Mapping[str, Any]) -> str:
    status, code = status_of(error), _code(error)
    if status is not None:
        return f"{status} {code}" if code and code != str(status) else str(status)
    if isinstance(error, FileNotFoundError | IsADirectoryError | PermissionError):
        return ""
    text = without_credentials(str(error))
    for secret in _secrets_of(options):
        text = text.replace(secret, "…")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _secrets_of(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts in storage options that no message may show."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _secrets_of(value)
        elif isinstance(value, str) and name not in ("endpoint_url", "region_name", "profile") and len(value) > 3:
            yield value
