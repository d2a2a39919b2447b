"""Signers of links: functions from a URL to its signed URL."""

import pkgutil
from collections.abc import Callable
from urllib.parse import SplitResult, unquote, urlsplit

from jp2batch.core import config
from jp2batch.core.errors import ConfigurationError, PermissionDenied, StoreUnavailable
from jp2batch.core.location import Location, host_of
from jp2batch.core.options import SIGN, inner_options
from jp2batch.core.runtime import process_state
from jp2batch.storage.signatures import unsigned

_HINT = "give a function that returns the same URL with a signature"


def signer_of(location: Location) -> Callable[[str], object] | None:
    """Return the signer of a location or its host.

    None without a signer, and for stores with protocols of their own.

    Raises
    ------
    ConfigurationError
        The configuration names no function for the host.
    """
    store = location.store
    if not store.is_web:
        return None
    options = inner_options(location.options, store.scheme) if location.is_chained else location.options
    own = options.get(SIGN)
    return own if callable(own) else _signer_of_host(host_of(store.redacted))


def sign(signer: Callable[[str], object], location: Location) -> str:
    """Return the signed URL of a store's link; it may take long.

    An old signature is replaced.

    Raises
    ------
    PermissionDenied
        The signer fails, or returns another thing than a signed URL. Its value, or its error, is not shown.
    StoreUnavailable
        The signer fails for the moment, as with a connection.
    """
    plain = unsigned_link(location.store)
    try:
        link = signer(plain)
    except Exception as error:  # noqa: BLE001  # of the signer; its text may hold the link
        kind, is_passing = type(error).__name__, isinstance(error, OSError)
    else:
        if problem := _problem_of(link, plain):
            raise PermissionDenied(location, problem, _HINT)
        return str(link)
    if is_passing:
        raise StoreUnavailable(location, f"its signer failed: {kind}", "try again")
    raise PermissionDenied(location, f"its signer failed: {kind}", "call the signer with this URL to see its error")


def with_signed_store(location: Location) -> Location:
    """Return a chain with a signed link to its store.

    Without a signer, it is returned unchanged.
    """
    signer = signer_of(location)
    if signer is None:
        return location
    return Location("::".join([*location.links[:-1], sign(signer, location)]), location.options)


def unsigned_link(link: Location) -> str:
    """Return a URL without its signature."""
    path, mark, query = link.text.partition("?")
    kept = unsigned(query)
    return f"{path}{mark}{kept}" if kept else path


def _problem_of(link: object, plain: str) -> str:
    """Return the problem of a signer's value.

    Empty for a link to the same object.
    """
    if not isinstance(link, str):
        return f"its signer returned a value of type {type(link).__name__}"
    try:
        is_same = _object_of(urlsplit(link)) == _object_of(urlsplit(plain))
    except ValueError:
        is_same = False
    return "" if is_same and link.isprintable() else "its signer returned the link of another object"


def _object_of(link: SplitResult) -> tuple[str, str | None, int | None, str]:
    return link.scheme, link.hostname, link.port, unquote(link.path)


def _signer_of_host(host: str) -> Callable[[str], object] | None:
    """Return the configured signer of a host or its domain."""
    names = config.signers()
    if not names:
        return None
    domains = host.split(".")
    above = (".".join(domains[place:]) for place in range(len(domains)))
    found = next((names[name] for name in above if name in names), None)
    return None if found is None else _named(found)


def validate_signers() -> None:
    """Import all configured signers.

    Raises
    ------
    ConfigurationError
        The configuration names no function, or one that cannot be imported.
    """
    for name in config.signers().values():
        _named(name)


@process_state(limit=64)
def _named(name: str) -> Callable[[str], object]:
    """Return the function that the configuration names."""
    try:
        function: object = pkgutil.resolve_name(name)
    except Exception as error:  # noqa: BLE001  # of any import
        problem = f"jp2batch.signers names no function that can be imported ({type(error).__name__})"
    else:
        if callable(function):
            return function
        problem = "jp2batch.signers names something that is no function"
    raise ConfigurationError("", problem, "give {host: module:function}, and install its package")
