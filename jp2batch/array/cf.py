"""CF attributes of axes and grid mappings, as in rioxarray."""

import functools

from jp2batch.image.georeference import Georeference, Transform

Attributes = dict[str, object]


def axis_attributes(place: Georeference | None) -> tuple[Attributes, Attributes]:
    """Return the attributes of x and y.

    Without a georeference, x and y are numbers of columns and rows.
    """
    if place is None:
        return {"axis": "X", "long_name": "column of the full image"}, {
            "axis": "Y",
            "long_name": "row of the full image",
        }
    described = {} if place.crs_wkt is None else _crs_attributes(place.crs_wkt)[1]
    return {"axis": "X"} | described.get("X", {}), {"axis": "Y"} | described.get("Y", {})


def grid_mapping(place: Georeference, transform: Transform) -> Attributes:
    """Return the attributes of `spatial_ref`: CRS and transform of the array."""
    a, b, c, d, e, f = transform
    attributes = {} if place.crs_wkt is None else dict(_crs_attributes(place.crs_wkt)[0])
    return attributes | {"GeoTransform": " ".join(repr(float(value)) for value in (c, a, b, f, d, e))}  # GDAL's order


@functools.lru_cache(maxsize=64)
def _crs_attributes(wkt: str) -> tuple[Attributes, dict[str, Attributes]]:
    """Return attributes of the grid mapping, and of axes by name."""
    import pyproj

    crs = pyproj.CRS.from_wkt(wkt)
    mapping = crs.to_cf() | {"spatial_ref": wkt}
    return mapping, {axis["axis"]: axis for axis in crs.cs_to_cf() if axis.get("axis") in ("X", "Y")}
