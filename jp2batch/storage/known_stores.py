"""Known stores of Sentinel-2 images: options they need, and hints.

The table is in the configuration, `jp2batch.known-stores`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeGuard

from jp2batch.core.errors import ConfigurationError
from jp2batch.core.location import Location
from jp2batch.core.options import inner_options
from jp2batch.core.store_settings import settings_by_name
from jp2batch.storage.schemes import credentials_given, scheme_info
from jp2batch.storage.store_identity import endpoint_of

_WILD = re.compile(r"[*?\[\]]")


@dataclass(frozen=True, slots=True)
class KnownStore:
    """A row of the table."""

    about: str
    """What to do if the store refuses."""
    options: Mapping[str, object]
    """fsspec's options that it needs."""


def known_store(location: Location) -> KnownStore | None:
    """Return what is known of the store of a location, or None.

    Raises
    ------
    ConfigurationError
        The row of the store cannot be read.
    """
    store = location.store
    if store.is_local:
        return None
    name, rows = f"{scheme_info(store.scheme).names[0]}://{store.bucket.lower()}", settings_by_name("known-stores")
    key = name if name in rows else next((key for key in rows if _fits(name, key)), None)
    row = None if key is None else rows[key]
    if row is None:
        return None
    if not _is_row(row):
        hint = "give {about: …, options: {…}}, or null"
        raise ConfigurationError("", f"jp2batch.known-stores.{key} cannot be read", hint)
    return KnownStore(row.get("about", ""), dict(inner_options(row, "options")))


def _fits(name: str, pattern: str) -> bool:
    """Return whether a name fits a pattern; compiling all patterns takes long."""
    parts = _WILD.split(pattern)
    return name.startswith(parts[0]) and name.endswith(parts[-1]) and fnmatchcase(name, pattern)


def _is_row(row: object) -> TypeGuard[Mapping[str, Any]]:
    if not isinstance(row, Mapping) or not set(row) <= {"about", "options"}:
        return False
    options = row.get("options") or {}
    is_named = isinstance(options, Mapping) and all(isinstance(name, str) for name in options)
    return is_named and isinstance(row.get("about", ""), str)


def known_hint(location: Location) -> str:
    """Return a hint after a refusal of a known store, else empty."""
    known, options = known_store(location), dict(location.options)
    pays = options.get("requester_pays") or inner_options(options, location.store.scheme).get("requester_pays")
    return f"of this store is known: {known.about}" if known and known.about and not pays else ""


def with_known_options(location: Location, options: Mapping[str, object]) -> dict[str, object]:
    """Return storage options, completed with those that the store needs.

    Options of the caller take precedence. At another endpoint, given in the options or in the environment, the bucket
    is another; nothing is added. Neither is anonymous access beside credentials.
    """
    store = location.store
    known = known_store(location)
    own = inner_options(options, store.scheme) if location.is_chained else options
    if known is None or endpoint_of(Location(store.text, own)):
        return dict(options)
    added = dict(known.options)
    if credentials_given(store.scheme, own):
        added = {name: value for name, value in added.items() if name not in scheme_info(store.scheme).anonymous}
    completed: dict[str, object] = {**added, **own}
    for name in added.keys() & own.keys():
        if isinstance(own[name], Mapping):
            completed[name] = {**inner_options(added, name), **inner_options(own, name)}
    return {**options, store.scheme: completed} if location.is_chained and completed else completed
