"""Map areas beside rasterio: the same windows and pixels at level 0, on made and real images."""

import functools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

import jp2batch
from jp2batch.core.errors import OutsideImage
from jp2batch.sample.product import make_product
from support.images import REAL

rasterio = pytest.importorskip("rasterio")

from rasterio.features import geometry_mask, geometry_window  # noqa: E402  # an optional package
from rasterio.warp import transform_bounds, transform_geom  # noqa: E402
from rasterio.windows import Window, from_bounds  # noqa: E402

SYSTEMS = ["EPSG:4326", "EPSG:32629", "EPSG:32630", "EPSG:3857", "EPSG:3035"]
BANDS = [path.stem for path in REAL if path.stem.endswith(("_SCL_60m", "_B8A_60m"))]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    product = make_product(tmp_path_factory.mktemp("rasterio"), size=366, bands=["B04"])
    return next(product.glob("GRANULE/*/IMG_DATA/**/*_B04_10m.jp2"))


@functools.cache
def opened(path: Path) -> tuple[Any, Any]:
    """Return the image in rasterio, and its pixels by OpenJPEG's decode of the whole file."""
    return rasterio.open(path), jp2batch.read(str(path), 0)


def random_area(chance: random.Random, image: Any, system: str) -> Any:
    left, bottom, right, top = image.bounds
    size, corners = chance.choice([5, 100, 1000, (right - left) / 2]), chance.choice([3, 4, 8])
    x, y = chance.uniform(left, right), chance.uniform(bottom, top)
    points = [(x + chance.uniform(-size, size), y + chance.uniform(-size, size)) for _ in range(corners)]
    shape = shapely.MultiPoint(points).convex_hull
    return shapely.geometry.shape(transform_geom(image.crs, system, shapely.geometry.mapping(shape)))


def verify_box(image: Any, pixels: Any, bbox: tuple[float, ...], system: str) -> None:
    bounds = transform_bounds(system, image.crs, *bbox, densify_pts=200)
    exact = from_bounds(*bounds, transform=image.transform)
    rows = [max(0, np.floor(exact.row_off)), min(image.height, np.ceil(exact.row_off + exact.height))]
    columns = [max(0, np.floor(exact.col_off)), min(image.width, np.ceil(exact.col_off + exact.width))]
    part = jp2batch.read(image.name, 0, bbox=bbox, crs=system)
    assert part.shape[-2:] == (rows[1] - rows[0], columns[1] - columns[0]), (bbox, system)
    window = Window.from_slices(tuple(map(int, rows)), tuple(map(int, columns)))
    np.testing.assert_array_equal(part.values, image.read(1, window=window))
    np.testing.assert_array_equal(part.values, pixels.sel(x=part.x, y=part.y).values)


def verify_polygon(image: Any, shape: Any, system: str) -> int:
    part = jp2batch.read(image.name, 0, geometry=shape, crs=system)
    x0, y0, x1, y1 = shape.bounds
    dense = shapely.segmentize(shape, max(x1 - x0, y1 - y0) / 200)
    moved = transform_geom(system, image.crs, shapely.geometry.mapping(dense))
    window = geometry_window(image, [moved])
    assert part.shape[-2:] == (window.height, window.width), (shape.wkt, system)
    plain = image.read(1, window=window)
    outside = geometry_mask([moved], plain.shape, image.window_transform(window))
    differs = part.values != np.where(outside, 0, plain)
    # GDAL rounds coordinates: a centre within a thousandth of a pixel of an edge may fall to either side.
    x, y = np.meshgrid(part.x.values, part.y.values)
    near = shapely.distance(shapely.points(x, y), shapely.geometry.shape(moved).boundary) < image.res[0] / 1000
    assert not (differs & ~near).any(), (shape.wkt, system)
    return int(outside.sum())


@pytest.mark.parametrize("areas", [8, pytest.param(50, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("name", ["made", *BANDS])
def test_windows_and_pixels_are_those_of_rasterio(made: Path, name: str, system: str, areas: int) -> None:
    path = made if name == "made" else next(path for path in REAL if path.stem == name)
    image, pixels = opened(path)
    chance, seen, masked = random.Random(f"{name}{system}"), 0, 0  # no secret
    for number in range(areas):
        shape = random_area(chance, image, system)
        try:
            if number % 2:
                masked += verify_polygon(image, shape, system)
            else:
                verify_box(image, pixels, shape.bounds, system)
        except OutsideImage:
            continue
        seen += 1
    assert seen > areas / 2
    assert masked
