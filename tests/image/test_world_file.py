"""Images without a georeference of their own lie where their world file says."""

import shutil
from pathlib import Path

import dask
import numpy as np
import pytest
import rasterio
import xarray as xr

import jp2batch
from jp2batch.core.errors import ConfigurationError, InvalidWindow, StoreUnavailable
from jp2batch.core.location import Location
from jp2batch.image.open import OpenImage
from jp2batch.image.place import place_of
from jp2batch.image.world_file import parse_world_file, world_file_suffixes
from jp2batch.sample.encode import Coding, encode
from jp2batch.sample.georeference import gmljp2
from jp2batch.storage.source import open_source

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

PIXELS = np.arange(48 * 64).reshape(48, 64) % 251
PLAIN = encode(PIXELS, Coding(tile=None, bits=8))
NORTH_UP = b"2.0\n0.0\n0.0\n-2.0\n500001.0\n5899999.0\n"
CORNER = (2.0, 0.0, 500000.0, 0.0, -2.0, 5900000.0)
EVERYWHERE = {"jp2batch.world-files": "everywhere"}


def beside(folder: Path, name: str, content: bytes = NORTH_UP, image: str = "a.jp2") -> str:
    """Write an image and a file beside it; return the path of the image."""
    (folder / image).write_bytes(PLAIN)
    (folder / name).write_bytes(content)
    return str(folder / image)


def of_gdal(path: str) -> tuple[float, ...] | None:
    with rasterio.open(path) as dataset:
        found = tuple(dataset.transform)[:6]
    return None if found == (1, 0, 0, 0, 1, 0) else found


@pytest.mark.parametrize(
    ("image", "name", "only_ours"),
    [
        ("a.jp2", "a.j2w", False),
        ("a.jp2", "a.J2W", False),
        ("a.jp2", "a.jp2w", False),
        ("a.jp2", "a.wld", False),
        ("a.jp2", "a.WLD", False),
        ("a.jp2", "a.jgw", True),
        ("a.JP2", "a.J2W", False),
        ("a.JP2", "a.j2w", False),
        ("a.b.j2k", "a.b.jkw", False),
        ("plain", "plain.wld", False),
    ],
)
def test_names_are_those_of_gdal(tmp_path, image, name, only_ours):
    path = beside(tmp_path, name, image=image)
    assert jp2batch.inspect(path).transform == CORNER
    assert of_gdal(path) == (None if only_ours else CORNER)


@pytest.mark.parametrize("name", ["a.jp2.wld", "b.j2w", "a.tfw", "a.prj"])
def test_other_names_are_none(tmp_path, name):
    path = beside(tmp_path, name)
    assert jp2batch.inspect(path).transform is None
    assert of_gdal(path) is None


@pytest.mark.parametrize(
    "content",
    [
        NORTH_UP,
        NORTH_UP.replace(b"\n", b"\r\n"),
        NORTH_UP.replace(b"\n", b"\r").rstrip(),
        NORTH_UP.replace(b".", b",") + b"\nmade by hand\n",
        b"\n 2\n\n0 \n0\n-2e0 metres\n+500001\n5.9e6",
        b"2\n0.5\n0.25\n-2\n100\n200",
        b"2\n0\n0\n2\n100\n200",
        b"0\n2\n2\n0\n100\n200",
        b"",
        b"2\n0\n0\n-2\n100",
        b"2 0 0 -2 100 200",
        b"<html>\nnot\nfound\nat\nall\n!\n</html>",
        b"0\n0\n0\n0\n1\n2",
        NORTH_UP.decode().encode("utf-16"),
    ],
)
def test_numbers_are_those_of_gdal(tmp_path, content):
    path = beside(tmp_path, "a.j2w", content)
    found, expected = jp2batch.inspect(path).transform, of_gdal(path)
    assert (found is None) == (expected is None)
    assert found is None or found == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    "content",
    [
        b"nan\n0\n0\n-2\n1\n2",
        b"1e400\n0\n0\n-2\n1\n2",
        b"1\n1\n1\n1\n0\n0",
        b"1e200\n0\n0\n-1e200\n1\n2",
        b"1_0\n0\n0\n-2\n1\n2",
        NORTH_UP + b" " * 5000,
    ],
)
def test_impossible_numbers_are_no_georeference(content):
    assert parse_world_file(content) is None


def test_another_file_of_the_name_is_ignored_with_a_message(tmp_path, caplog):
    path = beside(tmp_path, "a.j2w", b"nothing of the kind")
    assert jp2batch.inspect(path).transform is None
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'a.j2w'} is not a world file, and is ignored"
    ]
    (tmp_path / "a.wld").write_bytes(NORTH_UP)
    assert jp2batch.inspect(path).transform == CORNER


def test_a_folder_of_the_name_is_none(tmp_path):
    (tmp_path / "a.wld").mkdir()
    assert jp2batch.inspect(beside(tmp_path, "a.j2w", b"")).transform is None


def test_it_reaches_arrays_at_every_level(tmp_path):
    path = beside(tmp_path, "a.j2w")
    read = jp2batch.read(path, 2)
    np.testing.assert_array_equal(read.x, 500000 + 2 * (0.5 + 4 * np.arange(16)))
    np.testing.assert_array_equal(read.y, 5900000 - 2 * (0.5 + 4 * np.arange(12)))
    assert "crs_wkt" not in read.spatial_ref.attrs
    for lazy in (jp2batch.open(path, 2), xr.open_dataset(path, engine="jp2batch", rlevel=2)):
        xr.testing.assert_equal(
            lazy.x.drop_vars(set(lazy.x.coords) - {"x"}), read.x.drop_vars(set(read.x.coords) - {"x"})
        )
    part = jp2batch.read(path, 0, ((10, 12), (20, 23)))
    assert (float(part.x[0]), float(part.y[0])) == (500041, 5899979)
    info = jp2batch.inspect(path)
    assert (info.crs, info.bounds) == (None, (500000, 5899904, 500128, 5900000))
    with pytest.raises(InvalidWindow, match="no reference system for a bbox"):
        jp2batch.read(path, bbox=(0, 0, 1, 1))


def test_rotated_images_have_a_transform_alone(tmp_path):
    path = beside(tmp_path, "a.j2w", b"2\n0.5\n0.25\n-2\n100\n200")
    read = jp2batch.read(path, 0)
    assert read.spatial_ref.attrs["GeoTransform"] == "98.875 2.0 0.25 200.75 0.5 -2.0"
    assert float(read.x[0]) in (0, 0.5)  # columns


def test_boxes_come_first(tmp_path, http_server):
    boxed = encode(PIXELS, Coding(tile=None, bits=8), boxes=gmljp2(64, 48, 32629, (300000, 400000), 10))
    path = beside(tmp_path, "a.j2w")
    Path(path).write_bytes(boxed)
    assert jp2batch.inspect(path).transform == (10, 0, 300000, 0, -10, 400000)
    http_server.files |= {"a.jp2": boxed, "a.j2w": NORTH_UP}
    with dask.config.set(EVERYWHERE):
        assert jp2batch.inspect(http_server.url("a.jp2")).crs == "EPSG:32629"
    assert set(http_server.paths) == {"/a.jp2"}


def test_a_store_gets_no_request_for_it_unless_asked(http_server):
    http_server.files |= {"a.jp2": PLAIN, "a.j2w": NORTH_UP}
    assert jp2batch.inspect(http_server.url("a.jp2")).transform is None
    assert set(http_server.paths) == {"/a.jp2"}
    with dask.config.set({"jp2batch.world-files": "everywhere"}):
        assert jp2batch.inspect(http_server.url("a.jp2")).transform == CORNER


@pytest.mark.parametrize("status", [404, 403, 401, 410])
def test_each_name_takes_a_request(http_server, status, monkeypatch):
    http_server.files |= {"a.jp2": PLAIN, "a.wld": NORTH_UP}
    if status != 404:
        monkeypatch.setattr(type(http_server), "begin", refusing(type(http_server).begin, status))
    with dask.config.set(EVERYWHERE):
        opened = OpenImage.start(open_source(http_server.url("a.jp2")))
        before = opened.source.meter.requests
        assert place_of(opened).transform == CORNER
        assert place_of(opened).transform == CORNER
    assert http_server.paths[1:] == ["/a.j2w", "/a.jp2w", "/a.wld"]
    assert opened.source.meter.requests - before == 3


def refusing(begin, status):
    return lambda self, request: begin(self, request) or (status if request.target in ("/a.j2w", "/a.jp2w") else "")


def test_no_world_file_is_no_error(http_server):
    http_server.files["a.JP2"] = PLAIN
    with dask.config.set(EVERYWHERE):
        assert jp2batch.read(http_server.url("a.JP2"), 0).shape == (48, 64)
    assert http_server.paths[-4:] == ["/a.J2W", "/a.JP2W", "/a.WLD", "/a.JGW"]


def test_a_store_that_fails_is_an_error_with_the_name(http_server, monkeypatch):
    http_server.files["a.jp2"] = PLAIN
    monkeypatch.setattr(type(http_server), "begin", refusing(type(http_server).begin, 503))
    retries = {"jp2batch.retries": {"attempts": 2, "first-wait": "1ms", "longest-wait": "1s", "hedged": 0}}
    with dask.config.set(EVERYWHERE | retries), pytest.raises(StoreUnavailable, match=r"a\.j2w"):
        jp2batch.inspect(http_server.url("a.jp2"))


def test_pages_of_a_web_server_are_ignored(http_server, caplog):
    http_server.files |= {"a.jp2": PLAIN, "a.j2w": b"<html>" * 10_000, "a.jp2w": b"", "a.wld": NORTH_UP}
    with dask.config.set(EVERYWHERE):
        assert jp2batch.inspect(http_server.url("a.jp2")).transform == CORNER
    assert http_server.bytes_sent < 3 * len(PLAIN) + 10_000


@pytest.mark.seaweedfs
def test_in_a_bucket_with_its_options(s3_server):
    s3_server.put("world/b.j2w", NORTH_UP)
    url = s3_server.put("world/b.jp2", PLAIN)
    with dask.config.set(EVERYWHERE):
        assert jp2batch.inspect(url, storage_options=s3_server.options).transform == CORNER
        read = jp2batch.read("world/b.jp2", 0, root=url.removesuffix("/world/b.jp2"), storage_options=s3_server.options)
    assert float(read.x[0]) == 500001


@pytest.mark.parametrize("form", ["{}", "file://{}", "~/{name}", "relative", "~no-such-user/{name}"])
def test_local_paths_of_all_forms(tmp_path, monkeypatch, form):
    folder = tmp_path / "a b"
    (folder / "~no-such-user").mkdir(parents=True)
    beside(folder / "~no-such-user", "a.wld")
    path = beside(folder, "a.j2w")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder)
    text = (
        "a.jp2"
        if form == "relative"
        else form.format(path.replace(" ", "%20" if "file" in form else " "), name="a.jp2")
    )
    assert jp2batch.inspect(text).transform == CORNER


def test_inside_an_archive(tmp_path):
    beside(tmp_path, "a.j2w")
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, ".")
    with dask.config.set(EVERYWHERE):
        assert jp2batch.inspect(f"zip://a.jp2::{tmp_path / 'packed.zip'}").transform == CORNER


def test_settings(tmp_path):
    path = beside(tmp_path, "a.j2w")
    with dask.config.set({"jp2batch.world-files": "never"}):
        assert jp2batch.inspect(path).transform is None
    with dask.config.set({"jp2batch.world-files": "sometimes"}), pytest.raises(ConfigurationError, match="world-files"):
        jp2batch.inspect(path)


def test_suffixes_elsewhere_have_the_case_of_the_image():
    assert list(world_file_suffixes(Location.of("s3://b/a.jp2"))) == [".j2w", ".jp2w", ".wld", ".jgw"]
    assert list(world_file_suffixes(Location.of("s3://b/a.J2K"))) == [".JKW", ".J2KW", ".WLD", ".JGW"]
    assert list(world_file_suffixes(Location.of("s3://b/a"))) == [".wld", ".jgw"]
