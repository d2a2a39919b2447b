"""Storage flags, named as the AWS CLI names them -> fsspec's options, which every file system names otherwise."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jp2batch.errors import InvalidRequest
from jp2batch.storage.faults import without_credentials

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
_BY_PROTOCOL = {"s3": _S3, "s3a": _S3, "gs": _GS, "gcs": _GS}


def options_from_flags(path: str, more: str | None = None, **flags: str | bool | None) -> dict[str, Any]:
    """Return the storage options that flags stand for.

    Parameters
    ----------
    path : str
        The image; its protocol decides what a flag means.
    more : str, optional
        Further options as a JSON object, or `@` and the name of a file that holds one. They win.
    **flags : str or bool, optional
        `endpoint_url`, `no_sign_request`, `request_payer`, `profile`, `region`.

    Raises
    ------
    InvalidRequest
        A flag means nothing for that protocol, or `more` is not a JSON object. What it holds is not repeated.
    """
    protocol = path.partition("://")[0] if "://" in path else ""
    known = _BY_PROTOCOL.get(protocol, {})
    options: dict[str, Any] = {}
    for name, value in flags.items():
        if not value:
            continue
        flag = f"--{name.replace('_', '-')}"
        if name not in known:
            kind = f"{protocol}:// paths" if protocol else "local files"
            cure = "leave it out, or give what the driver takes in --storage-options"
            raise InvalidRequest(without_credentials(path), f"{flag} means nothing for {kind}", cure)
        options = _merged(options, known[name](value))
    return _merged(options, _parsed(more) if more is not None else {})


def _parsed(text: str) -> dict[str, Any]:
    try:
        options = json.loads(Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text)
    except OSError as error:
        problem = f"--storage-options: cannot read {text[1:]}: {error.strerror}"
        raise InvalidRequest("", problem, "give @ and the name of a file") from None
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise InvalidRequest("", "--storage-options is not a JSON object", 'give one such as {"anon": true}')
    return options


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return both; where both have a mapping, its merger."""
    both = {
        key: _merged(base[key], over[key])
        for key in base.keys() & over.keys()
        if isinstance(base[key], Mapping) and isinstance(over[key], Mapping)
    }
    return {**base, **over, **both}
