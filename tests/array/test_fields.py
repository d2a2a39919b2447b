"""Fields cut out of lazy arrays: each image is read once, as one field, and no other image."""

import pickle
from pathlib import Path

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr

import jp2batch
from jp2batch.array import lazy
from jp2batch.array.chunk_lengths import part_chunks
from jp2batch.sample.landscape import scene
from jp2batch.sample.product import make_image

SIZE, DAYS = 366, range(1, 8)
FIELD = {"y": slice(150, 230), "x": slice(120, 210)}  # at the corner of four tiles


@pytest.fixture(scope="module")
def tiled(tmp_path_factory) -> bytes:
    """Return an image of four tiles."""
    path = tmp_path_factory.mktemp("tiled") / "60m.jp2"
    return make_image(path, scene(SIZE, bands=["B04"])["B04"], 60, tlm=True).read_bytes()


@pytest.fixture
def urls(tiled, http_server, monkeypatch) -> list[str]:
    """Return images of two bands on seven days, which are opened with many chunks."""
    monkeypatch.setattr("jp2batch.array.chunk_lengths._CHUNK", 192)
    names = [f"T29UNU_2022100{day}T115411_{band}_60m.jp2" for day in DAYS for band in ("B04", "B8A")]
    http_server.files.update(dict.fromkeys(names, tiled))
    return list(map(http_server.url, names))


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Return the names of images read, as they are read."""
    found: list[str] = []
    read_area = lazy.read_area
    monkeypatch.setattr(
        lazy, "read_area", lambda url, *args, **kw: found.append(Path(url).name) or read_area(url, *args, **kw)
    )
    return found


def cost(http_server, act, *args) -> tuple[int, int]:
    """Return the requests and bytes of an action."""
    before = len(http_server.asked), http_server.bytes_sent
    act(*args)
    return len(http_server.asked) - before[0], http_server.bytes_sent - before[1]


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_a_field_across_chunks_costs_what_one_read_costs(http_server, tmp_path, monkeypatch, scheduler):
    monkeypatch.setattr("jp2batch.array.chunk_lengths._CHUNK", 512)
    names = [f"T29UNU_2022100{day}T115411_B04_60m.jp2" for day in range(1, 5)]
    pixels = scene(1098, bands=["B04"])["B04"]
    http_server.files |= dict.fromkeys(names, make_image(tmp_path / "60m.jp2", pixels, 60, tlm=True).read_bytes())
    read, opened, of_cube, of_part = map(http_server.url, names)
    field = {"y": slice(480, 590), "x": slice(360, 500)}
    requests, size = cost(http_server, lambda: jp2batch.read(read, 0, [(at.start, at.stop) for at in field.values()]))
    arrays = [jp2batch.open(opened), jp2batch.open_cube([of_cube]), jp2batch.open_cube([of_part])[0].squeeze(drop=True)]
    for array in arrays:
        assert min(map(len, array.chunks[-2:])) > 1
        with dask.config.set(scheduler=scheduler):
            found = cost(http_server, array.isel(field).mean(("y", "x")).compute)
        assert found[0] <= requests + 1
        assert found[1] <= size


@pytest.mark.parametrize(
    "cut",
    [
        lambda cube: cube.isel(FIELD),
        lambda cube: cube.isel(y=FIELD["y"]).isel(x=FIELD["x"]),
        lambda cube: cube.sel(band="B8A").isel(time=slice(1, 3)).isel(FIELD),
        lambda cube: cube.isel(FIELD).isel(time=[4, 1], band=-1),
        lambda cube: cube.isel(FIELD).isel(time=slice(2, None)).isel(time=0, y=slice(None, None, -2)),
        lambda cube: cube.isel(FIELD).isel(x=slice(7, 9), time=-1),
        lambda cube: cube.isel(x=FIELD["x"], y=3)[..., 5:],
        lambda cube: cube.isel(FIELD).isel(y=[3, 70, 4], x=[1]),
        lambda cube: cube.isel(FIELD).isel(y=slice(5, 5)),
        lambda cube: cube.isel(FIELD).transpose("y", ...).isel(y=slice(3)),
        lambda cube: pickle.loads(pickle.dumps(cube.isel(FIELD))).isel(x=slice(9)),
        lambda cube: cube.isel(FIELD).chunk(y=7).isel(x=slice(9)),
        lambda cube: cube.isel(FIELD).diff("time"),
        lambda cube: cube.isel(FIELD).persist().isel(y=slice(4)),
        lambda cube: cube[:, :, 1],
    ],
)  # fmt: skip
def test_a_part_of_a_part_is_that_of_the_whole(urls, cut):
    few = urls[:10]
    xr.testing.assert_identical(cut(jp2batch.open_cube(few)).compute(), cut(jp2batch.open_cube(few).compute()))


@pytest.mark.parametrize(
    ("index", "count"),
    [({}, 14), ({"time": 2}, 2), ({"time": [0, 6, 3], "band": 0}, 3), ({"time": slice(1, 4), "band": [1]}, 3)],
)
@pytest.mark.parametrize("with_area", [False, True], ids=["field", "bbox"])
def test_no_other_image_than_selected_is_read_and_none_twice(urls, reads, index, count, with_area):
    whole = jp2batch.open_cube(urls)
    field = whole.isel(FIELD)
    if with_area:
        box = float(field.x[0]), float(field.y[-1]), float(field.x[-1]), float(field.y[0])
        field = jp2batch.open_cube(urls, bbox=box, crs=field.spatial_ref.attrs["crs_wkt"])
    assert field.isel(index).mean(("y", "x")).compute().size == count
    assert len(reads) == len({*reads}) == count


def test_chunks_of_a_field_are_its_own_and_those_of_the_user_stay(urls):
    cube = jp2batch.open_cube(urls)
    assert cube.chunksizes["time"] == cube.chunksizes["band"] * 3 + (1,) == (1,) * 7
    assert cube.isel(FIELD).chunks == ((7,), (2,), (80,), (90,))
    assert cube.isel(FIELD).isel(time=slice(3)).chunks[0] == (3,)
    with pytest.warns(UserWarning, match="cut tiles"):
        own = jp2batch.open_cube(urls, chunks={"time": 1, "y": 170, "x": 170}).isel(FIELD)
    assert own.chunks[2:] == ((20, 60), (50, 40))
    assert type((cube + 1).data) is type(cube.chunk(time=2).data) is dask.array.Array


def test_parts_have_names_of_their_own(urls):
    cube = jp2batch.open_cube(urls)
    parts = [
        cube.isel(FIELD),
        cube.isel(y=FIELD["x"], x=FIELD["y"]),
        cube.isel(FIELD).isel(time=0),
        cube[0].isel(FIELD),
    ]
    assert len({part.data.name for part in parts}) == len(parts)
    assert cube.isel(FIELD).data.name == jp2batch.open_cube(urls).isel(FIELD).data.name


@pytest.mark.parametrize(
    ("shape", "shortest", "expected"),
    [
        ((89, 3, 500, 500), {}, (5, 3)),  # 16 images at most
        ((89, 3, 1000, 1000), {}, (5, 3)),
        ((89, 3, 2000, 2000), {}, (1, 3)),  # 32 MB at most
        ((89, 3, 4000, 4000), {}, (1, 1)),
        ((89, 20, 10, 10), {}, (1, 16)),
        ((2, 1, 10, 10), {}, (2, 1)),
        ((89, 3, 4000, 4000), {"band": 3}, (1, 3)),
    ],
)
def test_a_chunk_has_as_many_images_as_are_read_together(shape, shortest, expected):
    variable = xr.Variable(("time", "band", "y", "x"), dask.array.empty(shape, dtype=np.uint16))
    edges = {"y": [0, shape[2]], "x": [0, shape[3]]}
    found = part_chunks(variable, shortest, edges)
    assert (found["time"], found["band"], found["y"], found["x"]) == (*expected, *shape[2:])
    alone = part_chunks(variable, shortest, edges, alone=True)
    assert (alone["time"], alone["band"]) == (1, shortest.get("band", 1))


def _assign(array: xr.DataArray) -> None:
    array[..., 140:200, 100:150] = 7


def _assign_by_label(array: xr.DataArray) -> None:
    y, x = array.y.values, array.x.values
    array.loc[{"y": slice(y[160], y[170]), "x": slice(x[150], x[180])}] = 9


def _assign_where(array: xr.DataArray) -> None:
    array.data[array.data > 1200] = 0


def _add_in_place(array: xr.DataArray) -> None:
    np.add(array.data, 1, out=array.data)


@pytest.mark.parametrize("change", [_assign, _assign_by_label, _assign_where, _add_in_place])
@pytest.mark.parametrize("is_cube", [False, True], ids=["image", "cube"])
@pytest.mark.parametrize("is_cut_before", [False, True], ids=["whole", "cut"])
def test_a_part_has_what_was_assigned_to_the_whole(urls, change, is_cube, is_cut_before):
    array = jp2batch.open_cube(urls[:2]) if is_cube else jp2batch.open(urls[0])
    array = array.isel(y=slice(100, 300), x=slice(100, 300)) if is_cut_before else array
    expected, field = array.compute(), {"y": slice(50, 90), "x": slice(20, 70)}
    change(array)
    change(expected)
    xr.testing.assert_identical(array.isel(field).compute(), expected.isel(field))
    xr.testing.assert_identical(array.isel(y=[3, 70], x=5).compute(), expected.isel(y=[3, 70], x=5))
    xr.testing.assert_identical(array.compute(), expected)
