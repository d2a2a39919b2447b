"""Identity of stores and objects: host, endpoint and index key."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from jp2batch.core.place import Place

_ADDRESS = frozenset({"endpoint_url", "endpoint", "host", "port", "account_name", "account_host"})
_ADDRESS_OF_S3 = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "FSSPEC_S3_ENDPOINT_URL")
# Query parameters that change with each signature, in lower case: of Amazon, Google, Microsoft and compatible stores.
_SIGNING = re.compile(
    r"x-amz-.*|x-goog-.*|awsaccesskeyid|googleaccessid|key-pair-id|signature|sig|(?:access_)?token|expires"
)
# Parameters that belong to a signature only beside the parameter in the key.
_SIGNING_BESIDE = {
    "sig": re.compile(r"s[eprstv]|ss|srt|spr|sip|sk(?:oid|tid|[tesv])"),
    "key-pair-id": re.compile("policy"),
}


def endpoint_of(place: Place) -> str:
    """Return a store's endpoint from options or environment, else empty."""
    address = _address(place)
    names = (*_ADDRESS_OF_S3, "endpoint_url", "endpoint", "host")
    return next((address[name] for name in names if name in address), "")


def host_of(place: Place) -> str:
    """Return the host of a store in lower case, else empty."""
    url = endpoint_of(place) or (place.path if place.protocol in ("http", "https") else "")
    try:
        return urlsplit(url if "://" in url else f"//{url}").hostname or ""
    except ValueError:  # not a URL; the driver reports it
        return ""


def key_of(place: Place, url: str, asked: str) -> str:
    """Return the index key of an object.

    It is the path, followed by a digest of the parts of its address outside the path.

    Parameters
    ----------
    place : Place
        Description of the object in messages.
    url : str
        The object's name in its file system.
    asked : str
        The path as the user wrote it.
    """
    path = url if place.protocol in ("file", "local") else place.path
    address = _address(place)
    if query := _unsigned(asked.partition("?")[2]):
        address["query"] = query
    if not address:
        return path
    return f"{path}#{hashlib.sha256(json.dumps(address).encode()).hexdigest()[:12]}"


def _unsigned(query: str) -> str:
    """Return the query of a URL without its signature."""
    parts = [(part.partition("=")[0].lower(), part) for part in query.split("&")]
    beside = [pattern for name, pattern in _SIGNING_BESIDE.items() if any(name == own for own, _ in parts)]
    return "&".join(part for name, part in parts if not any(one.fullmatch(name) for one in (_SIGNING, *beside)))


def _address(place: Place) -> dict[str, str]:
    address = {name: str(value) for name, value in sorted(_flat(place.options)) if name in _ADDRESS and value}
    if place.protocol in ("s3", "s3a") and not address:
        address = {name: os.environ[name] for name in _ADDRESS_OF_S3 if os.environ.get(name)}
    return address


def _flat(options: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        else:
            yield name, value
