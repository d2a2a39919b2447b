"""Columns of tables: further columns of a manifest with a type."""

from collections import Counter
from collections.abc import Iterable

from jp2batch.core.request import Request

Columns = tuple[tuple[str, str], ...]
"""Names and Arrow types of columns."""

_KINDS = {"string": str, "bool": bool, "int64": int, "double": float}


def further_columns(request: Request) -> dict[str, object]:
    """Return the columns of a row, including its area."""
    return dict(request.columns) | ({} if request.area is None else request.area.fields())


def columns_of(items: Iterable[Request], fixed: Iterable[str]) -> Columns:
    """Return the columns with values of a single type.

    Names of fixed columns are left out, in upper and lower case: DuckDB ignores case.
    """
    values: dict[str, set[type]] = {}
    for item in items:
        for name, value in further_columns(item).items():
            values.setdefault(name, set()).add(type(value))
    taken = Counter(name.casefold() for name in [*fixed, *values])
    kinds = {name: _kind_of(some) for name, some in values.items() if taken[name.casefold()] == 1}
    return tuple((name, kind) for name, kind in kinds.items() if kind is not None)


def cell_of(value: object, kind: str) -> object:
    """Return a value of a column, None for another type."""
    if isinstance(value, int) and not isinstance(value, bool):
        most = 2**63 - 1 if kind == "int64" else 2**53 if kind == "double" else -1
        return value if abs(value) <= most else None
    return value if type(value) is _KINDS[kind] else None


def _kind_of(types: set[type]) -> str | None:
    """Return the type of a column; None for several types."""
    kinds = types - {type(None)}
    if kinds == {int, float}:
        kinds = {float}
    return next((kind for kind, own in _KINDS.items() if kinds == {own}), None)
