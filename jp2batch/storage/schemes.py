"""Properties of stores, by the scheme of their URLs."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from jp2batch.core.errors import (
    ConfigurationError,
    ImageNotFound,
    InvalidPath,
    Jp2BatchError,
    PermissionDenied,
    StorageError,
    StoreUnavailable,
)
from jp2batch.core.location import LOCAL, Location
from jp2batch.core.options import inner_options
from jp2batch.storage.drivers.azure_driver import AzureBlob, azure_address, azure_credentials, azure_options
from jp2batch.storage.drivers.driver import Driver
from jp2batch.storage.drivers.gs_driver import GoogleObject
from jp2batch.storage.drivers.http_driver import HttpObject, http_options
from jp2batch.storage.drivers.s3fs_driver import S3Object

Options = dict[str, object]

_S3_OPTIONS = ("key", "secret", "token", "session")
_S3_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "FSSPEC_S3_ENDPOINT_URL")
ENDPOINTS = (*_S3_ENDPOINTS, "endpoint_url", "endpoint", "host")
"""Keys of an address with the host."""

_ADDRESS = frozenset({"endpoint_url", "endpoint", "host", "port", "account_name", "account_host"})


def _s3_credentials(options: Mapping[str, object]) -> str | None:
    """Return the origin of the credentials for S3.

    Without options, botocore's credentials are used, as in s3fs.
    """
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    if any(options.get(name) for name in _S3_OPTIONS):
        return "storage_options"
    try:
        found = Session(profile=options.get("profile")).get_credentials()
    except BotoCoreError:  # the profile does not exist
        return None
    return None if found is None else {"env": "environment"}.get(found.method, found.method)


def _gs_credentials(options: Mapping[str, object]) -> str | None:
    name = "GOOGLE_APPLICATION_CREDENTIALS"
    return "storage_options" if options.get("token") else name if os.environ.get(name) else None


def _web_credentials(options: Mapping[str, object]) -> str | None:
    return "storage_options" if options.get("headers") or options.get("client_kwargs") else None


def _address_options(_location: Location, options: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in sorted(options.items()) if name in _ADDRESS and value}


def _s3_address(location: Location, options: Mapping[str, object]) -> dict[str, str]:
    return _address_options(location, options) or {
        name: os.environ[name] for name in _S3_ENDPOINTS if os.environ.get(name)
    }


def _plain_options(location: Location, _connections: int) -> Options:
    return dict(location.options)


def _s3_options(location: Location, connections: int) -> Options:
    config = {"max_pool_connections": connections, "retries": {"total_max_attempts": 1}}  # `retry` repeats requests
    return {**location.options, "config_kwargs": {**config, **inner_options(location.options, "config_kwargs")}}


@dataclass(frozen=True, slots=True)
class SchemeInfo:
    """Properties of a kind of store."""

    names: tuple[str, ...]
    """Schemes of the store, the most usual first."""
    title: str
    """Its name, for documentation."""
    package: str = ""
    """Package of its driver, if this package does not install it."""
    extra: str = ""
    """Extra of this package for the driver."""
    anonymous: Mapping[str, object] = field(default_factory=dict)
    """fsspec's options for anonymous access."""
    flags: Mapping[str, Callable[[Any], Options]] = field(default_factory=dict)
    """fsspec's options for each applicable storage flag, in order."""
    denied: str = "check the credentials in storage_options"
    """Hint after a refusal."""
    credentials: Callable[[Mapping[str, object]], str | None] = _web_credentials
    """Origin of the credentials, from fsspec's options."""
    address: Callable[[Location, Mapping[str, object]], dict[str, str]] = _address_options
    """Address of a store outside the path, from fsspec's options.

    It contains no credentials.
    """
    errors: Mapping[str, type[Jp2BatchError]] = field(default_factory=dict)
    """Meanings of its driver's exceptions, by class name."""
    driver: type[Driver] | None = None
    """Its own driver; None for a driver of any file system."""
    driver_options: Callable[[Location, int], Options] = _plain_options
    """fsspec's options for a number of concurrent connections."""

    @property
    def install(self) -> str:
        """The command for a missing driver."""
        return f'pip install "jp2batch[{self.extra}]"' if self.extra else f"pip install {self.package}"


FILE = SchemeInfo(LOCAL, "local files", denied="check who may read the file")
S3 = SchemeInfo(
    ("s3", "s3a"),
    "Amazon S3 and compatible stores",
    anonymous={"anon": True},
    flags={
        "endpoint_url": lambda url: {"endpoint_url": url},
        "no_sign_request": lambda _: {"anon": True},
        "request_payer": lambda _: {"requester_pays": True},
        "profile": lambda name: {"profile": name},
        "region": lambda name: {"client_kwargs": {"region_name": name}},
    },
    denied='give credentials in the environment of this machine; for a public bucket, storage_options={"anon": True};'
    ' if the requester pays, storage_options={"requester_pays": True}; a missing key can look like this too',
    credentials=_s3_credentials,
    address=_s3_address,
    errors={  # of botocore; HTTPClientError is the base of its connection errors
        "CredentialRetrievalError": PermissionDenied,
        "HTTPClientError": StoreUnavailable,
        "InvalidRegionError": ConfigurationError,
        "IncompleteReadError": StoreUnavailable,
        "NoCredentialsError": PermissionDenied,
        "ParamValidationError": InvalidPath,
        "PartialCredentialsError": PermissionDenied,
    },
    driver=S3Object,
    driver_options=_s3_options,
)
SCHEMES = (
    FILE,
    SchemeInfo(
        ("https", "http"),
        "web servers",
        denied='give "headers" or "client_kwargs" in storage_options',
        errors={  # of aiohttp; botocore also has a ClientError, which is recognised earlier by its status
            "ClientConnectorCertificateError": StorageError,
            "ClientError": StoreUnavailable,
            "InvalidURL": InvalidPath,
        },
        driver=HttpObject,
        driver_options=http_options,
    ),
    S3,
    SchemeInfo(
        ("gs", "gcs"),
        "Google Cloud Storage",
        package="gcsfs",
        extra="gs",
        anonymous={"token": "anon"},
        flags={
            "endpoint_url": lambda url: {"endpoint_url": url},
            "no_sign_request": lambda _: {"token": "anon"},
            "request_payer": lambda _: {"requester_pays": True},
        },
        denied="give credentials in the environment of this machine; for a public bucket,"
        ' storage_options={"token": "anon"}',
        credentials=_gs_credentials,
        errors={"DefaultCredentialsError": PermissionDenied, "RefreshError": PermissionDenied},
        driver=GoogleObject,
    ),
    SchemeInfo(
        ("az", "abfs", "abfss"),
        "Azure Blob Storage",
        package="adlfs",
        extra="azure",
        anonymous={"anon": True},
        flags={
            "endpoint_url": lambda url: {"endpoint_url": url},
            "no_sign_request": lambda _: {"anon": True},
        },
        denied='give credentials in the environment of this machine or storage_options={"account_name": …,'
        ' "account_key": …}; for a public container, storage_options={"anon": True}',
        credentials=azure_credentials,
        address=azure_address,
        errors={
            "AzureError": StoreUnavailable,
            "ClientAuthenticationError": PermissionDenied,
            "ResourceNotFoundError": ImageNotFound,
        },
        driver=AzureBlob,
        driver_options=azure_options,
    ),
    SchemeInfo(("memory",), "fsspec's memory"),
)
"""Properties of all known kinds of stores."""

_ROWS = {name: row for row in SCHEMES for name in row.names}


def scheme_info(scheme: str) -> SchemeInfo:
    """Return the properties of a scheme, or defaults if unknown."""
    return _ROWS.get(scheme) or SchemeInfo((scheme,), f"{scheme} by fsspec")


def is_readable(scheme: str) -> bool:
    """Return whether a scheme can be read here."""
    import fsspec

    row = _ROWS.get(scheme)
    if row is None:
        return scheme in fsspec.available_protocols()
    return not row.package or find_spec(row.package) is not None


def credentials_given(scheme: str, options: Mapping[str, object]) -> bool:
    """Return whether storage options hold credentials of a scheme."""
    names = {*_S3_OPTIONS, "profile"} if scheme_info(scheme) is S3 else {*scheme_info(scheme).anonymous}
    return any(options.get(name) for name in names)


def credentials_of(scheme: str, options: Mapping[str, object]) -> str | None:
    """Return the kind of credentials for a store; None without any.

    Parameters
    ----------
    scheme : str
        Scheme of the URL: "s3", "gs", "https", …
    options : mapping
        fsspec's options.

    Returns
    -------
    str or None
        Such as "anonymous", "storage_options", "environment", "shared-credentials-file"; None also for a scheme whose
        credentials are unknown.
    """
    row = scheme_info(scheme)
    if any(options.get(name) == value for name, value in row.anonymous.items()):
        return "anonymous"
    return row.credentials(options)
