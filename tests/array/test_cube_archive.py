"""Cubes of the archive as it is: parts of overpasses, images processed again, several overpasses a day, many tiles."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import jp2batch
from jp2batch.array.cube.duplicates import without_duplicates
from jp2batch.array.cube.inputs import named_image
from jp2batch.array.cube.times import longitude
from jp2batch.core.errors import CubeMismatch, InvalidRequest, OutsideImage
from jp2batch.image.georeference import Georeference
from jp2batch.sample.georeference import tile_corner
from support.archive import TIME, at, fused, image, numbers, write_product
from support.images import SHARED

TOP = slice(0, 100), slice(None)
BOTTOM = slice(100, None), slice(None)
HOUR = timedelta(hours=1)


def times(cube: xr.DataArray) -> list[str]:
    return [str(time)[:19] for time in cube.time.values]


def served(http_server: Any, products: list[Path]) -> list[str]:
    """Put products on a server; return their URLs."""
    for product in products:
        for path in filter(Path.is_file, product.rglob("*")):
            http_server.files[path.relative_to(product.parent).as_posix()] = path.read_bytes()
    return [http_server.url(product.name) for product in products]


def reflectance(values: np.ndarray, offset: int) -> np.ndarray:
    scaled = (values.astype(np.float32) + np.float32(offset)) / np.float32(10000)
    return np.where(values == 0, np.float32(np.nan), scaled)


# An overpass in several datastrips


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> list[Path]:
    """Return the two parts of an overpass, each with data where the other has none."""
    folder = tmp_path_factory.mktemp("split")
    classes = np.full((100, 100), 4, np.uint8)
    upper, lower = classes.copy(), classes.copy()
    upper[50:], lower[:50] = 0, 0
    parts = [
        {"B04_10m": numbers(1, 200, hole=BOTTOM), "SCL_20m": upper},
        {"B04_10m": numbers(2, 200, hole=TOP), "SCL_20m": lower},
    ]
    minutes = timedelta(minutes=2)
    return [
        write_product(folder, images, datastrip=TIME + number * minutes, made=TIME + (3 + number) * HOUR)
        for number, images in enumerate(parts)
    ]


@pytest.mark.parametrize("scaled", [False, True], ids=["raw", "scaled"])
@pytest.mark.parametrize("turned", [False, True], ids=["in order", "turned"])
def test_datastrips_of_an_overpass_are_put_together(split, scaled, turned):
    cube = jp2batch.open_cube(split[:: -1 if turned else 1], bands=["B04"], resolution=10, scaled=scaled)
    assert cube.shape == (1, 1, 200, 200)
    expected = fused([image(product, "B04_10m") for product in split], cube)
    assert (expected > 0).all()
    np.testing.assert_array_equal(cube[0, 0], reflectance(expected, -1000) if scaled else expected)
    assert "dropped" not in cube.attrs
    assert {*cube.source.item().split(", ")} == {image(product, "B04_10m") for product in split}


def test_classes_of_datastrips_are_put_together(split):
    cube = jp2batch.open_cube(split, bands=["SCL", "B04"], resolution=10, mask="vegetation")
    assert (cube == 0).all()
    assert (jp2batch.open_cube(split, bands=["SCL"], resolution=20) == 4).all()


def test_a_datastrip_is_read_only_where_others_have_no_data(split, http_server):
    urls = served(http_server, split)
    whole = jp2batch.open_cube(split, bands=["B04"], resolution=10)
    west, north = float(whole.x[0]), float(whole.y[0])

    def opened(top: float, bottom: float, products: list[str]) -> tuple[xr.DataArray, int]:
        """Return the values of an area, and the bytes they took."""
        bbox = (west, north - bottom, west + 500, north - top)
        cube = jp2batch.open_cube(products, bands=["B04"], resolution=10, bbox=bbox, crs=32633)
        before = http_server.bytes_sent
        return cube.compute(), http_server.bytes_sent - before

    for top, bottom, number in [(0, 480, 0), (0, 1300, None), (1300, 1800, 1)]:
        cube, taken = opened(top, bottom, urls)
        np.testing.assert_array_equal(cube, whole.sel(x=cube.x, y=cube.y))
        alone = [opened(top, bottom, [url])[1] for url in urls]
        later = next(n for n, url in enumerate(urls) if url in cube.source.item().split(", ")[0])
        if number is None:  # of the other, the part that lacks data
            assert alone[later] < taken < sum(alone)
        else:
            assert taken == (alone[number] if number == later else sum(alone))


@pytest.mark.parametrize(
    ("starts", "made", "together"),
    [
        ((0, 0), (0, 1), True),  # as in the archive: processed within a second
        ((0, 120), (0, 86400 * 365), True),
        ((0, 0), (0, 7200), False),
    ],
)
def test_parts_are_told_from_twins_by_datastrip_and_time_of_processing(tmp_path, starts, made, together):
    halves = [numbers(1, 200, hole=BOTTOM), numbers(2, 200, hole=TOP)]
    products = [
        write_product(
            tmp_path,
            {"B04_10m": half},
            datastrip=TIME + timedelta(seconds=start),
            made=TIME + 3 * HOUR + timedelta(seconds=later),
        )
        for half, start, later in zip(halves, starts, made, strict=True)
    ]
    cube = jp2batch.open_cube(products, bands=["B04"])
    paths = [image(product, "B04_10m") for product in products]
    assert ("dropped" in cube.attrs) != together
    np.testing.assert_array_equal(cube[0, 0], fused(paths if together else paths[1:], cube))


@pytest.mark.skipif(not (SHARED / "stac").is_dir(), reason="needs the real items")
def test_the_real_parts_of_an_overpass_are_no_twins():
    requests = [
        jp2batch.Request(one.path, columns=one.columns)
        for name in ("split_a", "split_b")
        for one in jp2batch.list_requests(SHARED / f"stac/{name}.json", "B04", metres=10)
    ]
    images = [named_image(f"{number}/{one.path}", one) for number, one in enumerate(requests)]
    assert len({one.name.processing_time for one in images}) == 2
    kept, dropped = without_duplicates(images, "error")
    assert (len(kept), dropped) == (2, [])


# Processed again


@pytest.fixture(scope="module")
def twins(tmp_path_factory) -> dict[str, Path]:
    """Return an overpass as it was processed at several times, with several baselines."""
    folder = tmp_path_factory.mktemp("twins")
    made = {"first": ("03.01", 3, 0), "again": ("03.01", 30, 0), "collection 1": ("05.00", 9999, -1000)}
    return {
        name: write_product(
            folder,
            {"B04_10m": numbers(number, 60)},
            baseline=baseline,
            made=TIME + hours * HOUR,
            offset=offset,
        )
        for number, (name, (baseline, hours, offset)) in enumerate(made.items())
    }


@pytest.mark.parametrize(
    ("names", "latest"),
    [
        (["first", "again"], "again"),
        (["again", "first"], "again"),
        (["collection 1", "first"], "collection 1"),
        (["first", "collection 1", "again"], "collection 1"),
    ],
)
@pytest.mark.parametrize("scaled", [False, True], ids=["raw", "scaled"])
def test_the_latest_of_twins_is_taken_and_the_others_named(twins, names, latest, scaled):
    products = [twins[name] for name in names]
    cube = jp2batch.open_cube(products, bands=["B04"], scaled=scaled)
    np.testing.assert_array_equal(cube[0, 0], jp2batch.read(image(twins[latest], "B04_10m"), 0, scaled=scaled))
    others = [image(twins[name], "B04_10m") for name in names if name != latest]
    assert cube.attrs["dropped"] == sorted(others)
    with pytest.raises(CubeMismatch, match=r"was processed again: .*duplicates=\"latest\"") as caught:
        jp2batch.open_cube(products, bands=["B04"], duplicates="error")
    assert str(caught.value).count("_B04_10m.jp2") == 2


def test_a_twin_that_is_not_later_is_refused(twins, tmp_path):
    copy = tmp_path / Path(image(twins["first"], "B04_10m")).name
    copy.write_bytes(Path(image(twins["first"], "B04_10m")).read_bytes())
    other = tmp_path / "other" / copy.name
    other.parent.mkdir()
    other.write_bytes(copy.read_bytes())
    for duplicates in ("latest", "error"):
        with pytest.raises(CubeMismatch, match="is another image of B04 at 2023-06-25T10:05:41"):
            jp2batch.open_cube([copy, other], duplicates=duplicates)


def test_copies_of_a_product_and_images_listed_twice_are_no_twins(twins, tmp_path):
    copy = Path(shutil.copytree(twins["first"], tmp_path / twins["first"].name))
    items = [{"type": "Feature", "id": "x", "properties": {}, "assets": {"B04": {"href": image(one, "B04_10m")}}}
             for one in (twins["first"], twins["first"], copy)]  # fmt: skip
    for sources in ([twins["first"], copy], items, items[:2]):
        for duplicates in ("latest", "error"):
            cube = jp2batch.open_cube(sources, bands=["B04"], duplicates=duplicates)
            np.testing.assert_array_equal(cube[0, 0], jp2batch.read(image(copy, "B04_10m"), 0))
            assert "dropped" not in cube.attrs
    assert cube.source.item() == image(twins["first"], "B04_10m")


# Several overpasses a day


@pytest.fixture(scope="module")
def two_a_day(tmp_path_factory) -> list[Path]:
    """Return two overpasses of a day, the first with a hole, and one of the next day."""
    folder = tmp_path_factory.mktemp("day")
    hole = slice(20, 40), slice(None)
    return [
        write_product(
            folder, {"B04_10m": numbers(number, 60, hole=hole if number == 0 else None)}, time=TIME + hours * HOUR
        )
        for number, hours in enumerate((0, 2, 24))
    ]


def test_overpasses_of_a_day_are_times_of_their_own(two_a_day):
    cube = jp2batch.open_cube(two_a_day, bands=["B04"])
    assert times(cube) == ["2023-06-25T10:05:41", "2023-06-25T12:05:41", "2023-06-26T10:05:41"]
    for number, product in enumerate(two_a_day):
        np.testing.assert_array_equal(cube[number, 0], jp2batch.read(image(product, "B04_10m"), 0))


def test_overpasses_of_a_solar_day_are_put_together(two_a_day):
    cube = jp2batch.open_cube(two_a_day[::-1], bands=["B04"], groupby="solar_day")
    assert times(cube) == ["2023-06-25T10:05:41", "2023-06-26T10:05:41"]
    paths = [image(product, "B04_10m") for product in two_a_day]
    np.testing.assert_array_equal(cube[0, 0], fused(paths[:2], cube))
    np.testing.assert_array_equal(cube[1, 0], fused(paths[2:], cube))
    assert cube.source.values[0, 0] == ", ".join(paths[:2])


def test_numbers_of_other_offsets_are_not_put_together(tmp_path):
    products = [
        write_product(
            tmp_path, {"B04_10m": numbers(n, 60, hole=TOP if n == 0 else None)}, time=TIME + n * HOUR, offset=-1000 * n
        )
        for n in (0, 1)
    ]
    with pytest.raises(CubeMismatch, match=r"has another offset than .*scaled=True"):
        jp2batch.open_cube(products, bands=["B04"], groupby="solar_day")
    cube = jp2batch.open_cube(products, bands=["B04"], groupby="solar_day", scaled=True)
    raw = [at(image(product, "B04_10m"), cube.x, cube.y) for product in products]
    expected = np.where(raw[0] > 0, reflectance(raw[0], 0), reflectance(raw[1], -1000))
    np.testing.assert_array_equal(cube[0, 0], expected)
    assert cube.scaling.values.tolist() == [
        "number / 10000; NaN where the number is 0; or (number - 1000) / 10000; NaN where the number is 0"
    ]
    with pytest.warns(UserWarning, match="different times have different offsets"):
        jp2batch.open_cube(products, bands=["B04"])


# Tiles


def neighbours(folder: Path, moved: tuple[int, int], *, tile: str = "T33TWM", **options: Any) -> list[Path]:
    """Return products of two tiles, the second moved from the corner of the first, which is by name the earlier."""
    holes = slice(150, 200), slice(100, 200)
    first = write_product(folder, {"B04_10m": numbers(1, 200, hole=holes), "B8A_20m": numbers(3, 100)}, **options)
    corners = {"T33TWM": (0, -100020), "T33TXL": (-100020, 0), "T32TQR": (0, 0)}
    beside = tuple(a + b for a, b in zip(corners[tile], moved, strict=True)) if tile != "T32TQR" else (0, 0)
    images = {"B04_10m": numbers(2, 200), "B8A_20m": numbers(4, 100)}
    return [first, write_product(folder, images, tile=tile, moved=beside, **options)]


def test_the_neighbours_lie_as_in_the_archive():
    (_, x, y), (_, other_x, other_y) = map(tile_corner, ("T33TWL", "T33TWM"))
    assert (other_x - x, other_y - y) in {(0, 100020), (0, 99960), (0, 100000)}


@pytest.mark.parametrize("resolution", [10, 20, 60])
@pytest.mark.parametrize("turned", [False, True], ids=["in order", "turned"])
def test_overlapping_tiles_of_a_zone_are_put_together(tmp_path, resolution, turned):
    products = neighbours(tmp_path, (600, -1200))
    cube = jp2batch.open_cube(products[:: -1 if turned else 1], bands=["B04", "B8A"], resolution=resolution)
    assert float(cube.x[1] - cube.x[0]) == resolution
    assert cube.tile.item() == "T33TWL, T33TWM"
    paths = [image(product, "B04_10m") for product in products]
    if resolution == 10:
        assert cube.shape[2:] == (320, 260)
        np.testing.assert_array_equal(cube[0, 0], fused(paths, cube))
        np.testing.assert_array_equal(cube[0, 1], fused([image(product, "B8A_20m") for product in products], cube))
    part = cube[0, :, 5:40, 10:30]
    np.testing.assert_array_equal(part.compute(), cube.compute()[0, :, 5:40, 10:30])


def test_an_area_leaves_out_tiles_and_times_that_it_does_not_meet(tmp_path):
    products = neighbours(tmp_path, (600, -1200))
    later = write_product(tmp_path, {"B04_10m": numbers(5, 200)}, time=TIME + 24 * HOUR)
    cube = jp2batch.open_cube([*products, later], bands=["B04"], resolution=10)
    west, north = float(cube.x[0]) - 5, float(cube.y[0]) + 5
    low = (west + 2100, north - 3100, west + 2500, north - 2500)
    cut = jp2batch.open_cube([*products, later], bands=["B04"], resolution=10, bbox=low, crs=32633)
    assert times(cut) == ["2023-06-25T10:05:41"]
    assert cut.source.item() == image(products[1], "B04_10m")
    np.testing.assert_array_equal(cut[0, 0], cube.sel(x=cut.x, y=cut.y)[0, 0])
    with pytest.raises(OutsideImage, match="does not meet"):
        jp2batch.open_cube(
            products, bands=["B04"], bbox=(west + 2100, north - 700, west + 2400, north - 300), crs=32633
        )


@pytest.mark.parametrize(
    ("moved", "options", "problem"),
    [
        ((605, 0), {"resolution": 10}, r"is 5 in x and 0 in y beside the grid of .*T33TWL"),
        ((610, -10), {"resolution": 20}, r"is 10 in x and 10 in y beside the grid of .*T33TWL"),
        ((620, 0), {"rlevel": 2}, r"is 20 in x and 0 in y beside the grid of .*by_tile=True"),
    ],
)
def test_grids_that_do_not_join_exactly_are_refused_with_their_distance(tmp_path, moved, options, problem):
    products = neighbours(tmp_path, moved)
    with pytest.raises(CubeMismatch, match=problem):
        jp2batch.open_cube(products, bands=["B04"], **options)
    apart = jp2batch.open_cube(products, bands=["B04"], by_tile=True, **options)
    assert [*apart.children] == ["T33TWL", "T33TWM"]


def test_tiles_are_put_together_by_levels_where_these_join(tmp_path):
    products = neighbours(tmp_path, (640, -1280))
    cube = jp2batch.open_cube(products, 1, bands=["B04", "B8A"])
    assert cube.shape == (1, 2, 82, 66)
    first, second = (jp2batch.open_cube([product], 1, bands=["B04", "B8A"]) for product in products)
    for one in (second, first):
        there = cube.sel(x=one.x, y=one.y)
        same = (there.values == one.values) | (one.values == 0)
        assert same.all() if one is first else same.mean() > 0.4


def test_zones_are_not_joined_and_odc_is_named(tmp_path):
    products = neighbours(tmp_path, (0, 0), tile="T32TQR")
    with pytest.raises(CubeMismatch, match=r"another reference system.*odc\.stac\.load\(items, crs="):
        jp2batch.open_cube(products, bands=["B04"], resolution=10)
    apart = jp2batch.open_cube(products, bands=["B04"], resolution=10, by_tile=True)
    assert [*apart.children] == ["T32TQR", "T33TWL"]


def test_a_band_that_one_tile_lacks_is_missing(tmp_path):
    first = write_product(tmp_path, {"B04_10m": numbers(1, 60), "B08_10m": numbers(2, 60)})
    other = write_product(tmp_path, {"B04_10m": numbers(3, 60)}, tile="T33TWM", moved=(0, -100020))
    paths = [image(first, "B04_10m"), image(first, "B08_10m"), image(other, "B04_10m")]
    with pytest.raises(CubeMismatch, match="missing images: B08 at 2023-06-25T10:05:41"):
        jp2batch.open_cube(paths)
    cube = jp2batch.open_cube(paths, missing="fill")
    assert cube.attrs["filled"] == ["B08 at 2023-06-25T10:05:41"]


@pytest.mark.parametrize(
    "bounds", [(179.9, 66.8, -179.2, 67.3), (-180.1, 66.8, -179.2, 67.3), (179.9, 66.8, 180.8, 67.3)]
)
def test_an_area_across_the_antimeridian_is_one_area(tmp_path, bounds):
    tile = write_product(
        tmp_path, {"B04_60m": numbers(1, 1830), "SCL_60m": np.full((1830, 1830), 4, np.uint8)}, tile="T01WCQ"
    )
    cube = jp2batch.open_cube([tile], bands=["B04"], resolution=60, bbox=bounds)
    read = jp2batch.read(image(tile, "B04_60m"), 0, bbox=bounds)
    np.testing.assert_array_equal(cube[0, 0], read)
    np.testing.assert_array_equal(cube.x, read.x)


def test_days_at_the_antimeridian_are_those_of_the_zone(tmp_path):
    products = [
        write_product(
            tmp_path, {"B04_60m": numbers(n, 60)}, tile="T01WCQ", time=datetime.fromisoformat(f"{time}+00:00")
        )
        for n, time in enumerate(["2023-06-02T00:07:37", "2023-06-02T23:37:44", "2023-06-03T00:30:00"])
    ]
    cube = jp2batch.open_cube(products, bands=["B04"], resolution=60, groupby="solar_day")
    assert times(cube) == ["2023-06-02T00:07:37", "2023-06-02T23:37:44"]  # the evening is noon of the next day there


@pytest.mark.parametrize(
    ("epsg", "easting", "expected"),
    [(32601, 300000, -180.0), (32601, 500000, -177), (32660, 500000, 177), (32660, 700000, 180), (32633, 500000, 15)],
)
def test_longitudes_stay_on_the_side_of_the_zone(epsg, easting, expected):
    from pyproj import CRS

    place = Georeference(
        (60.0, 0.0, easting - 3000.0, 0.0, -60.0, 7400000.0 + 3000), CRS.from_epsg(epsg).to_wkt(), epsg
    )
    assert abs(longitude(place, (100, 100)) - expected) < 2.5


def test_levels_are_never_mixed(tmp_path):
    first = write_product(tmp_path, {"B04_10m": numbers(1, 60)})
    other = write_product(tmp_path, {"B04_10m": numbers(2, 60)}, level="L1C")
    later = write_product(tmp_path, {"B04_10m": numbers(2, 60)}, level="L1C", time=TIME + 24 * HOUR)
    for one in (other, later):
        for groupby in ("time", "solar_day"):
            with pytest.raises(CubeMismatch, match="images of levels 1C and 2A have different quantities"):
                jp2batch.open_cube([first, one], bands=["B04"], groupby=groupby)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"duplicates": "first"}, 'give "latest" or "error"'),
        ({"groupby": "day"}, 'give "time" or "solar_day"'),
        ({"resampling": "mode"}, 'give "nearest" or "bilinear" or "cubic"'),
        ({"resampling": "bilinear"}, "resampling= needs the grid of a pixel size"),
        ({"resampling": "bilinear", "resolution": 15}, "resampling= needs the grid of a pixel size"),
        ({"align": "linear", "resolution": 10}, "align= means nothing on the grid of 10 m"),
        ({"mask": "fog"}, "mask= names no class"),
        ({"mask": []}, "mask= names no class"),
        ({"mask": [12]}, "mask= names no class"),
        ({"mask": None}, "mask= names no class"),
        ({"mask": "clouds"}, r"has no SCL, which mask= needs \(only level 2A"),
    ],
)
def test_nonsense_is_refused_in_a_line(tmp_path, options, problem):
    product = write_product(tmp_path, {"B04_10m": numbers(1, 60)}, level="L1C")
    with pytest.raises(InvalidRequest, match=problem) as caught:
        jp2batch.open_cube([product], bands=["B04"], **options)
    assert "\n" not in str(caught.value)
