"""The storage options of one store, or of several at once: {"s3": {…}, "https": {…}}."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fsspec.registry import known_implementations

from jp2batch.core.errors import InvalidPath
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions, validate_options


def locate(url: str, options: StorageOptions) -> Location:
    """Return the location of a path or URL, with the options of its own store.

    Raises
    ------
    InvalidPath
        It names a user of an object store: drivers take that for a part of the bucket's name, and repeat it.
    InvalidRequest
        The options are no mapping.
    """
    location = Location.of(url)
    if location.names_a_user_of_a_store:
        hint = "put them into the environment, a profile or storage_options, and take them out of the URL"
        raise InvalidPath(url, "its URL holds credentials", hint)
    return replace(location, options=options_for(location, options))


def options_for(url: str | Location, options: StorageOptions) -> dict[str, Any]:
    """Return what storage options hold for the store of a path or URL; chains take them as they are.

    Raises
    ------
    InvalidRequest
        They are no mapping.
    """
    location, given = Location.of(url), validate_options(options)
    if location.is_chained or not is_by_protocol(given):
        return given
    return dict(given.get(location.scheme, {}))


def is_by_protocol(options: Mapping[str, Any]) -> bool:
    """Tell whether options are those of several stores, by their protocols."""
    return bool(options) and all(
        name in known_implementations and isinstance(value, Mapping) for name, value in options.items()
    )
