"""The bands of a cube as variables of a Dataset: each with its own facts, and named in files."""

from datetime import timedelta

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  # gives arrays their accessor
import xarray as xr

import jp2batch
from jp2batch.core.errors import InvalidRequest
from jp2batch.sample.product import DATE, make_product


@pytest.fixture(scope="module")
def cube(tmp_path_factory) -> xr.DataArray:
    folder = tmp_path_factory.mktemp("two")
    products = [make_product(folder, date=DATE + timedelta(days=n), size=120, bands=["B04", "B08"]) for n in (0, 5)]
    return jp2batch.open_cube(products, bands=["red", "nir"], resolution=10)


def test_each_band_is_a_variable_with_its_facts(cube):
    dataset = cube.jp2.to_dataset()
    assert list(dataset.data_vars) == ["red", "nir"]
    for name in dataset.data_vars:
        np.testing.assert_array_equal(dataset[name], cube.sel(band=name))
        assert dataset[name].attrs["rlevel"] == 0
        for fact in ("radiometric_offset", "quantification_value", "source"):
            np.testing.assert_array_equal(dataset[f"{fact}_{name}"], cube[fact].sel(band=name))
    assert not [coordinate for coordinate in dataset.coords if "band" in dataset[coordinate].dims]


@pytest.mark.parametrize("first", ["time", "bands"])
def test_a_geotiff_names_its_bands(cube, tmp_path, first):
    one = cube.jp2.to_dataset().isel(time=0) if first == "bands" else cube.isel(time=0).jp2.to_dataset()
    one.rio.to_raster(tmp_path / "date.tif")
    with rasterio.open(tmp_path / "date.tif") as file:
        assert file.descriptions == ("red", "nir")
        np.testing.assert_array_equal(file.read(), cube.isel(time=0))
        assert file.crs.to_epsg() == 32629


def test_an_array_without_bands_is_refused(cube):
    with pytest.raises(InvalidRequest, match="no dimension band"):
        cube.isel(band=0).jp2.to_dataset()
