"""Identity of stores and objects: host, endpoint and index key."""

import hashlib
import json
from collections.abc import Iterator, Mapping

from jp2batch.core.location import Location, host_of
from jp2batch.storage.schemes import ENDPOINTS, scheme_info
from jp2batch.storage.signatures import unsigned


def endpoint_of(location: Location) -> str:
    """Return a store's endpoint from options or environment, else empty."""
    address = _address(location)
    return next((address[name] for name in ENDPOINTS if name in address), "")


def store_host(location: Location) -> str:
    """Return the host of a store in lower case, else empty."""
    return host_of(endpoint_of(location) or (location.redacted if location.is_web else ""))


def uses_tls(location: Location) -> bool:
    """Return whether connections to a store are encrypted."""
    address = _address(location).get("endpoint") or endpoint_of(location)
    store = Location(address) if address else location.store
    return store.is_store or store.scheme.lower() == "https"


def key_of(location: Location, file: str = "") -> str:
    """Return the index key of an object.

    It is the path or URL, followed by a digest of the parts of its address outside the path.

    Parameters
    ----------
    location : Location
        Where the object is.
    file : str, optional
        The absolute path of a local file.
    """
    path = file if location.is_local else location.redacted
    address = _address(location)
    if query := unsigned(location.query):
        address["query"] = query
    if not address:
        return path
    return f"{path}#{hashlib.sha256(json.dumps(address).encode()).hexdigest()[:12]}"


def _address(location: Location) -> dict[str, str]:
    store = location.store
    return scheme_info(store.scheme).address(store, dict(_flat(location.options)))


def _flat(options: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        else:
            yield name, value
