"""Meanings of the error codes of Amazon, Google and Azure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jp2batch.core.errors import (
    ImageNotFound,
    InvalidPath,
    Jp2BatchError,
    PermissionDenied,
    StorageError,
    StoreUnavailable,
)


@dataclass(frozen=True, slots=True)
class ErrorMeaning:
    """Meaning of an error code: class, problem and hint of its error."""

    kind: type[Jp2BatchError]
    """Class of the error."""
    problem: str = ""
    """Description of the problem; empty for that of the class."""
    hint: str = ""
    """Advice to the user; empty for that of the class."""


EXPIRED = ErrorMeaning(PermissionDenied, "the credentials expired", "renew them")
"""Of expired credentials."""

_UNKNOWN_KEY = ErrorMeaning(PermissionDenied, "the store does not know these credentials")
_WRONG_SECRET = ErrorMeaning(PermissionDenied, "the secret key does not fit the access key")
_WRONG_CLOCK = ErrorMeaning(PermissionDenied, "the clocks of store and machine differ", "set the clock of this machine")
_NO_BUCKET = ErrorMeaning(ImageNotFound, "there is no such bucket", "check its name")
_BAD_NAME = ErrorMeaning(InvalidPath, "the name of the bucket or key is invalid", "check the path")
_ARCHIVED = ErrorMeaning(StorageError, "the object is archived", "restore it first")
_ELSEWHERE = ErrorMeaning(
    StorageError,
    "the bucket is in another region or at another endpoint",
    'give endpoint_url, or {"client_kwargs": {"region_name": …}}, in storage_options',
)
_BUSY = ErrorMeaning(StoreUnavailable, "the store is busy", "try again")

_CODES: Mapping[ErrorMeaning, str] = {
    EXPIRED: "ExpiredToken TokenRefreshRequired",
    _UNKNOWN_KEY: "InvalidAccessKeyId InvalidToken",
    _WRONG_SECRET: "SignatureDoesNotMatch",
    _WRONG_CLOCK: "RequestTimeTooSkewed",
    ErrorMeaning(PermissionDenied): "PublicAccessNotPermitted userProjectMissing",
    _NO_BUCKET: "NoSuchBucket ContainerNotFound ContainerBeingDeleted",
    _BAD_NAME: "InvalidBucketName InvalidResourceName InvalidUri InvalidURI KeyTooLongError OutOfRangeInput",
    _ARCHIVED: "InvalidObjectState BlobArchived BlobBeingRehydrated",
    _ELSEWHERE: "PermanentRedirect AuthorizationHeaderMalformed IllegalLocationConstraintException",
    _BUSY: "SlowDown ServerBusy Throttling ThrottlingException RequestThrottled RequestLimitExceeded TooManyRequests"
    " BandwidthLimitExceeded RateLimitExceeded rateLimitExceeded userRateLimitExceeded",
    ErrorMeaning(StoreUnavailable): "RequestTimeout OperationTimedOut",
}
"""Codes by their meaning; all others mean the same as their status."""


def _by_code() -> Iterator[tuple[str, ErrorMeaning]]:
    for meaning, codes in _CODES.items():
        yield from ((code, meaning) for code in codes.split())


_MEANINGS = dict(_by_code())


def meaning_of(code: str) -> ErrorMeaning | None:
    """Return the meaning of a store's error code.

    None for a code that means the same as its status.
    """
    return _MEANINGS.get(code)
