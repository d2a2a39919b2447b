"""Coordinate reference systems defined by GeoKeys.

HiRISE and others define their own: a projection with its parameters, on a datum of EPSG or on an ellipsoid. The
definition is put into WKT 1 in GDAL's words, which PROJ reads. Projections that are not in the table are unknown.
"""

from collections.abc import Mapping
from dataclasses import dataclass

GeoKeys = Mapping[int, float]
"""Values of GeoKeys by number (GeoTIFF 1.1, section 7.4)."""
USER_DEFINED = 32767
"""Code of a definition by other keys."""

_MODEL, _GEOGRAPHIC, _DATUM, _PRIME_MERIDIAN, _ANGULAR_UNIT, _ELLIPSOID = 1024, 2048, 2050, 2051, 2054, 2056
_SEMI_MAJOR, _SEMI_MINOR, _INVERSE_FLATTENING, _MERIDIAN = 2057, 2058, 2059, 2061
_PROJECTED, _METHOD, _LINEAR_UNIT = 3072, 3075, 3076
_IS_GEOGRAPHIC, _DEGREE, _GREENWICH = 2, 9102, 8901
_UNITS = {
    9001: 'UNIT["metre",1]',
    9002: 'UNIT["foot",0.3048]',
    9003: 'UNIT["US survey foot",0.304800609601219]',
}


@dataclass(frozen=True, slots=True)
class _Parameter:
    """A parameter of a projection in WKT 1 and in GeoKeys."""

    name: str
    """Name in WKT 1."""
    keys: tuple[int, ...]
    """GeoKeys of its value, the first available."""
    default: float | None = None
    """Value without these keys; None: it is required."""


_LAT, _LON = (3081, 3085, 3089), (3080, 3084, 3088)  # of natural origin, false origin, centre
_FALSE = (
    _Parameter("false_easting", (3082, 3086, 3090), 0.0),
    _Parameter("false_northing", (3083, 3087, 3091), 0.0),
)
_SCALE = _Parameter("scale_factor", (3092, 3093), 1.0)
_ORIGIN = (_Parameter("latitude_of_origin", _LAT, 0.0), _Parameter("central_meridian", _LON, 0.0))
_CENTRE = (_Parameter("latitude_of_center", _LAT, 0.0), _Parameter("longitude_of_center", _LON, 0.0))
_PARALLEL = _Parameter("standard_parallel_1", (3078,))
_PARALLELS = (_PARALLEL, _Parameter("standard_parallel_2", (3079,)))
_PROJECTIONS: dict[int, tuple[str, tuple[_Parameter, ...]]] = {
    1: ("Transverse_Mercator", (*_ORIGIN, _SCALE)),
    8: ("Lambert_Conformal_Conic_2SP", (*_ORIGIN, *_PARALLELS)),
    9: ("Lambert_Conformal_Conic_1SP", (*_ORIGIN, _SCALE)),
    10: ("Lambert_Azimuthal_Equal_Area", _CENTRE),
    11: ("Albers_Conic_Equal_Area", (*_CENTRE, *_PARALLELS)),
    15: (
        "Polar_Stereographic",
        (_Parameter("latitude_of_origin", (3081,)), _Parameter("central_meridian", (3095, 3080)), _SCALE),
    ),
    17: ("Equirectangular", (*_ORIGIN, _PARALLEL)),
    24: ("Sinusoidal", (_Parameter("longitude_of_center", _LON, 0.0),)),
}
"""Projections by the code of their method."""


def defined_crs(keys: GeoKeys) -> str | None:
    """Return the reference system of GeoKeys as WKT 2, or None."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        geographic = _geographic(keys)
        if geographic is None:
            return None
        definition = geographic if keys.get(_MODEL) == _IS_GEOGRAPHIC else _projected(keys, geographic)
        if definition is None:
            return None
        return CRS.from_wkt(CRS.from_wkt(definition).to_wkt()).to_wkt()  # huge numbers are not read back
    except CRSError:
        return None


def _projected(keys: GeoKeys, geographic: str) -> str | None:
    """Return WKT 1 of a projected system."""
    method = _PROJECTIONS.get(_code(keys, _METHOD))
    unit = _UNITS.get(_code(keys, _LINEAR_UNIT, 9001))
    if method is None or unit is None or keys.get(_PROJECTED) != USER_DEFINED:
        return None
    name, parameters = method
    texts = []
    for parameter in (*parameters, *_FALSE):
        value = next((keys[key] for key in parameter.keys if key in keys), parameter.default)
        if value is None:
            return None
        texts.append(f'PARAMETER["{parameter.name}",{value!r}]')
    return f'PROJCS["unknown",{geographic},PROJECTION["{name}"],{",".join(texts)},{unit}]'


def _geographic(keys: GeoKeys) -> str | None:
    """Return WKT 1 of the geographic system."""
    from pyproj import CRS

    code = _code(keys, _GEOGRAPHIC)
    if code != USER_DEFINED:
        crs = CRS.from_epsg(code)
        return crs.to_wkt("WKT1_GDAL") if crs.is_geographic else None
    usual = keys.get(_PRIME_MERIDIAN, _GREENWICH) in (_GREENWICH, USER_DEFINED) and keys.get(_MERIDIAN, 0) == 0
    datum = _datum(keys)
    if datum is None or not usual or keys.get(_ANGULAR_UNIT, _DEGREE) != _DEGREE:
        return None
    return f'GEOGCS["unknown",{datum},PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]]'


def _code(keys: GeoKeys, key: int, default: int = USER_DEFINED) -> int:
    """Return a code; codes are integers, unlike parameters."""
    value = keys.get(key, default)
    return value if isinstance(value, int) else 0


def _datum(keys: GeoKeys) -> str | None:
    """Return WKT 1 of the datum, or None."""
    from pyproj.crs import Datum, Ellipsoid  # type: ignore[attr-defined]

    code, ellipsoid = _code(keys, _DATUM), _code(keys, _ELLIPSOID)
    if code != USER_DEFINED:
        return Datum.from_epsg(code).to_wkt("WKT1_GDAL")
    if ellipsoid != USER_DEFINED:
        spheroid = Ellipsoid.from_epsg(ellipsoid).to_wkt("WKT1_GDAL")
    elif _SEMI_MAJOR in keys and (_SEMI_MINOR in keys or _INVERSE_FLATTENING in keys):
        major = keys[_SEMI_MAJOR]
        minor = keys.get(_SEMI_MINOR, major)
        flattening = 0.0 if minor == major else major / (major - minor)
        spheroid = f'SPHEROID["unknown",{major!r},{keys.get(_INVERSE_FLATTENING, flattening)!r}]'
    else:
        return None
    return f'DATUM["unknown",{spheroid}]'
