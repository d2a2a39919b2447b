"""Errors of obstore, translated from their texts."""

import re
import ssl

from jp2batch.core.errors import ConfigurationError, RangesIgnored, StorageError, StoreUnavailable
from jp2batch.core.ranges import ByteRange
from jp2batch.storage.http_status import HttpStatusError, code_in
from jp2batch.storage.signatures import says_expired

_STATUS = re.compile(r"status code: (\d{3})")
_OTHER_RANGE = re.compile(r"Requested (\d+)\.\.(\d+), got (\d+)\.\.(\d+)")
_UNREACHABLE = re.compile(r"kind: Connect,(?s:.*)(dns error|tcp connect error)")
_HOST = re.compile(r"performing [A-Z]+ https?://(?:[^/\s]*@)?([^/@\s]+)/")
_NO_RANGE = re.compile(r"Content-Range header not present|for CONTENT_RANGE header(?!.*/\*\"$)")
_HEADER = re.compile(r"(?i)last modified|CONTENT_RANGE|Content-Length Header|e-?tag")


class ReplyNotShown(Exception):  # internal: another driver may read the reply
    """A reply that obstore refuses or shows in part.

    `instead` is the error without another driver.
    """

    def __init__(self, instead: Exception) -> None:
        super().__init__(str(instead))
        self.instead = instead


class ReplyNotPartial(ReplyNotShown):
    """The server ignores ranges; obstore does not tell its status."""


class RangeUnsatisfied(ReplyNotShown):
    """The store has no bytes in the range; obstore hides the size."""


def plain_error(error: Exception) -> Exception:
    """Return a plain exception for an error of obstore.

    Its debug output is left out.
    """
    message = str(error).partition("\n\nDebug source")[0]
    text = message.partition("\n")[0]
    if status := _STATUS.search(text):
        body = message.encode()
        refusal = HttpStatusError(int(status[1]), names_expiry=says_expired(body), code=code_in(body))
        return RangeUnsatisfied(refusal) if refusal.status == 416 else refusal
    if (unreadable := _unreadable(text)) is not None:
        return ReplyNotShown(unreadable)
    if "non-partial" in text:
        return ReplyNotPartial(RangesIgnored("", "the server stopped honouring Range", "try again"))
    if other := _OTHER_RANGE.search(text):
        asked, came = (ByteRange(int(other[n]), int(other[n + 1])) for n in (1, 3))
        return StoreUnavailable("", f"requested {asked}, but received {came}", "try again")
    return _of_the_connection(error, text) or error.with_traceback(None)


def _unreadable(text: str) -> Exception | None:
    """Return the error for a reply that obstore refuses to show."""
    if "redirect without LOCATION" in text:
        return HttpStatusError(301, code="PermanentRedirect")
    if "error following redirect" in text:
        return StorageError("", "the server redirects in circles", "check the URL")
    if _NO_RANGE.search(text):
        return StoreUnavailable("", "a partial reply has no Content-Range", "try again")
    if _HEADER.search(text):
        problem = f"jp2batch.driver is obstore, but it does not read this reply: {text}"
        return ConfigurationError("", problem, "take the driver fsspec")
    return None


def _of_the_connection(error: Exception, text: str) -> Exception | None:
    if unreachable := _UNREACHABLE.search(str(error)):
        host = _HOST.search(text)
        return ConnectionRefusedError(f"{unreachable[1]}: {host[1]}" if host else unreachable[1])
    if "InvalidCertificate(" in str(error):
        return ssl.SSLCertVerificationError(1, text.partition(" in ")[0])
    if "HTTP error" in text:
        return TimeoutError(text) if "timed out" in str(error) else ConnectionResetError(text)
    return None if isinstance(error, OSError) else OSError(text)
