"""Map areas: where on Earth to read, and how finely."""

import json
import math
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

from jp2batch.core.errors import InvalidRlevel, InvalidWindow

Bounds = tuple[float, float, float, float]
"""Smallest x, smallest y, largest x, largest y."""

LON_LAT = "OGC:CRS84"
"""Longitude and latitude."""

_DEGREES = (LON_LAT, "EPSG:4326")
_BBOX_HINT = "give minx,miny,maxx,maxy"
_GEOMETRY_HINT = "give GeoJSON, WKT, or an object with __geo_interface__"
_CRS_HINT = "give a code such as EPSG:4326"


@dataclass(frozen=True, slots=True)
class MapArea:
    """A box or geometry on the map, and a resolution.

    Raises
    ------
    InvalidWindow, InvalidRlevel
        The area is empty, not finite or not of its reference system; or the resolution is not positive.
    """

    bbox: Bounds | None = None
    """The box; None: no box."""
    geometry: str | None = None
    """The geometry as WKT; None: no geometry."""
    crs: str = LON_LAT
    """Coordinate reference system of the box or geometry, as pyproj reads it."""
    resolution: float | None = None
    """Largest distance between samples in metres; None: set by rlevel."""
    mask: bool = True
    """Whether samples outside the geometry become no data."""

    def __post_init__(self) -> None:
        if self.bbox is not None and self.geometry is not None:
            raise InvalidWindow("", "bbox= and geometry= exclude each other", "leave out either")
        if self.bbox is not None:
            object.__setattr__(self, "bbox", _checked(self.bbox, self.crs))
        if self.resolution is not None and not 0 < self.resolution < math.inf:
            raise InvalidRlevel("", "the resolution is not a positive number", "give metres")
        if self.resolution is not None:
            object.__setattr__(self, "resolution", float(self.resolution))

    @classmethod
    def of(
        cls,
        bbox: object = None,
        geometry: object = None,
        crs: object = None,
        resolution: object = None,
        *,
        mask: bool = True,
    ) -> Self | None:
        """Return an area from values of any form; None without any.

        Parameters
        ----------
        bbox : sequence of float or str, optional
            Smallest x, smallest y, largest x, largest y; as text, with commas between.
        geometry : mapping, str or object with `__geo_interface__`, optional
            A geometry, a feature or a collection of them, as GeoJSON or WKT.
        crs : str, int or CRS, optional
            Reference system of both: a code such as "EPSG:32629", its number, or an object of pyproj or rasterio. By
            default, that of the geometry's attribute `crs`, or else longitude and latitude.
        resolution : float or str, optional
            Largest distance between samples in metres.
        mask : bool
            Whether samples outside the geometry become no data.

        Raises
        ------
        InvalidWindow, InvalidRlevel
            A value cannot be read, or contradicts another.
        """
        if bbox is None and geometry is None and resolution is None:
            if crs is not None:
                raise InvalidWindow("", "crs= means nothing without bbox= or geometry=", "leave it out")
            return None
        if crs is None and not isinstance(geometry, str | Mapping):
            crs = getattr(geometry, "crs", None)  # of geopandas
        text = None if geometry is None else _wkt(geometry)
        return cls(None if bbox is None else _bounds(bbox), text, crs_text(crs), _metres(resolution), mask)

    @property
    def has_extent(self) -> bool:
        """Whether it is a part of the map."""
        return self.bbox is not None or self.geometry is not None

    def fields(self) -> dict[str, str | float]:
        """Return the fields with a value, as columns of a manifest."""
        found: dict[str, str | float] = {}
        if self.bbox is not None:
            found["bbox"] = ",".join(map(repr, self.bbox))
        if self.geometry is not None:
            found["geometry"] = self.geometry
        if self.has_extent:
            found["crs"] = self.crs
        return found if self.resolution is None else found | {"resolution": self.resolution}

    def __str__(self) -> str:
        parts = [f"bbox {','.join(f'{value:.12g}' for value in self.bbox)}"] if self.bbox else []
        parts += ["geometry"] if self.geometry else []
        parts += [f"in {self.crs[:40]}"] if self.has_extent and self.crs != LON_LAT else []
        return ", ".join([*parts, *([f"{self.resolution:g} m"] if self.resolution else [])])


def _checked(bbox: Bounds, crs: str) -> Bounds:
    x0, y0, x1, y1 = map(float, bbox)
    if x0 > x1 and crs in _DEGREES:  # across the antimeridian, as in RFC 7946
        x1 += 360
    if not (all(map(math.isfinite, bbox)) and x0 < x1 and y0 < y1):
        raise InvalidWindow("", "the bbox is empty or not finite", _BBOX_HINT)
    if crs in _DEGREES and not (y0 >= -90 and y1 <= 90 and x0 >= -540 and x1 <= 540):
        raise InvalidWindow("", "the bbox is not in longitude and latitude", "give crs=, the code of its system")
    return x0, y0, x1, y1


def _bounds(bbox: object) -> Bounds:
    values = bbox.split(",") if isinstance(bbox, str) else bbox
    try:
        x0, y0, x1, y1 = map(float, cast(Iterable[Any], values))
    except (TypeError, ValueError):
        raise InvalidWindow("", "the bbox cannot be read", _BBOX_HINT) from None
    return x0, y0, x1, y1


def crs_text(crs: object) -> str:
    """Return a reference system as text; by default longitude and latitude.

    Raises
    ------
    InvalidWindow
        It is neither text, nor a number, nor an object of pyproj or rasterio.
    """
    if crs is None:
        return LON_LAT
    if isinstance(crs, numbers.Integral) and not isinstance(crs, bool):
        return f"EPSG:{int(crs)}"
    if isinstance(crs, str) and crs.strip():
        return crs.strip().upper() if crs.strip().upper() in _DEGREES else crs.strip()
    if callable(to_wkt := getattr(crs, "to_wkt", None)):
        epsg = getattr(crs, "to_epsg", lambda: None)()
        return f"EPSG:{epsg}" if epsg else str(to_wkt())
    raise InvalidWindow("", "the crs cannot be read", _CRS_HINT)


def _metres(resolution: object) -> float | None:
    if resolution is None:
        return None
    try:
        return float(cast(Any, resolution))
    except (TypeError, ValueError):
        raise InvalidRlevel("", "the resolution cannot be read", "give metres") from None


def _wkt(geometry: object) -> str:
    """Return a geometry as WKT, all digits kept."""
    import shapely

    try:
        shape = _shape(geometry)
    except (shapely.errors.ShapelyError, ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        raise InvalidWindow("", "the geometry cannot be read", _GEOMETRY_HINT) from None
    shape = shapely.force_2d(shape if shape.is_valid else shapely.make_valid(shape))
    if shape.is_empty or not all(map(math.isfinite, shape.bounds)):
        raise InvalidWindow("", "the geometry is empty or not finite", _GEOMETRY_HINT)
    return str(shapely.to_wkt(shape, rounding_precision=-1))


def _shape(geometry: object) -> Any:
    """Return a shapely geometry from any form."""
    import shapely
    from shapely.geometry import shape

    if isinstance(geometry, str):
        text = geometry.strip()
        return _shape(json.loads(text)) if text.startswith("{") else shapely.from_wkt(text)
    found: Any = geometry if isinstance(geometry, Mapping) else geometry.__geo_interface__  # type: ignore[attr-defined]
    if found["type"] == "Feature":
        return shape(found["geometry"])
    if found["type"] == "FeatureCollection":
        located = [feature["geometry"] for feature in found["features"] if feature["geometry"] is not None]
        return shapely.union_all([shape(geometry) for geometry in located])
    return shape(found)
