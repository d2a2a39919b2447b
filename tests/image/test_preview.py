"""Stretched pictures."""

import io

import numpy as np
import pytest
from PIL import Image

from jp2batch.core.errors import InvalidRequest
from jp2batch.image.preview import contact_sheet, stretch, to_png


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


GREY = np.random.default_rng(1).integers(1000, 4000, (1, 40, 40)).astype(np.uint16)
MARGIN, CAPTION, SIDE = 14, 26, 100


def sheet(images, titles, **options):
    with contact_sheet(images, titles, side=SIDE, **options) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


def cell(pixels, row, column):
    """Return a picture of a sheet, and its caption."""
    top = MARGIN + row * (SIDE + CAPTION + MARGIN)
    left = MARGIN + column * (SIDE + MARGIN)
    columns = pixels[top : top + SIDE + CAPTION, left : left + SIDE]
    return columns[:SIDE], columns[SIDE:]


@pytest.mark.parametrize(
    ("count", "columns", "grid"), [(1, None, (1, 1)), (8, 4, (2, 4)), (5, 3, (2, 3)), (5, None, (2, 3)), (2, 4, (1, 4))]
)
def test_a_contact_sheet_is_a_grid(count, columns, grid):
    pixels = sheet([GREY] * count, [f"B{n:02}" for n in range(count)], columns=columns)
    assert pixels.shape == (MARGIN + grid[0] * (SIDE + CAPTION + MARGIN), MARGIN + grid[1] * (SIDE + MARGIN), 3)
    paper = pixels[0, 0]
    for place in range(grid[0] * grid[1]):
        picture, caption = cell(pixels, *divmod(place, grid[1]))
        assert (picture.std() > 10) == (caption.min() < 100) == (place < count)
    assert (pixels[:MARGIN] == paper).all()
    assert (pixels[:, -MARGIN:] == paper).all()
    assert paper.min() > 240


def test_a_contact_sheet_has_colours_where_images_have():
    colours = np.zeros((3, 50, 50), np.uint8)
    colours[0] = 200
    picture, _ = cell(sheet([GREY, colours], ["a", "b"], columns=2), 0, 1)
    assert (picture == (200, 0, 0)).all()


def test_images_of_any_form_keep_it():
    flat = np.full((1, 10, 40), 9, np.uint16)
    flat[0, :, 20:] = 0
    picture, _ = cell(sheet([flat], ["flat"], nodata=0), 0, 0)
    rows = np.flatnonzero((picture[:, 90] < 10).all(axis=-1))
    assert abs(len(rows) - SIDE // 4) <= 1
    assert abs(rows.mean() - SIDE / 2) <= 1


def test_clouds_do_not_darken_the_land():
    land = np.tile(np.arange(1000, 2000, dtype=np.uint16), (100, 1))[np.newaxis, :, :100]
    land[0, :8] = 9000
    picture, _ = cell(sheet([land], ["cloudy"]), 0, 0)
    assert np.median(picture[20:]) > 100
    assert np.median(stretch(land)) < 20


def test_a_long_caption_is_cut():
    pixels = sheet([GREY, GREY], ["a very long caption\nthat nobody reads to its end", "x"], columns=2)
    assert cell(pixels, 0, 0)[1].min() < 100
    assert (pixels[:, MARGIN + SIDE : 2 * MARGIN + SIDE] == pixels[0, 0]).all()
    assert contact_sheet([GREY], [""])


@pytest.mark.parametrize(("images", "titles"), [([], []), ([GREY], []), ([GREY], ["a", "b"])])
def test_a_contact_sheet_needs_images_and_a_title_for_each(images, titles):
    with pytest.raises(InvalidRequest, match="contact sheet"):
        contact_sheet(images, titles)
