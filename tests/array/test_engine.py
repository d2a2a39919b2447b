"""The engine of xarray: groups of products, options of decoding, asynchronous loading."""

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import jp2batch
from jp2batch.array import lazy
from jp2batch.array.engine import Jp2BatchBackend
from jp2batch.core.errors import InvalidRequest
from jp2batch.image.read import read_area
from jp2batch.sample.product import make_product


@pytest.fixture(scope="module")
def product(tmp_path_factory) -> Path:
    return make_product(tmp_path_factory.mktemp("engine"), size=180, bands=["B04", "B8A"])


@pytest.mark.parametrize("options", [{}, {"bands": ["B04"], "rlevel": 1}, {"scaled": True}], ids=str)
def test_a_product_opens_as_a_tree(product, options):
    with xr.open_datatree(product, engine="jp2batch", **options) as tree:
        xr.testing.assert_identical(tree.load(), jp2batch.open_product(product, **options).load())


def test_the_engine_is_found_by_the_name_of_the_folder(product):
    with xr.open_datatree(product) as tree, xr.open_dataset(product, group="R60m") as dataset:
        xr.testing.assert_identical(tree["R60m"].to_dataset(), dataset)
    assert xr.open_groups(product).keys() == {"/", "/R10m", "/R20m", "/R60m"}


@pytest.mark.parametrize(
    ("path", "can_open"),
    [
        ("S2A.SAFE", True),
        ("s3://b/S2A.SAFE/", True),
        ("https://h/a.jp2?token=1", True),
        ("folder", False),
        ("a.xml", False),
        ("a.zip", False),
        (b"\0\0\0\x0cjP  ", False),
    ],
)
def test_only_images_and_products_are_recognised(path, can_open):
    assert Jp2BatchBackend().guess_can_open(path) is can_open


def test_chunks_of_a_tree_are_whole_tiles(product):
    with xr.open_datatree(product, engine="jp2batch", chunks={}) as tree:
        expected = jp2batch.open_product(product)
        assert {name: array.chunks for name, array in tree["R10m"].data_vars.items()} == {
            name: array.chunks for name, array in expected["R10m"].data_vars.items()
        }


def test_dropped_variables_are_absent_from_each_group(product):
    with xr.open_datatree(product, engine="jp2batch", drop_variables=["B8A", "time"]) as tree:
        for node in tree.children.values():
            assert "B04" in node
            assert not {"B8A", "time"} & {*node.variables}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "give group=, of R10m, R20m, R60m"),
        ({"group": "R30m"}, "no group 'R30m'"),
        ({"group": "R10m", "window": "0:1,0:1"}, "give bbox="),
    ],
    ids=str,
)
def test_a_dataset_of_a_product_needs_a_group(product, options, problem):
    with pytest.raises(InvalidRequest, match=problem):
        xr.open_dataset(product, engine="jp2batch", **options)


def test_a_tree_of_a_group_has_its_bands_alone(product):
    with xr.open_datatree(product, engine="jp2batch", group="R60m") as tree:
        xr.testing.assert_identical(tree.load(), xr.DataTree(xr.open_dataset(product, group="R60m").load()))
    with pytest.raises(InvalidRequest, match="no group 'R30m'"):
        xr.open_datatree(product, engine="jp2batch", group="R30m")


@pytest.mark.parametrize("open_", [xr.open_datatree, xr.open_groups, xr.open_dataset], ids=lambda open_: open_.__name__)
def test_an_unknown_option_is_named(product, open_):
    with pytest.raises(TypeError, match="the engine jp2batch has no option 'rlvel'"):
        open_(product, engine="jp2batch", rlvel=1, **({"group": "R60m"} if open_ is xr.open_dataset else {}))


def test_masking_and_scaling_is_to_reflectance(product):
    with xr.open_datatree(product, engine="jp2batch", mask_and_scale=True) as tree:
        xr.testing.assert_identical(tree.load(), jp2batch.open_product(product, scaled=True).load())


@pytest.mark.parametrize("options", [{"decode_coords": False}, {"decode_cf": False}], ids=str)
def test_undecoded_coordinates_are_variables(product, options):
    with xr.open_dataset(product, engine="jp2batch", group="R60m", **options) as dataset:
        assert {"spatial_ref", "time", "B04"} <= {*dataset.data_vars}
        assert {*dataset.coords} == {"x", "y", "band"}


needs_async = pytest.mark.skipif(not hasattr(xr.Dataset, "load_async"), reason="xarray has no load_async")


@needs_async
def test_loading_asynchronously_reads_concurrently_and_blocks_nothing(product, monkeypatch):
    reading, running = threading.Barrier(5), threading.Event()

    def read(*args, **options):
        reading.wait(60)  # for four reads
        assert running.wait(60)  # for the event loop
        return read_area(*args, **options)

    async def load(parts: list[xr.Dataset]) -> None:
        loading = asyncio.gather(*(part.load_async() for part in parts))
        await asyncio.to_thread(reading.wait, 60)
        running.set()
        await loading

    path = str(next(product.glob("GRANULE/*/IMG_DATA/**/*_B04_10m.jp2")))
    parts = [xr.open_dataset(path, engine="jp2batch").isel(y=slice(at, at + 30)) for at in (0, 30, 60, 90)]
    monkeypatch.setattr(lazy, "read_area", read)
    asyncio.run(load(parts))
    for part, at in zip(parts, (0, 30, 60, 90), strict=True):
        window = ((at, at + 30), (0, part.sizes["x"]))
        np.testing.assert_array_equal(part.B04.values, jp2batch.read(path, 0, window).values)


@needs_async
def test_a_cube_loads_asynchronously(product):
    cube = jp2batch.open_cube([product], bands=["B04"], chunks=None)
    xr.testing.assert_identical(asyncio.run(cube.copy().load_async()), cube.load())
