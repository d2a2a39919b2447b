"""Place: where an object lies, as messages may say it; and what they may not."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import unquote

import fsspec.utils

from jp2batch.core.errors import InvalidPath
from jp2batch.core.location import names_a_user_of_a_store, without_credentials
from jp2batch.core.options import options_for

_USER = re.compile(r"://([^/?#\s]*)@")
_PLAIN = ("endpoint_url", "region_name", "profile")  # options that are no secrets
_SHORTEST = 4  # characters of a secret: less would be found in any text


@dataclass(frozen=True, slots=True)
class Place:
    """What messages may say of where an object lies."""

    path: str
    """Path or URL, without credentials."""
    protocol: str
    """Its protocol; the hints differ."""
    options: Mapping[str, Any] = field(repr=False)
    """The storage options: none of their texts appears in a message."""
    user: str = field(default="", repr=False)
    """User and password that the URL names; neither appears in a message."""

    @classmethod
    def of(cls, url: str, options: Mapping[str, Any] | None) -> Self:
        """Return the place of a path or URL, by fsspec's options for its store, or for several.

        Raises
        ------
        InvalidPath
            It names a user of an object store: drivers take that for a part of the bucket's name, and repeat it.
        """
        protocol = fsspec.utils.get_protocol(url)
        if protocol == "file":
            return cls(url, protocol, options_for(url, options))
        shown = without_credentials(url)
        if names_a_user_of_a_store(url):
            hint = "put them into the environment, a profile or storage_options, and take them out of the URL"
            raise InvalidPath(shown, "its URL holds credentials", hint)
        named = _USER.search(url)
        return cls(shown, protocol, options_for(url, options), named[1] if named and named[0] not in shown else "")

    def without_secrets(self, text: str) -> str:
        """Return a text without what is secret of this place."""
        text = without_credentials(text)
        for secret in sorted(self._secrets(), key=len, reverse=True):
            text = text.replace(secret, "…")
        return text

    def _secrets(self) -> Iterator[str]:
        told = [*_texts(self.options), self.user, *self.user.partition(":")]
        yield from (secret for one in told for secret in {one, unquote(one)} if len(secret) >= _SHORTEST)


def _texts(value: object) -> Iterator[str]:
    """Yield the texts in storage options that no message may show."""
    if isinstance(value, Mapping):
        yield from (text for name, inner in value.items() if name not in _PLAIN for text in _texts(inner))
    elif isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "replace")
    elif isinstance(value, list | tuple | set | frozenset):
        yield from (text for inner in value for text in _texts(inner))
