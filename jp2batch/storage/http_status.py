"""HTTP statuses and error codes of stores, in exceptions and bodies."""

import re
from collections.abc import Mapping
from typing import Any

from jp2batch.storage.signatures import says_expired

_CODE = re.compile(rb'<(?:\w+:)?Code>\s*([\w.-]{1,60})\s*<|"reason"\s*:\s*"([\w.-]{1,60})"')


class HttpStatusError(Exception):
    """An HTTP status without data.

    `retry_after` is the header's value, `error_code` the store's code; `names_expiry` is true if the body says that a
    signature expired.
    """

    def __init__(self, status: int, retry_after: str | None = None, names_expiry: bool = False, code: str = "") -> None:
        super().__init__(status, retry_after, names_expiry, code)
        self.status = status
        self.retry_after = retry_after
        self.names_expiry = names_expiry
        self.error_code = code


def code_in(body: bytes) -> str:
    """Return the error code in the body of a store's refusal.

    Amazon and Azure send XML, Google JSON; empty for other bodies.
    """
    found = _CODE.search(body)
    return (found[1] or found[2]).decode() if found else ""


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of a driver's exception; None without a status.

    Knows exceptions of aiohttp, botocore, s3fs, gcsfs and adlfs.
    """
    response = response_of(error)
    if response:
        status: int | None = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status
    if any(base.__name__ == "HttpProcessingError" for base in type(error.__cause__).__mro__):
        return None  # no HTTP came back; aiohttp makes it a status of 400
    name = next((name for name in ("status", "status_code", "code") if hasattr(error, name)), "")
    code = getattr(error, name, None) if name else None
    return code if isinstance(code, int) and code >= 100 else None


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


def inner_error(error: Exception) -> Exception:
    """Return the error that botocore or azure-core has wrapped, else itself."""
    kind = type(error).__name__
    wrapped = getattr(error, "kwargs", {}).get("error") if kind in ("HTTPClientError", "SSLError") else None
    if kind in ("ServiceRequestError", "ServiceResponseError"):
        wrapped = getattr(error, "inner_exception", None)
    return wrapped if isinstance(wrapped, Exception) else error
