"""The readers for rio-tiler give the pixels of its own, and take few bytes."""

import asyncio
import contextlib
import io
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jp2batch
from jp2batch.core.errors import ImageNotFound, InvalidRequest
from jp2batch.sample.coding import Coding
from jp2batch.sample.encode import encode
from jp2batch.sample.product import make_product
from support.archive import image, numbers, write_product

tiler = pytest.importorskip("rio_tiler.io")
pytestmark = pytest.mark.filterwarnings("ignore")  # of others

from rio_tiler.errors import PointOutsideBounds, TileOutsideBounds  # noqa: E402

from jp2batch.plugins.rio_tiler import AsyncTilerReader, TilerReader  # noqa: E402

SIZE = 1211
CENTRE = 15.078, 45.999
BOX = 15.02, 45.97, 15.06, 46.0
FIELD = {"type": "Polygon", "coordinates": [[[15.01, 45.95], [15.06, 45.96], [15.03, 45.99], [15.01, 45.95]]]}


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    pixels = numbers(1, SIZE, hole=(slice(0, 500), slice(0, 400)))
    return image(write_product(tmp_path_factory.mktemp("scene"), {"B04_10m": pixels}), "B04_10m")


@pytest.fixture
def readers(path) -> Iterator[tuple[tiler.Reader, TilerReader]]:
    with tiler.Reader(path) as theirs, TilerReader(path) as ours:
        yield ours, theirs


def assert_equal(ours, theirs) -> None:
    np.testing.assert_array_equal(ours.array.mask, theirs.array.mask)
    np.testing.assert_array_equal(ours.array.filled(0), theirs.array.filled(0))
    assert ours.array.dtype == theirs.array.dtype
    assert (ours.band_names, ours.crs, ours.nodata) == (theirs.band_names, theirs.crs, theirs.nodata)


@pytest.mark.parametrize("zoom", [13, 14, 16])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"nodata": 0},
        {"reproject_method": "bilinear"},
        {"reproject_method": "cubic", "tilesize": 300},
        {"buffer": 1.0},
        {"padding": 2},
        {"resampling_method": "bilinear"},
        {"expression": "b1*2"},
    ],
    ids=str,
)
@pytest.mark.parametrize("east", [0, 0.08], ids=["inside", "at the edge"])
def test_tiles_of_the_full_image_are_those_of_rio_tiler(readers, zoom, options, east):
    ours, theirs = readers
    tile = theirs.tms.tile(CENTRE[0] + east, CENTRE[1], zoom)
    assert_equal(ours.tile(tile.x, tile.y, zoom, **options), theirs.tile(tile.x, tile.y, zoom, **options))


@pytest.mark.parametrize(
    "read",
    [
        lambda reader: reader.part(BOX),
        lambda reader: reader.part(BOX, dst_crs="EPSG:32633"),
        lambda reader: reader.part(BOX, dst_crs="EPSG:3035", height=300, width=400),
        lambda reader: reader.part((500000, 5090000, 503000, 5093000), bounds_crs="EPSG:32633"),
        lambda reader: reader.part((14.9, 45.9, 15.06, 46.1), width=1000),
        lambda reader: reader.preview(max_size=None),
        lambda reader: reader.read(window=((10, 50), (1190, 1211))),
        lambda reader: reader.read(dst_crs="EPSG:3857"),
        lambda reader: reader.feature(FIELD),
        lambda reader: reader.feature(FIELD, dst_crs="EPSG:3857", indexes=1),
    ],
)
def test_parts_of_the_full_image_are_those_of_rio_tiler(readers, read):
    ours, theirs = map(read, readers)
    assert_equal(ours, theirs)


def test_points_and_statistics_are_those_of_rio_tiler(readers):
    ours, theirs = readers
    for options in ({}, {"interpolate": True, "resampling_method": "bilinear"}, {"expression": "b1+1"}):
        np.testing.assert_array_equal(ours.point(*CENTRE, **options).array, theirs.point(*CENTRE, **options).array)
    assert ours.statistics(max_size=None) == theirs.statistics(max_size=None)
    for name in ("bounds", "crs", "minzoom", "maxzoom"):
        assert getattr(ours, name) == getattr(theirs, name)
    mine, other = ours.info().model_dump(), theirs.info().model_dump()
    assert (mine.pop("driver"), other.pop("driver")) == ("jp2batch", "JP2OpenJPEG")
    assert mine == other


def test_previews_are_made_of_the_level_that_fits(readers):
    ours, theirs = readers
    level = jp2batch.read(theirs.input, 3)
    found = ours.preview(max_size=level.shape[0])
    np.testing.assert_array_equal(found.array.data[0], level.values)
    assert found.array.shape == theirs.preview(max_size=level.shape[0]).array.shape
    assert ours.preview(max_size=100, resampling_method="bilinear").array.shape == (1, 100, 100)


@pytest.mark.parametrize("zoom", [8, 10, 11, 12])
def test_tiles_of_levels_lie_where_those_of_the_full_image_do(path, tmp_path, zoom):
    ramp = np.add.outer(np.arange(SIZE), 3 * np.arange(SIZE)).astype(np.uint16) + 1000
    product = write_product(tmp_path, {"B04_10m": ramp})
    with TilerReader(image(product, "B04_10m")) as ours, tiler.Reader(image(product, "B04_10m")) as theirs:
        tile = theirs.tms.tile(*CENTRE, zoom)
        options = {"reproject_method": "bilinear", "resampling_method": "bilinear"}
        found, expected = (reader.tile(tile.x, tile.y, zoom, **options).array for reader in (ours, theirs))
    both = ~found.mask & ~expected.mask
    step = 4 * 2 ** (13 - zoom)  # of the ramp, from pixel to pixel of the tile
    assert abs(found.astype(int) - expected.astype(int))[both].mean() < step
    assert (found.mask != expected.mask).mean() < 0.01


def test_bands_keep_their_numbers_and_colours(tmp_path):
    from jp2batch.sample.georeference import gmljp2, tile_corner

    epsg, x, y = tile_corner("T33TWL")
    pixels = np.random.default_rng(0).integers(0, 255, (3, 300, 300)).astype(np.uint8)
    target = tmp_path / "T33TWL_20230625T100541_TCI_10m.jp2"
    target.write_bytes(
        encode(pixels, Coding(tile=(128, 128), levels=4, bits=8), boxes=gmljp2(300, 300, epsg, (x, y), 10))
    )
    with TilerReader(str(target)) as ours, tiler.Reader(str(target)) as theirs:
        assert ours.info().colorinterp == theirs.info().colorinterp
        np.testing.assert_array_equal(ours.read(indexes=(3, 1)).array.data, pixels[[2, 0]])
        assert ours.preview(max_size=64).render(img_format="PNG").startswith(b"\x89PNG")


def test_what_lies_outside_is_named(readers):
    ours, _ = readers
    with pytest.raises(TileOutsideBounds):
        ours.tile(0, 0, 14)
    with pytest.raises(PointOutsideBounds):
        ours.point(3, 45)
    assert ours.part((14, 45, 14.1, 45.1), height=32, width=32).array.mask.all()


def test_errors_are_typed(tmp_path):
    with pytest.raises(ImageNotFound, match=r"none\.jp2"):
        TilerReader(str(tmp_path / "none.jp2"))
    bare = tmp_path / "bare.jp2"
    bare.write_bytes(encode(numbers(1, 64), Coding(tile=(64, 64), levels=2)))
    with pytest.raises(InvalidRequest, match=r"bare\.jp2: the image has no georeference"):
        TilerReader(str(bare))


def test_options_are_never_shown(path):
    with TilerReader(path, storage_options={"secret": "hidden"}) as reader:
        assert "hidden" not in f"{reader!r}{reader.storage_options!r}"


def test_asynchronous_reads_are_those_of_the_reader(path):
    async def read() -> list:
        async with AsyncTilerReader(path) as reader:
            tile = reader.tms.tile(*CENTRE, 13)
            return await asyncio.gather(
                reader.info(),
                reader.statistics(),
                reader.tile(tile.x, tile.y, 13),
                reader.part(BOX),
                reader.preview(),
                reader.point(*CENTRE),
                reader.feature(FIELD),
            )

    info, statistics, *images = asyncio.run(read())
    with TilerReader(path) as reader:
        tile = reader.tms.tile(*CENTRE, 13)
        expected = [reader.tile(tile.x, tile.y, 13), reader.part(BOX), reader.preview(), reader.point(*CENTRE)]
        expected.append(reader.feature(FIELD))
        assert (info, statistics) == (reader.info(), reader.statistics())
    for found, other in zip(images, expected, strict=True):
        np.testing.assert_array_equal(found.array.filled(0), other.array.filled(0))


@pytest.mark.usefixtures("dear_bytes")
def test_a_tile_and_a_preview_take_few_bytes(http_server, path):
    name = Path(path).name
    http_server.files[name] = Path(path).read_bytes()
    with TilerReader(http_server.url(name)) as reader:
        tile = reader.tms.tile(*CENTRE, 15)
        found = reader.tile(tile.x, tile.y, 15)
        after_tile = http_server.bytes_sent
        reader.preview(max_size=60)
    size = len(http_server.files[name])
    assert (after_tile < size / 4, http_server.bytes_sent - after_tile < size / 4) == (True, True)
    with TilerReader(path) as local:
        assert_equal(found, local.tile(tile.x, tile.y, 15))


def test_the_server_of_the_docs_serves_tiles(tmp_path):
    page = Path(__file__).parents[2].joinpath("docs", "ecosystem.md").read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "tornado" in block)
    product = make_product(tmp_path / "scenes", size=600, bands=["B02"])
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with subprocess.Popen([sys.executable, "-c", code.replace("8000", str(port))], cwd=tmp_path) as process:
        try:
            with TilerReader(str(next(product.rglob("*_TCI_10m.jp2")))) as reader:
                west, south, east, north = reader.get_geographic_bounds("EPSG:4326")
                tile = reader.tms.tile((west + east) / 2, (south + north) / 2, 14)
                expected = reader.tile(tile.x, tile.y, 14, nodata=0)
            url = f"http://127.0.0.1:{port}/14/{tile.x}/{tile.y}"
            with Image.open(io.BytesIO(until_served(url))) as picture:
                found = np.asarray(picture)
        finally:
            process.terminate()
    np.testing.assert_array_equal(found[..., :3].transpose(2, 0, 1), expected.array.filled(0))
    np.testing.assert_array_equal(found[..., 3] == 0, expected.array.mask.any(axis=0))


def until_served(url: str) -> bytes:
    for _ in range(200):
        with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(url, timeout=30) as answer:
            return answer.read()
        time.sleep(0.1)
    raise AssertionError("nothing is served")
