"""Cubes on the grids of 10, 20 and 60 m: which image of a band is taken, how it is resampled, what is masked."""

import pickle
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import shapely
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import jp2batch
from jp2batch.array import lazy
from jp2batch.array.cube.grid import AxisSpan
from jp2batch.array.cube.resample import resample
from jp2batch.core.errors import CubeMismatch
from support.archive import TIME, at, image, numbers, write_product

NAMES = ("B04_10m", "B04_20m", "B04_60m", "B08_10m", "B11_20m", "B11_60m", "B09_60m", "SCL_20m", "SCL_60m", "AOT_10m")
CLOUDS = (3, 8, 9, 10)


def classes(seed: int, size: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 12, (size, size)).astype(np.uint8)


@pytest.fixture(scope="module")
def product(tmp_path_factory) -> Path:
    """Return a product with images of all sizes, unlike each other."""
    folder = tmp_path_factory.mktemp("native")
    images = {}
    for seed, name in enumerate(NAMES):
        size = 3600 // int(name[4:-1])
        images[name] = (
            classes(seed, size) if name.startswith("SCL") else numbers(seed, size, hole=(slice(0, 3), slice(4)))
        )
    return write_product(folder, images)


@pytest.mark.parametrize(
    ("resolution", "taken"),
    [
        (10, {"B04": "B04_10m", "B08": "B08_10m", "B11": "B11_20m", "B09": "B09_60m", "SCL": "SCL_20m"}),
        (20, {"B04": "B04_20m", "B11": "B11_20m", "B09": "B09_60m", "SCL": "SCL_20m"}),
        (60, {"B04": "B04_60m", "B11": "B11_60m", "B09": "B09_60m", "SCL": "SCL_60m"}),
    ],
)
@pytest.mark.parametrize("kind", ["product", "images"])
def test_each_band_has_the_image_of_the_grid_or_the_nearest_pixels(product, resolution, taken, kind):
    sources = [product] if kind == "product" else [image(product, name) for name in NAMES]
    cube = jp2batch.open_cube(sources, bands=[*taken], resolution=resolution)
    assert cube.shape == (1, len(taken), 3600 // resolution, 3600 // resolution)
    assert float(cube.x[1] - cube.x[0]) == -float(cube.y[1] - cube.y[0]) == resolution
    corner = jp2batch.read(image(product, "B04_10m"), 0)
    assert float(cube.x[0]) - resolution / 2 == float(corner.x[0]) - 5
    assert float(cube.y[0]) + resolution / 2 == float(corner.y[0]) + 5
    for band, name in taken.items():
        np.testing.assert_array_equal(cube.sel(band=band)[0], at(image(product, name), cube.x, cube.y))
        assert cube.source.sel(band=band).item() == image(product, name)
    assert not cube.offset_x.any()
    assert not cube.rlevel.any()
    assert cube.attrs["resampling"] == "nearest"


def test_smaller_pixels_drop_levels_and_then_every_third_is_taken(product, tmp_path):
    level_1 = jp2batch.read(image(product, "B08_10m"), 1)
    coarse = jp2batch.open_cube([product], bands=["B08"], resolution=20)
    np.testing.assert_array_equal(coarse[0, 0], level_1)
    assert (coarse.rlevel.item(), coarse.offset_x.item(), coarse.offset_y.item()) == (1, -5, 5)
    np.testing.assert_array_equal(coarse.x + coarse.offset_x.item(), level_1.x)
    coarser = jp2batch.open_cube([product], bands=["B08"], resolution=60)
    np.testing.assert_array_equal(coarser[0, 0], level_1[1::3, 1::3])
    np.testing.assert_array_equal(coarser.x + coarser.offset_x.item(), level_1.x[1::3])
    only_fine = write_product(tmp_path, {"SCL_20m": classes(1, 90), "B11_60m": numbers(1, 30)})
    cube = jp2batch.open_cube([only_fine], bands=["SCL", "B11"], resolution=60)
    np.testing.assert_array_equal(cube[0, 0], jp2batch.read(image(only_fine, "SCL_20m"), 0)[1::3, 1::3])


def test_sizes_that_no_third_divides_end_with_the_last_whole_pixel(tmp_path):
    odd = write_product(tmp_path, {"B08_10m": numbers(1, 65), "B11_20m": numbers(2, 33)})
    cube = jp2batch.open_cube([odd], bands=["B08", "B11"], resolution=60)
    assert cube.shape == (1, 2, 11, 11)
    np.testing.assert_array_equal(cube[0, 0], jp2batch.read(image(odd, "B08_10m"), 1)[1::3, 1::3])
    fine = jp2batch.open_cube([odd], bands=["B08", "B11"], resolution=10)
    assert fine.shape == (1, 2, 66, 66)
    assert (fine[0, 0, 65:] == 0).all()
    np.testing.assert_array_equal(fine[0, 0], at(image(odd, "B08_10m"), fine.x, fine.y))


def test_an_image_smaller_than_a_pixel_of_the_grid_is_refused(tmp_path):
    tiny = write_product(tmp_path, {"B04_10m": numbers(1, 2)})
    assert jp2batch.open_cube([tiny], bands=["B04"], resolution=20).shape == (1, 1, 1, 1)
    with pytest.raises(CubeMismatch, match="is smaller than a position of 60"):
        jp2batch.open_cube([tiny], bands=["B04"], resolution=60)


# Resampling


@pytest.mark.parametrize("scaled", [False, True], ids=["raw", "scaled"])
@pytest.mark.parametrize("method", ["bilinear", "cubic"])
@pytest.mark.parametrize(("name", "resolution"), [("B11_20m", 10), ("B09_60m", 10), ("B09_60m", 20)])
def test_larger_pixels_are_resampled_as_by_gdal(product, method, name, resolution, scaled):
    rasterio = pytest.importorskip("rasterio")
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT

    cube = jp2batch.open_cube([product], bands=[name[:3]], resolution=resolution, resampling=method, scaled=scaled)
    path = image(product, name)
    pixel = int(name[4:-1])
    size = 3600 // resolution
    with rasterio.open(path) as opened:
        corner = opened.transform
        grid = rasterio.Affine(resolution, 0, corner.c, 0, -resolution, corner.f)
        options = {"crs": opened.crs, "transform": grid, "width": size, "height": size}
        with WarpedVRT(opened, resampling=Resampling[method], **options) as warped:
            expected = warped.read(1)
    inside = slice(pixel * 6 // resolution, -pixel * 3 // resolution)  # without edges and no data
    got = cube[0, 0].values[inside, inside]
    if scaled:
        np.testing.assert_allclose(got, (expected[inside, inside] - 1000.0) / 10000, atol=0.51e-4)
    elif pixel // resolution == 6:  # GDAL's sums of twelfths are sometimes a little below a half
        beside = np.abs(got.astype(int) - expected[inside, inside])
        assert beside.max() <= 1
        assert beside.mean() < 0.02
    else:
        np.testing.assert_array_equal(got, expected[inside, inside])
    assert cube.attrs["resampling"] == method


@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic"])
def test_no_data_stays_where_it_is_and_parts_are_those_of_the_whole(product, method):
    options: dict[str, Any] = {"bands": ["B11", "SCL"], "resolution": 10, "resampling": method}
    cube = jp2batch.open_cube([product], **options)
    nearest = jp2batch.open_cube([product], bands=["B11", "SCL"], resolution=10)
    np.testing.assert_array_equal(cube[0, 0] == 0, nearest[0, 0] == 0)
    np.testing.assert_array_equal(cube[0, 1], nearest[0, 1])
    part = cube[:, :, 5:38, 8:21]
    np.testing.assert_array_equal(part.compute(), cube.compute()[:, :, 5:38, 8:21])
    scaled = jp2batch.open_cube([product], scaled=True, **options)
    np.testing.assert_array_equal(np.isnan(scaled[0, 0]), nearest[0, 0] == 0)


@given(
    st.integers(0, 3),
    st.sampled_from([2, 3, 6]),
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from(["bilinear", "cubic"]),
)
def test_weights_are_those_of_each_position(seed, repeat, rows, columns, method):
    values = np.random.default_rng(seed).integers(0, 3, (rows, columns)) * 1000
    spans = AxisSpan(7, 7 + rows * repeat, repeat), AxisSpan(0, columns * repeat, repeat)
    part = slice(7, 7 + rows * repeat), slice(0, columns * repeat)
    got = resample(values, spans, part, (0, 0), method=method, nodata=0)

    def kernel(distance: float) -> float:
        if method == "bilinear":
            return max(0.0, 1 - distance)
        near, far = 1.5 * distance**3 - 2.5 * distance**2 + 1, -0.5 * (distance**3 - 5 * distance**2 + 8 * distance - 4)
        return near if distance <= 1 else far if distance < 2 else 0

    for i in range(rows * repeat):
        for j in range(columns * repeat):
            y, x = (i + 0.5) / repeat - 0.5, (j + 0.5) / repeat - 0.5
            pairs = [
                (kernel(abs(y - r)) * kernel(abs(x - c)), values[r, c]) for r in range(rows) for c in range(columns)
            ]
            total = sum(weight for weight, value in pairs if value)
            own = values[i // repeat, j // repeat]
            wanted = 0 if own == 0 else sum(weight * value for weight, value in pairs) / total
            assert abs(got[i, j] - wanted) <= 0.5 + 1e-6


# Clouds


@pytest.mark.parametrize("scaled", [False, True], ids=["raw", "scaled"])
@pytest.mark.parametrize(
    "options", [{"resolution": 10}, {"resolution": 60}, {"metres": 20}, {"metres": 10, "rlevel": 2}]
)
@pytest.mark.parametrize("chunks", [None, {}])
def test_clouds_become_no_data_in_all_bands(product, options, scaled, chunks):
    bands = ["B04"] if options.get("metres") == 10 else ["B04", "B11"]
    plain = jp2batch.open_cube([product], bands=bands, scaled=scaled, **options)
    masked = jp2batch.open_cube([product], bands=bands, scaled=scaled, mask="clouds", chunks=chunks, **options)
    spacing = float(plain.x[1] - plain.x[0])
    size = {10: "20m", 20: "20m", 40: "20m", 60: "60m"}[int(spacing)]
    corner = jp2batch.read(image(product, "B04_10m"), 0)
    x = float(corner.x[0]) - 5 + spacing * (np.arange(plain.sizes["x"]) + 0.5) - (10 if spacing == 40 else 0)
    y = float(corner.y[0]) + 5 - spacing * (np.arange(plain.sizes["y"]) + 0.5) + (10 if spacing == 40 else 0)
    cloudy = np.isin(at(image(product, f"SCL_{size}"), x, y), CLOUDS)
    assert 0.2 < cloudy.mean() < 0.5
    np.testing.assert_array_equal(masked, np.where(cloudy, np.float32(np.nan) if scaled else 0, plain))
    assert [*masked.band.values] == bands
    assert masked.attrs["masked"] == [
        "cloud_shadow",
        "cloud_medium_probability",
        "cloud_high_probability",
        "thin_cirrus",
    ]


@pytest.mark.parametrize(
    ("mask", "values"),
    [("Clouds", CLOUDS), ("snow", [11]), (["clouds", "water", 0], [*CLOUDS, 6, 0]), (3, [3]), ((np.uint8(5),), [5])],
)
def test_classes_are_named_or_numbered(product, mask, values):
    cube = jp2batch.open_cube([product], bands=["SCL", "B11"], resolution=20, mask=mask)
    plain = jp2batch.open_cube([product], bands=["SCL", "B11"], resolution=20)
    hidden = np.isin(plain.sel(band="SCL"), values)[:, None]
    np.testing.assert_array_equal(cube, np.where(hidden, 0, plain))


def test_clouds_and_geometry_are_both_masked(product):
    plain = jp2batch.open_cube([product], bands=["B04", "SCL"], resolution=10)
    corners = [(30, 40), (300, 83), (100, 321)]
    triangle = shapely.Polygon([(float(plain.x[i]) + 3.1, float(plain.y[j]) - 1.7) for i, j in corners])
    options: dict[str, Any] = {"bands": ["B04", "B11"], "resolution": 10, "geometry": triangle, "crs": 32633}
    cube = jp2batch.open_cube([product], mask="clouds", **options)
    inside = shapely.contains_xy(triangle, *np.meshgrid(cube.x, cube.y))
    cloudy = np.isin(plain.sel(band="SCL", x=cube.x, y=cube.y)[0], CLOUDS)
    expected = np.where(inside & ~cloudy, plain.sel(band="B04", x=cube.x, y=cube.y)[0], 0)
    np.testing.assert_array_equal(cube[0, 0], expected)
    assert 0.1 < (cube[0, 0] > 0).mean() < 0.5


def test_an_image_is_read_once_for_a_chunk(product, monkeypatch):
    reads: list[str] = []
    read_area = lazy.read_area
    monkeypatch.setattr(lazy, "read_area", lambda url, *args, **kw: reads.append(url) or read_area(url, *args, **kw))
    corner = jp2batch.open_cube([product], bands=["B04"], resolution=10)
    x, y = float(corner.x[50]), float(corner.y[50])
    options: dict[str, Any] = {"resolution": 10, "bbox": (x, y - 900, x + 900, y), "crs": 32633, "mask": "clouds"}
    for bands in (["B04", "B11", "SCL"], ["B04", "B08", "B11"]):
        reads.clear()
        cube = jp2batch.open_cube([product], bands=bands, **options)
        assert cube.chunks[1] == (3,)
        cube.compute()
        assert len(reads) == len({*reads}) == len({*bands, "SCL"})


def test_a_mask_needs_the_classes_of_each_tile_and_time(product, tmp_path):
    other = write_product(tmp_path, {"B04_10m": numbers(1, 360)}, time=TIME.replace(day=26))
    paths = [image(product, "B04_10m"), image(product, "SCL_20m"), image(other, "B04_10m")]
    with pytest.raises(CubeMismatch, match="its tile has no SCL at 2023-06-26T10:05:41, which mask= needs"):
        jp2batch.open_cube(paths, bands=["B04"], resolution=10, mask="clouds")
    cube = jp2batch.open_cube(paths[:2], bands=["B04"], resolution=10, mask="clouds")
    assert cube.band.values.tolist() == ["B04"]


def test_cubes_travel_and_each_way_has_a_name_of_its_own(product):
    ways: list[dict[str, Any]] = [
        {},
        {"mask": "clouds"},
        {"mask": "water"},
        {"resampling": "bilinear"},
        {"resampling": "cubic"},
        {"scaled": True},
    ]
    cubes = [jp2batch.open_cube([product], bands=["B11", "B04"], resolution=10, **way) for way in ways]
    assert len({dask.base.tokenize(cube) for cube in cubes}) == len({cube.data.name for cube in cubes}) == len(ways)
    for cube in cubes[:4]:
        xr.testing.assert_identical(pickle.loads(pickle.dumps(cube)).compute(), cube.compute())


# Chunks


@pytest.mark.parametrize("scaled", [False, True], ids=["raw", "scaled"])
def test_automatic_chunks_cut_no_tile(product, scaled):
    cube = jp2batch.open_cube([product], bands=["B04", "B11"], resolution=10, scaled=scaled, chunks="auto")
    whole = jp2batch.open_cube([product], bands=["B04", "B11"], resolution=10, scaled=scaled)
    xr.testing.assert_identical(cube.compute(), whole.compute())
    assert jp2batch.open(image(product, "B04_10m"), scaled=scaled, chunks="auto").chunks is not None
    assert jp2batch.open(image(product, "B04_10m"), scaled=scaled, chunks={"x": "auto", "y": 128}).chunks[0][0] == 128


@pytest.mark.parametrize(
    ("resolution", "bands", "good", "bad"),
    [
        (10, ["B04"], 128, 64),
        (20, ["B11"], 64, 32),
        (10, ["B04", "B11"], 128, 192),
        (10, ["B11"], 128, 64),
        (20, ["B08"], 64, 100),
    ],
)
def test_chunks_that_cut_tiles_of_a_band_are_warned_of(product, resolution, bands, good, bad):
    options: dict[str, Any] = {"bands": bands, "resolution": resolution}
    assert jp2batch.open_cube([product], chunks={"y": good, "x": good}, **options).chunks[2][0] == good
    with pytest.warns(UserWarning, match="chunks along y and x cut tiles, .* as {y: ") as caught:
        jp2batch.open_cube([product], chunks={"y": bad, "x": bad}, **options)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("function", [jp2batch.open, jp2batch.open_product, xr.open_dataset])
def test_every_way_to_open_warns_of_cut_tiles(product, function):
    path = product if function is jp2batch.open_product else image(product, "B04_10m")
    with pytest.warns(UserWarning, match=r"cut tiles|separate the stored chunks") as caught:
        function(path, chunks={"x": 100}, **({"engine": "jp2batch"} if function is xr.open_dataset else {}))
    if function is not xr.open_dataset:
        assert caught[0].filename == __file__


def test_chunks_are_whole_tiles_of_all_bands(product, monkeypatch):
    monkeypatch.setattr("jp2batch.array.chunk_lengths._CHUNK", 1)
    for bands, size in ((["B04"], 128), (["B04", "B11"], 128)):
        cube = jp2batch.open_cube([product], bands=bands, resolution=10)
        assert cube.chunks[2] == (size, size, 360 - 2 * size)
    cube = jp2batch.open_cube([product], bands=["B04", "B09"], resolution=10)  # 128 and 384
    assert cube.chunks[2] == (360,)
    monkeypatch.setattr("jp2batch.array.cube.layout._LONGEST", 200)
    cube = jp2batch.open_cube([product], bands=["B04", "B09"], resolution=10)
    assert cube.chunks[2] == (128, 128, 104)
