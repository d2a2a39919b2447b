"""Storage options of several stores at once: {"s3": {…}, "https": {…}}."""

from collections.abc import Mapping
from typing import Any

import fsspec.utils
from fsspec.registry import known_implementations

from jp2batch.core.errors import InvalidRequest


def options_for(url: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what storage options hold for the store of a URL.

    Parameters
    ----------
    url : str
        A path or URL.
    options : mapping, optional
        fsspec's options for one store, or mappings of them by the protocols of several.

    Raises
    ------
    InvalidRequest
        They are no mapping.
    """
    given = validate_options(options)
    if "::" in url or not is_by_protocol(given):
        return given
    return dict(given.get(fsspec.utils.get_protocol(url), {}))


def validate_options(options: object) -> dict[str, Any]:
    """Return storage options as a dict.

    Raises
    ------
    InvalidRequest
        They are no mapping.
    """
    if options is not None and not isinstance(options, Mapping):
        problem = f"storage_options are of type {type(options).__name__}"  # what they hold may be secret
        raise InvalidRequest("", problem, 'give a mapping, as {"anon": True}')
    return dict(options or {})


def is_by_protocol(options: Mapping[str, Any]) -> bool:
    """Tell whether options are those of several stores, by their protocols."""
    return bool(options) and all(
        name in known_implementations and isinstance(value, Mapping) for name, value in options.items()
    )


StorageOptions = Mapping[str, Any] | None
"""fsspec's options for a store: credentials, endpoint, …"""


class SecretDict(dict[str, Any]):
    """A dict whose values are not for showing: a scheduler logs the arguments of tasks that fail."""

    def __repr__(self) -> str:
        return "{…}"
