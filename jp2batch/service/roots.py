"""Roots: named base folders and buckets, which paths cannot escape."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jp2batch.core.errors import ConfigurationError, PermissionDenied
from jp2batch.core.location import Location
from jp2batch.core.request import Request
from jp2batch.service.problems import UnknownRoot
from jp2batch.storage.source import Source, known_protocols, open_source

DEFAULT = "default"
"""Name of the root of requests without a root."""

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

    @property
    def on_the_web(self) -> bool:
        """True for a web server: paths are parts of its URLs."""
        return Location.of(self.url).is_web

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
    root, url = Location.of(request.root or ""), request.url
    if root.is_web:
        storage_options = _within(root.text, storage_options)
    if root.is_local:
        url = os.path.realpath(url)
        if not Path(url).is_relative_to(os.path.realpath(root.text)):
            raise PermissionDenied(request.shown_path, "a symbolic link leads out of the root")
    return open_source(url, storage_options=storage_options)


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
