"""Images as xarray objects: eager, lazy, through xarray's engine."""

import pickle
import re
import subprocess
import sys
import warnings
from datetime import timedelta

import dask
import numpy as np
import pytest
import xarray as xr

import jp2batch
from jp2batch.array import lazy
from jp2batch.core.errors import ImageNotFound, InvalidRequest, InvalidRlevel
from jp2batch.image.read import Pixels, read_area
from jp2batch.sample.encode import Coding, encode
from jp2batch.sample.product import DATE, make_product


@pytest.fixture
def reads(monkeypatch) -> list[Pixels]:
    """Collect what lazy arrays read."""
    done: list[Pixels] = []

    def read(*args, **options):
        done.append(read_area(*args, **options))
        return done[-1]

    monkeypatch.setattr(lazy, "read_area", read)
    return done


@pytest.fixture(scope="module")
def tiled(tmp_path_factory) -> str:
    """Return an image of many tiles, with an image offset."""
    path = tmp_path_factory.mktemp("tiled") / "T29UNU_20221005T115411_B04_10m.jp2"
    pixels = np.random.default_rng(0).integers(0, 4000, (1500, 2100), dtype=np.uint16)
    path.write_bytes(encode(pixels, Coding(tile=(192, 192), image_offset=(5, 9), tlm=True)))
    return str(path)


def test_a_band_is_an_array_of_rows_and_columns(band):
    image = jp2batch.read(band)
    assert image.dims == ("y", "x")
    assert image.name == "B8A"
    assert image.dtype == np.uint16
    assert image.time.dt.strftime("%Y-%m-%dT%H:%M:%S").item() == "2022-10-05T11:54:11"
    assert image.attrs == {"rlevel": 4, "units": "1", "nodata": 0}
    assert image.encoding["grid_mapping"] == "spatial_ref"


def test_a_colour_image_has_its_bands_first(image_of):
    image = jp2batch.read(image_of("TCI_60m"), 0)
    assert (image.dims, image.shape, image.dtype) == (("band", "y", "x"), (3, 183, 183), np.uint8)
    assert image.band.values.tolist() == [1, 2, 3]


def test_the_lowest_resolution_is_read_by_default_and_the_full_one_opened(band):
    assert jp2batch.read(band).attrs["rlevel"] == 4
    assert jp2batch.open(band).attrs["rlevel"] == 0


@pytest.mark.parametrize("rlevel", range(5))
def test_a_lazy_image_is_the_read_one(tiled, rlevel):
    lazy, eager = jp2batch.open(tiled, rlevel), jp2batch.read(tiled, rlevel)
    assert lazy.chunks is not None
    xr.testing.assert_identical(lazy.compute(), eager)
    assert lazy.compute().encoding["grid_mapping"] == "spatial_ref" if "spatial_ref" in lazy.coords else True


@pytest.mark.parametrize("chunks", ["foo", {"y": "foo"}, {"y": (1, 2)}, {"x": None, "y": []}, 1.5, {"z": 5}], ids=str)
def test_impossible_chunks_are_refused_with_the_path(chunks, tiled):
    with pytest.raises(InvalidRequest, match=rf"^{re.escape(str(tiled))}: "):
        jp2batch.open(tiled, chunks=chunks)


def test_opening_reads_only_the_header(tiled, reads):
    image = jp2batch.open(tiled)
    image.isel(x=slice(0, 10)).mean()
    repr(image)
    assert reads == []


@pytest.mark.parametrize("most", [512, 2048])
def test_chunks_are_whole_tiles(tiled, reads, most, monkeypatch):
    monkeypatch.setattr("jp2batch.array.chunk_lengths._CHUNK", most)
    image = jp2batch.open(tiled)
    image.compute()
    tiles = [tile for pixels in reads for tile in pixels.selection.tiles]
    assert len(tiles) == len(set(tiles)) == 8 * 11
    assert max(image.chunksizes["y"]) <= most
    assert (len(image.chunksizes["y"]) > 1) == (most == 512)


@pytest.mark.parametrize("rlevel", [0, 2])
@pytest.mark.parametrize("chunks", [None, {}], ids=["indexed", "dask"])
@pytest.mark.parametrize(
    "index",
    [
        {"y": slice(100, 200), "x": slice(50, 70)},
        {"y": 7, "x": slice(None, None, 3)},
        {"y": slice(None, 5, -2), "x": -1},
        {"y": [3, 1, 200], "x": [9, 9, 0]},
        {"y": xr.DataArray([3, 1, 200], dims="p"), "x": xr.DataArray([5, 0, 77], dims="p")},
        {"y": slice(10, 10), "x": slice(4)},
    ],
    ids=str,
)
def test_any_index_gives_what_the_read_image_gives(tiled, rlevel, chunks, index):
    lazy, eager = jp2batch.open(tiled, rlevel, chunks), jp2batch.read(tiled, rlevel)
    xr.testing.assert_identical(lazy.isel(index).compute(), eager.isel(index))


def test_a_part_reads_only_its_tiles(tiled, reads):
    jp2batch.open(tiled, chunks=None).isel(y=slice(0, 100), x=slice(0, 100)).load()
    assert [pixels.selection.tiles for pixels in reads] == [(0,)]


def test_a_colour_image_can_be_indexed_by_band(image_of):
    lazy, eager = jp2batch.open(image_of("TCI_10m"), 1, None), jp2batch.read(image_of("TCI_10m"), 1)
    xr.testing.assert_identical(lazy.isel(band=1, y=slice(3, 9)).load(), eager.isel(band=1, y=slice(3, 9)))
    xr.testing.assert_identical(lazy.sel(band=[3, 1]).load(), eager.sel(band=[3, 1]))


def test_a_window_can_be_opened(tiled):
    window = ((100, 900), (33, 1500))
    for rlevel in (0, 3):
        xr.testing.assert_identical(
            jp2batch.open(tiled, rlevel, window=window).compute(), jp2batch.read(tiled, rlevel, window)
        )


@pytest.mark.parametrize(
    "options",
    [
        {"mask_and_scale": False, "decode_times": False, "decode_coords": "all"},
        {"decode_timedelta": True, "use_cftime": False, "concat_characters": True},
    ],
    ids=str,
)
def test_other_options_of_decoding_change_nothing(band, options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of xarray, about some of them
        dataset = xr.open_dataset(band, engine="jp2batch", rlevel=2, **options)
    xr.testing.assert_identical(dataset.load(), xr.open_dataset(band, engine="jp2batch", rlevel=2).load())
    with pytest.raises(TypeError, match="no option 'scale'"):
        xr.open_dataset(band, engine="jp2batch", scale=True)


def test_arrays_from_elsewhere_get_the_accessor_by_importing_it():
    code = (
        "import numpy as np, sys, xarray as xr, jp2batch.accessor\n"
        "assert 'PIL' not in sys.modules\n"
        "print(xr.DataArray(np.ones((4, 5)), dims=('y', 'x')).jp2.preview().size)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(5, 4)\n"


def test_xarray_opens_images_with_the_engine(band):
    with xr.open_dataset(band, engine="jp2batch", rlevel=2, chunks={}) as dataset:
        xr.testing.assert_identical(dataset.B8A.compute(), jp2batch.read(band, 2))
    with xr.open_dataset(band) as dataset:  # by the suffix
        xr.testing.assert_identical(dataset.B8A.load(), jp2batch.read(band, 0))
    with xr.open_dataset(band, engine="jp2batch", drop_variables="time") as dataset:
        assert "time" not in dataset.variables


def test_many_dates_open_as_one(tmp_path):
    products = [make_product(tmp_path, size=120, date=DATE + timedelta(days=days)) for days in (0, 5)]
    paths = [str(next(product.glob("**/*_B04_10m.jp2"))) for product in products]
    options = {"combine": "nested", "concat_dim": "time", "coords": "different", "compat": "equals"}
    with xr.open_mfdataset(paths, engine="jp2batch", rlevel=1, **options) as dataset:
        assert dataset.B04.sizes == {"time": 2, "y": 60, "x": 60}
        assert dataset.B04.encoding.get("grid_mapping") == "spatial_ref"


@pytest.mark.parametrize("chunks", [None, {}], ids=["indexed", "dask"])
def test_lazy_images_travel_to_other_processes(tiled, chunks):
    image = jp2batch.open(tiled, 1, chunks)
    again = pickle.loads(pickle.dumps(image))
    xr.testing.assert_identical(again.compute(), image.compute())


def test_the_graph_is_small(tiled):
    graph = jp2batch.open(tiled).__dask_graph__()
    assert len(pickle.dumps(dict(graph))) < 20_000


def test_tokens_tell_images_apart(tiled, band):
    tokens = [dask.base.tokenize(jp2batch.open(path, rlevel)) for path in (tiled, band) for rlevel in (0, 1)]
    assert len(set(tokens)) == 4
    assert dask.base.tokenize(jp2batch.open(tiled, 1)) == tokens[1]


def test_nothing_secret_is_shown():
    values = lazy.ImageArray("s3://u:secret@b/k", 0, None, (1, 1), np.dtype("u1"), {"secret": "hush"})
    assert "hush" not in repr(values)
    assert "secret" not in repr(values)


def test_what_cannot_be_opened_says_so_at_once(band):
    with pytest.raises(ImageNotFound):
        jp2batch.open("nowhere.jp2")
    with pytest.raises(InvalidRlevel, match="it has -1"):
        xr.open_dataset(band, engine="jp2batch", rlevel=9)
