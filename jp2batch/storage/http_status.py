"""HTTP statuses in exceptions of drivers."""

from collections.abc import Mapping
from typing import Any

from jp2batch.storage.signatures import says_expired


class HttpStatusError(Exception):
    """An HTTP status without data.

    `retry_after` is the header's value; `names_expiry` is true if the body says that a signature expired.
    """

    def __init__(self, status: int, retry_after: str | None = None, names_expiry: bool = False) -> None:
        super().__init__(status, retry_after)
        self.status = status
        self.retry_after = retry_after
        self.names_expiry = names_expiry


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of a driver's exception; None without a status.

    Knows exceptions of aiohttp, botocore, s3fs, gcsfs and adlfs.
    """
    response = response_of(error)
    if response:
        status: int | None = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status
    codes = (getattr(error, name, None) for name in ("status", "status_code", "code"))
    return next((code for code in codes if isinstance(code, int) and code >= 100), None)


def names_expiry(error: BaseException) -> bool:
    """Return whether a refusal says that a signature expired."""
    text = str(getattr(error, "message", "") if response_of(error) or status_of(error) else "")
    return getattr(error, "names_expiry", False) or says_expired(text.encode())


def response_of(error: BaseException) -> Mapping[str, Any]:
    """Return the response in a botocore error; empty if it has none.

    s3fs's translations of such errors are covered as well.
    """
    responses = (getattr(one, "response", None) for one in (error, error.__cause__))
    return next((response for response in responses if isinstance(response, Mapping)), {})
