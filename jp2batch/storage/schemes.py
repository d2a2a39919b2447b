"""Kind and origin of the credentials for a store.

Their values are never shown.
"""

import os
from collections.abc import Mapping

__all__ = ["ANONYMOUS", "credentials_of"]

ANONYMOUS: dict[str, dict[str, object]] = {
    "s3": {"anon": True},
    "s3a": {"anon": True},
    "gs": {"token": "anon"},
    "gcs": {"token": "anon"},
}
"""Options for anonymous access, by protocol."""

_S3_OPTIONS = ("key", "secret", "token", "session")


def credentials_of(protocol: str, options: Mapping[str, object]) -> str | None:
    """Return the kind of credentials for a store; None without any.

    Parameters
    ----------
    protocol : str
        Protocol of the path: "s3", "gs", "https", …
    options : mapping
        fsspec's options.

    Returns
    -------
    str or None
        Such as "anonymous", "storage_options", "environment", "shared-credentials-file"; None also for a protocol whose
        credentials are unknown.
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


def _botocores(options: Mapping[str, object]) -> str | None:
    """Return the origin of botocore's credentials, which s3fs uses."""
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        found = Session(profile=options.get("profile")).get_credentials()
    except BotoCoreError:  # the profile does not exist
        return None
    return None if found is None else {"env": "environment"}.get(found.method, found.method)
