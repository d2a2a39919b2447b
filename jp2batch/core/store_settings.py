"""Costs of stores as configured: `jp2batch.profiles` and `jp2batch.stores`."""

import contextlib
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from dask.utils import parse_bytes, parse_timedelta

from jp2batch.core import config
from jp2batch.core.costs import StoreCosts
from jp2batch.core.errors import ConfigurationError, InvalidRequest
from jp2batch.core.location import described

_SETTINGS = frozenset(config.DEFAULTS["jp2batch"]["profiles"]["default"]) | {"measured"}
_PROFILE_HINT = (
    "give the name of a profile, or {latency: 30ms, bandwidth: 60 MB, connections: 128, line: 125 MB,"
    " requests-per-minute: 2000}, or some of these"
)


def store_costs(protocol: str, host: str = "") -> StoreCosts:
    """Return the costs of reading from a store.

    Parameters
    ----------
    protocol : str
        Protocol of the store: "s3", "https", "file", …
    host : str, optional
        Host of the store. A profile for the host, or for a domain above it, takes precedence over the protocol's.

    Raises
    ------
    ConfigurationError
        A value is missing or cannot be read.
    """
    stores, profiles = settings_by_name("stores"), settings_by_name("profiles")
    domains = host.lower().split(".")
    names = [".".join(domains[place:]) for place in range(len(domains))] + [protocol]
    store = next((name for name in names if name in stores), "default")
    told = stores.get(store, "default")
    own = told if isinstance(told, Mapping) else profiles.get(str(told))
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
        values = {**config.DEFAULTS["jp2batch"]["profiles"]["default"], **profiles["default"]}
        values |= {"measured": own is not told, **own}  # type: ignore[dict-item]
        return _profile(store if own is told else str(told), values)
    key = f"profiles.{told}" if own and own is not told else f"stores.{store}"
    raise ConfigurationError("", f"jp2batch.{key} is not a profile", _PROFILE_HINT)


def profiles_with(
    latency: str | None = None, bandwidth: str | None = None, connections: int | None = None
) -> AbstractContextManager[object]:
    """Override the costs of all stores in a `with` block.

    Parameters that are None change nothing.

    Raises
    ------
    InvalidRequest
        A value cannot be read.
    """
    given = {"latency": latency, "bandwidth": bandwidth, "connections": connections}
    given = {key: value for key, value in given.items() if value is not None}
    if not given:
        return contextlib.nullcontext()
    stores, profiles = settings_by_name("stores"), settings_by_name("profiles")
    own = {name: told if isinstance(told, Mapping) else profiles.get(str(told), {}) for name, told in stores.items()}
    fresh = {name: {**values, **given} for name, values in {"default": profiles["default"], **own}.items()}
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
        _profile("", {**config.DEFAULTS["jp2batch"]["profiles"]["default"], "measured": False, **given})
        return config.with_dask_values({"jp2batch.stores": fresh})
    hint = "give a latency such as 30ms, a bandwidth such as 60MB, and a number of connections"
    raise InvalidRequest("", f"{' or '.join(given)} cannot be read", hint)


def settings_by_name(key: str) -> dict[str, Any]:
    """Return a section of the configuration, completed with the defaults.

    Raises
    ------
    ConfigurationError
        The section is not a mapping.
    """
    given = config.get_value(key)
    if not isinstance(given, Mapping):
        hint = "give it as {name: {…}}, as in the documentation of the configuration"
        raise ConfigurationError("", f"jp2batch.{key} is {described(given)}", hint)
    return {**config.DEFAULTS["jp2batch"][key], **given}


def _profile(name: str, section: Mapping[str, Any]) -> StoreCosts:
    values = {key.replace("_", "-"): value for key, value in section.items()}  # dask equates both spellings
    unknown = set(values) - _SETTINGS
    quota, line = values["requests-per-minute"], values["line"]
    if unknown or not isinstance(values["measured"], bool):
        raise ValueError(unknown)
    return StoreCosts(
        latency=float(parse_timedelta(values["latency"])),
        bandwidth=_positive(parse_bytes(values["bandwidth"])),
        connections=max(1, int(values["connections"])),
        line=math.inf if line is None else _positive(parse_bytes(line)),
        requests_per_minute=None if quota is None else _positive(quota),
        name=name,
        measured=values["measured"] and bool(config.get_value("measure")),
        handshake=max(0.0, float(parse_timedelta(values["handshake"]))),
    )


def _positive(value: Any) -> float:
    if not float(value) > 0:
        raise ValueError(value)
    return float(value)
