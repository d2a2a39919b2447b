"""Cubes in Zarr stores: the grid is fixed by headers, and each plane is an object of its own."""

from datetime import timedelta
from pathlib import Path

import pytest
import xarray as xr

import jp2batch
from jp2batch.array.cube.layout import CubeLayout
from jp2batch.array.cube.stored import CubeGrid, plan_stored_cube
from jp2batch.core.errors import CubeMismatch, ImageNotFound
from jp2batch.core.request import Request
from jp2batch.image.read import read_from
from jp2batch.sample.product import DATE, make_product
from jp2batch.storage.files import write_folder
from jp2batch.storage.source import open_source


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> list[str]:
    """Return images of two dates and two pixel sizes."""
    folder = tmp_path_factory.mktemp("dates")
    products = [
        make_product(folder, date=DATE + timedelta(days=days), size=360, bands=["B04", "B8A"]) for days in (0, 5)
    ]
    names = ("B04_10m", "B8A_20m")
    return [str(next(product.glob(f"GRANULE/*/IMG_DATA/**/*_{name}.jp2"))) for product in products for name in names]


def plane(grid: CubeGrid, request: Request) -> bytes:
    return grid.plane(read_from(open_source(request.url), lambda opened: grid.select(request, opened)), request)


@pytest.mark.parametrize(
    ("rlevel", "chunks"),
    [(0, None), (-1, None), (0, {"y": (64, 64, 52), "x": (80, 80, 20)})],
    ids=["full", "lowest", "shards"],
)
def test_a_stored_cube_is_identical_to_the_opened_cube(paths, rlevel, chunks, tmp_path, monkeypatch):
    if chunks is not None:
        monkeypatch.setattr(CubeLayout, "chunks", chunks)
    requests = [Request(path, rlevel) for path in paths]
    grid, files = plan_stored_cube(requests, None, None)
    planes = {f"cube/{grid.axes.plane_name(request)}": plane(grid, request) for request in requests}
    write_folder(str(tmp_path / "cube.zarr"), files | planes)
    with xr.open_dataset(tmp_path / "cube.zarr", engine="zarr", decode_coords="all") as stored:  # consolidated
        xr.testing.assert_identical(stored["cube"].compute(), jp2batch.open_cube(paths, rlevel).compute())
        assert stored["cube"].encoding["preferred_chunks"]["y"] == grid.chunk[0]


def test_planes_without_an_image_are_filled(paths, tmp_path):
    broken = tmp_path / Path(paths[3]).name
    broken.write_bytes(b"no image")
    requests = [Request(path, 0) for path in (*paths[:3], str(broken))]
    grid, files = plan_stored_cube(requests, None, None)
    planes = {f"cube/{grid.axes.plane_name(request)}": plane(grid, request) for request in requests[:3]}
    write_folder(str(tmp_path / "cube.zarr"), files | planes)
    with xr.open_dataset(tmp_path / "cube.zarr", engine="zarr", decode_coords="all") as stored:
        expected = jp2batch.open_cube(paths[:3], missing="fill").compute()
        del expected.attrs["filled"]  # a repaired image may fill it
        assert stored["cube"].source[1, 1] == str(broken)
        xr.testing.assert_equal(stored["cube"].compute().drop_vars("source"), expected.drop_vars("source"))


def test_images_that_do_not_fit_are_refused_before_any_read(paths, tmp_path):
    with pytest.raises(CubeMismatch, match="a single rlevel, but items have 0, 1"):
        plan_stored_cube([Request(paths[0], 0), Request(paths[2], 1)], None, None)
    with pytest.raises(CubeMismatch, match="has a window"):
        plan_stored_cube([Request(paths[0], 0, "0:9,0:9")], None, None)
    with pytest.raises(ImageNotFound):
        plan_stored_cube([Request(paths[0], 0), Request(str(tmp_path / Path(paths[1]).name), 0)], None, None)
    grid, _ = plan_stored_cube([Request(path, 0) for path in paths if "B04" in path], None, None)
    with pytest.raises(CubeMismatch, match="larger pixels"):
        plane(grid, Request(paths[1], 0))
