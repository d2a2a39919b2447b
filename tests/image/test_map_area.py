"""Map areas: a box on the map becomes the pixels that it touches, a resolution a level."""

import math

import pytest

from jp2batch.core.errors import InvalidRlevel, InvalidWindow
from jp2batch.core.window import Window
from jp2batch.image.geo_boxes import _look_up
from jp2batch.image.georeference import Georeference
from jp2batch.image.map_area import MapArea

SHAPE = (1830, 1830)
TRANSFORM = (60.0, 0.0, 499980.0, 0.0, -60.0, 5900040.0)
UTM = Georeference(TRANSFORM, _look_up("EPSG", "32629").wkt, 32629)


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
    assert MapArea(bounds, "EPSG:32629").window(UTM, SHAPE) == Window.parse(window)


def test_a_box_at_the_very_edge_is_its_last_pixel():
    assert Window.from_bounds((0.0, -5.0, 5.0, -2.0 + 1e-9), (1, 0, 0, 0, -1, 0), (2, 5)) == Window((1, 2), (0, 5))


def test_a_box_may_lie_on_a_turned_grid():
    turned = (0.0, 10.0, 0.0, -10.0, 0.0, 0.0)  # x = 10 row, y = -10 column
    assert Window.from_bounds((10, -30, 20, -10), turned, (5, 5)) == Window((1, 2), (1, 3))


@pytest.mark.parametrize("bounds", [(0, 0, 1, 1), (499980, 5900040, 500000, 5900100), (math.inf, 0, math.inf, 1)])
def test_a_box_elsewhere_is_refused(bounds):
    with pytest.raises(InvalidWindow, match="does not meet the image"):
        Window.from_bounds(bounds, TRANSFORM, SHAPE)


def test_longitude_and_latitude_are_the_default():
    window = MapArea((-8.9, 52.9, -8.8, 53.0)).window(UTM, SHAPE)
    assert window == MapArea((-8.9, 52.9, -8.8, 53.0), "EPSG:4326").window(UTM, SHAPE)
    assert window is not None
    rows, columns = window.shape
    assert (rows * 60, columns * 60) == (pytest.approx(11130, rel=0.02), pytest.approx(6710, rel=0.02))


@pytest.mark.parametrize(
    ("metres", "rlevel"), [(10, 0), (59, 0), (60, 0), (119, 0), (120, 1), (120 - 1e-8, 1), (240, 2), (1e6, 4)]
)
def test_a_resolution_is_the_lowest_level_with_samples_near_enough(metres, rlevel):
    assert MapArea(resolution=metres).rlevel(UTM, 4) == rlevel
    assert MapArea().rlevel(UTM, 4, 3) == 3


@pytest.mark.parametrize("texts", [("1,2,3", None, None), ("a,b,c,d", None, None), ("1,2,1,4", None, None)])
def test_a_bbox_that_is_none_is_refused(texts):
    with pytest.raises(InvalidWindow, match="bbox"):
        MapArea.parse(*texts)


@pytest.mark.parametrize("metres", ["a", "0", "-1", "nan", "inf"])
def test_a_resolution_that_is_none_is_refused(metres):
    with pytest.raises(InvalidRlevel, match="resolution"):
        MapArea.parse(None, None, metres)


def test_an_image_without_georeference_has_pixels_only():
    with pytest.raises(InvalidWindow, match="no georeference"):
        MapArea((0, 0, 1, 1)).window(None, SHAPE)
    with pytest.raises(InvalidRlevel, match="no size in metres"):
        MapArea(resolution=10).rlevel(None, 4)
    with pytest.raises(InvalidWindow, match="the crs cannot be read"):
        MapArea((0, 0, 1, 1), "nonsense").window(UTM, SHAPE)
