"""Cubes of a part of the map: the same samples as those of images and of the whole cube, masked by a geometry."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import xarray as xr
from pyproj import Transformer

import jp2batch
from jp2batch.core.errors import CubeMismatch, InvalidRequest, OutsideImage
from jp2batch.sample.product import DATE, make_image, make_product

BANDS = ["B04", "B8A", "SCL"]
UTM = {"crs": 32629}
TRIANGLE = shapely.Polygon([(500355, 5900005), (500905, 5899755), (500655, 5899105)])
"""Part of the products."""


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> list[Path]:
    """Return two products of level 2A, with all their images."""
    folder = tmp_path_factory.mktemp("few")
    bands = ["B04", "B08", "B8A"]
    return [make_product(folder, date=DATE + timedelta(days=days), size=360, bands=bands) for days in (0, 5)]


def image(product: Path, name: str) -> str:
    return str(next(product.glob(f"GRANULE/*/IMG_DATA/**/*_{name}.jp2")))


def lon_lat(shape: Any) -> Any:
    there = Transformer.from_crs(32629, "OGC:CRS84", always_xy=True)
    return shapely.transform(shape, lambda xy: np.column_stack(there.transform(xy[:, 0], xy[:, 1])))


def touched(cube: xr.DataArray, bounds: tuple[float, ...]) -> xr.DataArray:
    """Return the samples of a whole cube whose surroundings a box touches, by comparison of each."""
    half, (x0, y0, x1, y1) = abs(float(cube.x[1] - cube.x[0])) / 2, bounds
    columns = np.flatnonzero((cube.x.values + half > x0) & (cube.x.values - half < x1))
    rows = np.flatnonzero((cube.y.values + half > y0) & (cube.y.values - half < y1))
    return cube.isel(y=slice(rows[0], rows[-1] + 1), x=slice(columns[0], columns[-1] + 1))


@pytest.mark.parametrize("rlevel", [0, 1, 3])
@pytest.mark.parametrize("scaled", [False, True], ids=["raw", "scaled"])
@pytest.mark.parametrize("align", ["snap", "linear"])
def test_a_part_has_the_samples_of_the_whole_cube(few, rlevel, scaled, align):
    options: dict[str, Any] = {"bands": ["B04", "B8A"], "scaled": scaled, "align": align}
    whole = touched(jp2batch.open_cube(few, rlevel, **options).compute(), TRIANGLE.bounds)
    cut = jp2batch.open_cube(few, rlevel, bbox=TRIANGLE.bounds, **UTM, **options)
    assert cut.sizes["x"] < 180 >> rlevel
    xr.testing.assert_identical(cut.drop_vars("spatial_ref").compute(), whole.drop_vars("spatial_ref"))
    plain = jp2batch.open_cube(few, rlevel, geometry=TRIANGLE, mask=False, **UTM, **options)
    xr.testing.assert_identical(plain.compute(), cut.compute())


@pytest.mark.parametrize("scaled", [False, True], ids=["raw", "scaled"])
@pytest.mark.parametrize("area", [{"bbox": TRIANGLE.bounds}, {"geometry": TRIANGLE}], ids=["bbox", "geometry"])
def test_bands_of_one_pixel_size_are_those_that_are_read(few, area, scaled):
    cube = jp2batch.open_cube(few, bands=BANDS, metres=20, scaled=scaled, **UTM, **area)
    for number, product in enumerate(few):
        for band in BANDS:
            read = jp2batch.read(image(product, f"{band}_20m"), 0, scaled=scaled, **UTM, **area)
            np.testing.assert_array_equal(cube.sel(band=band)[number], read)
            for name in ("x", "y", "spatial_ref"):
                xr.testing.assert_identical(cube[name].variable, read[name].variable)
    assert cube.encoding["grid_mapping"] == "spatial_ref"


@pytest.mark.parametrize("align", ["snap", "linear"])
@pytest.mark.parametrize("scaled", [False, True], ids=["raw", "scaled"])
def test_all_bands_are_no_data_at_the_same_positions(few, align, scaled):
    bands = ["B04", "B8A"]
    cube = jp2batch.open_cube(few, bands=bands, geometry=lon_lat(TRIANGLE), align=align, scaled=scaled)
    plain = jp2batch.open_cube(few, bands=bands, bbox=TRIANGLE.bounds, **UTM, align=align, scaled=scaled)
    np.testing.assert_array_equal(cube.x, plain.x)
    x, y = np.meshgrid(plain.x, plain.y)
    inside = shapely.contains_xy(TRIANGLE, x, y)
    assert 0.2 < inside.mean() < 0.8
    np.testing.assert_array_equal(cube, np.where(inside, plain, np.float32(np.nan) if scaled else 0))
    part = cube[1, :, 5:20, 30:7:-2]
    np.testing.assert_array_equal(part.compute(), cube.compute()[1, :, 5:20, 30:7:-2])


def test_classes_outside_are_0_beside_reflectance(few):
    cube = jp2batch.open_cube(few, bands=["B8A", "SCL"], geometry=TRIANGLE, scaled=True, **UTM)
    assert np.isnan(cube.sel(band="B8A").values[:, -1, -1]).all()
    assert (cube.sel(band="SCL").values[:, -1, -1] == 0).all()


def test_a_small_area_has_chunks_of_several_images(few, monkeypatch):
    cube = jp2batch.open_cube(few, bands="B04", bbox=TRIANGLE.bounds, **UTM)
    assert cube.chunks == ((2,), (1,), cube.shape[2:3], cube.shape[3:])
    monkeypatch.setattr("jp2batch.array.chunk_lengths._BYTES", cube[0].nbytes * 2 - 1)
    alone = jp2batch.open_cube(few, bands="B04", bbox=TRIANGLE.bounds, **UTM)
    assert alone.chunks == ((1, 1), (1,), cube.shape[2:3], cube.shape[3:])
    with pytest.warns(UserWarning, match="chunks along x cut tiles"):
        finer = jp2batch.open_cube(few, chunks={"x": 10}, bands="B04", bbox=TRIANGLE.bounds, **UTM)
    assert max(finer.chunksizes["x"]) == 10
    xr.testing.assert_identical(finer.compute(), cube.compute())


def test_a_large_part_has_chunks_of_whole_tiles(tmp_path, monkeypatch):
    monkeypatch.setattr("jp2batch.array.chunk_lengths._LARGEST", 200)
    monkeypatch.setattr("jp2batch.array.chunk_lengths._CHUNK", 1)
    pixels = (np.arange(400)[:, None] * 13 + np.arange(400) * 7).astype(np.uint16)
    path = str(make_image(tmp_path / "T29UNU_20221005T115411_B04_60m.jp2", pixels, 60))
    x0, y1 = 499980, 5900040
    bbox = (x0 + 60 * 100, y1 - 60 * 390, x0 + 60 * 380, y1 - 60 * 10)
    for rlevel in (0, 1):
        cube = jp2batch.open_cube([path], rlevel, bbox=bbox, **UTM)
        alone = jp2batch.open(path, rlevel, bbox=bbox, **UTM)
        assert cube.chunks[2:] == (alone.chunks if rlevel == 0 else tuple((size,) for size in alone.shape))
        np.testing.assert_array_equal(cube[0, 0], alone)
    assert jp2batch.open_cube([path], bbox=bbox, **UTM).chunks[2:] == ((182, 192, 6), (92, 188))


def test_parts_of_one_shape_are_told_apart(few):
    x0, y0, x1, y1 = 500200, 5899000, 500400, 5899200
    one = jp2batch.open_cube(few, bands="B04", bbox=(x0, y0, x1, y1), **UTM)
    other = jp2batch.open_cube(few, bands="B04", bbox=(x0 + 400, y0, x1 + 400, y1), **UTM)
    both = xr.Dataset({"one": one.drop_vars("x"), "other": other.drop_vars("x")}).compute()
    assert one.shape == other.shape
    assert not both.one.equals(both.other)
    np.testing.assert_array_equal(both.other, other.compute())


@pytest.mark.parametrize(
    ("bands", "metres", "taken", "spacing"),
    [
        ("B04,B8A", 20, {"B04": ("B04_20m", 0), "B8A": ("B8A_20m", 0)}, 20),
        ("B04,B8A", 15, {"B04": ("B04_10m", 1), "B8A": ("B8A_20m", 0)}, 20),
        ("B04", 10, {"B04": ("B04_10m", 0)}, 10),
        ("B04", 15, {"B04": ("B04_10m", 0)}, 10),
        ("B04,B8A", 60, {"B04": ("B04_60m", 0), "B8A": ("B8A_60m", 0)}, 60),
        ("B04,B8A", 130, {"B04": ("B04_60m", 1), "B8A": ("B8A_60m", 1)}, 120),
        ("B04,B08", 59, {"B04": ("B04_20m", 1), "B08": ("B08_10m", 2)}, 40),
        ("B04", 5, {"B04": ("B04_10m", 0)}, 10),
    ],
)
def test_resolution_takes_images_of_that_size_where_there_are_some(few, bands, metres, taken, spacing):
    cube = jp2batch.open_cube(few, bands=bands, resolution=metres)
    assert float(cube.x[1] - cube.x[0]) == spacing
    for band, (name, level) in taken.items():
        of_band = cube.sel(band=band)
        assert of_band.rlevel == level
        assert all(source.endswith(f"_{name}.jp2") for source in of_band.source.values)
        np.testing.assert_array_equal(of_band[1], jp2batch.read(image(few[1], name), level))


def test_an_area_and_a_resolution_cut_paths_of_images(few):
    paths = [image(product, "B04_10m") for product in few]
    cube = jp2batch.open_cube(paths, bbox=TRIANGLE.bounds, resolution=40, **UTM)
    read = [jp2batch.read(path, 2, bbox=TRIANGLE.bounds, **UTM) for path in paths]
    np.testing.assert_array_equal(cube[:, 0], np.stack(read))
    mixed = [image(few[0], "B8A_20m"), image(few[0], "B04_10m")]  # with fewer levels together than alone
    lowest = jp2batch.open_cube(mixed, -1, bbox=TRIANGLE.bounds, **UTM)
    coarse = jp2batch.open_cube(mixed, bbox=TRIANGLE.bounds, resolution=10_000, **UTM)
    xr.testing.assert_identical(coarse.compute(), lowest.compute())


def test_an_area_elsewhere_is_refused_by_the_name_of_the_image(few, tmp_path):
    with pytest.raises(OutsideImage, match=r"_B8A_20m\.jp2: the area does not meet the image"):
        jp2batch.open_cube(few, bands=["B04", "B8A"], bbox=(10, 50, 11, 51))
    other = make_product(tmp_path, date=DATE, size=360, bands=["B04"], tile="T29UNV")
    with pytest.raises(OutsideImage, match=r"T29UNV_.*B04_10m\.jp2: the area does not meet the image"):
        jp2batch.open_cube([*few, other], bands=["B04"], by_tile=True, bbox=TRIANGLE.bounds, **UTM)


def test_contradictions_are_refused(few):
    with pytest.raises(InvalidRequest, match="rlevel= and resolution= exclude each other"):
        jp2batch.open_cube(few, 1, bands=["B04"], resolution=20)
    with pytest.raises(CubeMismatch, match="pixels of 20, which no rlevel turns into the 60"):
        jp2batch.open_cube([image(few[0], "B8A_20m"), image(few[0], "B04_60m")], bbox=TRIANGLE.bounds, **UTM)
