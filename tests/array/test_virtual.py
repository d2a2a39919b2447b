"""Virtual Zarr: references to tiles of files, read by zarr with the codec."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import jp2batch
from jp2batch.cli import main
from jp2batch.core.errors import CorruptImage, InvalidRequest, UnsupportedImage
from jp2batch.image.tile_prefixes import decode_prefix, locate_prefixes
from jp2batch.sample.encode import Coding, encode
from support import rewrite

pytest.importorskip("zarr")

from jp2batch.array.virtual.references import write_references

BANDS = ("B02", "B03", "B04", "B08")
SHAPE = (300, 420)  # of tiles of 128: the last are cut, and not divisible by 2^4
CODING = Coding(tile=(128, 128), tlm=True)


def pixels(seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 4000, shape).astype(np.uint16)


def write_band(folder: Path, band: str, coding: Coding = CODING, shape: tuple[int, int] = SHAPE) -> str:
    path = folder / f"T29UNU_20221005T115411_{band}_10m.jp2"
    path.write_bytes(encode(pixels(len(band) + BANDS.index(band), shape), coding))
    return str(path)


@pytest.fixture(scope="module")
def bands(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("virtual")
    return [write_band(folder, band) for band in BANDS]


def open_level(references: Path, rlevel: int, **options: Any) -> xr.Dataset:
    stored = {"fo": str(references)} | options
    return xr.open_zarr("reference://", group=str(rlevel), storage_options=stored, decode_coords="all")


def assert_exact(opened: Callable[[int], xr.Dataset], paths: list[str]) -> None:
    """Compare all levels, coordinates and CRS with those of `jp2batch.open`."""
    for rlevel in range(5):
        dataset = opened(rlevel)
        for path in paths:
            expected = jp2batch.open(path, rlevel, chunks=None)
            found = dataset[expected.name]
            np.testing.assert_array_equal(found.values, expected.values)
            assert found.dtype == expected.dtype
            for axis in "xy":
                np.testing.assert_array_equal(found[axis].values, expected[axis].values)
            if "spatial_ref" in expected.coords:
                assert found.spatial_ref.attrs == expected.spatial_ref.attrs


@pytest.mark.parametrize(
    "coding",
    [
        CODING,
        Coding(tile=(128, 128), tlm=False),
        Coding(tile=(128, 128), plt=False),
        Coding(tile=(128, 128), progression="RPCL"),
        Coding(tile=(128, 128), reversible=False),
        Coding(tile=None),
        Coding(tile=(512, 128), levels=2),
        Coding(tile=(128, 128), precincts=None),
        Coding(tile=(128, 128), eph=True),
    ],
    ids=[
        "usual",
        "no TLM",
        "no PLT",
        "RPCL",
        "9/7",
        "single tile",
        "tile wider than the image",
        "no precincts",
        "PPT",
    ],
)
def test_each_tile_is_exact_at_each_level(tmp_path, coding):
    path = write_band(tmp_path, "B02", coding)
    if coding.eph:
        Path(path).write_bytes(rewrite.with_packed_headers(Path(path).read_bytes(), in_parts=True))
    data, prefixes = Path(path).read_bytes(), locate_prefixes(path)
    for rlevel in prefixes.rlevels:
        expected = jp2batch.read(path, rlevel).values
        assert expected.shape == prefixes.level_shape(rlevel)
        rows, columns = prefixes.chunk_shape(rlevel)
        for row, column in np.ndindex(prefixes.starts.shape):
            start, size = prefixes.starts[row, column], prefixes.lengths[rlevel, row, column]
            found = decode_prefix(prefixes.header, rlevel, prefixes.dtype, data[start : start + size])
            inside = expected[row * rows : (row + 1) * rows, column * columns : (column + 1) * columns]
            padded = np.zeros((rows, columns), expected.dtype)
            padded[: inside.shape[0], : inside.shape[1]] = inside
            np.testing.assert_array_equal(found, padded)


def test_low_levels_take_few_bytes(bands):
    sizes = locate_prefixes(bands[0]).lengths.sum((1, 2))
    assert (sizes[1:] < sizes[:-1] / 2).all()
    assert sizes[0] < Path(bands[0]).stat().st_size


@pytest.mark.parametrize(
    ("coding", "reason"),
    [
        (Coding(tile=(128, 128), layers=2), "is not at the beginning of its tile-part"),
        (Coding(tile=(128, 128), precincts=(32, 32), progression="PCRL"), "is not at the beginning of its tile-part"),
        (Coding(tile=(128, 128), tile_parts="R", precincts=None), "has 5 tile-parts"),
        (Coding(tile=(100, 128)), r"100 pixels of a tile cannot be divided by 2\^4"),
        (Coding(tile=(128, 128), image_offset=(4, 4)), "offset is not 0"),
    ],
    ids=["layers", "PCRL", "tile-parts", "tile size", "offset"],
)
def test_other_layouts_are_refused_in_a_line(tmp_path, coding, reason):
    path = write_band(tmp_path, "B02", coding)
    with pytest.raises(UnsupportedImage, match=reason) as caught:
        write_references(path, str(tmp_path / "r.json"))
    assert path in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "r.json").exists()


def test_packet_headers_in_ppm_are_refused(tmp_path):
    path = Path(write_band(tmp_path, "B02", Coding(tile=(128, 128), eph=True)))
    path.write_bytes(rewrite.with_packed_headers(path.read_bytes(), in_parts=False))
    with pytest.raises(UnsupportedImage, match="its packet headers are in PPM"):
        write_references(str(path), str(tmp_path / "r.json"))


def test_colours_are_refused(image_of, tmp_path):
    with pytest.raises(UnsupportedImage, match="it has 3 bands"):
        write_references(image_of("TCI_60m"), str(tmp_path / "r.json"))


@pytest.mark.parametrize("change", ["cut", "other", "level"])
def test_other_bytes_are_no_tile(bands, change):
    prefixes, data = locate_prefixes(bands[0]), Path(bands[0]).read_bytes()
    start, size = prefixes.starts[0, 0], prefixes.lengths[1, 0, 0]
    tile = data[start : start + size]
    chunk = {"cut": tile[:-1], "other": b"\0" * 99, "level": tile}[change]
    with pytest.raises(CorruptImage):
        decode_prefix(prefixes.header, 0 if change == "level" else 1, prefixes.dtype, chunk)


def test_kerchunk_json_is_exact_at_each_level(bands, tmp_path):
    write_references(bands, str(tmp_path / "r.json"))
    assert_exact(lambda rlevel: open_level(tmp_path / "r.json", rlevel), bands)


def test_kerchunk_parquet_is_exact_at_each_level(bands, tmp_path):
    pytest.importorskip("fastparquet", reason="fsspec reads these tables with it")
    pytest.importorskip("pyarrow")
    write_references(bands, str(tmp_path / "r.parquet"))
    with pytest.warns():  # pandas warns of fastparquet
        assert_exact(lambda rlevel: open_level(tmp_path / "r.parquet", rlevel, remote_protocol="file"), bands)


def test_the_group_is_a_pyramid_of_geozarr(image_of, tmp_path):
    path = image_of("B8A_60m")
    write_references(path, str(tmp_path / "r.json"))
    references = json.loads((tmp_path / "r.json").read_text())["refs"]
    root, lowest = json.loads(references[".zattrs"]), json.loads(references["4/.zattrs"])
    assert [one["name"] for one in root["zarr_conventions"]] == ["multiscales", "proj:", "spatial:"]
    assert root["multiscales"]["layout"][4] == {"asset": "4", "derived_from": "3", "transform": {"scale": [2.0, 2.0]}}
    assert root["proj:code"] == lowest["proj:code"] == "EPSG:32629"
    image = jp2batch.read(path, 4)
    a, _, c, _, e, f = lowest["spatial:transform"]
    np.testing.assert_allclose(image.x[:2], [c + 0.5 * a, c + 1.5 * a])
    np.testing.assert_allclose(image.y[:2], [f + 0.5 * e, f + 1.5 * e])
    assert_exact(lambda rlevel: open_level(tmp_path / "r.json", rlevel), [path])


def test_tiles_over_http_are_exact(bands, http_server, tmp_path):
    pytest.importorskip("aiohttp")
    for path in bands:
        http_server.files[Path(path).name] = Path(path).read_bytes()
    urls = [http_server.url(Path(path).name) for path in bands]
    write_references(urls, str(tmp_path / "r.json"))
    remote = {"remote_protocol": "http", "remote_options": {"asynchronous": True}}
    assert_exact(lambda rlevel: open_level(tmp_path / "r.json", rlevel, **remote), bands)


@pytest.mark.seaweedfs
def test_tiles_of_a_store_are_exact(bands, s3_server, tmp_path):
    urls = [s3_server.put(f"virtual/{Path(path).name}", Path(path).read_bytes()) for path in bands]
    write_references(urls, str(tmp_path / "r.json"), storage_options=s3_server.options)
    text = (tmp_path / "r.json").read_text()
    assert not [secret for secret in s3_server.options.values() if secret in text]
    remote = {"remote_protocol": "s3", "remote_options": s3_server.options | {"asynchronous": True}}
    assert_exact(lambda rlevel: open_level(tmp_path / "r.json", rlevel, **remote), bands)


def icechunk_level(folder: Path, rlevel: int, access: str) -> xr.Dataset:
    """Open a level of a store of Icechunk; `access` is its name for that without credentials, None before 2.3."""
    import icechunk

    storage = icechunk.local_filesystem_storage(str(folder))
    containers = icechunk.Repository.fetch_config(storage).virtual_chunk_containers
    allowed = dict.fromkeys(containers, getattr(icechunk.credentials, access, None))
    store = icechunk.Repository.open(storage, authorize_virtual_chunk_access=allowed).readonly_session("main").store
    return xr.open_zarr(store, group=str(rlevel), consolidated=False, decode_coords="all")


def test_icechunk_is_exact_at_each_level(bands, tmp_path):
    pytest.importorskip("icechunk")
    write_references(bands, str(tmp_path / "store"), format="icechunk")
    assert_exact(lambda rlevel: icechunk_level(tmp_path / "store", rlevel, "LocalFileSystemAccess"), bands)
    with pytest.raises(InvalidRequest, match="name a new folder"):
        write_references(bands, str(tmp_path / "store"), format="icechunk")


def test_virtualizarr_parses_images(bands):
    virtualizarr = pytest.importorskip("virtualizarr")
    from obspec_utils.registry import ObjectStoreRegistry
    from obstore.store import LocalStore

    url, registry = f"file://{bands[0]}", ObjectStoreRegistry({"file://": LocalStore()})
    store = jp2batch.Jp2Parser()(url, registry)
    for rlevel in range(5):
        dataset = xr.open_zarr(store, group=str(rlevel), consolidated=False, zarr_format=3)
        np.testing.assert_array_equal(dataset.B02.values, jp2batch.read(bands[0], rlevel).values)
    parser = jp2batch.Jp2Parser(rlevel=2)
    with virtualizarr.open_virtual_dataset(url=url, registry=registry, parser=parser, loadable_variables=[]) as virtual:
        assert virtual.B02.shape == jp2batch.open(bands[0], 2).shape


def test_a_cluster_computes_with_the_codec(bands, tmp_path):
    from jp2batch.compute.cluster import local_cluster

    write_references(bands, str(tmp_path / "r.json"))
    with local_cluster(2) as client:
        level = open_level(tmp_path / "r.json", 1)
        total = client.compute(level.B03.astype("u8").sum()).result().item()
    assert total == int(jp2batch.read(bands[1], 1).astype("u8").sum())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda paths, folder: [], "there is no image"),
        (lambda paths, folder: [*paths, paths[0]], "two images have the name B02"),
        (lambda paths, folder: [paths[0], write_band(folder, "B08", shape=(200, 200))], "its grid differs"),
        (lambda paths, folder: ["https://host/B02.jp2?X-Amz-Signature=1"], "would store its credentials"),
    ],
    ids=["none", "twice", "grids", "credentials"],
)
def test_images_must_share_a_grid(bands, tmp_path, change, problem):
    with pytest.raises(InvalidRequest, match=problem):
        write_references(change(bands, tmp_path), str(tmp_path / "r.json"))


@pytest.mark.parametrize("options", [{"output": "r.zarr"}, {"output": "r.json", "format": "hdf"}], ids=str)
def test_unknown_outputs_are_refused(bands, options):
    with pytest.raises(InvalidRequest):
        write_references(bands, **options)


def test_icechunk_reads_urls_with_ports_or_refuses_them(bands, http_server, tmp_path):
    icechunk = pytest.importorskip("icechunk")
    http_server.files["B02.jp2"] = Path(bands[0]).read_bytes()
    url = http_server.url("B02.jp2")
    if not hasattr(icechunk.credentials, "HttpAccess"):  # before 2.3
        with pytest.raises(InvalidRequest, match="write references of kerchunk"):
            write_references(url, str(tmp_path / "store"), format="icechunk")
        return
    write_references(url, str(tmp_path / "store"), format="icechunk")
    assert_exact(lambda rlevel: icechunk_level(tmp_path / "store", rlevel, "HttpAccess"), bands[:1])


def test_the_command_line_writes_references(bands, tmp_path):
    manifest, output = tmp_path / "bands.csv", tmp_path / "r.json"
    manifest.write_text("path\n" + "\n".join(bands))
    done = CliRunner().invoke(main, ["index", str(manifest), "-o", str(output), "--to", "kerchunk"])
    assert (done.exit_code, done.stderr) == (0, f"jp2batch: wrote {output}: references to 4 images\n")
    write_references(bands, str(tmp_path / "same.json"))
    assert output.read_bytes() == (tmp_path / "same.json").read_bytes()
    done = CliRunner().invoke(main, ["index", str(manifest), "-o", str(output), "--to", "kerchunk", "--workers", "2"])
    assert done.exit_code == 2
    assert "takes no --scheduler" in done.stderr
