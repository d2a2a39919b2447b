"""Explanation of refusals: expired signatures and credentials."""

import re
from datetime import UTC, datetime

from jp2batch.core.location import Location
from jp2batch.storage.error_codes import EXPIRED, meaning_of
from jp2batch.storage.http_status import names_expiry
from jp2batch.storage.known_stores import known_hint
from jp2batch.storage.schemes import scheme_info
from jp2batch.storage.signatures import expiry_of, is_early, is_signed
from jp2batch.storage.signing import signer_of

_IN_CONNECTION_STRING = re.compile(r"SharedAccessSignature=([^;]*)", re.IGNORECASE)
_AGAIN = "sign it anew"
_DENIED = "the store refuses access"


def refusal_of(error: Exception, code: str, location: Location) -> tuple[str, str]:
    """Return problem and hint for a refused access.

    A link tells when its signature expires. That is used only after the refusal, because clocks may be wrong.
    """
    if location.store.is_web and signer_of(location) is not None:
        return "the store refuses the signer's link", "check the signer, and what its signatures allow"
    query, now = _signature_at(location), datetime.now(UTC)
    owner, hint = ("the link's signature", _AGAIN) if location.store.is_web else ("the shared access signature", _AGAIN)
    expiry = expiry_of(query)
    if expiry is not None and expiry <= now:
        return f"{owner} expired at {expiry.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC", hint
    if is_early(query, now):
        return f"{owner} is not valid yet", "check the clock of the signer"
    if names_expiry(error) or (meaning := meaning_of(code)) is EXPIRED:
        return (f"{owner} expired", hint) if query else (EXPIRED.problem, EXPIRED.hint)
    if location.store.is_web and is_signed(query):
        return "the store refuses the link's signature", "sign it anew, for GET; check that the link is complete"
    denied = known_hint(location) or scheme_info(location.scheme).denied
    return (meaning.problem, meaning.hint or denied) if meaning and meaning.problem else (_DENIED, denied)


def _signature_at(location: Location) -> str:
    """Return the query with the signature of a location, else empty."""
    if location.store.is_web:
        return location.store.query
    own = str(location.options.get("sas_token") or "")
    found = _IN_CONNECTION_STRING.search(str(location.options.get("connection_string") or ""))
    return (own or (found[1] if found else "")).lstrip("?")
