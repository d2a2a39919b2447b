"""Map areas: parts and resolutions of images, in coordinates of the map."""

import math
from dataclasses import dataclass
from typing import Self

from jp2batch.core.errors import InvalidRlevel, InvalidWindow
from jp2batch.core.request import LOWEST
from jp2batch.core.window import Window
from jp2batch.image.georeference import Georeference

Bounds = tuple[float, float, float, float]
"""Smallest x, smallest y, largest x, largest y."""

LON_LAT = "OGC:CRS84"
"""Longitude and latitude."""

_DENSE = 21  # points per edge of a box, when it is projected
_NEARLY = 1 + 1e-9  # a resolution that arithmetic has made smaller


@dataclass(frozen=True, slots=True)
class MapArea:
    """A box on the map and a resolution, for any image.

    Raises
    ------
    InvalidWindow, InvalidRlevel
        The box is empty, or the resolution is not positive.
    """

    bbox: Bounds | None = None
    """The box; None: the whole image."""
    crs: str = LON_LAT
    """Coordinate reference system of the box, as pyproj reads it."""
    resolution: float | None = None
    """Largest distance between samples in metres; None: set by rlevel."""

    def __post_init__(self) -> None:
        if self.bbox is not None:
            x0, y0, x1, y1 = self.bbox
            if not (all(map(math.isfinite, self.bbox)) and x0 < x1 and y0 < y1):
                raise InvalidWindow("", "the bbox is empty or not finite", "give minx,miny,maxx,maxy")
        if self.resolution is not None and not 0 < self.resolution < math.inf:
            raise InvalidRlevel("", "the resolution is not a positive number", "give metres")

    @classmethod
    def parse(cls, bbox: str | None, crs: str | None, resolution: str | None) -> Self:
        """Return an area from texts."""
        try:
            bounds = None if bbox is None else [float(number) for number in bbox.split(",")]
        except ValueError:
            bounds = []
        if bounds is not None and len(bounds) != len("xyxy"):
            raise InvalidWindow("", "the bbox cannot be read", "give minx,miny,maxx,maxy")
        try:
            metres = None if resolution is None else float(resolution)
        except ValueError:
            raise InvalidRlevel("", "the resolution cannot be read", "give metres") from None
        return cls(None if bounds is None else (bounds[0], bounds[1], bounds[2], bounds[3]), crs or LON_LAT, metres)

    def window(self, georeference: Georeference | None, shape: tuple[int, int]) -> Window | None:
        """Return the part of an image; None: the whole.

        Raises
        ------
        InvalidWindow
            The image has no georeference, or lies elsewhere.
        """
        if self.bbox is None:
            return None
        if georeference is None or georeference.crs_wkt is None:
            raise InvalidWindow("", "the image has no georeference for a bbox", "give a window in pixels")
        return Window.from_bounds(self._bounds_in(georeference.crs_wkt, self.bbox), georeference.transform, shape)

    def rlevel(self, georeference: Georeference | None, levels: int, rlevel: int = LOWEST) -> int:
        """Return the lowest level of an image with samples near enough.

        Without a resolution, it is `rlevel`. If all samples are too far apart, it is 0.

        Raises
        ------
        InvalidRlevel
            The distance of the image's pixels in metres is unknown.
        """
        if self.resolution is None:
            return rlevel
        metres = None if georeference is None else _pixel_metres(georeference)
        if metres is None:
            raise InvalidRlevel("", "the pixels of the image have no size in metres", "give an rlevel")
        ratio = self.resolution * _NEARLY / metres
        return 0 if ratio < 1 else min(levels, int(math.log2(ratio)))

    def _bounds_in(self, crs_wkt: str, bbox: Bounds) -> Bounds:
        from pyproj import Transformer
        from pyproj.exceptions import ProjError

        try:
            transformer = Transformer.from_crs(self.crs, crs_wkt, always_xy=True)
        except ProjError:  # also of an unknown system
            raise InvalidWindow("", "the crs cannot be read", "give a code such as EPSG:4326") from None
        x0, y0, x1, y1 = transformer.transform_bounds(*bbox, densify_pts=_DENSE)
        return x0, y0, x1, y1


def _pixel_metres(georeference: Georeference) -> float | None:
    from pyproj import CRS

    if georeference.crs_wkt is None or not CRS.from_wkt(georeference.crs_wkt).is_projected:
        return None
    a, b, _, d, e, _ = georeference.transform
    return max(math.hypot(a, d), math.hypot(b, e))
