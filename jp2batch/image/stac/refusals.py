"""Refuse items without usable images, with their names."""

from collections.abc import Sequence

from jp2batch.core.errors import InvalidRequest, ManifestError
from jp2batch.core.location import described
from jp2batch.core.redaction import redact
from jp2batch.image.source_images import SourceImages

_SHOWN = 20  # items in a message
_HINT = "use a collection with .jp2 files, as of CDSE or Earth Search: many catalogues offer GeoTIFF"


def checked_alternate(alternate: object) -> str | None:
    """Return the name of an alternate location, or None.

    Raises
    ------
    InvalidRequest
        It is not text.
    """
    if alternate is not None and not (isinstance(alternate, str) and alternate):
        raise InvalidRequest("", f"alternate {described(alternate)} is not a name", 'give "s3", "https", …')
    return alternate


def refuse_unusable(items: Sequence[SourceImages], alternate: str | None, path: str | None = None) -> None:
    """Refuse items without JPEG 2000 image, and unknown alternates.

    Parameters
    ----------
    items : sequence of SourceImages
        Images of each item.
    alternate : str, optional
        Name of the alternate location to prefer.
    path : str, optional
        Path of the file of the items, in which there must be one.

    Raises
    ------
    ManifestError
        An item has no JPEG 2000 image; all such items are named.
    InvalidRequest
        An item has no location of this name.
    """
    without = [one for one in items if not one.has_images]
    if without or (path is not None and not items):
        raise _no_images(without, len(items), path)
    other = [one for one in items if alternate and alternate.lower() not in one.alternates]
    if other:
        names = ", ".join(sorted(filter(None, frozenset().union(*(one.alternates for one in other)))))
        problem = f"no alternate location of this name: {_named(other)}"
        raise InvalidRequest(path or "", problem, f"alternate= may be {names}" if names else "leave out alternate=")


def _no_images(without: Sequence[SourceImages], count: int, path: str | None) -> ManifestError:
    collections = ", ".join(sorted({redact(one.collection) for one in without if one.collection}))
    of = f" of {collections}" if collections else ""
    which = f"its {count} items" if len(without) == count else f"{len(without)} of {count} items"
    names = f": {_named(without)}" if without else ""
    which = which if path else which.removeprefix("its ")
    return ManifestError(path or "", f"{which}{of} have no JPEG 2000 image{names}", _HINT)


def _named(items: Sequence[SourceImages]) -> str:
    """Return the names of items, for messages."""
    names = [redact(one.name or "an item without id") for one in items[:_SHOWN]]
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(names) + more
