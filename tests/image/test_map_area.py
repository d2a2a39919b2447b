"""Map areas: a box or geometry is the samples that it touches, a resolution is a level, at every level of any image."""

import functools
import itertools
import math
import operator
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

import jp2batch
from jp2batch.core.errors import InvalidRequest, InvalidRlevel, InvalidWindow, OutsideImage
from jp2batch.core.map_area import LON_LAT, MapArea
from jp2batch.core.window import Window
from jp2batch.image.geo_boxes import _look_up
from jp2batch.image.georeference import Georeference
from jp2batch.image.map_area import area_rlevel
from jp2batch.sample.product import make_image

SHAPE = (1830, 1830)
TRANSFORM = (60.0, 0.0, 499980.0, 0.0, -60.0, 5900040.0)
UTM = Georeference(TRANSFORM, _look_up("EPSG", "32629").wkt, 32629)
SYSTEMS = [LON_LAT, "EPSG:32629", "EPSG:32630", "EPSG:3857", "EPSG:3035"]


@pytest.mark.parametrize(
    ("bounds", "window"),
    [
        ((499980, 5900040 - 60 * 1830, 499980 + 60 * 1830, 5900040), "0:1830,0:1830"),
        ((0, 0, 1e7, 1e7), "0:1830,0:1830"),
        ((500040, 5899860, 500100, 5899980), "1:3,1:2"),
        ((500041, 5899861, 500041.1, 5899861.1), "2:3,1:2"),
        ((500040 + 1e-9, 5899860, 500160 - 1e-9, 5899980), "1:3,1:3"),
    ],
)
def test_a_box_is_the_pixels_that_it_touches(bounds, window):
    assert Window.from_bounds(bounds, TRANSFORM, SHAPE) == Window.parse(window)


def test_a_grid_may_have_any_orientation():
    rotated = (0.0, 60.0, 499980.0, 60.0, 0.0, 5900040.0)  # rows go east, columns go north
    assert Window.from_bounds((500040, 5900040, 500100, 5900160), rotated, SHAPE) == Window((1, 2), (0, 2))


@pytest.mark.parametrize("bounds", [(0, 0, 1, 1), (499980, 5900040, 500000, 5900100), (math.inf, 0, math.inf, 1)])
def test_a_box_elsewhere_is_refused(bounds):
    with pytest.raises(OutsideImage, match="does not meet the image"):
        Window.from_bounds(bounds, TRANSFORM, SHAPE)


@pytest.mark.parametrize(
    ("metres", "rlevel"), [(10, 0), (59, 0), (60, 0), (119, 0), (120, 1), (120 - 1e-8, 1), (240, 2), (1e6, 4)]
)
def test_a_resolution_is_the_lowest_level_with_samples_near_enough(metres, rlevel):
    assert area_rlevel(MapArea(resolution=metres), UTM, 4) == rlevel
    assert area_rlevel(MapArea(), UTM, 4, 3) == 3


def test_pixels_without_metres_have_no_resolution():
    with pytest.raises(InvalidRlevel, match="no size in metres"):
        area_rlevel(MapArea(resolution=10), None, 4)


# Values of any form

SQUARE = {"type": "Polygon", "coordinates": [[[-8.9, 52.9], [-8.8, 52.9], [-8.8, 53.0], [-8.9, 53.0], [-8.9, 52.9]]]}
FEATURE = {"type": "Feature", "properties": {}, "geometry": SQUARE}


@pytest.mark.parametrize(
    "bbox", [(-8.9, 52.9, -8.8, 53), [-8.9, 52.9, -8.8, 53.0], "-8.9, 52.9,-8.8,53", np.array([-8.9, 52.9, -8.8, 53.0])]
)
def test_a_box_has_many_forms(bbox):
    assert MapArea.of(bbox) == MapArea((-8.9, 52.9, -8.8, 53.0))


@pytest.mark.parametrize(
    "geometry",
    [
        SQUARE,
        FEATURE,
        {"type": "FeatureCollection", "features": [FEATURE]},
        {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": None}, FEATURE]},
        '{"type": "Polygon", "coordinates": [[[-8.9, 52.9], [-8.8, 52.9], [-8.8, 53.0], [-8.9, 53.0], [-8.9, 52.9]]]}',
        "POLYGON ((-8.9 52.9, -8.8 52.9, -8.8 53, -8.9 53, -8.9 52.9))",
        shapely.box(-8.9, 52.9, -8.8, 53),
        SimpleNamespace(__geo_interface__=FEATURE),
    ],
)
def test_a_geometry_has_many_forms(geometry):
    area = MapArea.of(geometry=geometry)
    assert area is not None
    assert shapely.equals(shapely.from_wkt(area.geometry), shapely.box(-8.9, 52.9, -8.8, 53))
    assert hash(area) == hash(MapArea.of(geometry=geometry))


@pytest.mark.parametrize("crs", [32629, "EPSG:32629", "epsg:32629", CRS(32629), np.int64(32629)])
def test_a_reference_system_has_many_forms(crs):
    area = MapArea.of((0, 0, 1, 1), crs=crs)
    assert area is not None
    assert CRS(area.crs) == CRS(32629)


def test_a_geometry_brings_its_own_reference_system():
    fields = SimpleNamespace(__geo_interface__=FEATURE, crs=CRS(32629))
    assert MapArea.of(geometry=fields) == MapArea.of(geometry=SQUARE, crs=32629)
    assert MapArea.of(geometry=fields, crs=4326) == MapArea.of(geometry=SQUARE, crs="EPSG:4326")


def test_nothing_is_no_area():
    assert MapArea.of() is None


@pytest.mark.parametrize(
    ("values", "error", "problem"),
    [
        ({"bbox": "1,2,3"}, InvalidWindow, "the bbox cannot be read"),
        ({"bbox": "a,b,c,d"}, InvalidWindow, "the bbox cannot be read"),
        ({"bbox": 3}, InvalidWindow, "the bbox cannot be read"),
        ({"bbox": (1, 2, 1, 4)}, InvalidWindow, "the bbox is empty"),
        ({"bbox": (1, 5, 2, 4)}, InvalidWindow, "the bbox is empty"),
        ({"bbox": (5, 1, 2, 4), "crs": 32629}, InvalidWindow, "the bbox is empty"),
        ({"bbox": (0, 0, math.nan, 4)}, InvalidWindow, "the bbox is empty or not finite"),
        ({"bbox": (499980, 5800000, 500040, 5900040)}, InvalidWindow, "not in longitude and latitude"),
        ({"geometry": "POLYGON ((0 0"}, InvalidWindow, "the geometry cannot be read"),
        ({"geometry": "POLYGON EMPTY"}, InvalidWindow, "the geometry is empty"),
        ({"geometry": {"type": "Feature", "geometry": None}}, InvalidWindow, "the geometry cannot be read"),
        ({"geometry": {"type": "Circle"}}, InvalidWindow, "the geometry cannot be read"),
        ({"geometry": 3}, InvalidWindow, "the geometry cannot be read"),
        ({"geometry": "fields.geojson"}, InvalidWindow, "the geometry cannot be read"),
        ({"bbox": (0, 0, 1, 1), "geometry": SQUARE}, InvalidWindow, "exclude each other"),
        ({"crs": 32629}, InvalidWindow, "means nothing"),
        ({"bbox": (0, 0, 1, 1), "crs": 3.5}, InvalidWindow, "the crs cannot be read"),
        *(({"resolution": value}, InvalidRlevel, "resolution") for value in ("a", "0", 0, -1, "nan", math.inf, [])),
    ],
)
def test_a_value_that_is_no_area_is_refused(values, error, problem):
    with pytest.raises(error, match=problem):
        MapArea.of(**values)


# Images, against brute force

EXTENT = (499980, 5900040 - 3660, 499980 + 3660, 5900040)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A band of 366 x 366 pixels of 10 m in UTM zone 29."""
    from jp2batch.sample.product import make_product

    product = make_product(tmp_path_factory.mktemp("area"), size=366, bands=["B04"])
    return next(product.glob("GRANULE/*/IMG_DATA/**/*_B04_10m.jp2"))


@functools.cache
def whole(path: Path, rlevel: int) -> Any:
    return jp2batch.read(str(path), rlevel)


def touched(array: Any, area: Any, system: str, step: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns whose surroundings the bounds of an area touch; its edges are densely projected."""
    there = Transformer.from_crs(system, CRS.from_wkt(array.spatial_ref.attrs["crs_wkt"]), always_xy=True)
    x0, y0, x1, y1 = area.bounds
    dense = shapely.segmentize(area, max(x1 - x0, y1 - y0) / 2000)
    moved = shapely.transform(dense, lambda xy: np.column_stack(there.transform(xy[:, 0], xy[:, 1])))
    if not shapely.intersects(moved, shapely.box(*EXTENT)):
        return np.zeros(0, int), np.zeros(0, int)
    moved = shapely.intersection(shapely.box(*moved.bounds), shapely.box(*EXTENT))
    shapely.prepare(moved)
    x, y = np.meshgrid(array.x.values, array.y.values)
    right, bottom = x + step / 2, y - step / 2
    right[:, -1], bottom[-1] = EXTENT[2], EXTENT[1]  # the last samples stand for all behind them
    cells = shapely.box(x - step / 2, bottom, right, y + step / 2)
    return np.nonzero(shapely.intersects(moved, cells))


def random_areas(path: Path, count: int, seed: int) -> Iterator[tuple[str, str, Any]]:
    """Yield kind, reference system and shape of boxes and polygons around an image."""
    chance, array = random.Random(seed), whole(path, 0)  # no secret
    x0, x1, y0, y1 = (float(value) for value in (array.x.min(), array.x.max(), array.y.min(), array.y.max()))
    wkt = array.spatial_ref.attrs["crs_wkt"]
    for number in range(count):
        system = SYSTEMS[number % len(SYSTEMS)]
        back = Transformer.from_crs(CRS.from_wkt(wkt), system, always_xy=True)
        x, y = chance.uniform(x0 - 200, x1 + 200), chance.uniform(y0 - 200, y1 + 200)
        size = chance.choice([1, 30, 300, 2000, 6000])
        corners = [
            (x + chance.uniform(-size, size), y + chance.uniform(-size, size)) for _ in range(chance.choice([3, 4, 7]))
        ]
        moved = [back.transform(*corner) for corner in corners]
        polygon = shapely.MultiPoint(moved).convex_hull
        if number % 2:
            yield "geometry", system, polygon
        else:
            yield "bbox", system, shapely.box(*polygon.bounds)


@pytest.mark.parametrize("rlevel", [0, 1, 2, 4])
def test_an_area_is_all_samples_that_it_touches_and_no_others_around(image: Path, rlevel: int) -> None:
    array, read = whole(image, rlevel), 0
    step = 10.0 * 2**rlevel
    for kind, system, shape in random_areas(image, 40 if rlevel == 0 else 100, seed=rlevel):
        rows, columns = touched(array, shape, system, step)
        value = shape.bounds if kind == "bbox" else shape
        if not rows.size:
            with pytest.raises(OutsideImage, match=rf"{image.name}.* \(the image lies in the bbox -"):
                jp2batch.read(str(image), rlevel, crs=system, **{kind: value})
            continue
        part = jp2batch.read(str(image), rlevel, crs=system, mask=False, **{kind: value})
        expected = array[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert part.shape == expected.shape, (kind, system, shape)
        np.testing.assert_array_equal(part.x, expected.x)
        np.testing.assert_array_equal(part.y, expected.y)
        np.testing.assert_array_equal(part, expected)
        read += 1
    assert read > 20


@pytest.mark.parametrize("rlevel", [0, 1, 3])
def test_samples_whose_centres_are_outside_a_polygon_become_no_data(image: Path, rlevel: int) -> None:
    array, masked_samples = whole(image, rlevel), 0
    wkt = CRS.from_wkt(array.spatial_ref.attrs["crs_wkt"])
    for _, system, shape in itertools.islice(random_areas(image, 60, seed=10 + rlevel), 1, None, 2):
        try:
            part = jp2batch.read(str(image), rlevel, geometry=shape, crs=system)
        except OutsideImage:
            continue
        back = Transformer.from_crs(wkt, system, always_xy=True)
        x, y = np.meshgrid(part.x.values, part.y.values)
        inside = shapely.contains_xy(shape, *back.transform(x, y))
        near = shapely.distance(shapely.points(*back.transform(x, y)), shape.exterior) < shape.length * 1e-6
        plain = array.sel(x=part.x, y=part.y).values
        expected = np.where(inside, plain, 0)
        np.testing.assert_array_equal(np.where(near, 0, part), np.where(near, 0, expected))
        masked_samples += int((~inside).sum())
        lazy = jp2batch.open(str(image), rlevel, geometry=shape, crs=system)
        np.testing.assert_array_equal(lazy, part)
        np.testing.assert_array_equal(lazy[1:, :-1], part[1:, :-1])
    assert masked_samples > 100


def test_a_large_polygon_is_masked_by_blocks(image: Path) -> None:
    array = whole(image, 0)
    centre = float(array.x.mean()), float(array.y.mean())
    ring = shapely.Point(*centre).buffer(1600).difference(shapely.Point(*centre).buffer(300))
    part = jp2batch.read(str(image), 0, geometry=ring, crs=32629)
    x, y = np.meshgrid(part.x.values, part.y.values)
    expected = np.where(shapely.contains_xy(ring, x, y), array.sel(x=part.x, y=part.y), 0)
    np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize("rlevel", [0, 2])
def test_points_and_lines_are_the_samples_that_they_touch(image: Path, rlevel: int) -> None:
    array, step = whole(image, rlevel), 10 * 2**rlevel
    x, y = float(array.x[20]) + 0.3 * step, float(array.y[9]) - 0.2 * step
    point = jp2batch.read(str(image), rlevel, geometry=shapely.Point(x, y), crs=32629)
    assert point.values.tolist() == [[array.values[9, 20]]]
    line = jp2batch.read(str(image), rlevel, geometry=shapely.LineString([(x, y), (x + step, y - step)]), crs=32629)
    assert line.shape == (2, 2)
    assert line.values[0, 0] == array.values[9, 20]
    assert line.values[1, 1] == array.values[10, 21]
    assert (line.values == 0).sum() == 1


def test_a_scaled_image_is_nan_outside(tmp_path: Path, image: Path) -> None:
    array = whole(image, 0)
    triangle = shapely.Polygon([(float(array.x[i]), float(array.y[j])) for i, j in ((10, 10), (60, 10), (10, 60))])
    part = jp2batch.read(str(image), 0, geometry=triangle, crs=32629, scaled=True)
    assert np.isnan(part.values[-1, -1])
    assert np.isfinite(part.values[1, 1])


def test_a_world_of_areas_is_read(image: Path) -> None:
    array = whole(image, 4)
    for bbox in ((-180, -90, 180, 90), (-9.5, -80, 351, 85)):
        np.testing.assert_array_equal(jp2batch.read(str(image), 4, bbox=bbox), array)
    land = shapely.box(-60, 30, 40, 75)
    np.testing.assert_array_equal(jp2batch.read(str(image), 4, geometry=land), array)


def test_longitudes_may_be_counted_on(image: Path) -> None:
    part = jp2batch.read(str(image), 0, bbox=(-8.98, 53.23, -8.97, 53.24), mask=False)
    assert part.identical(jp2batch.read(str(image), 0, bbox=(351.02, 53.23, 351.03, 53.24)))


def test_resolution_takes_the_place_of_rlevel(image: Path) -> None:
    for metres, rlevel in ((10, 0), (25, 1), (1e4, 5)):
        for part in (jp2batch.read(str(image), resolution=metres), jp2batch.open(str(image), resolution=metres)):
            assert part.attrs["rlevel"] == min(rlevel, whole(image, -1).attrs["rlevel"])
            np.testing.assert_array_equal(part, whole(image, part.attrs["rlevel"]))


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"rlevel": 1, "resolution": 20}, "rlevel= and resolution= exclude each other"),
        ({"window": "0:5,0:5", "bbox": (0, 0, 1, 1)}, "exclude each other"),
        ({"bbox": (0, 0, 1, 1), "crs": "nonsense"}, "the crs cannot be read"),
    ],
)
@pytest.mark.parametrize("act", ["read", "open", "plan"])
def test_contradictions_are_refused(image: Path, act: str, values: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidRequest, match=problem):
        operator.attrgetter(act)(jp2batch)(str(image), **values)


def test_an_image_without_georeference_has_pixels_only(tmp_path: Path) -> None:
    from jp2batch.sample.encode import Coding
    from support.images import Made

    path = tmp_path / "x.jp2"
    path.write_bytes(Made(Coding()).data)
    with pytest.raises(InvalidWindow, match=r"x\.jp2: the image has no georeference"):
        jp2batch.read(str(path), bbox=(0, 0, 1, 1))
    with pytest.raises(InvalidRlevel, match=r"x\.jp2: the pixels of the image have no size in metres"):
        jp2batch.read(str(path), resolution=10)
    info = jp2batch.inspect(str(path))
    assert (info.bounds, info.bbox) == (None, None)


BOX = (-8.98, 53.23, -8.97, 53.24)


def test_all_functions_read_the_same_area(image: Path) -> None:
    import xarray as xr

    path = str(image)
    expected = jp2batch.read(path, bbox=BOX, resolution=20)
    assert expected.size < whole(image, 1).size / 4
    np.testing.assert_array_equal(jp2batch.open(path, bbox=BOX, resolution=20), expected)
    dataset = xr.open_dataset(path, engine="jp2batch", bbox=BOX, resolution=20)
    np.testing.assert_array_equal(dataset.B04, expected)
    answer = jp2batch.respond({"Path": path, "bbox": BOX, "resolution": 20})
    np.testing.assert_array_equal(answer["img_data"], expected)
    request = jp2batch.Request(path, area=MapArea.of(BOX, resolution=20))
    (result,) = jp2batch.run([request]).results
    np.testing.assert_array_equal(result.value, expected)
    assert jp2batch.plan(path, bbox=BOX, resolution=20).shape == expected.shape


@pytest.mark.parametrize(
    ("tile", "crosses"), [("T29UNU", False), ("T01WCQ", True), ("T60WWV", False), ("T56HKH", False)]
)
def test_the_bounds_of_an_image_are_an_area_that_holds_all_of_it(tile: str, crosses: bool, tmp_path: Path) -> None:
    path = tmp_path / f"{tile}_20221005T115411_B04_60m.jp2"
    make_image(path, np.ones((1830, 1830), np.uint16), 60, tile=tile)
    info = jp2batch.inspect(str(path))
    with rasterio.open(path) as dataset:
        assert info.bounds == tuple(dataset.bounds)
        there = Transformer.from_crs(dataset.crs, LON_LAT, always_xy=True)
        expected = there.transform_bounds(*dataset.bounds)
    assert info.bbox == pytest.approx(expected, abs=1e-6)
    assert (info.bbox[0] > info.bbox[2]) == crosses
    for area in ({"bbox": info.bbox}, {"bbox": info.bounds, "crs": info.crs}):
        assert jp2batch.read(str(path), 3, **area).equals(jp2batch.read(str(path), 3))
