"""Coordinates are right at every level, and survive being written."""

import warnings

import numpy as np
import pytest
import xarray as xr

import jp2batch
from jp2batch.image import inspect
from jp2batch.sample.encode import Coding, encode
from jp2batch.sample.georeference import gmljp2
from support.images import REAL

SIZE = 512, 640
EDGE = 40  # samples near a tile's edge that its symmetric extension may bend


def write(path, values, **coding):
    box = gmljp2(SIZE[1], SIZE[0], 32629, (500_000, 5_900_000), 10)
    path.write_bytes(encode(values, Coding(bits=15, tile=None, **coding), boxes=box))
    return str(path)


@pytest.mark.parametrize("offset", [(0, 0), (16, 0), (7, 13), (1, 31)])
@pytest.mark.parametrize("rlevel", range(5))
@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_ramp_decodes_to_what_its_coordinates_say(tmp_path, offset, rlevel, axis):
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.uint16)
    path = write(tmp_path / "ramp.jp2", columns if axis == "x" else rows, image_offset=offset)
    image = jp2batch.read(path, rlevel)
    first, size, sign = (500_000, 10, 1) if axis == "x" else (5_900_000, 10, -1)
    number = (image[axis] - first) * sign / size - 0.5  # of the column or row whose centre this is
    middle = {dim: slice(-(-EDGE // 2**rlevel), -(-EDGE // 2**rlevel) * -1) for dim in ("y", "x")}
    expected = number.broadcast_like(image).transpose("y", "x")
    np.testing.assert_array_equal(image.isel(middle).astype(float), expected.isel(middle))


@pytest.mark.parametrize("rlevel", range(5))
def test_without_georeferencing_coordinates_are_numbers_of_rows_and_columns(tmp_path, rlevel):
    path = tmp_path / "plain.jp2"
    columns = np.mgrid[: SIZE[0], : SIZE[1]][1].astype(np.uint16)
    path.write_bytes(encode(columns, Coding(bits=15, tile=None, image_offset=(3, 5))))
    image = jp2batch.read(str(path), rlevel)
    assert "spatial_ref" not in image.coords
    middle = slice(EDGE >> rlevel, -(EDGE >> rlevel) - 1)
    np.testing.assert_array_equal(image.isel(y=9 >> rlevel, x=middle), image.x[middle])


@pytest.mark.parametrize("rlevel", range(5))
def test_a_window_has_the_coordinates_of_the_whole(band, rlevel):
    whole = jp2batch.read(band, rlevel)
    part = jp2batch.read(band, rlevel, ((30, 181), (17, 120)))
    xr.testing.assert_identical(part.drop_vars("spatial_ref"), whole.sel(x=part.x, y=part.y).drop_vars("spatial_ref"))


@pytest.mark.parametrize("engine", ["zarr", "h5netcdf"])
@pytest.mark.parametrize("rlevel", [0, 3])
def test_coordinates_and_crs_survive_being_written(band, tmp_path, engine, rlevel):
    image = jp2batch.read(band, rlevel)
    path = str(tmp_path / "written")
    if engine == "zarr":
        image.to_zarr(path, consolidated=False)
    else:
        image.to_netcdf(path, engine=engine)
    options = {"consolidated": False} if engine == "zarr" else {}
    with xr.open_dataarray(path, engine=engine, decode_coords="all", backend_kwargs=options) as again:
        xr.testing.assert_equal(again.load(), image)
        assert again.spatial_ref.attrs["crs_wkt"] == image.spatial_ref.attrs["crs_wkt"]
        assert again.encoding["grid_mapping"] == "spatial_ref"


@pytest.mark.parametrize("rlevel", [0, 2])
def test_rioxarray_sees_the_same_crs_and_transform(band, rlevel):
    pytest.importorskip("rioxarray")
    image = jp2batch.read(band, rlevel)
    assert image.rio.crs.to_epsg() == 32629
    assert image.rio.nodata == 0
    from_attribute, from_axes = image.rio.transform(), image.rio.transform(recalc=True)
    assert np.allclose(tuple(from_attribute), tuple(from_axes))
    assert from_axes.a == 60 * 2**rlevel
    assert from_axes.c + from_axes.a / 2 == image.x[0]


@pytest.mark.skipif(not REAL, reason="no real images beside the repository")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_at_full_resolution_the_transform_is_gdals(path):
    rasterio = pytest.importorskip("rasterio")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path) as opened:
            expected, epsg = opened.transform, opened.crs.to_epsg() if opened.crs else None
    info = inspect.inspect(str(path))
    assert info.crs == (f"EPSG:{epsg}" if epsg else None)
    assert info.transform == (tuple(expected)[:6] if epsg else None)
    if epsg:
        image = jp2batch.open(str(path))
        assert (image.x[0], image.y[0]) == (expected.c + expected.a / 2, expected.f + expected.e / 2)
