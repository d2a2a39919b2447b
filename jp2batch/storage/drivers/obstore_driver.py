"""S3 through obstore: far less computing per request than s3fs."""

import os
import re
import sys
from collections.abc import Callable, Mapping
from email.utils import format_datetime
from importlib.util import find_spec
from typing import Any

from jp2batch.core.config import driver, max_whole_file
from jp2batch.core.costs import StoreCosts
from jp2batch.core.errors import ConfigurationError, ImageTooLarge
from jp2batch.core.location import Location
from jp2batch.core.options import inner_options, without_signer
from jp2batch.core.ranges import ByteRange
from jp2batch.core.runtime import is_forked, process_state
from jp2batch.storage.base_source import Meter
from jp2batch.storage.drivers.driver import Driver
from jp2batch.storage.drivers.http_driver import unsatisfied
from jp2batch.storage.drivers.obstore_errors import RangeUnsatisfied, ReplyNotPartial, ReplyNotShown, plain_error
from jp2batch.storage.drivers.pending_calls import pending_calls
from jp2batch.storage.http_status import HttpStatusError
from jp2batch.storage.replies import Reply, Version
from jp2batch.storage.schemes import S3, scheme_info
from jp2batch.storage.store_identity import endpoint_of

_KNOWN = frozenset({"key", "secret", "token", "anon", "endpoint_url", "client_kwargs", "requester_pays", "profile"})
_CONTROL = re.compile("[\0-\x1f\x7f]")
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")
_REGION = re.compile(r"[A-Za-z0-9-]+")


class ObstoreObject(Driver):
    """An object behind the S3 protocol.

    Replies that obstore does not show are asked for again by another driver, if there is one.
    """

    tells_version = True

    def __init__(self, store: Any, key: str, other: Callable[[Meter], Driver] | None, meter: Meter) -> None:
        self._store, self._key, self._meter = store, key, meter
        self._make_other = other
        self._other: Driver | None = None

    async def get(self, span: ByteRange, expected: Version | None) -> Reply:
        """Request a range once; see `driver.Driver`."""
        if self._other is None:
            try:
                return await self._get_range(span, expected)
            except ReplyNotShown as error:
                self._other = self._replacement(error)
        return await self._other.get(span, expected)

    async def look(self, expected: Version | None) -> Version:
        """Request the size and the version alone; see `driver.Driver`."""
        if self._other is None:
            try:
                return await self._look(expected)
            except ReplyNotShown as error:
                self._other = self._replacement(error)
        return await self._other.look(expected)

    def _replacement(self, error: ReplyNotShown) -> Driver:
        if self._make_other is None:
            raise error.instead from None
        return self._make_other(self._meter)

    async def _get_range(self, span: ByteRange, expected: Version | None) -> Reply:
        options: dict[str, object] = {"range": span}
        if expected is not None and expected.has_tag:
            options["if_match"] = expected.etag
        try:
            return await self._get(options)
        except ReplyNotPartial:
            if self._make_other is not None or expected is not None:
                raise
            return await self._get({})
        except RangeUnsatisfied:
            if self._make_other is not None:
                raise
            return unsatisfied(span, {})

    async def _look(self, expected: Version | None) -> Version:
        options: dict[str, object] = {"range": ByteRange(0, 1)}
        if expected is not None and expected.has_tag:
            options["if_none_match"] = expected.etag
        try:
            return (await self._get(options)).version
        except ReplyNotPartial:
            return _version_of((await self._ask({})).meta)  # the body is not taken
        except RangeUnsatisfied:
            return unsatisfied(ByteRange(0, 1), {}).version
        except HttpStatusError as error:
            if error.status == 304 and expected is not None:
                return expected
            raise

    async def _get(self, options: Any) -> Reply:
        answer = await self._ask(options)
        version = _version_of(answer.meta)
        if not options and (version.size or 0) > max_whole_file():
            problem = f"the server sends only whole files, and this one is larger than {max_whole_file()} bytes"
            raise ImageTooLarge("", problem, "raise jp2batch.max-whole-file")
        try:
            data = bytes(await pending_calls().run(answer.bytes_async()))
        except Exception as error:  # noqa: BLE001  # it has classes of its own
            raise plain_error(error) from None
        self._meter.received(len(data))
        return Reply(data, version, ByteRange(*answer.range) if options else None, whole=not options)

    async def _ask(self, options: Any) -> Any:
        """Request once; return the answer with its body unread."""
        import obstore

        if not self._key:
            raise IsADirectoryError

        self._meter.requested()
        try:
            return await pending_calls().run(obstore.get_async(self._store, self._key, options=options))
        except Exception as error:  # noqa: BLE001  # it has classes of its own
            raise plain_error(error) from None


def obstore_store(location: Location, profile: StoreCosts) -> tuple[Any, str] | None:
    """Return obstore's store for an S3 URL, and the key in it.

    Returns None if fsspec should read the object.

    Raises
    ------
    ConfigurationError
        `jp2batch.driver` is obstore, but it is not installed or does not support the storage options.
    """
    choice = driver()
    if choice == "fsspec" or scheme_info(location.scheme) is not S3 or location.is_chained:
        return None
    obstacle = _obstacle(location, profile, must=choice == "obstore")
    if obstacle and choice == "obstore":
        raise ConfigurationError(location, f"jp2batch.driver is obstore, but {obstacle}", "take the driver fsspec")
    if obstacle:
        return None
    items, aws_profile = tuple(_config(location).items()), _profile_of(location.options)
    return _store(location.bucket, items, profile.connections, aws_profile), location.key


def _is_kept(key: str) -> bool:
    """Return whether obstore requests this very key.

    It strips slashes off the ends of keys, and refuses some others.
    """
    return not key or not (_CONTROL.search(key) or {"", ".", ".."}.intersection(key.split("/")))


def _obstacle_of_the_process() -> str:
    if not find_spec("obstore"):
        return 'it is not installed: pip install "jp2batch[fast]"'
    forked = "this process was forked from one that uses it: start processes by spawn or forkserver"
    return forked if _lost_its_threads() else ""


def _obstacle_of_the_name(location: Location) -> str:
    if not _is_kept(location.key):
        return "it reads no key with an empty segment ('//', or '/' at an end), '.', '..' or a control character"
    if location.bucket.startswith("arn:"):
        return "it does not know ARNs"
    if not _BUCKET.fullmatch(location.bucket):
        return "this is not the name of a bucket"
    return "it reads the newest version of an object only" if "?versionId=" in f"?{location.query}" else ""


def _obstacle(location: Location, profile: StoreCosts, *, must: bool) -> str:
    """Return the reason against this driver; empty if it fits."""
    client = set(inner_options(location.options, "client_kwargs")) - {"region_name", "endpoint_url"}
    unknown = sorted(
        {name for name, value in without_signer(location.options).items() if value is not None} - _KNOWN | client
    )
    if unknown:
        return f"it does not know the storage option {unknown[0]}"
    if obstacle := _obstacle_of_the_process() or _obstacle_of_the_name(location):
        return obstacle
    if not _REGION.fullmatch(_region(location)):
        return "this is not the name of a region"
    # Amazon's own buckets are in regions, which s3fs finds by itself; and obstore does not tell the Retry-After of a
    # busy store.
    if not must and (not endpoint_of(location) or profile.requests_per_minute):
        return "s3fs does that better"
    if not _is_explicit(location.options) and _credentials(_profile_of(location.options)) is None:
        return "it finds no credentials"
    return ""


def _is_explicit(options: Mapping[str, object]) -> bool:
    return bool(options.get("anon") or options.get("key"))


def _profile_of(options: Mapping[str, object]) -> str | None:
    profile = options.get("profile")
    return None if profile is None else str(profile)


def _config(location: Location) -> dict[str, str]:
    options = location.options
    told = {
        "endpoint": endpoint_of(location),
        "region": _region(location),
        "access_key_id": None if options.get("anon") else options.get("key"),
        "secret_access_key": None if options.get("anon") else options.get("secret"),
        "session_token": options.get("token"),
        "skip_signature": "true" if options.get("anon") else None,
        "request_payer": "true" if options.get("requester_pays") else None,
    }
    return {name: str(value) for name, value in told.items() if value}


def _region(location: Location) -> str:
    named = inner_options(location.options, "client_kwargs").get("region_name")
    return str(named or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1")


@process_state()
def _lost_its_threads() -> bool:
    """Return whether a parent process loaded obstore before the fork.

    The threads of obstore are not copied: requests of the child would wait forever.
    """
    return is_forked() and "obstore" in sys.modules


@process_state()
def _store(bucket: str, items: tuple[tuple[str, str], ...], connections: int, profile: str | None) -> Any:
    """Return a store of obstore, which keeps its connections."""
    from obstore.store import S3Store

    config = dict(items)
    signed = "access_key_id" in config or "skip_signature" in config
    provider: Any = None if signed else _Provider(profile)
    settings: Any = config
    return S3Store(
        bucket,
        config=settings,
        client_options={
            "allow_http": config.get("endpoint", "").startswith("http:"),
            "timeout": "1d",  # a large body may take any time as long as data arrive; only silence times out
            "connect_timeout": "30s",
            "read_timeout": "60s",
            "pool_max_idle_per_host": str(connections),
        },
        retry_config={"max_retries": 0},  # `retry` repeats requests itself
        credential_provider=provider,
    )


class _Provider:
    """Provider of botocore's credentials for obstore, as s3fs uses them."""

    def __init__(self, profile: str | None) -> None:
        self._credentials = _credentials(profile)

    def __call__(self) -> dict[str, object]:
        frozen = self._credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": getattr(self._credentials, "_expiry_time", None),
        }


def _credentials(profile: str | None) -> Any:
    import botocore.session

    return botocore.session.Session(profile=profile).get_credentials()


def _version_of(meta: Mapping[str, Any]) -> Version:
    changed = meta["last_modified"]  # the epoch, if the store does not tell it
    modified = format_datetime(changed, usegmt=True) if changed.timestamp() else None
    return Version(int(meta["size"]), meta["e_tag"] or modified, modified)
