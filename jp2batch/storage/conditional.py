"""Conditional writes of small objects: create, or replace a known version.

S3, Azure and local files have them; other stores may ignore the condition.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import fsspec.asyn

from jp2batch.storage.deadline import write_limit
from jp2batch.storage.http_status import status_of

_FAILED = (409, 412)


class PreconditionFailed(Exception):
    """The object does not have the expected version."""


@dataclass(frozen=True, slots=True)
class VersionedBytes:
    """Content of an object, and the tag of its version."""

    data: bytes
    """Its content."""
    tag: str | None
    """Version tag for a conditional replacement; None if unknown."""


def read_version(fs: Any, path: str) -> VersionedBytes | None:
    """Return content and version of an object; None without an object."""
    try:
        if not is_s3(fs):
            return VersionedBytes(fs.cat_file(path), None)
        bucket, key, _ = fs.split_path(path)
        answer = fs.call_s3("get_object", Bucket=bucket, Key=key)
        return VersionedBytes(fsspec.asyn.sync(fs.loop, answer["Body"].read), answer["ETag"])
    except FileNotFoundError:
        return None


def put_new(fs: Any, path: str, data: bytes) -> str | None:
    """Create an object; return its version tag.

    Raises
    ------
    PreconditionFailed
        It exists.
    """
    with _conditional():
        if is_s3(fs):
            return _put(fs, path, data, IfNoneMatch="*")
        fs.pipe_file(path, data, mode="create", **write_limit(fs, len(data)))
    return None


def put_over(fs: Any, path: str, data: bytes, tag: str | None) -> str | None:
    """Replace an object of a known version; return its new version tag.

    Raises
    ------
    PreconditionFailed
        It has another version.
    """
    with _conditional():
        if is_s3(fs):
            return _put(fs, path, data, **({"IfMatch": tag} if tag else {}))
        fs.pipe_file(path, data, **write_limit(fs, len(data)))
    return None


def is_s3(fs: Any) -> bool:
    """Return whether a file system is s3fs, by the method used here."""
    return hasattr(fs, "call_s3")


def _put(fs: Any, path: str, data: bytes, **condition: str) -> str:
    bucket, key, _ = fs.split_path(path)
    answer = fs.call_s3("put_object", Bucket=bucket, Key=key, Body=data, **condition, **write_limit(fs, len(data)))
    return str(answer["ETag"])


@contextlib.contextmanager
def _conditional() -> Iterator[None]:
    """Raise PreconditionFailed for the errors of a failed condition."""
    try:
        yield
    except FileExistsError:
        raise PreconditionFailed from None
    except Exception as error:
        if status_of(error) in _FAILED:
            raise PreconditionFailed from None
        raise
