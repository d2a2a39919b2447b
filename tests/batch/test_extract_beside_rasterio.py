"""Values of fields beside rasterio and rasterstats: the same of each point and polygon, on made and real images."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

import jp2batch
from jp2batch.sample.product import make_product
from support.images import REAL

rasterio = pytest.importorskip("rasterio")
rasterstats = pytest.importorskip("rasterstats")

BANDS = [path.stem for path in REAL if path.stem.endswith(("_SCL_60m", "_B8A_60m"))]
STATS = {
    "mean": "mean",
    "median": "median",
    "count": "count",
    "min": "min",
    "max": "max",
    "std": "std",
    "sum": "sum",
    "p10": "percentile_10",
    "percentile_90": "percentile_90",
    "mode": "majority",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    product = make_product(tmp_path_factory.mktemp("rasterstats"), size=366, bands=["B04"])
    return next(product.glob("GRANULE/*/IMG_DATA/**/*_B04_10m.jp2"))


def image_of(name: str, made: Path) -> Any:
    return rasterio.open(made if name == "made" else next(path for path in REAL if path.stem == name))


def random_points(image: Any, count: int) -> np.ndarray:
    left, bottom, right, top = image.bounds
    return np.random.default_rng(count).uniform((left, bottom), (right, top), (count, 2))


@pytest.mark.parametrize("name", ["made", *BANDS])
def test_points_are_those_of_rasterio(name: str, made: Path) -> None:
    image = image_of(name, made)
    points = random_points(image, 1000)
    expected = np.array(list(image.sample(points)), float)[:, 0]
    found = jp2batch.extract(image.name, points, crs=image.crs, progress=False)
    np.testing.assert_array_equal(found.value, np.where(expected == 0, np.nan, expected))


@pytest.mark.parametrize("all_touched", [False, True])
@pytest.mark.parametrize("name", ["made", *BANDS])
def test_polygons_are_those_of_rasterstats(name: str, made: Path, all_touched: bool) -> None:
    image = image_of(name, made)
    sizes = np.random.default_rng(1).uniform(0.1, 20, 150) * image.res[0]
    places = random_points(image, 150)
    shapes = [shapely.Point(xy).buffer(size, quad_segs=3) for xy, size in zip(places, sizes, strict=True)]
    shapes += [shapely.Point(places[0]).buffer(900).difference(shapely.Point(places[0]).buffer(300))]
    shapes += [shapely.MultiPolygon([shapely.Point(xy).buffer(50) for xy in places[:2]])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = rasterstats.zonal_stats(shapes, image.name, stats=[*STATS.values()], nodata=0, all_touched=all_touched)
        found = jp2batch.extract(
            image.name, shapes, crs=image.crs, stats=[*STATS], all_touched=all_touched, progress=False
        ).set_index("id")
    for number, expected in enumerate(theirs):
        if number not in found.index:  # rasterstats also has those outside, counting none
            assert not expected["count"]
            continue
        row = found.loc[number]
        for name_, other in STATS.items():
            value = expected[other]
            wanted = np.nan if value is None or value is np.ma.masked else value
            np.testing.assert_allclose(row[name_], wanted, rtol=1e-9, err_msg=f"{name_} of field {number}")
