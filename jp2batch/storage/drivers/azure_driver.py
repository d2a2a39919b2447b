"""Azure Blob Storage over adlfs: driver, account, endpoint, credentials.

The account and its credentials come from options, URL and environment.
"""

import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from jp2batch.core.errors import InvalidPath, StorageError
from jp2batch.core.location import Location
from jp2batch.core.ranges import ByteRange
from jp2batch.core.redaction import redact
from jp2batch.storage.drivers.driver import Driver
from jp2batch.storage.drivers.http_driver import FIRST_BYTE, HttpReply, range_header, reply_of
from jp2batch.storage.replies import Reply, Version

_ENVIRONMENT = {
    name: f"AZURE_STORAGE_{name.upper()}"
    for name in ("account_name", "account_key", "connection_string", "sas_token", "client_id")
}
_SIGNING = ("account_key", "sas_token", "credential", "client_id", "client_secret")
# account.dfs.core.windows.net, after the container or in place of it
_HOST = re.compile(r"(?P<account>[a-z0-9-]+)\.(?:dfs|blob)\.(?P<domain>[a-z0-9.-]+)", re.IGNORECASE)
_ACCOUNT = re.compile("[A-Za-z0-9._-]*")
# adlfs leaves out tabs and line breaks, aiohttp removes these segments.
_CHANGED = re.compile(r"(?:^|/)\.{1,2}(?:/|$)|[\0-\x1f\x7f]")
_DOMAIN = "core.windows.net"


class AzureBlob(Driver):
    """An object of Azure Blob Storage.

    Sends its requests through the pipeline of azure-storage-blob, which signs them. Methods above it decompress bodies,
    refuse replies with unusual headers, and repeat requests themselves.
    """

    file_system = "adlfs.spec.AzureBlobFileSystem"
    tells_version = True

    async def get(self, span: ByteRange, expected: Version | None) -> Reply:
        """Request a range once; see `driver.Driver`."""
        condition = {"If-Match": str(expected.etag)} if expected and expected.has_tag else {}
        async with self._answer(span, condition) as answer:
            return await reply_of(answer, span, expected, self._meter)

    async def look(self, expected: Version | None) -> Version:
        """Request the size and the version alone; see `driver.Driver`."""
        condition = {"If-None-Match": str(expected.etag)} if expected and expected.has_tag else {}
        async with self._answer(FIRST_BYTE, condition) as answer:
            if answer.status == 304 and expected is not None:
                return expected
            return (await reply_of(answer, FIRST_BYTE, expected, self._meter)).version

    @asynccontextmanager
    async def _answer(self, span: ByteRange, condition: Mapping[str, str]) -> AsyncIterator[HttpReply]:
        from azure.core.rest import HttpRequest

        blob = self._blob()
        headers = {"x-ms-version": blob.api_version, "x-ms-range": range_header(span), **condition}
        self._meter.requested()
        request = HttpRequest("GET", blob.url, headers=headers)
        response = await blob._client._client.send_request(request, stream=True, retry_total=0)
        try:
            yield HttpReply(response.status_code, response.headers, response.iter_raw())
        finally:
            await response.close()

    @staticmethod
    def repeat_nothing(fs: Any) -> None:
        """Let the file system make each request once; see `driver.Driver`."""
        pipeline = getattr(getattr(fs, "service_client", None), "_pipeline", None)
        for policy in getattr(pipeline, "_impl_policies", ()):
            if hasattr(policy, "total_retries"):
                policy.total_retries = 0

    def _blob(self) -> Any:
        container, key, _ = self._split()
        if not key:
            raise IsADirectoryError(container)
        return self._fs.service_client.get_blob_client(container, key)


def azure_credentials(options: Mapping[str, object]) -> str | None:
    """Return the origin of the credentials; None if none are given."""
    if _parts(options.get("connection_string")).keys() & {"accountkey", "sharedaccesssignature"}:
        return "storage_options"
    if any(options.get(name) for name in _SIGNING):
        return "storage_options"
    names = (_ENVIRONMENT[name] for name in ("connection_string", "account_key", "sas_token", "client_id"))
    return next((name for name in names if os.environ.get(name)), None)


def azure_address(location: Location, options: Mapping[str, object]) -> dict[str, str]:
    """Return account and endpoint of a store, without credentials.

    Empty if no account is named.

    Parameters
    ----------
    location : Location
        Its URL may name the account: `abfs://container@account.dfs.core.windows.net/key`.
    options : mapping
        fsspec's options for the store.
    """
    connection = _connection(location, options)
    account = _account(location, options, connection)
    endpoint = options.get("endpoint_url") or connection.get("blobendpoint")
    if not endpoint and options.get("account_host"):
        endpoint = f"https://{options['account_host']}"
    if not endpoint and account:
        host = _host(location)
        domain = host["domain"] if host else connection.get("endpointsuffix", _DOMAIN)
        endpoint = f"https://{account}.blob.{domain}"
    if not endpoint:
        return {}
    endpoint = redact(str(endpoint)).rstrip("/")
    return {"account_name": account or _account_at(endpoint), "endpoint": endpoint}


def azure_options(location: Location, _connections: int) -> dict[str, object]:
    """Return the options for adlfs.

    A connection string is made of the credentials: adlfs has no other way to name an endpoint by http, and takes none
    of the environment beside it. Without credentials, adlfs asks `DefaultAzureCredential`, unless `anon` is true.
    """
    if _CHANGED.search(location.key):
        problem = "adlfs would ask for another key: this one has a segment '.' or '..', or a control character"
        raise InvalidPath(location, problem, "copy the object to another key")
    options = dict(location.options)
    address = azure_address(location, options)
    if not address:
        variable = "AZURE_STORAGE_ACCOUNT_NAME in the environment of this machine"
        hint = f'give storage_options={{"account_name": …}}, or {variable}'
        raise StorageError(location, "no storage account is named", hint)
    if not _ACCOUNT.fullmatch(address["account_name"]):  # not shown: it may be a signed link by mistake
        raise StorageError(location, "account_name is not the name of a storage account", "give letters and digits")
    connection = _connection(location, options)
    key = options.get("account_key") or connection.get("accountkey") or _environment("account_key")
    signature = options.get("sas_token") or connection.get("sharedaccesssignature") or _environment("sas_token")
    own = {name: value for name, value in options.items() if name not in {*_SIGNING, "endpoint_url", "account_host"}}
    endpoint = f"BlobEndpoint={address['endpoint']}"
    if options.get("anon"):
        return {**own, "connection_string": endpoint}
    if key:
        return {**own, "connection_string": f"{endpoint};AccountName={address['account_name']};AccountKey={key}"}
    if signature:
        return {**own, "connection_string": f"{endpoint};SharedAccessSignature={str(signature).lstrip('?')}"}
    host = address["endpoint"].removeprefix("https:").lstrip("/")
    return {**options, "account_name": address["account_name"], "account_host": host}


def _connection(location: Location, options: Mapping[str, object]) -> dict[str, str]:
    """Return the parts of the connection string in options or environment.

    The environment's is used only if it is for the same account.
    """
    if own := _parts(options.get("connection_string")):
        return own
    parts, host = _parts(_environment("connection_string")), _host(location)
    named = options.get("account_name") or (host and host["account"])
    elsewhere = options.get("endpoint_url") or options.get("account_host")
    return {} if elsewhere or (named and parts.get("accountname", named) != named) else parts


def _account(location: Location, options: Mapping[str, object], connection: Mapping[str, str]) -> str:
    host = _host(location)
    names = (options.get("account_name"), host and host["account"], connection.get("accountname"))
    return str(next((name for name in names if name), "") or _environment("account_name"))


def _account_at(endpoint: str) -> str:
    """Return the account at an endpoint.

    It is the first label of the host, or the folder of an emulator.
    """
    address = urlsplit(endpoint)
    return address.path.strip("/") or (address.hostname or "").partition(".")[0]


def _host(location: Location) -> re.Match[str] | None:
    return _HOST.fullmatch(location.bucket.rpartition("@")[2])


def _environment(option: str) -> str:
    return os.environ.get(_ENVIRONMENT[option], "")


def _parts(connection_string: object) -> dict[str, str]:
    """Return the parts of a connection string, by lower-case name."""
    pairs = (part.partition("=") for part in str(connection_string or "").split(";"))
    return {name.strip().lower(): value for name, _, value in pairs if value}
