"""Stretched pictures."""

import io

import numpy as np
import pytest
from PIL import Image

from jp2batch.preview import stretch, to_png


def picture(values, **options):
    with Image.open(io.BytesIO(to_png(values, **options))) as image:
        return image.mode, np.asarray(image)


def test_the_second_and_the_98th_percentile_become_black_and_white():
    values = np.arange(101, dtype=np.uint16).reshape(1, 1, 101) * 100
    stretched = stretch(values)
    assert stretched.dtype == np.uint8
    assert set(stretched[0, 0, :3]) == {1}
    assert set(stretched[0, 0, 98:]) == {255}
    assert (np.diff(stretched[0, 0].astype(int)) >= 0).all()
    assert stretched[0, 0, 50] == 128


def test_no_data_is_black_and_does_not_count():
    values = np.array([[[0, 0, 0, 0, 1000, 2000]]], np.uint16)
    np.testing.assert_array_equal(stretch(values, nodata=0), [[[0, 0, 0, 0, 1, 255]]])
    assert stretch(values)[0, 0, 4] > 100


@pytest.mark.parametrize("nodata", [0, None])
def test_an_image_of_one_value_is_no_problem(nodata):
    assert stretch(np.zeros((1, 4, 4), np.uint16), nodata=nodata).max() <= 1
    assert len(np.unique(stretch(np.full((1, 4, 4), 7, np.int16), nodata=nodata))) == 1


def test_few_pixels_that_differ_are_seen():
    mask = np.zeros((1, 100, 100), np.uint8)
    mask[0, 0, 0] = 1
    assert stretch(mask)[0, 0, 0] == 255


def test_signed_samples():
    np.testing.assert_array_equal(stretch(np.array([[[-500, 0, 500]]], np.int16))[0, 0, [0, 2]], [1, 255])


def test_bytes_of_three_colours_stay_as_they_are():
    values = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    mode, pixels = picture(values)
    assert mode == "RGB"
    np.testing.assert_array_equal(pixels, np.moveaxis(values, 0, 2))


@pytest.mark.parametrize(("bands", "mode"), [(1, "L"), (2, "L"), (3, "RGB"), (4, "RGB")])
def test_three_bands_make_colours(bands, mode):
    values = np.random.default_rng(0).integers(0, 4000, (bands, 8, 9)).astype(np.uint16)
    assert picture(values)[0] == mode
    assert picture(values)[1].shape[:2] == (8, 9)
