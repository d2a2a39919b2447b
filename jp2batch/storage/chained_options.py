"""Storage options of a chain, given to the protocols that know them."""

import inspect
from collections.abc import Mapping

import fsspec
from fsspec.registry import known_implementations

from jp2batch.core.errors import InvalidRequest
from jp2batch.core.location import Location

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_COMMON = {"self", "asynchronous", "loop", "batch_size"}  # of every file system


def by_protocol(location: Location, options: Mapping[str, object]) -> dict[str, object]:
    """Return the storage options of a chain, by protocol.

    A mapping under the name of a protocol is its own. Any other option belongs to the protocol with a parameter of its
    name, or else to the store, the last link.

    Raises
    ------
    InvalidRequest
        Several protocols have a parameter of this name.
    """
    protocols = list(dict.fromkeys(map(_protocol, location.links)))
    chosen: dict[str, dict[str, object]] = {}
    for name, value in options.items():
        if name in protocols and isinstance(value, Mapping):
            chosen.setdefault(name, {}).update(value)
            continue
        knowing = [protocol for protocol in protocols if name in _parameters(protocol)]
        if len(knowing) > 1:
            problem = f"storage_options: {' and '.join(knowing)} both have the option {name}"
            example = ", ".join(f'"{protocol}": {{…}}' for protocol in knowing)
            raise InvalidRequest(location, problem, f"give {{{example}}}, a mapping for each")
        chosen.setdefault((knowing or protocols[-1:])[0], {})[name] = value
    return dict(chosen)


def _protocol(link: str) -> str:
    """Return the protocol of a link, which may be its name alone."""
    return link if link in known_implementations else Location.of(link).scheme


def _parameters(protocol: str) -> frozenset[str]:
    """Return the names of a protocol's options, if it is installed."""
    try:
        bases = fsspec.get_filesystem_class(protocol).__mro__
    except (ImportError, ValueError):
        return frozenset()
    named = (one for base in bases for one in inspect.signature(base.__init__).parameters.values())
    return frozenset(one.name for one in named if one.kind in _NAMED) - _COMMON
