"""A series of images of Sentinel-2: links with names of dates, and their STAC items."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

CORNER = 499980, 5900040
"""Upper left corner of tile T29UNU, in metres of its UTM zone."""


def linked(
    sources: Mapping[str, Path], folder: Path, dates: Sequence[datetime], metres: Mapping[str, int]
) -> list[dict[str, Path]]:
    """Return the images of each date: links with names of Sentinel-2.

    Parameters
    ----------
    sources : mapping
        Image of each band.
    folder : Path
        Folder of the links.
    dates : sequence of datetime
        Times of the images.
    metres : mapping
        Size of the pixels of each band.
    """
    found = [
        {band: folder / f"T29UNU_{at:%Y%m%dT%H%M%S}_{band}_{metres[band]}m.jp2" for band in sources} for at in dates
    ]
    for of_date in found:
        for band, path in of_date.items():
            path.unlink(missing_ok=True)  # it may be of a scene of another size
            os.link(sources[band], path)
    return found


def item(when: datetime, of_date: Mapping[str, str], size: int, metres: Mapping[str, int]) -> Any:
    """Return the STAC item of a date, with the grid of each band.

    Parameters
    ----------
    when : datetime
        The date.
    of_date : mapping
        URL of each band.
    size : int
        Pixels of 10 m a side.
    metres : mapping
        Size of the pixels of each band.
    """
    import pystac
    import shapely
    from pyproj import Transformer

    left, top = CORNER
    box = shapely.box(left, top - 10 * size, left + 10 * size, top)
    there = Transformer.from_crs(32629, "OGC:CRS84", always_xy=True)
    footprint = shapely.transform(box, there.transform, interleaved=False)
    found = pystac.Item(when.isoformat(), footprint.__geo_interface__, list(footprint.bounds), when, {})
    found.properties["proj:code"] = "EPSG:32629"
    found.stac_extensions.append("https://stac-extensions.github.io/projection/v2.0.0/schema.json")
    for band, url in of_date.items():
        side = size * 10 // metres[band]
        grid = {"proj:transform": [metres[band], 0, left, 0, -metres[band], top], "proj:shape": [side, side]}
        found.add_asset(band, pystac.Asset(url, media_type="image/jp2", roles=["data"], extra_fields=grid))
    return found
