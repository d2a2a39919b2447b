"""Cubes: what they are made of, where their samples lie, what opening and slicing them costs."""

import asyncio
import pickle
import shutil
from datetime import timedelta
from pathlib import Path

import dask
import numpy as np
import pytest
import rioxarray  # noqa: F401  # gives arrays their accessor
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import jp2batch
from jp2batch.array.cube.lazy import CubeArray
from jp2batch.array.cube.resample import interpolate
from jp2batch.compute.cluster import local_cluster
from jp2batch.core.errors import CubeMismatch, ImageNotFound, InvalidRequest, MetadataError, ObjectChanged
from jp2batch.core.map_area import MapArea
from jp2batch.sample.landscape import scene
from jp2batch.sample.product import DATE, make_image, make_product

BANDS = ["B04", "B08", "B8A"]
DATES = 50


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> list[Path]:
    """Return products of 50 dates."""
    folder = tmp_path_factory.mktemp("series")
    dates = [DATE + timedelta(days=5 * number) for number in range(DATES)]
    return [make_product(folder, date=date, size=120, level="L1C", bands=BANDS) for date in dates]


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> list[Path]:
    """Return two products of level 2A, with all their images."""
    folder = tmp_path_factory.mktemp("few")
    return [make_product(folder, date=DATE + timedelta(days=days), size=360, bands=BANDS) for days in (0, 5)]


@pytest.fixture
def copies(few, tmp_path) -> list[Path]:
    """Return the two products, to be damaged."""
    return [Path(shutil.copytree(product, tmp_path / product.name)) for product in few]


def image(product: Path, name: str) -> str:
    return str(next(product.glob(f"GRANULE/*/IMG_DATA/**/*_{name}.jp2")))


def stacked(products: list[Path], bands: dict[str, int], **options) -> np.ndarray:
    """Stack what is read of each image at its own rlevel."""
    read = [[jp2batch.read(image(one, band), level, **options) for band, level in bands.items()] for one in products]
    return np.stack([np.stack(of_time) for of_time in read])


@pytest.mark.parametrize(("dates", "rlevel", "scaled"), [(DATES, 0, False), (6, 0, True), (6, 1, False), (6, 1, True)])
def test_a_cube_is_the_stack_of_what_is_read(series, dates, rlevel, scaled):
    cube = jp2batch.open_cube(series[:dates], rlevel, bands=BANDS, scaled=scaled)
    assert cube.dims == ("time", "band", "y", "x")
    assert cube.shape == (dates, 3, 60 >> rlevel, 60 >> rlevel)
    levels = {"B04": rlevel + 1, "B08": rlevel + 1, "B8A": rlevel}
    by_hand = stacked(series[:dates], levels, scaled=scaled)
    np.testing.assert_array_equal(cube.values, by_hand)
    assert cube.dtype == by_hand.dtype


def test_its_coordinates_are_those_of_the_largest_pixels(few):
    cube = jp2batch.open_cube(few, bands=["B8A", "B04"])
    of_20_m = jp2batch.read(image(few[1], "B8A_20m"), 0)
    for name in ("x", "y", "spatial_ref"):
        xr.testing.assert_identical(cube[name].variable, of_20_m[name].variable)
    assert cube.time.values.tolist() == [jp2batch.read(image(one, "B8A_20m")).time.values.item() for one in few]
    assert cube.band.values.tolist() == ["B8A", "B04"]
    assert cube.rlevel.values.tolist() == [0, 1]
    of_10_m = jp2batch.read(image(few[1], "B04_10m"), 1)
    assert cube.offset_x.sel(band="B04") == (of_10_m.x - cube.x.values)[0] == -5
    assert cube.offset_y.sel(band="B04") == (of_10_m.y - cube.y.values)[-1] == 5
    assert cube.offset_x.sel(band="B8A") == cube.offset_y.sel(band="B8A") == 0
    assert cube.attrs == {"level": "L2A", "align": "snap", "units": "1", "nodata": 0}
    assert (cube.tile.item(), cube.platform.dims, cube.source.dims) == ("T29UNU", ("time",), ("time", "band"))
    assert cube.encoding["grid_mapping"] == "spatial_ref"
    assert cube.rio.crs.to_epsg() == 32629


@pytest.mark.parametrize("rlevel", [0, 2])
@pytest.mark.parametrize("scaled", [False, True], ids=["raw", "scaled"])
def test_linear_is_what_lies_between_samples(few, rlevel, scaled):
    cube = jp2batch.open_cube(few, rlevel, bands=["B04", "B8A"], align="linear", scaled=scaled)
    fine = jp2batch.read(image(few[0], "B04_10m"), rlevel + 1, scaled=scaled)
    values = fine.values.astype(float) if scaled else np.where(fine == 0, np.nan, fine.astype(float))
    along_x = np.stack([np.interp(cube.x, fine.x, row) for row in values])
    expected = np.stack([np.interp(-cube.y, -fine.y, column) for column in along_x.T]).T
    got = cube.sel(band="B04").isel(time=0).values
    if scaled:
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    else:
        np.testing.assert_array_equal(got, np.where(np.isnan(expected), 0, np.rint(expected)))
        assert (got == 0).any()
    np.testing.assert_array_equal(
        cube.sel(band="B8A"), jp2batch.open_cube(few, rlevel, bands=["B8A"], scaled=scaled)[:, 0]
    )
    assert not cube.offset_x.any()


@given(
    st.integers(0, 7), st.integers(0, 7), st.integers(2, 6), st.integers(2, 6), st.sampled_from(["u2", "f4"])
)  # fmt: skip
def test_interpolation_is_exact_on_a_ramp(dy, dx, rows, columns, kind):
    ramp = (1000 + 8 * (np.arange(rows)[:, None] * 3 + np.arange(columns) * 5)).astype(kind)
    expected = 1000 + 8 * ((np.arange(rows - 1)[:, None] + dy / 8) * 3 + (np.arange(columns - 1) + dx / 8) * 5)
    np.testing.assert_array_equal(interpolate(ramp, (dy / 8, dx / 8), 0), expected.astype(kind))


def test_no_data_takes_along_what_it_touches():
    values = np.full((4, 4), 100, np.uint16)
    values[1, 1] = 0
    spoilt = interpolate(values, (0.25, 0.25), 0) == 0
    assert spoilt.tolist() == [[True, True, False], [True, True, False], [False, False, False]]
    assert (interpolate(values, (0.0, 0.0), 0) == values[:3, :3]).all()
    assert interpolate(values, (0.25, 0.25), None).min() > 0


@pytest.mark.filterwarnings("ignore:chunks along .* cut tiles")
@pytest.mark.parametrize("align", ["snap", "linear"])
@pytest.mark.parametrize("chunks", [None, {}, {"time": -1, "y": 50, "x": 70}], ids=["indexed", "dask", "own chunks"])
@pytest.mark.parametrize(
    "index",
    [
        {"time": 1, "band": "B8A"},
        {"band": "B04", "y": slice(30, 50), "x": slice(170, 180)},
        {"time": slice(None, None, -1), "band": ["B8A", "B04"], "y": -1},
        {"y": slice(60, 9, -3), "x": slice(None, None, 7)},
        {"y": xr.DataArray([3, 1, 100], dims="p"), "x": xr.DataArray([5, 0, 77], dims="p")},
        {"x": slice(5, 5)},
    ],
    ids=str,
)
def test_any_index_gives_what_the_loaded_cube_gives(few, align, chunks, index):
    cube = jp2batch.open_cube(few, bands=BANDS, chunks=chunks, align=align)
    whole = cube.compute()
    named = {"band": index["band"]} if "band" in index else {}
    numbered = {dim: at for dim, at in index.items() if dim != "band"}
    xr.testing.assert_identical(cube.sel(named).isel(numbered).compute(), whole.sel(named).isel(numbered))


# What it costs


def served(http_server, products: list[Path]) -> list[str]:
    for product in products:
        for path in filter(Path.is_file, product.rglob("*")):
            http_server.files[path.relative_to(product.parent).as_posix()] = path.read_bytes()
    return [http_server.url(product.name) for product in products]


@pytest.mark.parametrize("scaled", [False, True], ids=["raw", "scaled"])
def test_opening_asks_for_each_header_and_each_metadata_once_and_at_once(series, http_server, scaled):
    http_server.gathering = asyncio.Barrier(10)  # breaks unless so many are there together
    cube = jp2batch.open_cube(served(http_server, series), bands=BANDS, scaled=scaled)
    assert cube.shape == (DATES, 3, 60, 60)
    assert len(http_server.asked) == DATES * 3 + DATES


def test_paths_of_images_do_as_well_as_those_of_products(series, http_server):
    served(http_server, series)
    urls = [http_server.url(path) for path in http_server.files if path.endswith(("_B04.jp2", "_B8A.jp2"))]
    cube = jp2batch.open_cube(urls, scaled=True)
    assert len(http_server.asked) == DATES * 2 + DATES
    requests = [jp2batch.Request(path.removeprefix(http_server.url("")), root=http_server.url("")) for path in urls]
    again = jp2batch.open_cube(requests, scaled=True)
    xr.testing.assert_identical(again.isel(time=0).compute(), cube.isel(time=0).compute())
    xr.testing.assert_identical(
        cube.isel(time=[3]).compute().drop_vars("source"),
        jp2batch.open_cube(series[3:4], bands=["B04", "B8A"], scaled=True).compute().drop_vars("source"),
    )


@pytest.mark.filterwarnings("ignore:chunks along .* cut tiles")
def test_the_graph_is_small_however_many_chunks(series):
    cube = jp2batch.open_cube(series, bands=BANDS)
    assert len(pickle.dumps(dict(cube.__dask_graph__()))) < 200_000
    finer = jp2batch.open_cube(series, bands=BANDS, chunks={"time": 1, "band": 1, "y": 6, "x": 6})
    graph = finer.__dask_graph__()
    assert len(graph) > DATES * 3 * 10 * 10
    assert len(pickle.dumps(graph)) < 200_000
    holders = [value for value in dict(graph).values() if "CubeArray" in repr(value)]
    assert len(holders) == 1


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> dict[str, bytes]:
    """Return images of a quarter of a tile of Sentinel-2, with TLM, by their bands: a field is a small part of them."""
    folder, small = tmp_path_factory.mktemp("large"), scene(1098, bands=["B04"])["B04"]
    pixels = {10: np.tile(small, (5, 5)), 20: np.tile(small, (3, 3))[:2745, :2745]}
    fine, coarse = (
        make_image(folder / f"{metres}.jp2", pixels[metres], metres, tlm=True).read_bytes() for metres in pixels
    )
    return {"B04": fine, "B08": fine, "B8A": coarse}


def fifty_dates(http_server, of_band: dict[str, bytes]) -> list[str]:
    """Put images of 50 dates on a server, and return their URLs."""
    dates = [DATE + timedelta(days=5 * number) for number in range(DATES)]
    names = {f"T29UNU_{date:%Y%m%d}T115411_{band}.jp2": data for date in dates for band, data in of_band.items()}
    http_server.files.update(names)
    return list(map(http_server.url, names))


@pytest.fixture
def with_index(tmp_path):
    """Keep an index, in a folder of the test."""
    with dask.config.set({"jp2batch.index": {"enabled": True, "folder": str(tmp_path)}}):
        yield


def test_a_cube_of_known_images_opens_without_requests(large, http_server, with_index):
    urls = fifty_dates(http_server, large)[:6]
    first = jp2batch.open_cube(urls).isel(y=slice(40), x=slice(30)).compute()
    http_server.asked.clear()
    again = jp2batch.open_cube(urls)
    assert http_server.asked == []
    xr.testing.assert_identical(again.isel(y=slice(40), x=slice(30)).compute(), first)


def test_a_known_image_that_was_replaced_is_noticed_at_the_read(large, http_server, with_index):
    urls = fifty_dates(http_server, large)[:3]
    before = jp2batch.open_cube(urls).isel(y=slice(40), x=slice(30)).compute()
    name = urls[1].rpartition("/")[2]
    http_server.files[name] = large["B04"].replace(b"Kakadu", b"kakadu") + b"\0"
    cube = jp2batch.open_cube(urls).isel(y=slice(40), x=slice(30))
    with pytest.raises(ObjectChanged, match=f"{name}.*replaced"):
        cube.compute(scheduler="sync")
    again = jp2batch.open_cube(urls).isel(y=slice(40), x=slice(30)).compute(scheduler="sync")
    np.testing.assert_array_equal(again.values, before.values)


def test_a_known_image_that_is_gone_is_named_at_the_read(large, http_server, with_index):
    urls = fifty_dates(http_server, large)[:3]
    jp2batch.open_cube(urls).isel(y=slice(40), x=slice(30)).compute()
    name = urls[1].rpartition("/")[2]
    del http_server.files[name]
    cube = jp2batch.open_cube(urls)
    with pytest.raises(ImageNotFound, match=name):
        cube.isel(y=slice(40), x=slice(30)).compute(scheduler="sync")


def size_of_graph(cube: xr.DataArray) -> int:
    return len(pickle.dumps(dict(cube.__dask_graph__())))


def test_fifty_dates_of_large_images_open_and_give_the_series_of_a_field_within_budgets(large, http_server):
    urls = fifty_dates(http_server, large)
    whole = sum(map(len, http_server.files.values()))
    cube = jp2batch.open_cube(urls)
    assert len(http_server.asked) <= 3 * len(urls)
    assert http_server.bytes_sent <= (8 << 10) * len(urls)
    assert size_of_graph(cube) < 2_000_000
    before = http_server.bytes_sent
    field = cube.sel(y=slice(cube.y[800], cube.y[830]), x=slice(cube.x[900], cube.x[940]))
    series = field.mean(("y", "x")).compute()
    assert 0 < http_server.bytes_sent - before < whole / 150
    windows = ("1600:1662,1800:1882", "1600:1662,1800:1882", "800:831,900:941")
    by_hand = [
        jp2batch.read(url, level, window).mean().item()
        for url, level, window in zip(urls[:3], (1, 1, 0), windows, strict=True)
    ]
    np.testing.assert_allclose(series, [by_hand] * DATES)


@pytest.mark.parametrize("tlm", [True, False], ids=["TLM", "no TLM"])
def test_the_graph_stays_small_when_all_tiles_are_known(http_server, tmp_path, tlm):
    pixels = np.tile(scene(366, bands=["B04"])["B04"], (5, 5))  # 100 tiles
    data = make_image(tmp_path / "60m.jp2", pixels, 60, tlm=tlm).read_bytes()
    urls = fifty_dates(http_server, dict.fromkeys(BANDS, data))[: DATES * 3 // 10]
    jp2batch.open_cube(urls, -1).compute()
    assert size_of_graph(jp2batch.open_cube(urls)) < 200_000


@pytest.fixture(scope="module")
def client():
    """A cluster of two processes."""
    with local_cluster(workers=2) as started:
        yield started


def test_a_cluster_reads_the_headers_and_then_the_pixels(few, client):
    cube = jp2batch.open_cube(few, bands=BANDS, client=client, scaled=True)
    here = jp2batch.open_cube(few, bands=BANDS, scaled=True)
    xr.testing.assert_identical(cube.compute(), here.compute(scheduler="threads"))
    with pytest.raises(ImageNotFound, match="nowhere"):
        jp2batch.open_cube(["nowhere/T29UNU_20221005T115411_B04_10m.jp2"], client=client)


def test_cubes_travel_and_are_told_apart(few):
    cube = jp2batch.open_cube(few, bands=BANDS)
    again = pickle.loads(pickle.dumps(cube))
    xr.testing.assert_identical(again.compute(), cube.compute())
    tokens = [dask.base.tokenize(jp2batch.open_cube(few, level, bands=BANDS, scaled=scaled))
              for level in (0, 1) for scaled in (False, True)]  # fmt: skip
    assert len(set(tokens)) == 4
    assert dask.base.tokenize(cube) == tokens[0]


def test_nothing_secret_is_shown(few):
    cube = jp2batch.open_cube(few, bands=BANDS, storage_options={"auto_mkdir": False})
    assert "auto_mkdir" not in repr(cube) + repr(cube.__dask_graph__()) + str(list(cube.__dask_graph__()))
    assert "auto_mkdir" not in repr(CubeArray((), (0, 0, 0, 0), np.dtype("u2")))


# What makes reflectance


def test_metadata_are_coordinates_of_numbers(few):
    cube = jp2batch.open_cube(few, bands=["B04", "SCL"])
    assert cube.radiometric_offset.dims == ("time", "band")
    by_hand = (cube.sel(band="B04").astype("f4") + cube.radiometric_offset.sel(band="B04")) / 10000
    scaled = jp2batch.open_cube(few, bands=["B04", "SCL"], scaled=True)
    np.testing.assert_allclose(by_hand.where(cube.sel(band="B04") > 0), scaled.sel(band="B04"), rtol=1e-6)
    assert cube.quantification_value.sel(band="SCL").isnull().all()
    assert "radiometric_offset" not in scaled.coords
    np.testing.assert_array_equal(scaled.sel(band="SCL"), cube.sel(band="SCL"))


def test_reflectance_tells_what_each_band_is_and_how_it_was_made(few, copies, tmp_path):
    formula = "(number - 1000) / 10000; NaN where the number is 0"
    mixed = jp2batch.open_cube(few, bands=["B04", "SCL"], scaled=True)
    assert mixed.quantity.values.tolist() == ["surface reflectance", "as stored"]
    assert mixed.scaling.values.tolist() == [formula, "as stored"]
    assert "long_name" not in mixed.attrs
    assert jp2batch.open_cube(few, bands=["B04"], scaled=True).attrs["long_name"] == "surface reflectance"
    assert jp2batch.read(image(few[0], "B04_10m"), scaled=True).attrs["scaling"] == formula
    metadata = copies[0] / "MTD_MSIL2A.xml"
    metadata.write_text(metadata.read_text().replace(">-1000<", ">0<"))
    changing = jp2batch.open_cube(copies, bands=["B04"], scaled=True)
    assert changing.scaling.dims == ("time", "band")
    assert changing.scaling.values.tolist() == [["number / 10000; NaN where the number is 0"], [formula]]
    units = {one: jp2batch.open_cube(few, bands=["B04"], scaled=one).attrs["units"] for one in (False, True)}
    assert units == {False: "1", True: "1"}


def test_offsets_that_change_with_time_are_warned_of(copies):
    metadata = copies[0] / "MTD_MSIL2A.xml"
    metadata.write_text(metadata.read_text().replace(">-1000<", ">0<"))
    with pytest.warns(UserWarning, match="different times have different offsets") as caught:
        cube = jp2batch.open_cube(copies, bands=["B04"])
    assert caught[0].filename == __file__
    assert cube.radiometric_offset.values.tolist() == [[0], [-1000]]
    scaled = jp2batch.open_cube(copies, bands=["B04"], scaled=True)
    for number, offset in ((0, 0), (1, -1000)):
        raw = jp2batch.read(image(copies[number], "B04_10m"), 0).values
        expected = np.where(raw == 0, np.nan, (raw.astype("f8") + offset) / 10000).astype("f4")
        np.testing.assert_array_equal(scaled[number, 0], expected)


def test_without_metadata_there_is_no_reflectance(copies):
    paths = [image(one, "B04_10m") for one in copies]
    (copies[1] / "MTD_MSIL2A.xml").unlink()
    cube = jp2batch.open_cube(paths)
    assert np.isnan(cube.radiometric_offset.values).tolist() == [[False], [True]]
    with pytest.raises(MetadataError, match=rf"{copies[1].name}.*no such file"):
        jp2batch.open_cube(paths, scaled=True)


def test_metadata_that_do_not_tell_spoil_only_reflectance(copies):
    metadata = copies[0] / "MTD_MSIL2A.xml"
    metadata.write_text(metadata.read_text().replace("BOA_QUANTIFICATION_VALUE", "SOMETHING"))
    assert "quantification_value" not in jp2batch.open_cube(copies[:1], bands=["B04"]).coords
    assert "quantification_value" not in jp2batch.open_product(copies[0], ["B04"])["R10m"].ds.coords
    for open_it in (lambda: jp2batch.open_cube(copies[:1], bands=["B04"], scaled=True),
                    lambda: jp2batch.open_product(copies[0], ["B04"], scaled=True)):  # fmt: skip
        with pytest.raises(MetadataError, match="no quantification or offset for B04"):
            open_it()


@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
@pytest.mark.parametrize("scaled", [False, True], ids=["raw", "scaled"])
def test_a_cube_can_be_stored(few, tmp_path, scaled):
    cube = jp2batch.open_cube(few, bands=BANDS, scaled=scaled)
    cube.to_zarr(tmp_path / "cube.zarr", consolidated=False)
    again = xr.open_dataarray(tmp_path / "cube.zarr", engine="zarr", consolidated=False, decode_coords="all")
    xr.testing.assert_equal(again.load(), cube.compute())
    cube.to_netcdf(tmp_path / "cube.nc", engine="h5netcdf")
    again = xr.load_dataarray(tmp_path / "cube.nc", engine="h5netcdf", decode_coords="all")
    xr.testing.assert_equal(again, cube.compute())
    assert again.dtype == cube.dtype
    assert again.rio.crs == cube.rio.crs


# What does not fit


def test_a_missing_image_is_an_error_or_no_data(few):
    paths = [image(few[0], "B04_10m"), image(few[0], "B08_10m"), image(few[1], "B04_10m")]
    with pytest.raises(CubeMismatch, match=r"missing images: B08 at 2022-10-10T11:54:11 \(.*missing=\"fill\"\)"):
        jp2batch.open_cube(paths)
    cube = jp2batch.open_cube(paths, missing="fill")
    assert (cube[1, 1] == 0).all()
    assert cube.attrs["filled"] == ["B08 at 2022-10-10T11:54:11"]
    np.testing.assert_array_equal(cube[0, 1], jp2batch.read(paths[1], 0))
    assert jp2batch.open_cube(paths, missing="fill", scaled=True)[1, 1].isnull().all()
    classes = [image(few[0], "SCL_20m"), image(few[1], "B8A_20m")]
    assert (jp2batch.open_cube(classes, missing="fill").sel(band="SCL")[1] == 0).all()


def test_images_of_several_tiles_are_opened_apart(few, tmp_path):
    other = make_product(tmp_path, date=DATE, size=360, bands=["B04"], tile="T29UNV")
    tree = jp2batch.open_cube([*few, other], bands=["B04"], by_tile=True)
    assert {name: node.ds.cube.shape for name, node in tree.children.items()} == {
        "T29UNU": (2, 1, 360, 360),
        "T29UNV": (1, 1, 360, 360),
    }
    np.testing.assert_array_equal(tree["T29UNV"].ds.cube[0, 0], jp2batch.read(image(other, "B04_10m"), 0))
    assert tree["T29UNV"].ds.cube.y[0] != tree["T29UNU"].ds.cube.y[0]
    with pytest.raises(CubeMismatch, match="tile T29UNV has no image of B8A"):
        jp2batch.open_cube([*few, image(other, "B04_10m")], bands=["B04", "B8A"], by_tile=True, missing="fill")


def test_sizes_of_pixels_that_no_level_joins_are_refused(few):
    with pytest.raises(CubeMismatch, match=r"pixels of 20, which no rlevel turns into the 60 .*metres=60"):
        jp2batch.open_cube([image(few[0], "B8A_20m"), image(few[0], "B04_60m")])
    cube = jp2batch.open_cube(few, bands=["B04", "SCL"], metres=60)
    np.testing.assert_array_equal(cube[1, 1], jp2batch.read(image(few[1], "SCL_60m"), 0))


def test_levels_are_those_that_all_images_have(few):
    paths = [image(few[0], "B8A_20m"), image(few[0], "B04_10m")]
    cube = jp2batch.open_cube(paths, -1)
    assert cube.rlevel.values.tolist() == [4, 3]  # B04 has 4 to drop
    with pytest.raises(CubeMismatch, match=r"_B04_10m.*too few resolution levels.*take rlevel -1 \(lowest\) to 3"):
        jp2batch.open_cube(paths, 4)


def broken(few: list[Path], copies: list[Path]) -> list[tuple[list[object], dict[str, object], str]]:
    b04 = image(few[0], "B04_10m")
    lonely = copies[0] / "T29UNU_20221105T115411_B04_10m.jp2"
    lonely.write_bytes(make_image(copies[0] / "x.jp2", np.ones((60, 60), np.uint16), 10).read_bytes())
    nameless = shutil.copy(b04, copies[0] / "b04.jp2")
    l1c = shutil.copy(b04, copies[0].parent / "T29UNU_20221205T115411_B04.jp2")
    return [
        ([b04, image(few[0], "B04_20m")], {}, "is another image of B04 at 2022-10-05T11:54:11"),
        ([b04, image(few[0], "TCI_10m")], {}, "has 3 bands"),
        ([b04, lonely], {}, r"60 x 60 samples at rlevel 0, and .* 360 x 360"),
        ([b04, nameless], {}, "its name does not contain band and time"),
        ([b04, l1c], {}, "levels 1C and 2A have different quantities"),
        ([few[0]], {}, "bands are required"),
        ([few[0]], {"bands": ["B03"]}, "does not list B03"),
        ([b04], {"bands": ["B03"]}, r"there is no image of B03 \(available: B04\)"),
        ([], {}, "no images given"),
        (5, {}, "a path must be text, not int"),
        ([None], {}, "a path must be text, not NoneType"),
        ([few[0], f"{few[0]}/"], {"bands": "B04"}, "is given twice"),
        ([few[0]], {"bands": ["B04", "b04"]}, "band B04 is given twice"),
        ([few[0]], {"bands": []}, "bands is not a list of band names"),
        ([few[0]], {"bands": 4}, "bands is not a list of band names"),
        ([few[0]], {"bands": "B04", "rlevel": "1"}, "rlevel of type str is not a resolution level"),
        ([few[0]], {"bands": "B04", "chunks": {"z": 3}}, r"chunks name a dimension .* \(it has time, band, y, x\)"),
        ([few[0]], {"bands": "B04", "storage_options": "anon"}, "storage_options are of type str"),
        (few[0].parent, {"bands": "B04"}, r"give the products in it: .*\*\.SAFE"),
        ([jp2batch.Request(b04, window="0:9,0:9")], {}, "has a window, but a cube has a single grid"),
        ([jp2batch.Request(b04, area=MapArea.of(resolution=20))], {}, "has an area.*open_cube takes bbox="),
        ([b04], {"align": "nearest"}, 'give "snap" or "linear"'),
        ([image(few[0], "SCL_20m"), image(few[0], "B8A_20m")], {"missing": "zero"}, 'give "raise" or "fill"'),
    ]


def test_what_does_not_fit_is_refused_in_a_line(few, copies):
    for images, options, problem in broken(few, copies):
        with pytest.raises(InvalidRequest, match=problem) as caught:
            jp2batch.open_cube(images, **options)
        assert "\n" not in str(caught.value)


def test_one_path_and_names_in_any_case_will_do(few):
    one = jp2batch.open_cube(str(few[0]), bands="b04, b8a")
    xr.testing.assert_identical(one.compute(), jp2batch.open_cube([few[0]], bands=["B04", "B8A"]).compute())


def test_an_image_that_a_product_lists_and_lacks_is_told_with_the_sizes_that_are_there(copies):
    for product in copies:
        Path(image(product, "B04_10m")).unlink()
    with pytest.raises(ImageNotFound, match=r"B04 is listed in the product, .* \(give metres=20 or metres=60\)"):
        jp2batch.open_cube(copies, bands=["B04", "SCL"])
    assert jp2batch.open_cube(copies, bands=["B04", "SCL"], metres=20).shape == (2, 2, 180, 180)
    for name in ("SCL_20m", "SCL_60m"):
        Path(image(copies[0], name)).unlink()
    with pytest.raises(ImageNotFound, match=r"B04 is listed .* \(B04 exists at 20 m, 60 m\)"):
        jp2batch.open_cube(copies, bands=["B04", "SCL"])
    with pytest.raises(ImageNotFound, match=r"SCL is listed .* \(fetch the product again\)"):
        jp2batch.open_cube(copies, bands=["SCL"])


def test_a_pixel_size_in_the_index_that_is_gone_is_not_advised(copies, http_server, with_index):
    product = served(http_server, copies[:1])
    with dask.config.set({"jp2batch.first_read": 4096}):
        jp2batch.open_cube(product, bands=["B04"], metres=20).isel(y=slice(9), x=slice(9)).compute()
        for path in [path for path in http_server.files if path.endswith(("B04_10m.jp2", "B04_20m.jp2"))]:
            del http_server.files[path]
        with pytest.raises(ImageNotFound, match=r"B04 is listed .* \(give metres=60\)"):
            jp2batch.open_cube(product, bands=["B04"])


def test_days_do_where_paths_tell_no_times(few, tmp_path):
    for day, product in enumerate(few, 5):
        folder = tmp_path / f"tiles/29/U/NU/2022/10/{day}/0/R20m"
        folder.mkdir(parents=True)
        shutil.copy(image(product, "B8A_20m"), folder / "B8A.jp2")
    cube = jp2batch.open_cube(tmp_path.rglob("*.jp2"))
    assert cube.time.values.astype("datetime64[D]").astype(str).tolist() == ["2022-10-05", "2022-10-06"]
