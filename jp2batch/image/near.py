"""Surroundings of an image on the map, in another reference system."""

import math
from typing import Any

from jp2batch.core.errors import OutsideImage
from jp2batch.core.map_area import Bounds

SEGMENTS = 100
"""Segments per side of a projected area."""
_MARGIN = 5  # times the image's extent; what lies farther away is not projected


def outside() -> OutsideImage:
    """Return the error for an area outside an image."""
    return OutsideImage("", "the area does not meet the image", "jp2batch.inspect tells the bounds of the image")


def bounds_around(extent: Bounds, there: Any) -> Bounds:
    """Return bounds around an image in the area's reference system.

    The largest longitude may exceed 180 degrees.

    Parameters
    ----------
    extent : (float, float, float, float)
        Bounds of the image in its own reference system.
    there : pyproj.Transformer
        Transformer from the area's reference system to that of the image.

    Raises
    ------
    OutsideImage
        The image cannot be in the area's reference system.
    """
    left, bottom, right, top = extent
    margin = _MARGIN * max(right - left, top - bottom)
    box = left - margin, bottom - margin, right + margin, top + margin
    x0, y0, x1, y1 = there.transform_bounds(*box, densify_pts=SEGMENTS, direction="INVERSE")
    if not all(map(math.isfinite, (x0, y0, x1, y1))):
        raise outside()
    return x0, y0, x1 + 360 if x1 < x0 else x1, y1


def cut(shape: Any, around: Bounds, *, wraps: bool) -> Any:
    """Return the part of a shape within bounds; longitudes wrap."""
    import shapely
    from shapely.affinity import translate

    box, turns = shapely.box(*around), (-360, 0, 360) if wraps else (0,)
    return shapely.union_all([shapely.intersection(translate(shape, turn), box) for turn in turns])
