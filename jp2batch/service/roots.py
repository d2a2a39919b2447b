"""Roots: named base folders and buckets, which paths cannot escape."""

import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jp2batch.core import config
from jp2batch.core.errors import (
    ConfigurationError,
    ImageNotFound,
    InvalidPath,
    Jp2BatchError,
    PermissionDenied,
    StoreUnavailable,
)
from jp2batch.core.location import Location
from jp2batch.core.ranges import ByteRange
from jp2batch.core.request import Request
from jp2batch.service.log import FIELDS
from jp2batch.service.problems import UnknownRoot
from jp2batch.storage.deadline import read_deadline
from jp2batch.storage.source import Source, known_protocols, open_source

if TYPE_CHECKING:
    from distributed import Client

DEFAULT = "default"
"""Name of the root of requests without a root."""

_log = logging.getLogger(__name__)

_START = 15.0  # seconds to read from a root
_NOT_LISTED = ("403", "403 AccessDenied", "403 Forbidden")  # of a missing key as well, if keys cannot be listed
_NAMED = re.compile(r"([A-Za-z][\w-]{0,63})=(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Root:
    """A base folder or bucket of images."""

    name: str
    """Name in requests."""
    url: str = field(repr=False)
    """Folder or URL; it can contain credentials."""
    storage_options: Mapping[str, object] = field(default_factory=dict, repr=False)
    """fsspec's options for its store."""

    def key_of(self, path: str) -> str:
        """Return the key of an image, spelt as in the index.

        In an object store, each path is another key. In a folder and on the web, empty and `.` segments mean nothing.

        Raises
        ------
        InvalidPath
            The path is that of a folder, or has a query.
        """
        root = Location.of(self.url)
        if root.is_store:
            return path
        *folders, name = path.split("/")
        if name in ("", "."):
            raise InvalidPath(path, "the path is that of a folder", "give the path of an image")
        if root.is_web and re.search(r"[?#]", path):
            raise InvalidPath(path, "the path contains '?' or '#'", "give a plain path")
        return "/".join([*(folder for folder in folders if folder not in ("", ".")), name])

    @property
    def shown(self) -> str:
        """URL without credentials, for the log."""
        return Location.of(self.url).redacted


def parse_roots(texts: Iterable[str], options_for: Callable[[str], Mapping[str, object]]) -> dict[str, Root]:
    """Return roots by name, from `URL` (the default) and `NAME=URL`.

    Parameters
    ----------
    texts : iterable of str
        Roots, at least one.
    options_for : callable
        Returns the storage options for a URL; called for roots of the same protocol as the first.

    Raises
    ------
    ConfigurationError
        There is no root, two roots have the same name, or a folder does not exist.
    """
    roots: dict[str, Root] = {}
    first = ""
    for text in texts:
        named = None if Path(text).is_dir() else _NAMED.fullmatch(text)
        name, url = named.groups() if named else (DEFAULT, text)
        if name in roots:
            raise ConfigurationError(url, "a second root has the same name", "give it as NAME=URL")
        location = Location.of(url)
        scheme = "" if location.is_local else location.scheme
        first = first or scheme
        options = options_for(url) if scheme == first else {}
        roots[name] = Root(name, _located(url), options)
    if not roots:
        raise ConfigurationError("", "no root given", "give root=s3://bucket, or a folder")
    return roots


def root_of(roots: Mapping[str, Root], name: object) -> Root:
    """Return the root of a name; None is the default root.

    Without a default root, it is the first.

    Raises
    ------
    UnknownRoot
        The operator has no root of this name.
    """
    if name is None:
        return roots.get(DEFAULT) or next(iter(roots.values()))
    if not isinstance(name, str) or name not in roots:
        raise UnknownRoot("", "unknown root", "leave it out")
    return roots[name]


def open_below(request: Request, storage_options: Mapping[str, object]) -> Source:
    """Open the file of a request, on the worker.

    Only the worker can follow symbolic links.

    Raises
    ------
    PermissionDenied
        A symbolic link leads out of the root.
    """
    root, location = Location.of(request.root or ""), request.location
    if root.is_web:
        storage_options = _within(root.text, storage_options)
    if root.is_local:
        location = Location.of(os.path.realpath(location.text))
        if not Path(location.text).is_relative_to(os.path.realpath(root.text)):
            raise PermissionDenied(request.shown_path, "a symbolic link leads out of the root")
    return open_source(location, storage_options=storage_options)


def check_roots(client: "Client", roots: Mapping[str, Root]) -> None:
    """Refuse unreadable roots: a package, credentials or a bucket is missing.

    An error that can pass is only logged.

    Raises
    ------
    ConfigurationError
        A root cannot be read.
    """
    for root, found in [(root, client.submit(_error_of, root, pure=False)) for root in roots.values()]:
        error: Jp2BatchError | None = found.result()
        if error is None:
            continue
        problem = f"the root cannot be read: {error.problem}"
        if not (isinstance(error, StoreUnavailable) or error.problem.endswith(_NOT_LISTED)):
            raise ConfigurationError(root.shown, problem, error.hint)
        _log.warning("root", extra={FIELDS: {"root": root.name, "detail": problem}})


def _error_of(root: Root) -> Jp2BatchError | None:
    """Return the error of a read from a root, on a worker."""
    config.apply_settings(config.settings() | {"driver": "fsspec"})  # obstore tells no codes
    try:
        source = open_below(Request("jp2batch-start", root=root.url), root.storage_options)
        with read_deadline(time.monotonic() + _START):
            source.read_many([ByteRange(0, 1)])
    except TimeoutError:
        return StoreUnavailable(root.shown, "the store did not respond in time")
    except ImageNotFound as error:
        return error if re.search(r"NoSuchBucket|ContainerNotFound|AccountNotFound", error.problem) else None
    except Jp2BatchError as error:
        return error
    return None


def _within(root: str, storage_options: Mapping[str, object]) -> dict[str, object]:
    """Return options to refuse HTTP redirects out of a root."""
    client = storage_options.get("client_kwargs")
    return {**storage_options, "client_kwargs": {**(client if isinstance(client, Mapping) else {}), "within": root}}


def _located(url: str) -> str:
    root = Location.of(url)
    if not root.is_local:
        hint = "s3://, gs://, az://, https://, a folder"
        if root.scheme not in known_protocols():
            raise ConfigurationError(url, f"{root.scheme}:// is not a known protocol", hint)
        if root.names_a_user_of_a_store:
            raise ConfigurationError(
                url, "its URL holds credentials", "put them into environment variables or a profile"
            )
        if re.search(r"[?#]", url):
            raise ConfigurationError(url, "a root cannot contain '?' or '#'", "give the address of a folder")
        return url
    folder = Path(root.path).expanduser()
    if not folder.is_dir():
        raise ConfigurationError(url, "no such folder", "check root=")
    return str(folder.resolve())
