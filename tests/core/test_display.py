"""What objects show of themselves in a notebook: well formed, harmless, and no more and no less than their text."""

import base64
import io
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import xarray as xr
from PIL import Image

import jp2batch
from jp2batch.compute.result import Result
from jp2batch.core import display
from jp2batch.core.errors import InvalidRequest
from jp2batch.image.preview import stretch, thumbnail

EVIL = '<script>alert("x")</script>&'


def parsed(shown: str) -> ET.Element:
    """Return HTML as XML: what is well formed cannot spoil the page around it."""
    return ET.fromstring(re.sub(r"<img ([^>]*)>", r"<img \1/>", shown))


def texts(shown: str) -> str:
    return " ".join(" ".join(parsed(shown).itertext()).split())


@pytest.fixture(scope="module")
def report(band, image_of):
    requests = [jp2batch.Request(path) for path in (band, image_of("TCI_60m"), f"nowhere-{EVIL}.jp2")]
    return jp2batch.run(requests)


@pytest.fixture(params=["info", "plan", "window", "result", "colours", "failure", "report"])
def shown(request, band, report):
    if request.param in ("info", "plan", "window"):
        window = "100:183,0:40" if request.param == "window" else None
        return jp2batch.inspect(band) if request.param == "info" else jp2batch.plan(band, 1, window)
    return (
        report if request.param == "report" else report.results[["result", "colours", "failure"].index(request.param)]
    )


def test_html_tells_what_the_text_tells(shown):
    told = texts(shown._repr_html_())
    rows = [line.split(maxsplit=1) for line in str(shown).splitlines()]
    assert len(rows) > 2
    for words in rows:
        for part in words:
            assert " ".join(part.split()) in told or " ".join(" ".join(words).split()) in told


def test_html_is_small_and_takes_the_colours_of_the_page(shown):
    text = shown._repr_html_()
    assert len(text) < 60_000
    assert not re.search(r"(?<!-)color:|background:(?!none)|http|<script|<style", text)
    assert "currentColor" in text or "<svg" not in text


def test_a_plan_shows_the_tiles_that_it_fetches(band):
    plan = jp2batch.plan(band, 0, "0:10,0:10")
    assert "tiles       1 of 1: rows 0 to 0, columns 0 to 0" in str(plan)
    assert plan.to_dict()["tile_rows"] == (0, 1)
    grid = display.tile_grid((4, 5), (1, 3), (2, 5), shape=(400, 500))
    assert "6 of 20 tiles" in grid
    (filled, _) = parsed(grid).findall("path")
    assert filled.get("d") == "M52.8 26.4h79.2v52.8h-79.2z"
    assert parsed(display.tile_grid((4, 5), (1, 3), (2, 5), rlevel=2)).find("path").get("d").count("z") == 6
    assert len(display.tile_grid((300, 200), (0, 300), (0, 200), rlevel=1)) < 10_000
    assert "0 of 9 tiles" in display.tile_grid((3, 3))


@pytest.mark.parametrize(
    ("part", "whole", "width"), [(0, 10, 0), (1, 10**6, 1.5), (5, 10, 66), (20, 10, 132), (0, 0, 0)]
)
def test_a_bar_is_filled_by_its_share(part, whole, width):
    _, filled = parsed(f"<div>{display.bar(part, whole, 'x')}</div>").findall("svg/rect")
    assert float(filled.get("width")) == width


def test_what_is_saved_is_told(report):
    ok = report.results[0]
    assert re.search(r"saved +[\d.]+ kB", str(ok))
    assert f"{ok.stats.bytes_read / ok.size:.2%}" in ok._repr_html_()


def pictures(text: str) -> list[Image.Image]:
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"base64,([^\"]+)", text)]


def test_results_show_small_pictures(report):
    grey, colours, failed = (pictures(result._repr_html_()) for result in report)
    assert [(one.mode, max(one.size) <= 132) for one in (*grey, *colours)] == [("L", True), ("RGB", True)]
    assert failed == []
    assert len(pictures(report._repr_html_())) == 2


def test_nothing_evil_comes_through():
    request = jp2batch.Request(f"s3://user:secret@bucket/{EVIL}.jp2?signature=s", root=None, columns=((EVIL, EVIL),))
    result = Result(request, "failed", error=InvalidRequest(EVIL, EVIL, EVIL))
    for one in (request, result):
        text = one._repr_html_()
        assert "<script" not in text
        assert "secret" not in text
        assert "signature" not in text
        assert EVIL in texts(text)
    assert "secret" not in repr(request) + repr(result) + str(result)


def test_a_request_shows_what_is_asked():
    request = jp2batch.Request("a.jp2", 2, "0:10,5:9", root="s3://u:secret@bucket", columns=(("site", "Cork"),))
    assert repr(request) == (
        f"Request(path='a.jp2', rlevel=2, window='0:10,5:9', root='s3://bucket', id={request.id!r}, columns='site')"
    )
    told = texts(request._repr_html_())
    assert all(part in told for part in ("a.jp2", "rlevel 2", "window 0:10,5:9", "s3://bucket", "columns site"))


# Pictures


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((400, 300), np.uint16),
        np.zeros((3, 400, 300), np.uint8),
        {"img_data": [[0, 1], [2, 3]], "shape": [2, 2]},
        {"img_data": [[[0, 1, 2], [3, 4, 5]]], "shape": [1, 2, 3]},
        xr.DataArray(np.full((5, 7), np.nan, np.float32), dims=("y", "x")),
        xr.DataArray(np.arange(35.0).reshape(5, 7), dims=("y", "x")),
    ],
    ids=["grey", "colours", "response", "response in colours", "no data", "reflectance"],
)
def test_pixels_of_all_forms_have_a_thumbnail(value):
    picture = Image.open(io.BytesIO(thumbnail(value)))
    assert max(picture.size) <= 132


LAZY = xr.DataArray(np.ones((3, 3)), dims=("y", "x")).chunk()


@pytest.mark.parametrize(
    "value", [None, "x", {}, np.zeros((0, 4)), np.array(["x"]), LAZY], ids=lambda value: type(value).__name__
)
def test_of_what_holds_no_pixels_there_is_none(value):
    assert thumbnail(value) is None


def test_reflectance_is_stretched_as_numbers_are():
    numbers = np.random.default_rng(0).integers(1, 4000, (1, 50, 50), dtype=np.uint16)
    numbers[0, :5] = 0
    reflectance = np.where(numbers == 0, np.nan, (numbers - 1000.0) / 10000).astype(np.float32)
    difference = stretch(numbers, nodata=0).astype(int) - stretch(reflectance)
    assert abs(difference).max() <= 1
    assert (stretch(reflectance)[0, :5] == 0).all()


@pytest.fixture(scope="module")
def cube():
    values = np.random.default_rng(0).random((2, 3, 60, 90), np.float32)
    times = np.array(["2022-10-05", "2022-10-10"], "datetime64[ns]")
    return xr.DataArray(
        values, dims=("time", "band", "y", "x"), coords={"time": times, "band": ["B04", "B03", "B8A"]}, name="cube"
    )


def test_arrays_have_a_preview(band, image_of, cube):
    assert jp2batch.read(band, 0).jp2.preview(50).size == (50, 50)
    assert jp2batch.open(image_of("TCI_10m"), 2).jp2.preview().mode == "RGB"
    assert cube[0].jp2.preview().mode == "RGB"
    assert cube[0, 0].jp2.preview(30).size == (30, 20)
    sheet = cube.jp2.preview(100)
    by_band = cube.isel(band=[0, 1]).jp2.preview(100)
    assert sheet.width > 200
    assert by_band.height > sheet.height  # four pictures instead of two


def test_a_preview_is_the_stretched_image(band):
    image = jp2batch.read(band)
    shown = np.asarray(image.jp2.preview())
    np.testing.assert_array_equal(shown, stretch(image.values[None], nodata=0)[0])


def test_reflectance_made_by_hand_is_not_taken_for_no_data(band):
    numbers = jp2batch.read(band, 0)
    by_hand = (numbers.where(numbers > 0) - numbers.median()) / 10000  # keeps attributes, or not, by xarray's version
    by_hand.attrs["nodata"] = 0
    assert (by_hand == 0).any()
    for shown in (np.asarray(by_hand.jp2.preview(5000)), np.asarray(Image.open(io.BytesIO(thumbnail(by_hand, 5000))))):
        assert (shown[np.isfinite(by_hand.values)] > 0).all()


def test_raw_numbers_wrap_and_floats_do_not():
    dark, bright = (xr.DataArray(np.array([[value]], np.uint16), dims=("y", "x")) for value in (1000, 3000))
    assert ((dark - bright) / (dark + bright)).item() > 1  # as the page on reading warns
    assert ((dark.astype("f4") - bright) / (dark + bright)).item() == -0.5


@pytest.mark.parametrize("side", [0, -5, 2.5, "400", None, True])
def test_a_picture_has_a_whole_number_of_pixels(cube, side):
    with pytest.raises(InvalidRequest, match=r"side .* is not a number of pixels \(give a whole number from 1\)"):
        cube.jp2.preview(side)


def test_each_cell_of_a_sheet_is_the_band_and_date_that_its_title_names(cube, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        "jp2batch.image.preview.contact_sheet",
        lambda images, titles, **_: drawn.update(zip(titles, images, strict=True)),
    )
    by_band = cube.isel(band=[0, 1])
    by_band.jp2.preview(100)
    assert list(drawn) == ["2022-10-05 B04", "2022-10-05 B03", "2022-10-10 B04", "2022-10-10 B03"]
    for title, values in drawn.items():
        date, name = title.split()
        np.testing.assert_array_equal(values[0], by_band.sel(time=date, band=name).squeeze())
    drawn.clear()
    cube.jp2.preview(100)
    assert list(drawn) == ["2022-10-05", "2022-10-10"]
    np.testing.assert_array_equal(drawn["2022-10-10"], cube[1])


@pytest.mark.parametrize("dims", [("x", "y"), ("spam", "y", "x"), ("y",)])
def test_what_has_no_rows_and_columns_has_no_preview(dims):
    with pytest.raises(InvalidRequest, match=r"an array with the dimensions .* has no picture"):
        xr.DataArray(np.ones((3,) * len(dims)), dims=dims).jp2.preview()
