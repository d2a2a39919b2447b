"""fsspec's file system of a location, and the path in it."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import fsspec
import fsspec.core
from fsspec.implementations.local import LocalFileSystem

from jp2batch.core.location import Location


def file_system(location: Location, options: Mapping[str, Any]) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return fsspec's file system of a location, and the path in it.

    A local path is taken as it is: fsspec would take "::" for a chain.
    """
    if location.is_local:
        return fsspec.filesystem("file", **options), LocalFileSystem._strip_protocol(location.path)
    fs, path = fsspec.core.url_to_fs(location.text.removesuffix(location.literal), **options)
    return fs, f"{path.rstrip('/')}/{location.literal}" if location.literal else path


_SCHEMES = {"s3": "s3", "gs": "gs", "az": "az", "adls": "abfs", "curl": "", "hdfs": "hdfs", "webhdfs": "webhdfs"}
_GDAL = re.compile(rf"/vsi({'|'.join(_SCHEMES)})(?:_streaming)?/+(.+)", re.DOTALL)
_ARCHIVE = re.compile(r"/vsi(zip|tar|gzip)/(.+)", re.DOTALL)
_MEMBER = re.compile(r"\{(.+)\}/*(.*)|(.+?\.(?:zip|tar|kmz|ods|xlsx))(?:/+(.*))?", re.DOTALL | re.IGNORECASE)
_ONE_SLASH = re.compile(r"(file|s3a?|gs|gcs|az|abfss?|https?|ftp|memory):/(?!/)(.+)", re.DOTALL)


def written_as_url(path: str) -> str:
    """Return the URL of a GDAL path, or with the missing slash.

    Empty for other paths.
    """
    if found := _ONE_SLASH.fullmatch(path):
        return f"{found[1]}://{'/' if found[1] == 'file' else ''}{found[2]}"
    if path.startswith("/vsicurl?"):
        return next(iter(parse_qs(urlsplit(path).query).get("url", [])), "")
    if found := _GDAL.fullmatch(path):
        scheme = _SCHEMES[found[1]]
        return f"{scheme}://{found[2]}" if scheme else found[2]
    if found := _ARCHIVE.fullmatch(path):
        return _member_url(found[1], found[2])
    return ""


def _member_url(kind: str, path: str) -> str:
    """Return the URL of a member of an archive."""
    if kind == "gzip":
        return ""
    found = _MEMBER.fullmatch(path)
    if found is None:
        return ""
    archive, member = found[1] or found[3], found[2] or found[4]
    archive = written_as_url(f"/{archive.lstrip('/')}") or archive
    return f"{kind}://{member}::{archive}" if member else archive
