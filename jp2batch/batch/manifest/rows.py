"""Rows of a manifest, before they become requests."""

from collections.abc import Sequence

from jp2batch.core.errors import InvalidRequest

OWN_COLUMNS = ("path", "rlevel", "window", "id")
"""Columns of most requests, case-insensitive."""

AREA_COLUMNS = ("bbox", "geometry", "crs", "resolution")
"""Columns of a map area, case-insensitive."""

REQUEST_COLUMNS = (*OWN_COLUMNS, *AREA_COLUMNS)
"""Columns of a request; other columns are passed through."""

Row = tuple[int, object]
"""Row number and row.

A row is a mapping, a path, a UsualLine, or an InvalidRequest.
"""


class PlainRow(dict[str, object]):
    """A row of JSON values: UTF-8 text, and numbers of 64 bits."""


def fault_of_names(names: Sequence[str]) -> InvalidRequest | None:
    """Return the error of the names of columns, if any."""
    known = [name.strip().lower() for name in names]
    if "path" not in known:
        return InvalidRequest("", "no column is called Path", "name the column of paths Path")
    for own in REQUEST_COLUMNS:
        if known.count(own) > 1:
            return InvalidRequest("", f"two columns are called {own}", "leave one of them out")
    for place, name in enumerate(names, 1):
        if name and name in names[: place - 1]:
            problem = f"columns {names.index(name) + 1} and {place} have the same name"
            return InvalidRequest("", problem, "leave one of them out")
    if not "".join(names).isascii() and any("\ud800" <= letter <= "\udfff" for name in names for letter in name):
        return InvalidRequest("", "the names of the columns are not UTF-8", "save the file as UTF-8")
    return None
