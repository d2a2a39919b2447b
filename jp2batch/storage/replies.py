"""Replies of stores to a request, and their validation. No I/O."""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from jp2batch.core.errors import ObjectChanged, StoreUnavailable
from jp2batch.core.ranges import ByteRange

Piece = tuple[int, bytes]
"""(start, data)."""

_CONTENT_RANGE = re.compile(r"bytes\s+(?:(\d+)-(\d+)|\*)/(\d+|\*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Version:
    """Size and tag of an object; a replaced object differs in either."""

    size: int | None
    """Bytes of the whole object."""
    etag: str | None
    """The store's version tag, or its substitute; None without any."""
    modified: str | None = field(default=None, compare=False)
    """Time of the last change, as in Last-Modified; None if not stated."""

    @property
    def has_tag(self) -> bool:
        """Whether requests can be conditional.

        They need a strong ETag: a time in its place is no ETag, and a weak ETag never matches.
        """
        return (self.etag or "").startswith('"')

    def differs(self, other: "Version") -> bool:
        """Return whether two versions are certainly different.

        A value missing in either counts as equal.
        """
        pairs = ((self.size, other.size), (self.etag, other.etag))
        return any(a != b for a, b in pairs if a is not None and b is not None)

    def by_time(self) -> "Version":
        """Return the version with its time as its tag."""
        return Version(self.size, self.modified, self.modified)

    def may_be_mirrored(self, other: "Version") -> bool:
        """Return whether two different versions may be copies of the same object.

        Sizes agree, and times of the last change, if both are stated.
        """
        times = {self.modified, other.modified} - {None}
        return self.size == other.size and len(times) == 1


class Reply(NamedTuple):
    """A store's reply to a request."""

    data: bytes
    """The body."""
    version: Version = Version(None, None)
    """Version of the object, as far as the reply tells."""
    span: ByteRange | None = None
    """The byte range stated by the reply; None if it states none."""
    whole: bool = False
    """Whether the body is the whole object, because the store ignores ranges."""


def content_range(text: str | None) -> tuple[ByteRange | None, int | None]:
    """Return the span and total size in a Content-Range header.

    A missing value is None.
    """
    match = _CONTENT_RANGE.fullmatch((text or "").strip())
    if match is None:
        return None, None
    first, last, total = match.groups()
    return ByteRange(int(first), int(last) + 1) if first else None, None if total == "*" else int(total)


def validate_reply(reply: Reply, span: ByteRange, expected: Version) -> Reply:
    """Return `reply` if it answers the request for `span`.

    Raises
    ------
    ObjectChanged
        The reply is from another version than `expected`.
    StoreUnavailable
        The reply has other bytes than `span`, clipped to the object.
    """
    if expected.differs(reply.version):
        raise replaced(expected, reply.version)
    if reply.whole:
        return reply
    if expected.size is not None:
        span = ByteRange(span.start, max(span.start, min(span.stop, expected.size)))
    if reply.span is not None and reply.span != span:
        raise StoreUnavailable("", f"requested {span}, but received {reply.span}", "try again")
    if len(reply.data) != span.size:
        count = "more" if len(reply.data) > span.size else f"only {len(reply.data)}"
        raise StoreUnavailable("", f"requested {span}, but received {count}", "try again")
    return reply


def replaced(expected: Version | None = None, now: Version | None = None) -> ObjectChanged:
    """Return the error for a replaced object, or for mirrors that disagree."""
    problem, hint = "was replaced while it was being read", "read it again"
    if expected is not None and now is not None and expected.may_be_mirrored(now):
        hint = "read it again; for mirrors with different ETags, set jp2batch.mirrors"
        if expected.modified:
            problem = "was replaced while it was being read, or has mirrors: only its ETag changed"
    return ObjectChanged("", problem, hint)
