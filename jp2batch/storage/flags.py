"""Translation of storage flags into fsspec's options.

The flags are named as in the AWS CLI.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from jp2batch.core.errors import InvalidRequest
from jp2batch.core.location import Location
from jp2batch.storage.store_options import is_by_protocol

STORAGE_FLAGS = ("more", "endpoint_url", "no_sign_request", "request_payer", "profile", "region")
"""The names of the flags, as parameters."""

_S3: dict[str, Callable[[Any], dict[str, Any]]] = {
    "endpoint_url": lambda url: {"endpoint_url": url},
    "no_sign_request": lambda _: {"anon": True},
    "request_payer": lambda _: {"requester_pays": True},
    "profile": lambda name: {"profile": name},
    "region": lambda name: {"client_kwargs": {"region_name": name}},
}
_GS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "endpoint_url": lambda url: {"endpoint_url": url},
    "no_sign_request": lambda _: {"token": "anon"},
    "request_payer": lambda _: {"requester_pays": True},
}
_LOCAL = "file"
_BY_PROTOCOL = {"s3": _S3, "s3a": _S3, "gs": _GS, "gcs": _GS}


def options_from_flags(
    path: str | Iterable[str], more: str | None = None, **flags: str | bool | None
) -> dict[str, Any]:
    """Return the storage options for command-line flags.

    Parameters
    ----------
    path : str or iterable of str
        Path or paths of images; their protocols decide the meaning of a flag.
    more : str, optional
        Further options as a JSON object, or `@` and the name of a file with such an object. They take precedence. For
        images in several stores: an object of options by protocol.
    **flags : str or bool, optional
        `endpoint_url`, `no_sign_request`, `request_payer`, `profile`, `region`. Among several stores, a flag applies to
        the stores that know it.

    Returns
    -------
    dict
        The options; for several stores, mappings by protocol.

    Raises
    ------
    InvalidRequest
        No store knows a flag, or `more` is not a JSON object. Messages do not repeat its content.
    """
    stores = {_protocol(one): one for one in ([path] if isinstance(path, str) else path)}
    further = _parsed(more) if more is not None else {}
    _check_known(stores, [name for name, value in flags.items() if value])
    by_store = {protocol: _known(protocol, flags) for protocol in stores}
    if is_by_protocol(further):
        by_store = {protocol: _merged(known, further.get(protocol, {})) for protocol, known in by_store.items()}
    elif further:
        (takes,) = _takers(stores)
        by_store[takes] = _merged(by_store[takes], further)
    if len(by_store) == 1:
        return next(iter(by_store.values()))
    return {protocol: known for protocol, known in by_store.items() if known}


def options_for_manifest(
    url: str, root: str | None, more: str | None = None, **flags: str | bool | None
) -> dict[str, Any]:
    """Return the storage options of a manifest from its images' flags."""
    protocol = _protocol(url)
    if protocol == _LOCAL:
        return {}
    further = _parsed(more) if more is not None else {}
    if is_by_protocol(further):
        further = further.get(protocol, {})
    elif root is not None and _protocol(root) != protocol:
        further = {}
    return _merged(_known(protocol, flags), further)


def _protocol(path: str) -> str:
    return Location.of(path).scheme


def _known(protocol: str, flags: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, meaning in _BY_PROTOCOL.get(protocol, {}).items():
        if flags.get(name):
            options = _merged(options, meaning(flags[name]))
    return options


def _check_known(stores: Mapping[str, str], names: Iterable[str]) -> None:
    """Refuse flags unknown to every store."""
    for name in names:
        if not any(name in _BY_PROTOCOL.get(protocol, {}) for protocol in stores):
            protocol, path = next(iter(stores.items()))
            kind = "local files" if protocol == _LOCAL else f"{protocol}:// paths"
            hint = "leave it out, or give what the driver takes in --storage-options"
            raise InvalidRequest(path, f"--{name.replace('_', '-')} does not apply to {kind}", hint)


def _takers(stores: Mapping[str, str]) -> list[str]:
    """Return the only store to which options can apply."""
    takers = [protocol for protocol in stores if len(stores) == 1 or protocol != _LOCAL]
    if len(takers) > 1:
        problem = f"--storage-options for several stores: {', '.join(sorted(takers))}"
        raise InvalidRequest("", problem, 'give {"s3": {…}, "https": {…}}, one mapping for each')
    return takers


def _parsed(text: str) -> dict[str, Any]:
    problem, hint = "--storage-options is not a JSON object", 'give one such as {"anon": true}'
    try:
        options = json.loads(Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text)
        if isinstance(options, dict):
            return options
    except OSError as error:
        problem, hint = f"--storage-options: its file cannot be read: {error.strerror}", "give @ and the name of a file"
    except (ValueError, RecursionError):
        pass
    raise InvalidRequest("", problem, hint)  # outside `except`: the caught error holds the text


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two mappings recursively; values of `over` take precedence."""
    both = {
        key: _merged(base[key], over[key])
        for key in base.keys() & over.keys()
        if isinstance(base[key], Mapping) and isinstance(over[key], Mapping)
    }
    return {**base, **over, **both}
