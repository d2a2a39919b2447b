"""Addresses of stores, validated before any driver has them."""

from urllib.parse import urlsplit

from jp2batch.core.errors import ConfigurationError, InvalidPath
from jp2batch.core.location import Location
from jp2batch.core.redaction import redact_path
from jp2batch.storage.store_identity import endpoint_of


def validate_characters(location: Location) -> None:
    """Refuse a URL with half of a character.

    Names of local files have them for bytes other than UTF-8.

    Raises
    ------
    InvalidPath
        The URL cannot be encoded.
    """
    if not location.is_local and any("\ud800" <= char <= "\udfff" for char in location.text):
        raise InvalidPath(location, "its URL is not valid Unicode", "check the path")


def validate_endpoint(location: Location) -> None:
    """Refuse an endpoint other than a URL of http or https.

    Drivers would crash, or ask another host.

    Raises
    ------
    ConfigurationError
        The endpoint, in storage options or environment, is no such URL.
    """
    endpoint = endpoint_of(location) if location.store.is_store else ""
    if not endpoint or _is_web_address(endpoint):
        return
    shown = redact_path(endpoint).rpartition("@")[2]
    hint = f"give http://{shown} or https://{shown}" if "//" not in shown else "it begins with https:// or http://"
    raise ConfigurationError(location, f"the store's endpoint_url is not a URL: {shown}", hint)


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
