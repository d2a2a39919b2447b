"""Samples of polygons on a grid: all centres inside; or all samples that they overlap."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from jp2batch.image.fields.rasterize import FieldRuns, rasterize

SHAPE = (9, 11)
CORNER = st.tuples(*[st.one_of(st.floats(-5, 15, width=32), st.integers(-2, 12))] * 2)


def masks(found: FieldRuns, fields: int) -> np.ndarray:
    """Return which samples each field has; no sample is in two runs."""
    result = np.zeros((fields, *SHAPE), int)
    field = np.repeat(found.fields, found.counts)
    _, y, x = found.runs.positions()
    np.add.at(result, (field, y, x), 1)
    assert result.max(initial=0) <= 1
    return result.astype(bool)


def cells() -> np.ndarray:
    x, y = np.meshgrid(np.arange(SHAPE[1]), np.arange(SHAPE[0]))
    found: np.ndarray = shapely.box(x, y, x + 1, y + 1)
    return found


def polygons() -> st.SearchStrategy[shapely.Polygon]:
    hulls = st.lists(CORNER, min_size=3, max_size=7).map(lambda corners: shapely.MultiPoint(corners).convex_hull)
    flat = hulls.filter(lambda hull: hull.geom_type == "Polygon" and hull.area > 1e-3)
    return st.one_of(flat, flat.map(lambda hull: hull.difference(hull.centroid.buffer(0.7))))


def usable(shape: shapely.Geometry) -> bool:
    return shape.geom_type in ("Polygon", "MultiPolygon") and not shape.is_empty


@given(st.lists(polygons().filter(usable), min_size=1, max_size=4))
def test_centres_inside_are_found(shapes):
    found = masks(rasterize(np.array(shapes), np.arange(len(shapes)), SHAPE), len(shapes))
    centres = shapely.centroid(cells())
    for mask, shape in zip(found, shapes, strict=True):
        near = shapely.distance(shape.boundary, centres) < 1e-9  # a centre on an edge may fall to either side
        np.testing.assert_array_equal(mask[~near], shapely.contains(shape, centres)[~near])


@given(st.lists(polygons().filter(usable), min_size=1, max_size=4))
def test_overlapped_samples_are_found(shapes):
    found = rasterize(np.array(shapes), np.arange(len(shapes)), SHAPE, all_touched=True)
    for mask, shape in zip(masks(found, len(shapes)), shapes, strict=True):
        overlap = shapely.area(shapely.intersection(cells(), shape))
        assert mask[overlap > 1e-9].all()
        touched = shapely.intersects(cells(), shape)
        assert not mask[~touched & (shapely.distance(cells(), shape) > 1e-9)].any()


@given(st.lists(st.lists(CORNER, min_size=1, max_size=3), min_size=1, max_size=9))
def test_points_are_in_the_sample_around_them(fields):
    shapes = np.array([shapely.MultiPoint(points) for points in fields])
    found = masks(rasterize(shapes, np.arange(len(shapes)), SHAPE), len(shapes))
    for mask, points in zip(found, fields, strict=True):
        expected = np.zeros(SHAPE, bool)
        for x, y in points:
            if 0 <= np.floor(x) < SHAPE[1] and 0 <= np.floor(y) < SHAPE[0]:
                expected[int(np.floor(y)), int(np.floor(x))] = True
        np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("all_touched", [False, True])
def test_polygons_on_the_grid_have_just_their_samples(all_touched):
    shape = shapely.box(2, 3, 5, 7)
    (mask,) = masks(rasterize(np.array([shape]), np.array([0]), SHAPE, all_touched=all_touched), 1)
    expected = np.zeros(SHAPE, bool)
    expected[3:7, 2:5] = True
    np.testing.assert_array_equal(mask, expected)


def test_fields_that_meet_the_grid_without_a_centre_count_none():
    shapes = np.array([shapely.box(1.1, 1.1, 1.4, 1.4), shapely.box(50, 50, 60, 60), shapely.Point(11, 3)])
    found = rasterize(shapes, np.array([4, 5, 6]), SHAPE)
    assert (found.fields.tolist(), found.counts.tolist(), len(found.runs)) == ([4], [0], 0)
