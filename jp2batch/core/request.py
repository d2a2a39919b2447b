"""Request: path, rlevel and window, validated."""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Self, cast
from urllib.parse import unquote

from jp2batch.core import display
from jp2batch.core.errors import InvalidPath, InvalidRequest, InvalidRlevel
from jp2batch.core.location import Location, described, path_hint, path_text
from jp2batch.core.map_area import MapArea
from jp2batch.core.redaction import redact, redact_path
from jp2batch.core.window import Window, WindowLike, is_whole

LOWEST = -1
"""The rlevel of the image's lowest resolution."""

LONGEST_PATH = 4096
"""Limit of a path in characters: PATH_MAX of Linux.

Keys of object stores have at most 1024 bytes.
"""

_HIGHEST = 32  # decomposition levels at most, T.800 table A.15
_BREAK = re.compile("[\0\n\r]")
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.+= -][A-Za-z0-9_.+= /-]*")
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f]")
_ASKED = "give paths, or Requests, or the result of jp2batch.read_manifest"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_URL = re.compile(rf"{_SCHEME.pattern}//")


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Request:
    """An image, a resolution level and a window.

    Raises
    ------
    InvalidPath, InvalidRlevel, InvalidWindow
        A field is malformed, or the path leads out of its root.
    """

    path: str
    """Path or URL of the image; below `root`, a relative key."""
    rlevel: int = LOWEST
    """Resolution levels to drop: 0 = full, -1 = lowest resolution."""
    window: Window | None = None
    """Part of the full image to read; None = whole image."""
    root: str | None = None
    """Folder or bucket above `path`; the path cannot escape it."""
    id: str = ""
    """Stable name of this request; by default a digest of the fields."""
    columns: tuple[tuple[str, object], ...] = field(default=(), compare=False)
    """Further columns of its manifest row, copied into its record.

    They are not compared.
    """
    area: MapArea | None = None
    """Part and resolution on the map, in place of window and rlevel."""
    digest: str = field(init=False, compare=False)
    """Short name of the request, for comparison; reveals no secret."""

    def __init__(  # noqa: PLR0917  # in this order since the first version
        self,
        path: str | os.PathLike[str],
        rlevel: int = LOWEST,
        window: WindowLike | None = None,
        root: str | os.PathLike[str] | None = None,
        id: str = "",  # noqa: A002
        columns: tuple[tuple[str, Any], ...] = (),
        area: MapArea | None = None,
    ) -> None:
        path, root = _checked_path(path, root)
        if not isinstance(id, str):
            raise InvalidRequest(path, f"id must be text, not {type(id).__name__}", "give it as text")
        put = object.__setattr__
        put(self, "path", path)
        put(self, "rlevel", validate_rlevel(path, rlevel))
        put(self, "window", None if window is None else Window.parse(window, path))
        put(self, "root", root)
        put(self, "columns", columns)
        put(self, "area", area)
        if area is not None:
            self._check_area(area)
        put(self, "digest", self._digested())
        put(self, "id", id or self.digest)

    def _check_area(self, area: MapArea) -> None:
        if self.window is not None and area.has_extent:
            raise InvalidRequest(self.path, "window= and an area on the map exclude each other", "leave out either")
        if self.rlevel != LOWEST and area.resolution is not None:
            raise InvalidRequest(self.path, "rlevel= and resolution= exclude each other", "leave out either")

    @classmethod
    def from_json(cls, body: Mapping[str, Any], *, root: str | None = None) -> Self:
        """Make a request from the body of the web service.

        The body is `{"Path": key, "rlevel": -1}`. `path` in lower case and a `window` (as text or nested lists) are
        also accepted; `rlevel` is optional. So are `bbox`, `geometry`, `crs` and `resolution`; see `MapArea.of`.
        """
        if not isinstance(body, Mapping):
            problem = f"a request must be a mapping, not {type(body).__name__}"
            raise InvalidRequest("", problem, 'give {"Path": "<key>", "rlevel": -1}')
        path = body.get("Path", body.get("path"))
        if path is None:
            raise InvalidPath("", "the request has no Path", 'give {"Path": "<key>", "rlevel": -1}')
        area = MapArea.of(*(body.get(name) for name in ("bbox", "geometry", "crs", "resolution")))
        return cls(path, body.get("rlevel", LOWEST), body.get("window"), root, _id_of(body.get("id")), area=area)

    @property
    def url(self) -> str:
        """The full path or URL of the image: `path` below `root`."""
        return self.location.text

    @property
    def location(self) -> Location:
        """The location of the image.

        Below an object store, its key is taken literally.
        """
        return Location.of(self.path) if self.root is None else Location.below(self.root, self.path)

    def __repr__(self) -> str:
        return f"Request({', '.join(f'{name}={value!r}' for name, value in self._shown() if value is not None)})"

    def _repr_html_(self) -> str:
        shown = [(name, str(value)) for name, value in self._shown()[1:] if value is not None]
        return display.card(self.shown_path, shown)

    def _shown(self) -> list[tuple[str, object]]:
        """Return field names and values, without credentials.

        Of `columns`, which may hold credentials, only names.
        """
        window = None if self.window is None else str(self.window)
        area = None if self.area is None else str(self.area)
        own = [("path", self.shown_path), ("rlevel", self.rlevel), ("window", window), ("area", area)]
        columns = ", ".join(name for name, _ in self.columns) or None
        return [*own, ("root", self.shown_root), ("id", redact_path(self.id)), ("columns", columns)]

    def _digested(self) -> str:
        root = "null" if self.root is None else quoted(self.root.rstrip("/"))
        # As JSON without spaces; json.dumps takes three times as long, which counts in a manifest of a million rows.
        window = "null"
        if self.window is not None:
            (r0, r1), (c0, c1) = self.window.as_tuple()
            window = f"[[{r0},{r1}],[{c0},{c1}]]"
        area = "" if self.area is None else f",{quoted(repr(self.area))}"
        text = f"[{quoted(self.path)},{self.rlevel},{window},{root}{area}]"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def shown_path(self) -> str:
        """The path without credentials, for display."""
        is_key = self.root is not None and self.location.is_url
        return redact_path(redact(self.path) if is_key else self.path)

    @property
    def shown_root(self) -> str | None:
        """The root without credentials, for display and comparison."""
        return self.root and redact_path(self.root.rstrip("/"))

    def __dask_tokenize__(self) -> tuple[object, ...]:
        bounds = None if self.window is None else self.window.as_tuple()
        own = (type(self).__qualname__, self.path, self.rlevel, bounds, self.root)
        return own if self.area is None else (*own, repr(self.area))


def as_requests(value: object) -> list[Request]:
    """Return requests from paths, bodies of the web service, or requests.

    A single value becomes a list.

    Raises
    ------
    InvalidRequest
        A value has another type.
    """
    if isinstance(value, Mapping | Request) or isinstance(path_text(value), str):
        value = [value]
    if not isinstance(value, Iterable):
        raise _no_request(value)
    return [one if isinstance(one, Request) else _request_of(one) for one in value]


def _request_of(one: object) -> Request:
    if isinstance(one, Mapping):
        return Request.from_json(one)
    if isinstance(path_text(one), str):
        return Request(cast(str, one))
    raise _no_request(one)


def _no_request(value: object) -> InvalidRequest:
    hint = path_hint(value) if hasattr(value, "storage_options") else _ASKED
    return InvalidRequest("", f"a request must not be of type {type(value).__name__}", hint)


def _id_of(value: object) -> str:
    """Return the id in a body, else empty."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
        raise InvalidRequest("", f"id must be text, not {type(value).__name__}", "give it as text")
    return str(value or "")


def validate_rlevel(path: str, rlevel: object) -> int:
    """Return a valid number of resolution levels to drop.

    Raises
    ------
    InvalidRlevel
        The number is invalid.
    """
    if not is_whole(rlevel) or not LOWEST <= int(rlevel) <= _HIGHEST:
        raise InvalidRlevel(path, f"rlevel {described(rlevel)} is not a resolution level", "give -1, 0, 1, …")
    return int(rlevel)


def _checked_path(path: object, root: object) -> tuple[str, str | None]:
    """Return a path and its root as text.

    Raises
    ------
    InvalidPath
        One of them is malformed, or the path leads out of its root.
    """
    if not isinstance(path, str):
        path = path_text(path)
    if not isinstance(root, str):
        root = path_text(root)
    if not isinstance(path, str):
        raise InvalidPath("", f"Path must be text, not {type(path).__name__}", path_hint(path))
    if root is not None and not isinstance(root, str):
        raise InvalidPath("", f"root must be text, not {type(root).__name__}", "give a folder or a bucket")
    if not path.strip():
        raise InvalidPath("", "Path is empty", "give the path of a JPEG 2000 file")
    if _BREAK.search(path) or (root and _BREAK.search(root)):  # the path is not shown: it may hold credentials
        raise InvalidPath("", "the path, or its root, holds a control character", "remove it")
    if len(path) > LONGEST_PATH:
        problem = f"the path has {len(path)} characters"
        raise InvalidPath(f"{redact(path)[:57]}…", problem, f"give {LONGEST_PATH} at most")
    if root is not None and (".." in path or not _PLAIN_KEY.fullmatch(path)):  # few keys: the checks take long
        _check_below(path, Location.of(root))
    return path, root


def _check_below(path: str, root: Location) -> None:
    """Refuse a path out of its root, in any spelling.

    A key of an object store may hold colons, and empty or `.` segments; not `..`, which some stores resolve. A URL is
    taken for a mistake.
    """
    plain = path
    while (plainer := unquote(plain)) != plain:  # servers may decode it more than once
        plain = plainer
    if _CONTROL.search(plain):
        raise InvalidPath("", "the path holds a control character", "remove it")
    location = Location.of(plain)
    elsewhere = plain.startswith("/") or ".." in plain.split("/") or "\\" in plain or _URL.match(plain)
    chains = location.is_chained or ("::" in plain and not root.is_local)
    if elsewhere or (not root.is_store and (_SCHEME.match(plain) or location.is_url or chains)):
        raise InvalidPath(redact(path), "the path leads out of its root", "give a key below it, without '..' or scheme")
