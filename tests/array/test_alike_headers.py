"""Cubes opened with one header for all images of a coding: what that costs, and what a read notices."""

import pickle
from datetime import timedelta

import dask
import numpy as np
import pytest
import xarray as xr

import jp2batch
from jp2batch.core.errors import CubeMismatch, ImageNotFound
from jp2batch.sample.landscape import scene
from jp2batch.sample.product import DATE, make_image, make_product

PIXELS = scene(549, bands=["B04"])["B04"]
FIELD = {"y": slice(100, 120), "x": slice(200, 230)}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> bytes:
    return make_image(tmp_path_factory.mktemp("alike") / "60m.jp2", PIXELS, 60, tlm=True).read_bytes()


@pytest.fixture
def urls(data, http_server) -> list[str]:
    """Return images of ten dates."""
    names = [f"T29UNU_{DATE + timedelta(days=5 * number):%Y%m%dT%H%M%S}_B04_60m.jp2" for number in range(10)]
    http_server.files.update(dict.fromkeys(names, data))
    return list(map(http_server.url, names))


def test_ten_dates_open_with_one_header_and_are_read_without_another_round(urls, http_server):
    jp2batch.inspect(urls[0])
    one = len(http_server.asked)
    http_server.asked.clear()
    cube = jp2batch.open_cube(urls, headers="alike")
    assert len(http_server.asked) == one
    field = cube.isel(FIELD).compute()
    together = len(http_server.asked)
    http_server.asked.clear()
    whole = jp2batch.open_cube(urls).isel(FIELD).compute()
    xr.testing.assert_identical(field, whole)
    assert together <= len(http_server.asked)


def test_images_of_other_names_have_headers_of_their_own(urls, data, http_server):
    jp2batch.inspect(urls[0])
    one = len(http_server.asked)
    for band in ("B8A", "B11"):
        http_server.files |= {name.replace("B04", band): data for name in http_server.files if "B04" in name}
    http_server.asked.clear()
    cube = jp2batch.open_cube(map(http_server.url, http_server.files), headers="alike")
    assert cube.shape == (10, 3, 549, 549)
    assert len(http_server.asked) == 3 * one


def test_images_whose_place_only_metadata_tell_are_all_opened(tmp_path):
    products = [make_product(tmp_path, date=DATE + timedelta(days=days), size=360, bands=["B04"]) for days in (0, 5)]
    for path in tmp_path.rglob("*_B04_20m.jp2"):
        data = path.read_bytes()
        path.write_bytes(data[data.index(b"\xff\x4f\xff\x51") :])
    ways = [jp2batch.open_cube(products, bands=["B04"], metres=20, headers=way) for way in ("alike", "all")]
    xr.testing.assert_identical(*(way.compute() for way in ways))
    assert ways[0].data.name == ways[1].data.name


@pytest.mark.parametrize(
    "other",
    [
        ((PIXELS[:-60], 60), "size, tiles or bands"),
        ((PIXELS, 20), "size, tiles or bands, place"),
        ((PIXELS.astype(np.uint8), 60), "size, tiles or bands"),
    ],
)
@pytest.mark.parametrize("indexed", [False, True])
def test_an_image_that_differs_is_refused_at_its_read(urls, http_server, tmp_path, other, indexed):
    (made, difference), name = other, urls[3].rpartition("/")[2]
    http_server.files[name] = make_image(tmp_path / "other.jp2", *made).read_bytes()
    cube = jp2batch.open_cube(urls, headers="alike")
    with dask.config.set({"jp2batch.index": {"enabled": indexed, "folder": str(tmp_path)}}):
        if indexed:
            jp2batch.read(urls[3], 0, "0:9,0:9")
        assert cube.isel(FIELD).isel(time=2).compute().any()
        with pytest.raises(CubeMismatch, match=rf"{name}: differs from .* in {difference} .*headers=\"all\"") as caught:
            cube.isel(FIELD).compute(scheduler="sync")
    assert "\n" not in str(caught.value)


def test_an_image_that_is_missing_is_named_at_its_read_unless_it_is_the_first(urls, http_server):
    del http_server.files[urls[4].rpartition("/")[2]]
    cube = jp2batch.open_cube(urls, headers="alike")
    with pytest.raises(ImageNotFound, match=urls[4].rpartition("/")[2]):
        cube.isel(FIELD).compute(scheduler="sync")
    with pytest.raises(ImageNotFound, match=urls[4].rpartition("/")[2]):
        jp2batch.open_cube(urls[4:], headers="alike")


def test_cubes_of_either_way_have_names_of_their_own_and_travel(urls):
    alike, every = (jp2batch.open_cube(urls, headers=way) for way in ("alike", "all"))
    assert alike.data.name != every.data.name
    assert alike.data.name == jp2batch.open_cube(urls, headers="alike").data.name
    xr.testing.assert_identical(pickle.loads(pickle.dumps(alike.isel(FIELD))).compute(), every.isel(FIELD).compute())
    with pytest.raises(CubeMismatch, match=r'headers has an invalid value .give "all" or "alike"'):
        jp2batch.open_cube(urls, headers="one")
