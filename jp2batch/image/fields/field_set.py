"""Points and polygons with ids, in a single reference system."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from jp2batch.core.errors import InvalidRequest
from jp2batch.core.map_area import LON_LAT

_KINDS = {0: "Point", 3: "Polygon", 4: "MultiPoint", 6: "MultiPolygon"}  # types of shapely
_DEGREES = (LON_LAT, "EPSG:4326")
_SHOWN = 3  # ids in a message


@dataclass(frozen=True, slots=True)
class FieldSet:
    """Points and polygons with ids; equal if their digests are."""

    digest: str
    """Digest of geometries, ids and reference system."""
    crs: str = field(compare=False)
    """Coordinate reference system, as pyproj reads it."""
    ids: tuple[int | str, ...] = field(compare=False, repr=False)
    """Id of each field."""
    wkb: bytes = field(compare=False, repr=False)
    """Geometries as WKB, without gaps."""
    ends: Any = field(compare=False, repr=False)
    """End of each geometry in `wkb`, an array."""

    @classmethod
    def of(cls, shapes: Sequence[Any], ids: Sequence[int | str], crs: str) -> Self:
        """Return the set of some shapely geometries.

        Raises
        ------
        InvalidRequest
            There are none, or a geometry is missing, empty, not finite, a line, or not of its reference system; or ids
            are equal.
        """
        import shapely

        geometries = np.array(shapes, dtype=object)
        if not len(geometries):
            raise InvalidRequest("", "there are no fields", "give at least one point or polygon")
        names = _checked_ids(ids)
        _check(geometries, names, crs)
        texts = shapely.to_wkb(shapely.force_2d(geometries))
        ends = np.cumsum([len(text) for text in texts])
        wkb = b"".join(texts)
        digest = hashlib.sha256(b"\0".join([crs.encode(), repr(names).encode(), wkb])).hexdigest()[:16]
        return cls(digest, crs, names, wkb, ends)

    def __len__(self) -> int:
        return len(self.ids)

    def shapes(self) -> Any:
        """Return the geometries as an array."""
        import shapely

        starts = [0, *self.ends[:-1].tolist()]
        return shapely.from_wkb([self.wkb[a:b] for a, b in zip(starts, self.ends.tolist(), strict=True)])


def shown(ids: Sequence[object]) -> str:
    """Return the first of some ids as text."""
    texts = [str(one)[:40] for one in ids[:_SHOWN]]
    return ", ".join(texts) + (" …" if len(ids) > _SHOWN else "")


def _checked_ids(ids: Sequence[int | str]) -> tuple[int | str, ...]:
    names = tuple(ids)
    if len({type(name) for name in names}) > 1:
        names = tuple(map(str, names))
    if len(set(names)) < len(names):
        ((twice, _),) = Counter(names).most_common(1)
        raise InvalidRequest("", f"several fields have the id {shown([twice])}", "give id=, a column without repeats")
    return names


def _check(shapes: Any, ids: Sequence[int | str], crs: str) -> None:
    """Refuse geometries without samples: lines, empty, not finite.

    Raises
    ------
    InvalidRequest
        The message names the first fields.
    """
    import shapely

    bounds = shapely.bounds(shapes)
    kinds = shapely.get_type_id(shapes)
    _refuse(ids, ~np.isfinite(bounds).all(axis=1), "has no geometry, or one that is not finite", "leave it out")
    _refuse(ids, ~np.isin(kinds, list(_KINDS)), "is neither points nor polygons", "buffer lines, and split collections")
    if crs in _DEGREES:
        out = (bounds[:, 1] < -90) | (bounds[:, 3] > 90) | (bounds[:, 0] < -540) | (bounds[:, 2] > 540)
        _refuse(ids, out, "is not in longitude and latitude", "give crs=, the code of its system")


def _refuse(ids: Sequence[int | str], bad: Any, problem: str, hint: str) -> None:
    places = np.flatnonzero(bad)
    if len(places):
        others = f", and {len(places) - 1} others" if len(places) > 1 else ""
        raise InvalidRequest("", f"field {shown([ids[places[0]]])} {problem}{others}", hint)
