"""Times of a cube: of sensing, or of solar days."""

from collections.abc import Sequence

import numpy as np

from jp2batch.array.cube.grid import SampleGrid
from jp2batch.array.cube.inputs import CubeImage
from jp2batch.image.georeference import Georeference

_HOUR = 15  # degrees of longitude


def grouped_times(images: Sequence[CubeImage], grid: SampleGrid, groupby: str) -> dict[int, np.datetime64]:
    """Return the time in the cube of each image, by `id`.

    Parameters
    ----------
    images : sequence of CubeImage
        Images of a cube.
    grid : SampleGrid
        Grid of the cube.
    groupby : {"time", "solar_day"}
        "solar_day" for the earliest time of all images of a day. Days begin at midnight of the mean solar time at the
        middle of the cube: UTC, and an hour for each 15 degrees of longitude.
    """
    if groupby == "time":
        return {id(image): image.time for image in images}
    hours = longitude(grid.place, grid.pixels) / _HOUR
    shift = np.timedelta64(round(hours * 3600), "s")
    days = {id(image): (image.time + shift).astype("datetime64[D]") for image in images}
    first: dict[np.datetime64, np.datetime64] = {}
    for image in images:
        first[days[id(image)]] = min(first.get(days[id(image)], image.time), image.time)
    return {id(image): first[days[id(image)]] for image in images}


def longitude(place: Georeference, shape: tuple[int, int]) -> float:
    """Return the longitude of the middle of a grid.

    It is 0 without a reference system.
    """
    from pyproj import CRS, Transformer

    if place.crs_wkt is None:
        return 0.0
    crs = CRS.from_wkt(place.crs_wkt)
    a, b, c, d, e, f = place.transform
    row, column = shape[0] / 2, shape[1] / 2
    there = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    found, _ = there.transform(a * column + b * row + c, d * column + e * row + f)
    zone = crs.utm_zone
    if zone is not None:  # near the antimeridian, on the side of the zone
        middle = int(zone[:-1]) * 6 - 183
        found = (found - middle + 180) % 360 - 180 + middle
    return float(found)
