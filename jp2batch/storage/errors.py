"""Translation of drivers' exceptions into errors of this package.

Each has a path, a problem and a hint, and shows no secret.
"""

import errno
import time
from email.utils import parsedate_to_datetime

from jp2batch.core.errors import (
    ImageNotFound,
    InvalidPath,
    Jp2BatchError,
    ObjectChanged,
    PermissionDenied,
    StorageError,
    StoreUnavailable,
)
from jp2batch.core.location import Location
from jp2batch.storage.error_codes import meaning_of
from jp2batch.storage.http_status import inner_error, names_expiry, response_of, status_of
from jp2batch.storage.refusals import refusal_of
from jp2batch.storage.replies import replaced
from jp2batch.storage.schemes import SCHEMES, scheme_info

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

# A file with an impossible name does not exist.
_BY_ERRNO: dict[int | None, type[Jp2BatchError]] = {errno.ELOOP: ImageNotFound, errno.ENAMETOOLONG: ImageNotFound}

# Names instead of classes avoid importing drivers. The nearest base class decides.
_BY_NAME: dict[str, type[Jp2BatchError]] = {
    # Python, fsspec
    "ConnectionError": StoreUnavailable,
    "FileNotFoundError": ImageNotFound,
    "IsADirectoryError": ImageNotFound,
    "NotADirectoryError": ImageNotFound,
    "PermissionError": PermissionDenied,
    "SSLCertVerificationError": StorageError,
    "TimeoutError": StoreUnavailable,
    "TooManyRedirects": StorageError,
    "TooManyRedirectsError": StorageError,
    "gaierror": StoreUnavailable,
    # obstore
    "NotFoundError": ImageNotFound,
    "PermissionDeniedError": PermissionDenied,
    "UnauthenticatedError": PermissionDenied,
    **{name: kind for row in SCHEMES for name, kind in row.errors.items()},
}

_PROBLEMS: dict[type[Jp2BatchError], tuple[str, str]] = {
    ImageNotFound: ("there is no such object", "check the path; a folder is not an image"),
    InvalidPath: ("this is not a valid URL", "check the path"),
    StorageError: ("the store does not deliver the object", "check the path and storage_options"),
    StoreUnavailable: ("the store did not answer as it should", "try again"),
}

_NO_FILE = "there is no such file", "check the path"
_UNREACHABLE = "the store cannot be reached", "check the host's name and port, the network and the proxy"
_NOT_TRUSTED = "the store's certificate is not trusted", "name the file of its authority in SSL_CERT_FILE"
_NOT_SECURE = "no secure connection is made", "check that the port speaks https"
_BROKEN = "the connection broke", "try again"
_BROKEN_NAMES = (  # of Python, aiohttp, botocore and azure-core
    "ConnectionResetError",
    "ClientPayloadError",
    "ClientResponseError",
    "ServerDisconnectedError",
    "ConnectionClosedError",
    "ResponseStreamingError",
    "IncompleteReadError",
    "ServiceResponseError",
)
_CIRCLES = "the server redirects in circles", "check the URL"
_CIRCLES_NAMES = ("TooManyRedirects", "TooManyRedirectsError")

# More precise texts for some exceptions, by class name.
_KNOWN_BETTER = {
    "InvalidRegionError": ("the name of the region is invalid", "check region_name in storage_options"),
    "BadZipFile": ("not a zip archive, or damaged", "check the path"),
    "IsADirectoryError": ("this is a folder", "give the path of a file in it"),
    "ParamValidationError": ("the name of the bucket or key is invalid", "check the path"),
    **dict.fromkeys(
        ("ClientConnectorError", "ConnectionRefusedError", "ServiceRequestError", "gaierror"), _UNREACHABLE
    ),
    **dict.fromkeys(("ConnectTimeoutError", "ConnectionTimeoutError", "EndpointConnectionError"), _UNREACHABLE),
    **dict.fromkeys(("ClientConnectorCertificateError", "SSLCertVerificationError"), _NOT_TRUSTED),
    **dict.fromkeys(("ClientConnectorSSLError", "SSLError"), _NOT_SECURE),
    "ProxyConnectionError": _UNREACHABLE,
    **dict.fromkeys(_BROKEN_NAMES, _BROKEN),
    **dict.fromkeys(_CIRCLES_NAMES, _CIRCLES),
}
_SAY_NO_MORE = {
    *_BROKEN_NAMES,
    *_CIRCLES_NAMES,
    "BadZipFile",
    "ClientAuthenticationError",
    "FileNotFoundError",
    "InvalidRegionError",
    "IsADirectoryError",
    "ParamValidationError",
    "PermissionError",
}


def translate_error(error: Exception, location: Location, doing: str = "") -> Jp2BatchError:
    """Return an error of this package for a driver's exception.

    `doing` describes the operation, such as "reading bytes 0:9".
    """
    if isinstance(error, Jp2BatchError):
        return error.at(location)
    error = inner_error(error)
    kind = _kind(error)
    if kind is ImageNotFound and isinstance(cause := error.__cause__, Exception) and _kind(cause) is StoreUnavailable:
        error, kind = cause, StoreUnavailable  # fsspec takes any failure of a web server for a missing file
    if kind is ObjectChanged:
        return replaced().at(location)
    problem, hint = _problem_and_hint(error, kind, location)
    if doing and issubclass(kind, StoreUnavailable):
        problem = f"{problem} when {doing}"
    detail = _detail(error, location)
    text = f"{problem}: {detail}" if detail else problem
    if issubclass(kind, StoreUnavailable):
        return kind(location, text, hint, _retry_after(error))
    return kind(location, text, hint)


def not_opened(error: Exception, location: Location) -> Jp2BatchError:
    """Return an error for a file system with a failed setup."""
    if isinstance(error, Jp2BatchError):
        return error
    url = f"{location.scheme}://"
    if isinstance(error, ImportError):
        missing = error.__cause__ if isinstance(error.__cause__, ImportError) else error
        package = (missing.name or "its driver").split(".")[0]
        row = scheme_info(location.store.scheme)
        install = row.install if row.package == package else f"pip install {package}"
        return StorageError(location, f"reading {url} needs the package {package}", install)
    if str(error).startswith("Protocol not known"):
        hint = "give s3://, gs://, az://, https:// or a local path"
        return StorageError(location, f"{url} is not a known protocol", hint)
    kind, archive = _kind(error), location.is_chained  # an archive is opened immediately
    if kind not in (StorageError, ImageNotFound) or (archive and not _SAY_NO_MORE.isdisjoint(_names(error))):
        return translate_error(error, location)
    problem = f"storage_options do not fit: {_detail(error, location) or type(error).__name__}"
    return StorageError(location, problem, "see the documentation of the driver")


def _retry_after(error: Exception) -> float | None:
    """Return the seconds of a Retry-After header; None without a valid header.

    Both forms of RFC 9110, 10.2.3, are read: a number of seconds and a date.
    """
    headers = response_of(error).get("ResponseMetadata", {}).get("HTTPHeaders", {})
    text = str(getattr(error, "retry_after", None) or headers.get("retry-after") or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _problem_and_hint(error: Exception, kind: type[Jp2BatchError], location: Location) -> tuple[str, str]:
    better = next((_KNOWN_BETTER[name] for name in _names(error) if name in _KNOWN_BETTER), None)
    if better is not None and status_of(error) is None:
        return better
    if kind is PermissionDenied:
        return refusal_of(error, _code(error), location)
    if kind is ImageNotFound and location.is_local:
        return _NO_FILE[0], _NO_FILE[1]
    meaning = meaning_of(_code(error))
    return (meaning.problem, meaning.hint) if meaning and meaning.problem else _PROBLEMS[kind]


def _kind(error: Exception) -> type[Jp2BatchError]:
    status, meaning = status_of(error), meaning_of(_code(error))
    if meaning is not None:
        return meaning.kind
    if status == 400 and names_expiry(error):
        return PermissionDenied
    if status is not None and status >= 300:
        return _BY_STATUS.get(status, StoreUnavailable if status >= 500 else StorageError)
    if isinstance(error, OSError) and error.errno in _BY_ERRNO:
        return _BY_ERRNO[error.errno]
    return next((_BY_NAME[name] for name in _names(error) if name in _BY_NAME), StorageError)


def _names(error: Exception) -> list[str]:
    """Return the names of an exception's classes, the nearest first."""
    return [base.__name__ for base in type(error).__mro__]


def _code(error: Exception) -> str:
    code = response_of(error).get("Error", {}).get("Code") or getattr(error, "error_code", "")
    return str(getattr(code, "value", code) or "")


def _detail(error: Exception, location: Location) -> str:
    status, code = status_of(error), _code(error)
    if status is not None:
        return f"{status} {code}" if code and code != str(status) else str(status)
    if not _SAY_NO_MORE.isdisjoint(_names(error)):
        return ""
    text = location.redact(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
