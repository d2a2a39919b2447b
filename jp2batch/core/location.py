"""Location: a path or URL, parsed once."""

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from jp2batch.core.redaction import MARK, USER, USER_OF_STORE, redact, redact_path

LOCAL = ("file", "local")
"""The schemes of files of this machine."""

_STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")

_LINK = "::"
_PROTOCOL = re.compile(r"[A-Za-z][A-Za-z0-9+_-]*")
_PLAIN_OPTIONS = ("account_host", "account_name", "endpoint_url", "region_name", "profile")  # options without secrets
_SHORTEST = 4  # characters of a secret: a shorter text would match anywhere


@dataclass(frozen=True, slots=True, repr=False)
class Location:
    """Location of an object: a local path, a URL, or a chain.

    A chain is, for example, `zip://a.jp2::s3://bucket/a.zip`. Its `str` and every message are without credentials.
    """

    text: str
    """The unredacted path or URL, for drivers only."""
    options: Mapping[str, object] = field(default_factory=dict, compare=False)
    """fsspec's options for its store; they may contain secrets."""
    literal: str = ""
    """The key below a root, which ends the text.

    It has no chain, query or version.
    """
    scheme: str = field(init=False, compare=False)
    """Scheme of the first link, such as "s3"; "file" for a path."""
    path: str = field(init=False, compare=False)
    """The first link without its scheme.

    The path of a file: URL is decoded (RFC 8089).
    """
    chain: str = field(init=False, compare=False)
    """All links after the first; empty for a single link."""

    def __post_init__(self) -> None:
        link, chained, chain = (self.text, "", "") if self.literal else _divided(self.text)
        scheme, mark, path = link.partition(MARK)
        object.__setattr__(self, "scheme", scheme if mark or chained else "file")
        object.__setattr__(self, "path", link if not mark else unquote(path) if scheme in LOCAL else path)
        object.__setattr__(self, "chain", chain)

    @classmethod
    def of(cls, path: "str | os.PathLike[str] | Location") -> "Location":
        """Return the location of a path or URL."""
        return path if isinstance(path, Location) else Location(os.fspath(path))

    @classmethod
    def below(cls, root: str, key: str) -> "Location":
        """Return the location of a key below a root.

        In an object store, every character of the key is its own.
        """
        place = Location.of(root)
        name = quote(key) if place.is_local and place.is_url else key
        return Location(f"{root.rstrip('/')}/{name}", literal=key if place.is_store else "")

    def __str__(self) -> str:
        return self.redacted

    def __repr__(self) -> str:
        return f"Location({self.redacted!r})"

    @property
    def redacted(self) -> str:
        """The text without credentials, for messages.

        Of a URL with control characters, only the scheme is shown.
        """
        return redact_path(self.text)

    @property
    def is_local(self) -> bool:
        """True if it is a file of this machine, not inside another."""
        return self.scheme in LOCAL and not self.chain

    @property
    def is_url(self) -> bool:
        """True if a scheme is written out, even for a local file."""
        return MARK in self.text

    @property
    def is_chained(self) -> bool:
        """True if it is inside another file, or reached through a cache."""
        return bool(self.chain)

    @property
    def is_store(self) -> bool:
        """True if it is in an object store."""
        return self.scheme in _STORES and not self.is_chained

    @property
    def is_web(self) -> bool:
        """True if it is the address of a web server."""
        return self.scheme in ("http", "https")

    @property
    def links(self) -> list[str]:
        """The path or URL of each link, in order."""
        return self.text.split(_LINK) if self.chain else [self.text]

    @property
    def store(self) -> "Location":
        """The last link, which names the store."""
        return replace(self, text=self.links[-1])

    @property
    def bucket(self) -> str:
        """The bucket, container or host; empty for a local file."""
        return "" if self.is_local else self.path.partition("/")[0]

    @property
    def key(self) -> str:
        """Name of the object in its bucket; empty for local files."""
        return "" if self.is_local else self.path.partition("/")[2]

    @property
    def plain_path(self) -> str:
        """The path without the query of a URL."""
        is_plain = self.literal or self.is_local or self.text.startswith(self.path)
        return self.path if is_plain else self.path.partition("?")[0]

    @property
    def query(self) -> str:
        """The query of a URL, signatures included."""
        return "" if self.literal else self.text.partition("?")[2]

    @property
    def suffix(self) -> str:
        """The suffix in lower case, with its dot."""
        return PurePosixPath(self.plain_path).suffix.lower()

    @property
    def stem(self) -> str:
        """File name without folders and suffix, safe in file and task names."""
        name = safe_name(PurePosixPath(redact(self.text)).stem).lstrip(".").encode()
        return name[-80:].decode(errors="ignore") or "image"

    @property
    def names_a_user_of_a_store(self) -> bool:
        """True if the URL of an object store contains a user."""
        return USER_OF_STORE.search(self.text) is not None

    def with_path(self, path: str) -> "Location":
        """Return the location of another path with the same scheme and chain."""
        link, chained, chain = _divided(self.text)
        scheme, mark, _ = link.partition(MARK)
        first = f"{scheme}{mark}{quote(path) if scheme in LOCAL else path}" if mark else path
        return replace(self, text=f"{first}{chained}{chain}")

    def beside(self, suffix: str) -> "Location":
        """Return the location with another suffix, of a neighbour in its folder.

        A URL loses its query.
        """
        path = self.plain_path.removesuffix(PurePosixPath(self.plain_path).suffix) + suffix
        if not self.literal:
            return self.with_path(path)
        literal = self.literal.removesuffix(PurePosixPath(self.literal).suffix) + suffix
        return replace(self, text=self.text.removesuffix(self.literal) + literal, literal=literal)

    @property
    def expanded(self) -> "Location":
        """The location with the home folder in place of a leading ~."""
        if self.is_url or self.is_chained or not self.text.startswith("~"):
            return self
        return replace(self, text=os.path.expanduser(self.text))  # noqa: PTH111  (a Path would lose a slash at the end)

    def absolute(self, folder: str) -> "Location":
        """Return the location of a relative path below a folder.

        URLs, chains and paths from the home folder are returned unchanged.
        """
        if self.is_url or self.is_chained or self.text.startswith("~"):
            return self
        return replace(self, text=str(Path(folder, self.text)))

    def redact(self, text: str) -> str:
        """Return a text without credentials and the secrets of this location."""
        for own in sorted({self.text, *self.links}, key=len, reverse=True):
            text = text.replace(own, redact_path(own))
        text = redact(text)
        for secret in sorted(self._secrets(), key=len, reverse=True):
            text = text.replace(secret, "…")
        return text

    def _secrets(self) -> Iterator[str]:
        named = [found[0].rstrip("@") for found in USER.finditer(self.text)]
        users = [part for user in named for part in (user, *user.partition(":"))]
        texts = [*_texts(self.options), *users, self.query]
        yield from (secret for text in texts for secret in {text, unquote(text)} if len(secret) >= _SHORTEST)


def _divided(text: str) -> tuple[str, str, str]:
    """Divide a chain after its first link.

    The first link is a URL or a protocol. A local path, or its URL, may contain "::".
    """
    link, chained, chain = text.partition(_LINK)
    scheme, mark, _ = link.partition(MARK)
    is_link = scheme not in LOCAL if mark else _PROTOCOL.fullmatch(link) is not None
    return (link, chained, chain) if is_link else (text, "", "")


def safe_name(text: str) -> str:
    """Return a text with letters, digits and "_.+-" only, in NFC.

    Letters of all scripts are kept; other characters become "_".
    """
    normal = unicodedata.normalize("NFC", text)
    return "".join(char if char.isalnum() or char in "_.+-" or _is_mark(char) else "_" for char in normal)


def _is_mark(char: str) -> bool:
    """Return whether a character belongs to the letter before it."""
    return unicodedata.category(char).startswith("M")


def path_text(path: object) -> object:
    """Return a path as text; any other object unchanged.

    UPath is a path without being `os.PathLike`; its options would be lost.
    """
    if isinstance(path, os.PathLike):
        return os.fspath(path)
    has_options = bool(getattr(path, "storage_options", True))
    return path if has_options or not isinstance(getattr(path, "protocol", None), str) else str(path)


def path_hint(value: object) -> str:
    """Return a hint for a wrong path."""
    if hasattr(value, "storage_options"):
        return "give str(path), and storage_options=path.storage_options"
    return "give paths or URLs"


def host_of(address: str) -> str:
    """Return the host of a URL or address, in lower case.

    Empty if it has none.
    """
    try:
        return urlsplit(address if MARK in address else f"//{address}").hostname or ""
    except ValueError:  # not a URL; the driver reports it
        return ""


def described(value: object) -> str:
    """Return a number itself, or the type of any other value.

    Unchecked input may hold credentials.
    """
    if value is not None and not isinstance(value, bool | int | float):
        return f"of type {type(value).__name__}"
    try:
        return repr(value)
    except ValueError:  # more digits than Python converts
        return "of too many digits"


def _texts(value: object) -> Iterator[str]:
    """Yield the secret texts in storage options."""
    if isinstance(value, Mapping):
        yield from (text for name, inner in value.items() if name not in _PLAIN_OPTIONS for text in _texts(inner))
    elif isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "replace")
    elif isinstance(value, list | tuple | set | frozenset):
        yield from (text for inner in value for text in _texts(inner))
