"""STAC items of products on this machine, as odc-stac reads them."""

from pathlib import Path
from typing import Any

import jp2batch
from jp2batch.array.facts import ImageFacts


def item_of(product: Path, names: dict[str, str]) -> Any:
    """Return a pystac item of a product's images, by keys, with their grids."""
    import pystac
    import shapely
    from pyproj import Transformer

    assets = {}
    for key, path in names.items():
        pixels = jp2batch.open(path, chunks=None)
        size = float(pixels.x[1] - pixels.x[0])
        corner = float(pixels.x[0]) - size / 2, float(pixels.y[0]) + size / 2
        grid = {"proj:transform": [size, 0, corner[0], 0, -size, corner[1]], "proj:shape": list(pixels.shape)}
        assets[key] = pystac.Asset(path, media_type="image/jp2", roles=["data"], extra_fields=grid)
    crs = pixels.rio.crs.to_epsg()
    box = shapely.box(corner[0], corner[1] - size * pixels.shape[0], corner[0] + size * pixels.shape[1], corner[1])
    there = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    footprint = shapely.transform(box, there.transform, interleaved=False)
    time = ImageFacts.of(path).name.time
    item = pystac.Item(
        product.name, footprint.__geo_interface__, list(footprint.bounds), time, {"proj:code": f"EPSG:{crs}"}
    )
    item.stac_extensions.append("https://stac-extensions.github.io/projection/v2.0.0/schema.json")
    for key, asset in assets.items():
        item.add_asset(key, asset)
    return item
