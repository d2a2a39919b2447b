"""What a store answers to one request, and the checks that come before it is believed. No I/O."""

import re
from dataclasses import dataclass

from jp2batch.core.errors import ObjectChanged, StoreUnavailable

Range = tuple[int, int]
"""Half-open byte range [start, stop)."""

Piece = tuple[int, bytes]
"""(start, data)."""

_CONTENT_RANGE = re.compile(r"bytes\s+(?:(\d+)-(\d+)|\*)/(\d+|\*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Version:
    """Which object it is: a replaced one differs in one of these."""

    size: int | None
    """Bytes of the whole object."""
    etag: str | None
    """The store's version tag, or what it has in its place; None where it has none."""

    @property
    def has_tag(self) -> bool:
        """Whether requests can be conditional: a time in the place of an ETag is none, and a weak one never matches."""
        return (self.etag or "").startswith('"')

    def differs(self, other: "Version") -> bool:
        """Whether the two cannot be the same object; what one of them does not tell counts as equal."""
        pairs = ((self.size, other.size), (self.etag, other.etag))
        return any(a != b for a, b in pairs if a is not None and b is not None)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a store says that it sent."""

    data: bytes
    """The body."""
    version: Version = Version(None, None)
    """The object it is taken from, as far as the reply tells."""
    span: Range | None = None
    """The bytes that it claims to be; None where it claims nothing."""
    whole: bool = False
    """Whether it is the whole object, because the store ignores ranges."""


def content_range(text: str | None) -> tuple[Range | None, int | None]:
    """Return the span and the total size that a Content-Range header tells; None for what it does not."""
    match = _CONTENT_RANGE.fullmatch((text or "").strip())
    if match is None:
        return None, None
    first, last, total = match.groups()
    return (int(first), int(last) + 1) if first else None, None if total == "*" else int(total)


def validate_reply(reply: Reply, span: Range, known: Version) -> Reply:
    """Return `reply` if it is what was asked.

    Raises
    ------
    ObjectChanged
        It is taken from another object than the `known` one.
    StoreUnavailable
        It holds other bytes than those of `span`, as far as the object has them.
    """
    if known.differs(reply.version):
        raise replaced()
    if reply.whole:
        return reply
    start, stop = span
    if known.size is not None:
        stop = max(start, min(stop, known.size))
    if reply.span is not None and reply.span != (start, stop):
        raise StoreUnavailable(
            "", f"{describe_range((start, stop))} were asked for and {describe_range(reply.span)} came", "try again"
        )
    if len(reply.data) != stop - start:
        count = "more" if len(reply.data) > stop - start else f"only {len(reply.data)}"
        raise StoreUnavailable("", f"{describe_range((start, stop))} were asked for and {count} came", "try again")
    return reply


def replaced() -> ObjectChanged:
    """Return the error for an object that is another one now."""
    return ObjectChanged("", "was replaced while it was being read", "read it again")


def describe_range(span: Range) -> str:
    """Return a range as messages name it."""
    return f"bytes {span[0]}:{span[1]} ({span[1] - span[0]})"
