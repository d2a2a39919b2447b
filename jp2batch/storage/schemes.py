"""Which credentials a store would be asked with: their kind and where they are from, never what they are."""

import os
from collections.abc import Mapping
from typing import Any

__all__ = ["ANONYMOUS", "credentials_of"]

ANONYMOUS: dict[str, dict[str, Any]] = {
    "s3": {"anon": True},
    "s3a": {"anon": True},
    "gs": {"token": "anon"},
    "gcs": {"token": "anon"},
}
"""By protocol, the options that mean: ask without credentials."""

_S3_OPTIONS = ("key", "secret", "token", "session")


def credentials_of(protocol: str, options: Mapping[str, Any]) -> str | None:
    """Tell which credentials requests to a store would be signed with; None: there are none.

    Parameters
    ----------
    protocol : str
        Of the path: "s3", "gs", "https", …
    options : mapping
        fsspec's options.

    Returns
    -------
    str or None
        As "anonymous", "storage_options", "environment", "shared-credentials-file"; None also where none are known of.
    """
    if any(options.get(key) == value for key, value in ANONYMOUS.get(protocol, {}).items()):
        return "anonymous"
    if protocol in ("s3", "s3a"):
        return "storage_options" if any(options.get(name) for name in _S3_OPTIONS) else _botocores(options)
    if protocol in ("gs", "gcs"):
        if options.get("token"):
            return "storage_options"
        return "GOOGLE_APPLICATION_CREDENTIALS" if os.environ.get("GOOGLE_APPLICATION_CREDENTIALS") else None
    return "storage_options" if options.get("headers") or options.get("client_kwargs") else None


def _botocores(options: Mapping[str, Any]) -> str | None:
    """Return where botocore, which s3fs asks, finds credentials."""
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        found = Session(profile=options.get("profile")).get_credentials()
    except BotoCoreError:  # such a profile does not exist
        return None
    return None if found is None else {"env": "environment"}.get(found.method, found.method)
