"""Values of fields: tables, ids, forms of fields, failures; equal to a plain reading of the whole images."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import shapely

import jp2batch
from jp2batch.core.errors import InvalidRequest, InvalidWindow, Jp2BatchError
from jp2batch.core.request import Request
from jp2batch.sample.product import make_product

UTM = "EPSG:32629"
NAMES = ("mean", "median", "count", "min", "max", "std", "var", "sum", "p10", "percentile_90.5", "mode")


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_product(tmp_path_factory.mktemp("fields"), size=366, bands=["B02", "B04", "B8A"])


@pytest.fixture(scope="module")
def band(product: Path) -> Any:
    """Return the red band, as floats with NaN for no data."""
    array = jp2batch.read(str(path_of(product, "B04_10m")), 0).load()
    return array.where(array != 0).astype(float)


def path_of(product: Path, ending: str) -> Path:
    return next(product.glob(f"GRANULE/*/IMG_DATA/**/*_{ending}.jp2"))


def points(band: Any, count: int = 200, seed: int = 1) -> np.ndarray:
    rng, (x0, x1), (y1, y0) = np.random.default_rng(seed), band.x.values[[0, -1]], band.y.values[[0, -1]]
    return rng.uniform((x0, y0), (x1, y1), (count, 2))


def polygons(band: Any, count: int = 40, seed: int = 2) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [
        shapely.Point(xy).buffer(size, quad_segs=2)
        for xy, size in zip(points(band, count, seed), rng.uniform(30, 400, count), strict=True)
    ]


def extract(*arguments: Any, **options: Any) -> pd.DataFrame:
    return jp2batch.extract(*arguments, **{"progress": False, "on_error": "raise"} | options)


def nearest(band: Any, xy: np.ndarray) -> np.ndarray:
    found: np.ndarray = band.values[
        np.floor((band.y.values[0] + 5 - xy[:, 1]) / 10).astype(int),
        np.floor((xy[:, 0] - band.x.values[0] + 5) / 10).astype(int),
    ]
    return found


def inside(band: Any, polygon: Any) -> np.ndarray:
    x, y = np.meshgrid(band.x.values, band.y.values)
    found: np.ndarray = band.values[shapely.contains_xy(polygon, x, y)]
    return found


def test_points_have_the_values_of_the_samples_around_them(product: Path, band: Any):
    xy = points(band)
    found = extract(product, xy, "B04", crs=UTM)
    assert list(found.columns) == ["id", "time", "band", "value", "tile", "item"]
    assert found.id.tolist() == list(range(len(xy)))
    assert found.value.dtype == np.float64
    assert found.time.dtype == "datetime64[ns]"
    np.testing.assert_array_equal(found.value, nearest(band, xy))
    assert (set(found.band), set(found.tile), set(found.item)) == ({"B04"}, {"T29UNU"}, {product.name})
    assert set(found.time) == {band.time.values.item() and pd.Timestamp(band.time.values)}


def test_polygons_have_the_statistics_of_the_centres_inside(product: Path, band: Any):
    shapes = polygons(band)
    found = extract(product, shapes, "B04", crs=UTM, stats=NAMES)
    for row, shape in zip(found.itertuples(index=False), shapes, strict=True):
        values = inside(band, shape)
        values = values[~np.isnan(values)]
        assert row.count == len(values)
        distinct, counts = np.unique(values, return_counts=True)
        expected = [values.mean(), np.median(values), values.min(), values.max(), values.std(), values.var()]
        expected += [values.sum(), np.percentile(values, 10), np.percentile(values, 90.5), distinct[counts.argmax()]]
        got = [getattr(row, name, None) for name in ("mean", "median", "min", "max", "std", "var", "sum", "p10")]
        got += [row[found.columns.get_loc("percentile_90.5")], row.mode]
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_all_bands_of_any_pixel_size_are_read_and_points_agree_with_each(product: Path, band: Any):
    xy = points(band, 20)
    found = extract(product, xy, ["B02", "B04", "B8A"], crs=UTM)
    assert found.groupby("band").size().to_dict() == {"B02": 20, "B04": 20, "B8A": 20}
    coarse = jp2batch.read(str(path_of(product, "B8A_20m")), 0)
    rows = np.floor((coarse.y.values[0] + 10 - xy[:, 1]) / 20).astype(int)
    columns = np.floor((xy[:, 0] - coarse.x.values[0] + 10) / 20).astype(int)
    values = coarse.values[rows, columns].astype(float)
    np.testing.assert_array_equal(found[found.band == "B8A"].value, np.where(values == 0, np.nan, values))


def test_bands_have_the_names_asked_for(product: Path, band: Any):
    xy = points(band, 5)
    found = extract(product, xy, ["red", "b8a"], crs=UTM)
    assert set(found.band) == {"red", "B8A"}
    plain = extract(product, xy, ["B04", "B8A"], crs=UTM)
    pd.testing.assert_frame_equal(found.replace({"band": {"red": "B04"}}), plain)


def test_the_resolution_chooses_the_level(product: Path, band: Any):
    path = str(path_of(product, "B04_10m"))
    found = extract(path, polygons(band, 3), crs=UTM, stats=None, resolution=40)
    level = jp2batch.read(path, 2)
    values = level.sel(x=found.x.to_xarray(), y=found.y.to_xarray()).values.astype(float)
    np.testing.assert_array_equal(found.value, np.where(values == 0, np.nan, values))
    assert set(found.id) == {0, 1, 2}


def test_samples_come_with_their_centres_row_by_row(product: Path, band: Any):
    (shape,) = polygons(band, 1)
    found = extract(product, shape, "B04", crs=UTM, stats=None)
    assert list(found.columns) == ["id", "time", "band", "value", "x", "y", "tile", "item"]
    values = band.sel(x=found.x.to_xarray(), y=found.y.to_xarray())
    np.testing.assert_array_equal(found.value, values)
    assert shapely.contains_xy(shape, found.x, found.y).all()
    np.testing.assert_array_equal(found.value, inside(band, shape))


def test_reflectance_is_scaled_as_by_read(product: Path, band: Any):
    xy = points(band, 30)
    path = str(path_of(product, "B04_10m"))
    found = extract(path, xy, crs=UTM, scaled=True)
    expected = nearest(jp2batch.read(path, 0, scaled=True), xy).astype(np.float64)
    np.testing.assert_array_equal(found.value, expected)


def test_longitude_and_latitude_are_the_default(product: Path, band: Any):
    from pyproj import Transformer

    xy = points(band, 50)
    lon, lat = Transformer.from_crs(UTM, "OGC:CRS84", always_xy=True).transform(*xy.T)
    table = pd.DataFrame({"Lon": lon, "Lat": lat, "id": [f"p{n}" for n in range(50)]})
    found = extract(product, table, "B04")
    assert found.id.tolist() == table.id.tolist()
    np.testing.assert_array_equal(found.value, nearest(band, xy))


def test_all_touched_takes_each_sample_that_a_polygon_overlaps(product: Path, band: Any):
    for shape in polygons(band, 4):
        found = extract(product, shape, "B04", crs=UTM, all_touched=True, stats=None)
        x, y = np.meshgrid(band.x.values, band.y.values)
        cells = shapely.box(x - 5, y - 5, x + 5, y + 5)
        overlaps = shapely.area(shapely.intersection(cells, shape)) > 0
        np.testing.assert_array_equal(found.value, band.values[overlaps])


def feature(shape: Any, **more: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": json.loads(shapely.to_geojson(shape)), "properties": {}} | more


def forms(shapes: list[Any]) -> dict[str, tuple[Any, list[Any]]]:
    """Return the same polygons in several forms, with their ids."""
    features = [feature(shape, id=f"f{n}", properties={"name": f"n{n}"}) for n, shape in enumerate(shapes)]
    collection = {"type": "FeatureCollection", "features": features}
    ids, numbers = [f"f{n}" for n in range(len(shapes))], list(range(len(shapes)))
    return {
        "geometries": (shapes, numbers),
        "array": (np.array(shapes), numbers),
        "features": (features, ids),
        "collection": (collection, ids),
        "WKT in a table": (pd.DataFrame({"geometry": [one.wkt for one in shapes], "id": ids}), ids),
        "index of a table": (pd.DataFrame({"geometry": shapes}, index=ids), ids),
    }


@pytest.mark.parametrize("form", forms([]).keys())
def test_fields_may_have_any_form(product: Path, band: Any, form: str):
    shapes = polygons(band, 5)
    fields, ids = forms(shapes)[form]
    found = extract(product, fields, "B04", crs=UTM)
    assert found.id.tolist() == ids
    np.testing.assert_allclose(found.value, [np.nanmean(inside(band, shape)) for shape in shapes])


def test_a_geodataframe_has_its_own_reference_system_and_ids(product: Path, band: Any):
    geopandas = pytest.importorskip("geopandas")
    table = geopandas.GeoDataFrame({"parcel": ["a", "b"]}, geometry=polygons(band, 2), crs=UTM)
    assert extract(product, table, "B04", id="parcel").id.tolist() == ["a", "b"]
    assert extract(product, table.to_crs(4326), "B04").id.tolist() == [0, 1]
    assert extract(product, table.geometry, "B04").value.notna().all()


def test_fields_outside_have_no_row_and_are_told_once(product: Path, band: Any):
    inside_, far = points(band, 2), np.array([[0.0, 0.0], [1e6, 1e6]])
    with pytest.warns(UserWarning, match="2 of 4 fields have no row: 2, 3"):
        found = extract(product, np.concatenate([inside_, far]), ["B02", "B04"], crs=UTM)
    assert found.id.tolist() == [0, 1] * 2


def test_a_polygon_between_the_centres_counts_none(product: Path, band: Any):
    speck = shapely.box(band.x.values[9] + 1, band.y.values[9] + 1, band.x.values[9] + 3, band.y.values[9] + 3)
    for fields in ([speck], [speck, *polygons(band, 1)]):
        found = extract(product, fields, "B04", crs=UTM, stats=("count", "mean"))
        assert found["count"].tolist()[0] == 0
        assert np.isnan(found["mean"][0])
        assert found["count"].dtype == np.int64


def test_images_that_meet_no_field_give_an_empty_table(product: Path):
    with pytest.warns(UserWarning, match="1 of 1 fields have no row: 0"):
        found = extract(product, [(0.0, 0.0)])
    assert found.empty
    assert list(found.columns) == ["id", "time", "band", "value", "tile", "item"]


def test_failed_images_are_left_out_and_named(product: Path, band: Any, tmp_path: Path):
    good = str(path_of(product, "B04_10m"))
    bad = str(tmp_path / "T29UNU_20221005T115411_B03_10m.jp2")
    with pytest.warns(UserWarning, match="1 of 2 images failed"):
        found = extract([good, bad], points(band, 3), crs=UTM, on_error="collect")
    assert set(found.band) == {"B04"}
    assert list(found.attrs["failed"]) == [bad]
    assert json.dumps(found.attrs)  # pandas writes it to Parquet
    with pytest.raises(Jp2BatchError, match="T29UNU"):
        extract([bad], points(band, 3), crs=UTM, on_error="collect")
    with pytest.raises(Jp2BatchError, match="T29UNU"):
        extract([good, bad], points(band, 3), crs=UTM)


def test_requests_keep_their_level_and_must_be_of_whole_images(product: Path, band: Any):
    path, shapes = str(path_of(product, "B04_10m")), polygons(band, 1)
    found = extract([Request(path, 1)], shapes, crs=UTM, stats=None)
    assert np.diff(np.unique(found.x)).min() == 20
    with pytest.raises(InvalidRequest, match="part of the image"):
        extract([Request(path, 0, ((0, 5), (0, 5)))], shapes, crs=UTM)
    with pytest.raises(InvalidRequest, match="own band"):
        extract([Request(path, 0)], shapes, "B04", crs=UTM)


LINE = shapely.LineString([(0, 0), (1, 1)])


@pytest.mark.parametrize(
    ("fields", "options", "match"),
    [
        ([], {}, "no fields"),
        ([LINE], {}, "field 0 is neither points nor polygons .buffer"),
        ([shapely.Point()], {}, "field 0 has no geometry"),
        ([None, (1, 1)], {}, "field 0 has no geometry|cannot be read"),
        ([(5e5, 5e6)], {}, "not in longitude and latitude"),
        ([(1, 1)], {"crs": "EPSG:nonsense"}, "crs of the fields cannot be read"),
        ([(1, 1)], {"id": "name"}, "id= is not a column"),
        (pd.DataFrame({"a": [1]}), {}, "neither lon and lat nor geometry"),
        (pd.DataFrame({"lon": [1, 1], "lat": [1, 2], "id": ["a", "a"]}), {}, "several fields have the id a"),
        (pd.DataFrame({"lon": [1, 1], "lat": [1, 2], "id": ["a", None]}), {}, "field number 1 has no id"),
        ({"type": "Feature"}, {}, "cannot be read"),
        (7, {}, "fields cannot be int"),
        ("POINT EMPTY", {}, "fields|no file|cannot"),
        ([(1, 1)], {"stats": "meen"}, "no statistic meen .give mean"),
        ([(1, 1)], {"stats": ()}, "names no statistic"),
        ([(1, 1)], {"stats": "mean,mean"}, "given twice"),
        ([(1, 1)], {"stats": "p101"}, "no statistic p101"),
    ],
)
def test_fields_and_statistics_that_cannot_be_used_are_refused(product: Path, fields: Any, options: Any, match: str):
    with pytest.raises(InvalidRequest, match=match):
        extract(product, fields, **options)


def test_an_image_without_georeference_fails(tmp_path: Path):
    from jp2batch.sample.encode import Coding, encode

    path = tmp_path / "plain.jp2"
    path.write_bytes(encode(np.ones((64, 64), np.uint16), Coding()))
    with pytest.raises(InvalidWindow, match="no georeference"):
        extract(str(path), [(1, 1)])


def test_each_image_is_read_once_on_processes_too(product: Path, band: Any):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xy = points(band, 20)
        here, there = extract(product, xy, crs=UTM), extract(product, xy, crs=UTM, processes=True)
    pd.testing.assert_frame_equal(here, there)
