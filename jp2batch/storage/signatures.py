"""Signatures in links: their parameters, expiry and refusal."""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

# Query parameters that change with each signature, in lower case: of Amazon, Google, Microsoft and compatible stores.
_SIGNING = re.compile(
    r"x-amz-.*|x-goog-.*|awsaccesskeyid|googleaccessid|key-pair-id|signature|sig|(?:access_)?token|expires"
)
# Parameters that belong to a signature only beside the parameter in the key.
_SIGNING_BESIDE = {
    "sig": re.compile(r"s[eprstv]|ss|srt|spr|sip|sk(?:oid|tid|[tesv])"),
    "key-pair-id": re.compile("policy"),
}
_SIGNATURES = ("sig", "signature", "x-amz-signature", "x-goog-signature")
_SEPARATOR = re.compile("[&;]")
# Of S3 and compatible stores, Google and Microsoft. Texts of errors in XML; they are never repeated in a message.
_EXPIRED = re.compile(
    rb"<Code>(?:ExpiredToken|TokenRefreshRequired)</Code>|Request has expired|Request signature expired"
    rb"|Signature not valid in the specified time frame"
)


def unsigned(query: str) -> str:
    """Return the query of a URL without its signature."""
    parts = [(_name_and_value(part)[0], part) for part in _SEPARATOR.split(query)]
    beside = [pattern for name, pattern in _SIGNING_BESIDE.items() if any(name == own for own, _ in parts)]
    return "&".join(part for name, part in parts if not any(one.fullmatch(name) for one in (_SIGNING, *beside)))


def is_signed(query: str) -> bool:
    """Return whether a query contains a signature."""
    return any(name in _SIGNATURES for name, _ in _parameters(query))


def expiry_of(query: str) -> datetime | None:
    """Return the time at which a signature expires; None if unknown.

    It is signed by Amazon's and Google's version 4 or 2, or by Microsoft.
    """
    values = dict(_parameters(query))
    with suppress(KeyError, ValueError, OverflowError, OSError):
        for store in ("x-amz-", "x-goog-"):
            if f"{store}expires" in values:
                signed = datetime.strptime(values[f"{store}date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
                return signed + timedelta(seconds=int(values[f"{store}expires"]))
        if "expires" in values and "signature" in values:
            return datetime.fromtimestamp(int(values["expires"]), UTC)
        if "sig" in values:
            return _utc(values["se"])
    return None


def is_early(query: str, now: datetime) -> bool:
    """Return whether a signature of Microsoft is not yet valid."""
    with suppress(KeyError, ValueError):
        return _utc(dict(_parameters(query))["st"]) > now
    return False


def says_expired(body: bytes) -> bool:
    """Return whether a store's refusal says that a signature expired."""
    return _EXPIRED.search(body) is not None


def _utc(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _parameters(query: str) -> Iterator[tuple[str, str]]:
    """Iterate over names in lower case and values, fully decoded.

    Some programs encode a link more than once, or separate its parameters by semicolons.
    """
    for part in _SEPARATOR.split(_decoded(query)):
        yield _name_and_value(part)


def _name_and_value(part: str) -> tuple[str, str]:
    name, _, value = _decoded(part).partition("=")
    return name.strip().lower(), value.strip()


def _decoded(text: str) -> str:
    while (plainer := unquote(text)) != text:
        text = plainer
    return text
