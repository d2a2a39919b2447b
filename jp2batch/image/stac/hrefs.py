"""Choose and resolve the hrefs of an asset."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import urljoin

from jp2batch.core.location import Location
from jp2batch.core.suffixes import JPEG2000_SUFFIXES
from jp2batch.storage.schemes import is_readable

PLAIN_NAME = re.compile(r"[A-Za-z0-9._-]{1,40}")
"""Names of alternates for messages."""

_NODES = re.compile(r"/Nodes\(([^()]*)\)(?:/\$value)?")
_JPEG2000 = ("image/jp2", "image/jpx", "image/j2c", "image/jph", "image/x.jp2")


@dataclass(frozen=True, slots=True)
class Href:
    """A location of an asset's file."""

    name: str
    """Name among the alternates, such as "s3"; else empty."""
    text: str
    """Path or URL."""
    members: Mapping[str, Any]
    """Members of the asset, completed by the alternate's."""

    @property
    def is_jpeg2000(self) -> bool:
        """Whether its type or name is of JPEG 2000."""
        kind = str(self.members.get("type") or "").partition(";")[0].strip().lower()
        return kind in _JPEG2000 or Location.of(named_path(self.text)).plain_path.lower().endswith(JPEG2000_SUFFIXES)

    def is_named(self, alternate: str) -> bool:
        """Return whether it has the name of an alternate, or its scheme."""
        return alternate.lower() in (self.name.lower(), Location.of(self.text).scheme.lower())


def named_path(path: str) -> str:
    """Return a path with the names of files.

    The OData addresses of a catalogue have them in parentheses.
    """
    return _NODES.sub(r"/\1", path.partition("?")[0]) if "/Nodes(" in path else path


def hrefs_of(asset: object) -> Iterator[Href]:
    """Iterate over the locations of an asset, its own first.

    Format: alternate-assets extension 1.2.
    """
    if not isinstance(asset, Mapping):
        return
    alternates = asset.get("alternate")
    others = alternates.items() if isinstance(alternates, Mapping) else ()
    for name, members in [(asset.get("alternate:name") or "", asset), *others]:
        href = members.get("href") if isinstance(members, Mapping) else None
        if isinstance(href, str) and href:
            yield Href(str(name), href, {**asset, **members})


def chosen_href(asset: object, alternate: str | None) -> Href | None:
    """Return the location of an asset's JPEG 2000 file, or None.

    It is the one with the name of the alternate, else the first that can be read here, else the first.
    """
    found = [href for href in hrefs_of(asset) if href.is_jpeg2000]
    if not found:
        return None
    named = [href for href in found if alternate and href.is_named(alternate)]
    readable = (href for href in found if is_readable(Location.of(href.text).store.scheme))
    return named[0] if named else next(readable, found[0])


def resolve(href: str, base: str) -> str:
    """Return an asset's path; a relative path is joined to the item's."""
    if Location.of(href).is_url or href.startswith("/") or PureWindowsPath(href).is_absolute():
        return href
    item = Location.of(base)
    if item.is_web:
        return urljoin(base, href)
    parts: list[str] = []
    for part in (*PurePosixPath(item.path.replace("\\", "/")).parent.parts, *href.split("/")):
        if part == ".." and parts and parts[-1] not in ("..", "/"):
            parts.pop()
        elif part != ".":
            parts.append(part)
    return item.with_path(str(PurePosixPath(*parts))).text


def alternates_of(assets: Iterable[object]) -> frozenset[str]:
    """Return the names and schemes of all locations of assets."""
    found = [href for asset in assets for href in hrefs_of(asset)]
    names = {href.name.lower() for href in found} | {Location.of(href.text).scheme.lower() for href in found}
    return frozenset(name for name in names if PLAIN_NAME.fullmatch(name))
