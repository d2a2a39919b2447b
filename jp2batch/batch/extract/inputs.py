"""Fields in any form: geometries, features, tables."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jp2batch.core.errors import InvalidRequest
from jp2batch.core.map_area import crs_text
from jp2batch.image.fields.field_set import FieldSet

_AXES = (("lon", "lat"), ("longitude", "latitude"), ("lng", "lat"), ("x", "y"))
_HINT = "give GeoJSON, geometries, features, a GeoDataFrame, or a table with columns lon and lat"


@dataclass(slots=True)
class _Found:
    """Geometries with ids and reference system, as far as given."""

    shapes: Sequence[Any]
    ids: Sequence[Any] | None = None
    crs: object = None
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Further columns, by name."""


def fields_of(fields: object, *, id: str | None = None, crs: object = None) -> FieldSet:  # noqa: A002
    """Return fields from any form.

    Parameters
    ----------
    fields : object
        A FieldSet; a geometry, feature or collection as GeoJSON or with `__geo_interface__`; a GeoDataFrame or other
        table; or a list of geometries, features or pairs of coordinates.
    id : str, optional
        Column or property with the ids; by default `id`, else ids of features or the index of a table, else 0, 1, ….
    crs : str, int or CRS, optional
        Reference system; by default that of the fields, else longitude and latitude.

    Raises
    ------
    InvalidRequest
        The form is unknown, a geometry or id cannot be used, or the reference system is unknown.
    """
    if isinstance(fields, FieldSet):
        return fields
    import shapely

    try:
        found = _found(fields)
    except InvalidRequest:
        raise
    except (shapely.errors.ShapelyError, ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        raise InvalidRequest("", "the fields cannot be read", _HINT) from None
    system = crs_text(found.crs if crs is None else crs)
    _check_crs(system)
    return FieldSet.of(found.shapes, _plain(_ids(found, id)), system)


def _ids(found: _Found, name: str | None) -> Sequence[Any]:
    """Return the ids of fields, of a column, property or their own."""
    if name is not None and name not in found.columns:
        there = ", ".join(sorted(map(str, found.columns))[:12])
        raise InvalidRequest(
            "", "id= is not a column of the fields", f"there are: {there}" if there else "leave it out"
        )
    ids = found.columns.get(name or "id", found.ids)
    return range(len(found.shapes)) if ids is None else ids


def _plain(ids: Iterable[Any]) -> list[int | str]:
    """Return ids as numbers or texts."""
    found: list[int | str] = []
    for one in ids:
        plain = one.item() if isinstance(one, np.generic) else one
        if plain is None or plain != plain:  # noqa: PLR0124  # NaN
            raise InvalidRequest("", f"field number {len(found)} has no id", "fill the column of ids, or give id=")
        is_whole = isinstance(plain, int) or (isinstance(plain, float) and plain.is_integer())
        found.append(int(plain) if is_whole and not isinstance(plain, bool) else str(plain))
    return found


def _found(fields: Any) -> _Found:
    """Return fields of any form."""
    if isinstance(fields, Mapping) and "type" in fields:
        return _of_geojson(fields)
    if hasattr(fields, "columns") and hasattr(fields, "index"):
        return _of_table(fields)
    if hasattr(fields, "geom_type") and hasattr(fields, "index"):  # a series of geopandas
        return _Found(list(fields), list(fields.index), getattr(fields, "crs", None))
    if hasattr(fields, "__geo_interface__"):
        return _of_geojson(fields.__geo_interface__)
    if isinstance(fields, str | bytes | Mapping) or not isinstance(fields, Iterable):
        raise InvalidRequest("", f"fields cannot be {type(fields).__name__}", _HINT)
    return _of_list(list(fields))


def _of_geojson(one: Mapping[str, Any]) -> _Found:
    from shapely.geometry import shape

    if one["type"] == "FeatureCollection":
        found = _of_features(one["features"])
        found.crs = ((one.get("crs") or {}).get("properties") or {}).get("name")
        return found
    return _of_features([one]) if one["type"] == "Feature" else _Found([shape(one)])


def _of_features(features: Sequence[Mapping[str, Any]]) -> _Found:
    from shapely.geometry import shape

    properties = [feature.get("properties") or {} for feature in features]
    names = set[str]().union(*properties) if properties else set()
    columns = {name: [one.get(name) for one in properties] for name in names}
    shapes = [None if feature["geometry"] is None else shape(feature["geometry"]) for feature in features]
    own = [feature.get("id") for feature in features]
    if all(one is not None for one in own):
        columns["id"] = own
    elif any(one is None for one in columns.get("id", [None])):
        columns.pop("id", None)
    return _Found(shapes, columns=columns)


def _of_table(table: Any) -> _Found:
    """Return the fields of a table of geopandas, pandas or another package."""
    columns = {str(name): table[name].tolist() for name in table.columns}
    ids, names = _index(table), {name.strip().lower(): name for name in columns}
    if hasattr(table, "geometry") and hasattr(table, "crs"):
        return _Found(list(table.geometry), ids, table.crs, columns)
    if "geometry" in names:
        return _Found([_shape(one) for one in columns[names["geometry"]]], ids, None, columns)
    for x, y in _AXES:
        if x in names and y in names:
            return _Found(_points([columns[names[x]], columns[names[y]]]), ids, None, columns)
    raise InvalidRequest("", "the table has neither lon and lat nor geometry", _HINT)


def _index(table: Any) -> list[Any] | None:
    """Return the index of a table; None if it merely counts."""
    ids = list(table.index)
    return None if ids == list(range(len(ids))) else ids


def _of_list(members: list[Any]) -> _Found:
    """Return fields in a list: geometries, features, coordinates."""
    if members and all(_is_pair(one) for one in members):
        return _Found(_points(np.array(members, float).T))
    plain = [one if isinstance(one, Mapping) else getattr(one, "__geo_interface__", None) for one in members]
    is_feature = [isinstance(one, Mapping) and one.get("type") == "Feature" for one in plain]
    if members and all(is_feature):
        return _of_features([one for one in plain if one is not None])
    return _Found([_shape(one) for one in members])


def _is_pair(one: Any) -> bool:
    return isinstance(one, Sequence | np.ndarray) and not isinstance(one, str | bytes) and len(one) == 2


def _points(coordinates: Any) -> Any:
    import shapely

    return shapely.points(*(np.asarray(axis, float) for axis in coordinates))


def _shape(one: Any) -> Any:
    """Return a geometry of shapely from text, bytes or another object."""
    import shapely
    from shapely.geometry import shape

    if one is None or isinstance(one, shapely.Geometry):
        return one
    if isinstance(one, bytes | bytearray):
        return shapely.from_wkb(bytes(one))
    if isinstance(one, str):
        return shapely.from_geojson(one) if one.lstrip().startswith("{") else shapely.from_wkt(one)
    plain = one if isinstance(one, Mapping) else one.__geo_interface__
    return shape(plain["geometry"] if plain["type"] == "Feature" else plain)


def _check_crs(crs: str) -> None:
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        CRS.from_user_input(crs)
    except CRSError:
        raise InvalidRequest("", "the crs of the fields cannot be read", "give a code such as EPSG:4326") from None
