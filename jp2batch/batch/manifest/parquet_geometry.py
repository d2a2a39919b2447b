"""Geometries in Parquet: WKB, and the reference system of GeoParquet."""

import json
from dataclasses import dataclass
from typing import Any, Self

from jp2batch.core.errors import InvalidRequest

_HINT = "write it as WKB, WKT or GeoJSON"


@dataclass(frozen=True, slots=True)
class GeometryColumn:
    """Column of geometries as WKB."""

    name: str
    """Name of the column."""
    crs: str
    """Reference system in the metadata of GeoParquet; empty: undefined."""
    crs_name: str
    """Name of the column of reference systems."""
    box_name: str | None
    """Name of the column of their bounds, if any."""

    @classmethod
    def of(cls, schema: Any) -> Self | None:
        """Return the column of a schema of Arrow, if it has any."""
        import pyarrow as pa

        names = {name.strip().lower(): name for name in schema.names}
        name, box = names.get("geometry"), names.get("bbox")
        kind = None if name is None else schema.field(name).type
        if name is None or not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            return None
        is_bounds = box is not None and pa.types.is_struct(schema.field(box).type)
        return cls(name, crs_of(schema.metadata or {}, name), names.get("crs", "crs"), box if is_bounds else None)

    def read(self, row: dict[str, object]) -> dict[str, object]:
        """Return a row with its geometry as text, and its reference system."""
        wkb = row[self.name]
        if not isinstance(wkb, bytes):
            return row
        more: dict[str, object] = {self.name: _text_of(wkb)}
        if not row.get(self.crs_name):
            more[self.crs_name] = self.crs
            if not self.crs:
                problem = "the geometries of the file have no reference system"
                more[self.crs_name] = InvalidRequest("", problem, "add a column crs")
        return {name: value for name, value in row.items() if name != self.box_name} | more


def _text_of(wkb: bytes) -> object:
    """Return a geometry as WKT, or the error."""
    import shapely

    shape = shapely.from_wkb(wkb, on_invalid="ignore")
    if shape is None:
        return InvalidRequest("", "the geometry cannot be read", _HINT)
    return str(shapely.to_wkt(shape, rounding_precision=-1))


def crs_of(metadata: dict[bytes, bytes], name: str) -> str:
    """Return the reference system of a column, by the metadata of GeoParquet."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        columns = json.loads(metadata.get(b"geo", b"{}")).get("columns", {})
        value = columns.get(name, {}).get("crs", "OGC:CRS84")
        crs = CRS.from_user_input(value)
    except (ValueError, AttributeError, CRSError):
        return ""
    code = crs.to_authority()
    return str(crs.to_wkt()) if code is None else ":".join(code)
