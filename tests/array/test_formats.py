"""Each form of result is readable by its own reader, equals what was read, and is there whole or not at all."""

import io
import json
import os
import sys
from pathlib import Path

import fsspec
import numpy as np
import pytest
import rioxarray  # noqa: F401  # gives arrays their accessor
import xarray as xr
from PIL import Image

import jp2batch
from jp2batch.array import formats
from jp2batch.array.formats import form_of, write
from jp2batch.core.errors import InvalidRequest, StorageError
from jp2batch.core.file_formats import FORMATS
from jp2batch.core.request import Request
from jp2batch.image.read import read_pixels
from jp2batch.storage.files import write_bytes, write_folder
from support.images import PLAIN

FORMS = ["json", "npy", "png", "tif", "nc", "zarr"]


@pytest.fixture(params=["B8A_60m", "TCI_60m"])
def path(request, image_of) -> str:
    return image_of(request.param)


@pytest.fixture
def small(band):
    return read_pixels(Request(band))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def written(path, form, folder):
    target = str(folder / f"result.{form}")
    write(read_pixels(Request(path, 1)), target)
    assert names(folder) == [f"result.{form}"]
    return target


def assert_same(array: xr.DataArray, path: str) -> None:
    expected = jp2batch.read(path, 1)
    np.testing.assert_array_equal(array.values, expected.values)
    np.testing.assert_array_equal(array.x, expected.x)
    np.testing.assert_array_equal(array.y, expected.y)
    assert array.dtype == expected.dtype
    assert array.rio.crs == expected.rio.crs
    assert array.rio.crs.to_epsg() == 32629
    assert array.rio.transform() == expected.rio.transform()
    assert array.rio.nodata == expected.rio.nodata == 0


def pixels_last(path):
    image = jp2batch.read(path, 1)
    return image.values if image.ndim == 2 else np.moveaxis(image.values, 0, 2)


def test_json(path, tmp_path):
    answer = json.loads(Path(written(path, "json", tmp_path)).read_bytes())
    assert list(answer) == ["img_data", "shape", "time_download", "time_processing"]
    np.testing.assert_array_equal(answer["img_data"], pixels_last(path))


def test_npy(path, tmp_path):
    array = np.load(written(path, "npy", tmp_path))
    assert array.dtype == pixels_last(path).dtype
    np.testing.assert_array_equal(array, pixels_last(path))


def test_png(path, tmp_path):
    with Image.open(written(path, "png", tmp_path)) as picture:
        seen = np.asarray(picture)
    expected = pixels_last(path)
    assert seen.shape == expected.shape
    np.testing.assert_array_equal(seen == 0, expected == 0)
    if expected.ndim == 3:
        np.testing.assert_array_equal(seen, expected)


def test_tif(path, tmp_path):
    with xr.open_dataarray(written(path, "tif", tmp_path), engine="rasterio", mask_and_scale=False) as array:
        assert_same(array.squeeze("band", drop=True) if len(array.band) == 1 else array, path)


def test_netcdf(path, tmp_path):
    with xr.open_dataset(written(path, "nc", tmp_path), engine="h5netcdf", decode_coords="all") as dataset:
        (name,) = dataset.data_vars
        assert name == jp2batch.read(path).name
        assert_same(dataset[name], path)


def test_zarr(path, tmp_path):
    dataset = xr.open_zarr(written(path, "zarr", tmp_path), consolidated=False, decode_coords="all")
    assert_same(dataset[jp2batch.read(path).name], path)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("form", FORMS)
def test_an_image_without_georeference_is_written_as_well(form, tmp_path):
    image = tmp_path / "plain.jp2"
    image.write_bytes(PLAIN.data)
    write(read_pixels(Request(str(image))), str(tmp_path / f"result.{form}"))
    assert (tmp_path / f"result.{form}").exists()


@pytest.mark.parametrize("form", FORMS)
def test_any_url_will_do(form, small, tmp_path):
    url = f"memory:/{tmp_path}/result.{form}"
    write(small, url)
    write(small, url)
    if form == "zarr":
        stored = xr.open_zarr(url, consolidated=False)["B8A"].values
        np.testing.assert_array_equal(stored, small.values[0])
    if form == "npy":
        np.testing.assert_array_equal(np.load(io.BytesIO(fsspec.filesystem("memory").cat_file(url))), small.values[0])
    assert fsspec.filesystem("memory").exists(url)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_there_already_is_replaced_as_a_whole(form, band, tmp_path):
    target = tmp_path / f"result.{form}"
    write(read_pixels(Request(band, 0)), str(target))
    if form == "zarr":
        (target / "left-over").touch()
    write(read_pixels(Request(band)), str(target))
    write(read_pixels(Request(band)), str(tmp_path / f"fresh.{form}"))
    assert names(tmp_path) == [f"fresh.{form}", f"result.{form}"]
    if form == "zarr":
        assert names(target) == names(tmp_path / "fresh.zarr")
    else:
        assert abs(target.stat().st_size - (tmp_path / f"fresh.{form}").stat().st_size) < 50


@pytest.mark.parametrize("form", FORMS)
def test_a_failure_leaves_what_was_there(form, band, small, tmp_path, monkeypatch):
    target = tmp_path / f"result.{form}"
    write(small, str(target))
    before = contents(tmp_path)
    monkeypatch.setattr("jp2batch.storage.files._write_new", fail_half_way)
    with pytest.raises(StorageError, match=r"result\.\w+: cannot be written: No space left on device"):
        write(read_pixels(Request(band, 0)), str(target))
    assert contents(tmp_path) == before


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fail_half_way(path, data):
    path.write_bytes(data[: len(data) // 2])
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("form", ["npy", "zarr"])
def test_a_place_that_cannot_be_written_is_named(form, small, tmp_path):
    with pytest.raises(StorageError, match=r"result\.\w+: cannot be written: No such file or directory") as raised:
        write(small, str(tmp_path / "missing" / f"result.{form}"))
    assert "\n" not in str(raised.value)


def test_neither_a_file_replaces_a_folder_nor_the_reverse(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"kept")
    with pytest.raises(StorageError):
        write_bytes(str(tmp_path / "folder"), b"data")
    with pytest.raises(StorageError):
        write_folder(str(tmp_path / "file"), {"a": b"data"})
    assert names(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_bytes() == b"kept"


@pytest.mark.skipif(os.name != "posix", reason="rights are those of POSIX")
def test_rights_are_those_of_any_new_file(tmp_path):
    write_bytes(str(tmp_path / "written"), b"data")
    (tmp_path / "touched").touch()
    assert (tmp_path / "written").stat().st_mode == (tmp_path / "touched").stat().st_mode


@pytest.mark.seaweedfs
def test_a_store_that_refuses_says_so_without_secrets(s3_server):
    options = s3_server.options | {"secret": "wrong-but-secret"}
    with pytest.raises(StorageError, match=r"s3://scenes/result\.npy: cannot be written") as raised:
        write_bytes("s3://scenes/result.npy", b"data", storage_options=options)
    assert "wrong-but-secret" not in str(raised.value)
    write_folder("s3://scenes/result.zarr", {"a/b": b"old", "c": b"old"}, storage_options=s3_server.options)
    write_folder("s3://scenes/result.zarr", {"c": b"new"}, storage_options=s3_server.options)
    fs = fsspec.filesystem("s3", **s3_server.options, use_listings_cache=False)
    assert fs.find("scenes/result.zarr") == ["scenes/result.zarr/c"]
    assert fs.cat_file("scenes/result.zarr/c") == b"new"


@pytest.mark.parametrize("destination", ["result", "result.txt", "s3://bucket/result.h5", "-", ".", ""])
def test_another_suffix_is_refused(destination):
    with pytest.raises(InvalidRequest, match=r"\.json, \.npy, \.png, \.tif, \.tiff, \.nc, \.zarr"):
        form_of(destination)


@pytest.mark.parametrize(("name", "form"), [("A.TIF", ".tif"), ("a.b.zarr/", ".zarr"), ("s3://b/k.json", ".json")])
def test_the_suffix_names_the_form(name, form):
    assert form_of(name) == form


@pytest.mark.parametrize(("form", "package"), [("tif", "rioxarray"), ("nc", "h5netcdf"), ("zarr", "zarr")])
def test_a_missing_package_is_named_with_its_hint(form, package, small, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InvalidRequest, match=rf"\.{form} files needs {package} \(pip install \"jp2batch\[files\]\"\)"):
        write(small, str(tmp_path / f"result.{form}"))
    assert names(tmp_path) == []


def test_every_form_is_tested():
    assert {f".{form}" for form in FORMS} | {".tiff"} == set(FORMATS)
    assert set(formats._WRITERS) == {name for name, row in FORMATS.items() if not row.is_folder}
