"""Map errors to HTTP statuses and problem responses (RFC 9457)."""

import math
import re
from dataclasses import dataclass, field
from typing import ClassVar

from jp2batch.core import errors
from jp2batch.core.errors import Jp2BatchError


class ServiceError(Jp2BatchError):
    """Base of errors of the service."""

    closes: ClassVar[bool] = False
    """True to close the connection.

    The end of the request is unknown, or not worth waiting for.
    """


class NoSuchPage(ServiceError):
    """Nothing at this address."""


class MethodNotAllowed(ServiceError):
    """The method is not allowed at this address."""


class Unauthorized(ServiceError):
    """A token is required."""


class HeadersTooLarge(ServiceError):
    """The headers are too large."""

    closes = True


class LengthRequired(ServiceError):
    """The length of the body is missing."""

    closes = True


class BodyTooSlow(ServiceError):
    """The body did not arrive in time."""

    closes = True
    retryable = True


class BodyTooLarge(ServiceError):
    """The body is too large."""

    closes = True


class UnsupportedEncoding(ServiceError):
    """The body is compressed."""


class NotAcceptable(ServiceError):
    """No media type of the response is acceptable."""


class UnknownRoot(ServiceError):
    """The root is unknown."""


class NotInTime(ServiceError):
    """The request took too long."""

    retryable = True


class Busy(ServiceError):
    """The server is busy.

    Parameters
    ----------
    path, problem, hint : str
        As for `Jp2BatchError`.
    retry_after : float
        Seconds to wait before retrying.
    """

    retryable = True

    def __init__(self, path: str, problem: str, hint: str = "", retry_after: float = 1.0) -> None:
        super().__init__(path, problem, hint)
        self.args = (path, problem, hint, retry_after)
        self.retry_after = retry_after


STATUS: dict[type[Jp2BatchError], int] = {
    errors.InvalidRequest: 400,
    errors.InvalidPath: 400,
    Unauthorized: 401,
    UnknownRoot: 403,
    errors.PermissionDenied: 403,
    NoSuchPage: 404,
    errors.ImageNotFound: 404,
    MethodNotAllowed: 405,
    NotAcceptable: 406,
    BodyTooSlow: 408,
    LengthRequired: 411,
    BodyTooLarge: 413,
    errors.ImageTooLarge: 413,
    UnsupportedEncoding: 415,
    errors.InvalidRlevel: 422,
    errors.InvalidWindow: 422,
    errors.NotJpeg2000: 422,
    errors.CorruptImage: 422,
    errors.UnsupportedImage: 422,
    errors.DecoderCrashed: 422,
    HeadersTooLarge: 431,
    errors.StorageError: 502,
    Busy: 503,
    errors.DecodeTimedOut: 504,
    NotInTime: 504,
    errors.UnexpectedError: 500,
    Jp2BatchError: 500,
}
"""HTTP status by error class; the nearest base class counts."""

_OPERATORS = (errors.PermissionDenied, errors.StoreUnavailable)
"""Errors with hints for the operator: only the log has them."""

_OF_A_STORE = (errors.StorageError, errors.InvalidPath)
"""Errors with a driver's text behind a colon; it can name hosts."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Response to a client about an error."""

    status: int
    """HTTP status."""
    type: str
    """Name of the error class."""
    title: str
    """Description of the error class."""
    detail: str
    """Description of this error."""
    retryable: bool
    """True if the same request can succeed later."""
    headers: dict[str, str] = field(default_factory=dict)
    """Additional headers of the response."""
    more: dict[str, object] = field(default_factory=dict)
    """Additional members of the response."""

    def body(self, request_id: str) -> dict[str, object]:
        """Return the body, of type application/problem+json."""
        return {
            "type": f"urn:jp2batch:problem:{_dashed(self.type)}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id,
            "retryable": self.retryable,
            **self.more,
        }


def problem_of(error: Exception) -> Problem:
    """Return the response to a client about an error.

    Parameters
    ----------
    error : Exception
        Any exception. Details are given only for a `Jp2BatchError`.
    """
    if not isinstance(error, Jp2BatchError):
        error = errors.UnexpectedError("", "")
    status = next(STATUS[base] for base in type(error).__mro__ if base in STATUS)
    if status == 500:
        detail = "Unexpected error; find it in the server's log by the request_id."
    else:
        hint = "" if isinstance(error, _OPERATORS) or type(error) is errors.StorageError else error.hint
        problem = error.problem.partition(": ")[0] if isinstance(error, _OF_A_STORE) else error.problem
        detail = " ".join(f"{problem} ({hint})".split() if hint else problem.split())
    return Problem(
        status,
        type(error).__name__,
        _title(type(error)),
        detail,
        error.retryable,
        _headers(error, status),
        {"rlevel": error.fits} if isinstance(error, errors.TooManyPixels) else {},
    )


def meaning(status: int) -> str:
    """Return the descriptions of all errors with a status."""
    return " ".join(_title(kind) for kind, code in STATUS.items() if code == status and kind is not Jp2BatchError)


def _title(kind: type[Jp2BatchError]) -> str:
    return (kind.__doc__ or "").partition("\n")[0]


def _headers(error: Jp2BatchError, status: int) -> dict[str, str]:
    after = getattr(error, "retry_after", None)
    headers = {} if after is None else {"Retry-After": str(max(1, math.ceil(after)))}
    return headers | ({"WWW-Authenticate": 'Bearer realm="jp2batch"'} if status == 401 else {})


def _dashed(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
