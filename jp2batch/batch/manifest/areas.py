"""Map areas of the rows of a manifest."""

import re
from collections.abc import Mapping

from jp2batch.batch.manifest.rows import AREA_COLUMNS
from jp2batch.core.errors import InvalidRequest, InvalidWindow
from jp2batch.core.map_area import MapArea

_CODE = re.compile(r"\s*([0-9]{1,9})(\.0*)?\s*")  # pandas writes 32629.0 if other rows have no code
_BRACKETS = "[]() "
_MOST = 1000  # reference systems


class AreaMaker:
    """Make map areas of rows; check each reference system once."""

    def __init__(self) -> None:
        self._systems: set[str] = set()

    def area_of(self, fields: Mapping[str, object]) -> MapArea | None:
        """Return the map area of a row; None without any.

        Parameters
        ----------
        fields : mapping
            Values by names in lower case.

        Raises
        ------
        InvalidRequest
            A value cannot be read, or contradicts another.
        """
        bbox, geometry, crs, resolution = (_filled(fields.get(name)) for name in AREA_COLUMNS)
        if bbox is None and geometry is None and (resolution is not None or not fields.keys().isdisjoint(_EXTENTS)):
            crs = None  # of a table with the same in each row
        if isinstance(resolution, bool) or isinstance(bbox, Mapping):
            raise InvalidWindow("", "bbox or resolution cannot be read", "give minx,miny,maxx,maxy, and metres")
        area = MapArea.of(bbox.strip(_BRACKETS) if isinstance(bbox, str) else bbox, geometry, _code(crs), resolution)
        if area is not None and area.has_extent:
            self._check(area.crs)
        return area

    def _check(self, crs: str) -> None:
        """Refuse an unknown reference system."""
        if crs in self._systems:
            return
        from pyproj import CRS
        from pyproj.exceptions import CRSError

        try:
            CRS.from_user_input(crs)
        except CRSError:
            raise InvalidWindow("", "the crs cannot be read", "give a code such as EPSG:4326") from None
        if len(self._systems) >= _MOST:
            self._systems.clear()
        self._systems.add(crs)


_EXTENTS = ("bbox", "geometry")


def columns_of_area(path: str, area: MapArea | None) -> Mapping[str, object]:
    """Return the columns of an area, to write.

    Raises
    ------
    InvalidRequest
        The area has a field without column.
    """
    if area is None:
        return {}
    if not area.mask:
        raise InvalidRequest(path, "a manifest has no column for mask=False", "leave it out")
    return area.fields()


def _filled(value: object) -> object:
    """Return the value of a cell; None if empty."""
    return None if isinstance(value, str) and not value.strip() else value


def _code(crs: object) -> object:
    """Return the code of a reference system, as a number if possible."""
    if isinstance(crs, float) and crs.is_integer():
        return int(crs)
    match = _CODE.fullmatch(crs) if isinstance(crs, str) else None
    return crs if match is None else int(match[1])
