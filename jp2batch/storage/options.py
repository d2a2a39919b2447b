"""Storage options of several stores at once: {"s3": {…}, "https": {…}}."""

from collections.abc import Mapping
from typing import Any

import fsspec.utils
from fsspec.registry import known_implementations


def options_for(url: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what storage options hold for the store of a URL.

    Parameters
    ----------
    url : str
        A path or URL.
    options : mapping, optional
        fsspec's options for one store, or mappings of them by the protocols of several.
    """
    given = dict(options or {})
    if "::" in url or not is_by_protocol(given):
        return given
    return dict(given.get(fsspec.utils.get_protocol(url), {}))


def is_by_protocol(options: Mapping[str, Any]) -> bool:
    """Tell whether options are those of several stores, by their protocols."""
    return bool(options) and all(
        name in known_implementations and isinstance(value, Mapping) for name, value in options.items()
    )
