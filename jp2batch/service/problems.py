"""The one table from errors to HTTP statuses, and the answer that tells of an error (RFC 9457)."""

import math
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

from jp2batch.core import errors
from jp2batch.core.errors import Jp2BatchError


class ServiceError(Jp2BatchError):
    """Base of what only a server can say."""

    closes: ClassVar[bool] = False
    """Whether the connection ends with it: where a request ends is not certain, or it is not worth to be awaited."""


class NoSuchPage(ServiceError):
    """The server has nothing at this address."""


class MethodNotAllowed(ServiceError):
    """The method means nothing at this address."""


class Unauthorized(ServiceError):
    """A token is needed."""


class Malformed(ServiceError):
    """The request is not HTTP."""

    closes = True


class HeadersTooLarge(ServiceError):
    """The headers are longer than those of a request need to be."""

    closes = True


class LengthRequired(ServiceError):
    """The request does not tell how long its body is."""

    closes = True


class BodyTooSlow(ServiceError):
    """The body did not come in time."""

    closes = True
    retryable = True


class BodyTooLarge(ServiceError):
    """The body is longer than a request needs to be."""

    closes = True


class UnsupportedEncoding(ServiceError):
    """The body is compressed."""


class UnknownRoot(ServiceError):
    """The operator lists no root of that name."""


class NotInTime(ServiceError):
    """It was not done in time."""

    retryable = True


class Busy(ServiceError):
    """The server has as much to do as it takes on.

    Parameters
    ----------
    path, problem, hint : str
        As for `Jp2BatchError`.
    retry_after : float
        Seconds after which it is worth another try.
    """

    retryable = True

    def __init__(self, path: str, problem: str, hint: str = "", retry_after: float = 1.0) -> None:
        super().__init__(path, problem, hint)
        self.args = (path, problem, hint, retry_after)
        self.retry_after = retry_after


class TooManyConnections(Busy):
    """The server has as many connections as it takes."""


STATUS: dict[type[Jp2BatchError], int] = {
    errors.InvalidRequest: 400,
    errors.InvalidPath: 400,
    Malformed: 400,
    Unauthorized: 401,
    UnknownRoot: 403,
    errors.PermissionDenied: 403,
    NoSuchPage: 404,
    errors.ImageNotFound: 404,
    MethodNotAllowed: 405,
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
    Jp2BatchError: 500,
}
"""The nearest base class of an error decides."""

_OPERATORS = (errors.PermissionDenied, errors.StoreUnavailable)
"""Errors whose hints are for the operator, who finds them in the log."""


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as clients are told of it."""

    status: int
    """Of HTTP."""
    type: str
    """The name of the error."""
    title: str
    """What is always true of such errors."""
    detail: str
    """What is true of this one."""
    retryable: bool
    """Whether the same request may succeed a little later."""
    headers: dict[str, str] = field(default_factory=dict)
    """What goes with the answer."""
    more: dict[str, Any] = field(default_factory=dict)
    """What else programs may want to know."""

    def body(self, request_id: str) -> dict[str, Any]:
        """Return what is sent as application/problem+json."""
        return {
            "type": f"urn:jp2batch:problem:{_dashed(self.type)}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id,
            "retryable": self.retryable,
            **self.more,
        }


def problem_of(error: Exception, hidden: str = "") -> Problem:
    """Return an error as clients are told of it.

    Parameters
    ----------
    error : Exception
        Anything. Of what is no `Jp2BatchError`, nothing is told.
    hidden : str
        The address of the root, which no answer names.
    """
    if not isinstance(error, Jp2BatchError):
        error = errors.UnexpectedError("", "")
    status = next(STATUS[base] for base in type(error).__mro__ if base in STATUS)
    if status == 500:
        detail = "Something went wrong that the server does not know of; its log has it, by the request_id."
    else:
        hint = "" if isinstance(error, _OPERATORS) or type(error) is errors.StorageError else error.hint
        detail = " ".join(f"{error.problem} ({hint})".split() if hint else error.problem.split())
        detail = detail.replace(hidden, "the root") if hidden else detail
    return Problem(
        status,
        type(error).__name__,
        (type(error).__doc__ or "").partition("\n")[0],
        detail,
        error.retryable,
        _headers(error, status),
        {"rlevel": error.fits} if isinstance(error, errors.TooManyPixels) else {},
    )


def _headers(error: Jp2BatchError, status: int) -> dict[str, str]:
    after = getattr(error, "retry_after", None)
    headers = {} if after is None else {"Retry-After": str(max(1, math.ceil(after)))}
    return headers | ({"WWW-Authenticate": 'Bearer realm="jp2batch"'} if status == 401 else {})


def _dashed(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
