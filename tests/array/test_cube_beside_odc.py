"""The same numbers as odc-stac's, where both can have them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rioxarray  # noqa: F401  # gives arrays their accessor
import shapely
import xarray as xr

import jp2batch
from support.archive import TIME, image, numbers, write_product
from support.items import item_of

stac = pytest.importorskip("odc.stac")
pytestmark = pytest.mark.filterwarnings("ignore")  # of others

NAMES = {"B04": "B04_10m", "B08": "B08_10m", "SCL": "SCL_20m"}
CLOUDS = (3, 8, 9, 10)


def products(folder: Path, hours: list[int], *, moved: list[tuple[int, int]] | None = None) -> list[Path]:
    found = []
    for seed, start in enumerate(hours):
        hole = slice(0, 40 + seed), slice(20 * seed, 300)
        images = {"B04_10m": numbers(seed, 300, hole=hole), "B08_10m": numbers(seed + 50, 300, hole=hole)}
        images["SCL_20m"] = np.random.default_rng(seed).integers(1, 12, (150, 150)).astype(np.uint8)
        place: Any = {} if moved is None else {"moved": moved[seed]}
        found.append(write_product(folder, images, time=TIME + timedelta(hours=start), **place))
    return found


def by_odc(found: list[Path], cube: xr.DataArray, names: dict[str, str], **options: Any) -> xr.Dataset:
    """Load the same grid with odc-stac, with its driver rio."""
    from odc.geo.geobox import GeoBox

    grid = GeoBox(cube.shape[-2:], cube.rio.transform(), f"EPSG:{cube.rio.crs.to_epsg()}")
    items = [item_of(product, {band: image(product, name) for band, name in names.items()}) for product in found]
    return stac.load(items, bands=[*names], geobox=grid, dtype="uint16", nodata=0, driver="rio", **options)


def test_ndvi_of_a_polygon_without_clouds_is_that_of_odc(tmp_path):
    found = products(tmp_path, [0, 24 * 5, 24 * 10])
    corner = jp2batch.open(image(found[0], "B04_10m"), chunks=None)
    at = [(float(corner.x[i]) + 3.1, float(corner.y[j]) - 1.7) for i, j in [(30, 20), (280, 90), (100, 270)]]
    polygon = shapely.Polygon(at)
    cube = jp2batch.open_cube(found, bands=["B04", "B08"], resolution=10, geometry=polygon, crs=32633, mask="clouds")
    ours = cube.astype("f4").where(cube > 0)
    red, infrared = ours.sel(band="B04"), ours.sel(band="B08")
    ndvi = ((infrared - red) / (infrared + red)).compute()
    theirs = by_odc(found, cube, NAMES)
    inside = shapely.contains_xy(polygon, *np.meshgrid(cube.x, cube.y))
    clear = inside & ~theirs.SCL.isin(CLOUDS) & (theirs.B04 > 0)
    other = theirs.where(clear).astype("f4")
    expected = ((other.B08 - other.B04) / (other.B08 + other.B04)).compute()
    assert 0.1 < ndvi.notnull().mean() < 0.5
    np.testing.assert_array_equal(ndvi.values, expected.values)
    assert [str(time)[:19] for time in ndvi.time.values] == [str(time)[:19] for time in expected.time.values]


@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic"])
def test_larger_pixels_are_resampled_as_by_odc(tmp_path, method):
    product = write_product(tmp_path, {"B11_20m": numbers(1, 60)})
    cube = jp2batch.open_cube([product], bands=["B11"], resolution=10, resampling=method)
    theirs = by_odc([product], cube, {"B11": "B11_20m"}, resampling=method).B11[0].values
    inside = slice(6, -6)
    np.testing.assert_array_equal(cube[0, 0].values[inside, inside], theirs[inside, inside])


@pytest.mark.parametrize("moved", [None, [(0, 0), (900, -600), (-600, 300), (0, 0)]], ids=["one place", "several"])
def test_solar_days_are_those_of_odc(tmp_path, moved):
    found = products(tmp_path, [0, 2, 14, 24], moved=moved)
    cube = jp2batch.open_cube(found, bands=["B04", "B08"], resolution=10, groupby="solar_day")
    theirs = by_odc(found, cube, NAMES, groupby="solar_day")
    assert cube.sizes["time"] == theirs.sizes["time"] == 2
    np.testing.assert_array_equal(cube.values, np.stack([theirs.B04.values, theirs.B08.values], axis=1))
    masked = jp2batch.open_cube(found, bands=["B04"], resolution=10, groupby="solar_day", mask="clouds")
    np.testing.assert_array_equal(masked[:, 0], theirs.B04.where(~theirs.SCL.isin(CLOUDS), 0))
    assert cube.time.values.astype("M8[s]").tolist() == theirs.time.values.astype("M8[s]").tolist()
