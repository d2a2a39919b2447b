"""Translate storage flags, named as in the AWS CLI, into storage options."""

import functools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click

from jp2batch.core.errors import InvalidRequest
from jp2batch.core.location import Location
from jp2batch.storage.schemes import scheme_info

Options = dict[str, object]
"""fsspec's options for a store, or for several, by protocol."""

_LOCAL = "file"

_IN_FLAGS = (
    (re.compile(r'storage_options=\{"(?:anon": True|token": "anon")\}'), "--no-sign-request"),
    (re.compile(r'storage_options=\{"requester_pays": True\}'), "--request-payer requester"),
    (re.compile(r'storage_options=\{"endpoint_url": "([^"]+)"\}'), r"--endpoint-url \1"),
)
"""Storage options in messages of the library, and their flags."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageFlags:
    """Values of the storage flags of a command."""

    endpoint_url: str | None = None
    """Address of the store."""
    no_sign_request: bool = False
    """True to send requests without credentials."""
    request_payer: str | None = None
    """Payer of the requests: "requester"."""
    profile: str | None = None
    """Profile of the AWS configuration."""
    region: str | None = None
    """Region of the bucket."""
    storage_options: str | None = None
    """Further options: a JSON object, or `@` and its file name.

    For several stores, an object of objects by protocol.
    """

    def options_for(self, *paths: str) -> Options:
        """Return storage options for paths; for several stores, by protocol.

        Among several stores, each flag applies to the stores that support it. Further options take precedence.

        Raises
        ------
        InvalidRequest
            A flag applies to none of the stores, or the further options are not a JSON object. The message does not
            show these options.
        """
        from jp2batch.storage.store_options import is_by_protocol

        stores = {_protocol(path): path for path in paths}
        further = self._further()
        self._check_known(stores)
        by_store = {protocol: self._options_of(protocol) for protocol in stores}
        inner: Options = {}
        if is_by_protocol(further):
            if any(Location.of(path).is_chained for path in paths):
                inner = {protocol: known for protocol, known in further.items() if protocol not in stores}
            by_store = {protocol: _merged(known, _below(further, protocol)) for protocol, known in by_store.items()}
        elif further:
            (taker,) = _takers(stores)
            by_store[taker] = _merged(by_store[taker], further)
        if len(by_store) == 1 and not inner:
            return next(iter(by_store.values()))
        return inner | {protocol: known for protocol, known in by_store.items() if known}

    def options_for_manifest(self, url: str, root: str | None) -> Options:
        """Return the storage options of a manifest.

        The flags are meant for the store of its images, which can be another store.
        """
        from jp2batch.storage.store_options import is_by_protocol

        protocol = _protocol(url)
        if protocol == _LOCAL:
            return {}
        further = self._further()
        if is_by_protocol(further):
            further = _below(further, protocol)
        elif root is not None and _protocol(root) != protocol:
            further = {}
        return _merged(self._options_of(protocol), further)

    def options_beside(self, path: str) -> Options:
        """Return the storage options of a file besides the images.

        Flags apply if its store supports them; further options do not.
        """
        own = replace(self, storage_options=None)
        return own.options_for(path) if scheme_info(_protocol(path)).flags else {}

    def _options_of(self, protocol: str) -> Options:
        options: Options = {}
        for name, meaning in scheme_info(protocol).flags.items():
            if value := getattr(self, name):
                options = _merged(options, meaning(value))
        return options

    def _check_known(self, stores: Mapping[str, str]) -> None:
        """Refuse flags unknown to all stores."""
        names = [name for name, value in asdict(self).items() if value and name != "storage_options"]
        for name in names:
            if not any(name in scheme_info(protocol).flags for protocol in stores):
                protocol, path = next(iter(stores.items()))
                kind = "local files" if protocol == _LOCAL else f"{protocol}:// paths"
                hint = "leave it out, or give what the driver takes in --storage-options"
                problem = f"--{name.replace('_', '-')} does not apply to {kind}"
                raise InvalidRequest(path, problem, hint)

    def _further(self) -> Options:
        text = self.storage_options
        if text is None:
            return {}
        problem, hint = "--storage-options is not a JSON object", 'give one such as {"anon": true}'
        try:
            if text.startswith("@"):
                text = Path(Location.of(text[1:]).expanded.text).read_text(encoding="utf-8")
            options = json.loads(text)
            if isinstance(options, dict):
                return options
        except OSError as error:
            problem = f"--storage-options: its file cannot be read: {error.strerror}"
            hint = "give @ and the name of a file"
        except (ValueError, RecursionError):
            pass
        raise InvalidRequest("", problem, hint)  # outside of except: the other error refers to the text


_FLAGS = (
    click.option("--endpoint-url", metavar="URL", help="Address of a store compatible with S3, GCS or Azure."),
    click.option("--no-sign-request", is_flag=True, help="Access public buckets anonymously."),
    click.option("--request-payer", type=click.Choice(["requester"]), help="Pay for the requests."),
    click.option("--profile", metavar="NAME", help="Profile of the AWS configuration."),
    click.option("--region", metavar="NAME", help="Region of the bucket."),
    click.option("--storage-options", metavar="JSON|@FILE", help="Further options of fsspec's driver."),
)


def storage_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Add the storage flags to a command, as its parameter `storage`."""

    @functools.wraps(command)
    def collected(
        *,
        endpoint_url: str | None,
        no_sign_request: bool,
        request_payer: str | None,
        profile: str | None,
        region: str | None,
        storage_options: str | None,
        **others: object,
    ) -> None:
        storage = StorageFlags(
            endpoint_url=endpoint_url,
            no_sign_request=no_sign_request,
            request_payer=request_payer,
            profile=profile,
            region=region,
            storage_options=storage_options,
        )
        command(storage=storage, **others)

    return functools.reduce(lambda decorated, flag: flag(decorated), reversed(_FLAGS), collected)


def options_in_flags(text: str) -> str:
    """Return a message with flags instead of storage options."""
    for options, flag in _IN_FLAGS:
        text = options.sub(flag, text)
    return text


def _protocol(path: str) -> str:
    """Return the protocol of a path's store, the last of a chain."""
    return Location.of(path).store.scheme


def _takers(stores: Mapping[str, str]) -> list[str]:
    """Return the protocol of the only store options can apply to."""
    takers = [protocol for protocol in stores if len(stores) == 1 or protocol != _LOCAL]
    if len(takers) > 1:
        problem = f"--storage-options for several stores: {', '.join(sorted(takers))}"
        raise InvalidRequest("", problem, 'give {"s3": {…}, "https": {…}}, one mapping for each')
    return takers


def _below(options: Options, name: str) -> Options:
    inner = options.get(name)
    return dict(inner) if isinstance(inner, Mapping) else {}


def _merged(base: Options, over: Options) -> Options:
    """Return options merged recursively; `over` takes precedence."""
    both = {
        key: _merged(_below(base, key), _below(over, key))
        for key in base.keys() & over.keys()
        if isinstance(base[key], Mapping) and isinstance(over[key], Mapping)
    }
    return {**base, **over, **both}
