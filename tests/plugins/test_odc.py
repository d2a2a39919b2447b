"""`odc.stac.load(items, driver="jp2batch")` gives the pixels of odc's own driver, in fewer requests."""

import itertools
import logging
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rioxarray  # noqa: F401  # gives arrays their accessor

import jp2batch
from jp2batch.core.errors import ImageNotFound, InvalidRequest, Jp2BatchError
from jp2batch.sample.coding import Coding
from jp2batch.sample.encode import encode
from support.archive import TIME, image, numbers, write_product
from support.items import item_of

stac = pytest.importorskip("odc.stac")
pytestmark = pytest.mark.filterwarnings("ignore")  # of others

from affine import Affine  # noqa: E402
from odc.geo.geobox import GeoBox  # noqa: E402
from pyproj import Transformer  # noqa: E402
from rasterio.enums import Resampling  # noqa: E402
from rasterio.warp import reproject  # noqa: E402

from jp2batch.plugins.odc import OdcDriver  # noqa: E402

NAMES = {"B04": "B04_10m", "B11": "B11_20m"}
EPSG = 32633
GRIDS = ("native", "between", "shifted", "other zone", "EPSG:3857", "EPSG:3035")
METHODS = ("nearest", "bilinear", "cubic", "average", "lanczos")


@dataclass(frozen=True)
class Scene:
    """A product, and its STAC item."""

    paths: dict[str, str]
    item: Any


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Scene:
    images = {"B04_10m": numbers(1, 611, hole=(slice(0, 90), slice(300, 611))), "B11_20m": numbers(2, 306)}
    product = write_product(tmp_path_factory.mktemp("scene"), images)
    paths = {band: image(product, name) for band, name in NAMES.items()}
    return Scene(paths, item_of(product, paths))


def grid_of(kind: str, seed: int, bounds: tuple[float, ...]) -> GeoBox:
    """Return a random grid of a kind, near an image or across its edge."""
    random = np.random.default_rng(seed)
    epsg = {"other zone": 32632, "EPSG:3857": 3857, "EPSG:3035": 3035}.get(kind, EPSG)
    x0, y0, x1, y1 = bounds
    centre = random.uniform(x0 - 400, x1 + 400), random.uniform(y0 - 400, y1 + 400)
    x, y = Transformer.from_crs(EPSG, epsg, always_xy=True).transform(*centre)
    rows, columns = (int(size) for size in random.integers(20, 600, 2))
    metres = {"native": 10.0, "shifted": 10.0, "between": random.uniform(3, 9)}.get(kind, random.uniform(4, 13))
    left, top = x - metres * columns / 2, y + metres * rows / 2
    if kind == "native":
        left, top = x0 + 10 * round((left - x0) / 10), y1 - 10 * round((y1 - top) / 10)
    return GeoBox((rows, columns), Affine(metres, 0, left, 0, -metres, top), f"EPSG:{epsg}")


def load(items: Any, driver: Any, **options: Any) -> Any:
    chosen = {"bands": [*NAMES], "dtype": "uint16", "nodata": 0} | options
    return stac.load(items if isinstance(items, list) else [items], driver=driver, **chosen)


@pytest.mark.parametrize(
    "seeds",
    [
        *(range(seed, 612, 612) for seed in range(18)),
        pytest.param(range(100, 300), marks=[pytest.mark.exhaustive, pytest.mark.timeout(900)], id="200"),
    ],
)
def test_a_random_grid_has_the_pixels_of_rio(scene, seeds):
    bounds = jp2batch.inspect(scene.paths["B04"]).bounds
    kinds = list(itertools.product(METHODS, GRIDS))
    for seed in seeds:
        method, kind = kinds[seed % len(kinds)]
        options = {"geobox": grid_of(kind, seed, bounds), "resampling": method}
        ours, theirs = (load(scene.item, driver, **options) for driver in ("jp2batch", "rio"))
        for band in NAMES:
            np.testing.assert_array_equal(ours[band].values, theirs[band].values, f"{seed}: {kind}, {method}")


@pytest.mark.parametrize("rlevel", [1, 2, 3, 4])
@pytest.mark.parametrize("epsg", [EPSG, 3857])
def test_overviews_lie_where_their_samples_are(scene, rlevel, epsg):
    level = jp2batch.read(scene.paths["B04"], rlevel)
    metres, side = 10.3 * 2**rlevel * (1.5 if epsg == 3857 else 1), 12
    corner = Transformer.from_crs(EPSG, epsg, always_xy=True).transform(float(level.x[4]), float(level.y[3]))
    grid = GeoBox((side, side), Affine(metres, 0, corner[0], 0, -metres, corner[1]), f"EPSG:{epsg}")
    expected = np.zeros((side, side), np.uint16)
    places = {"src_transform": level.rio.transform(), "dst_transform": grid.transform}
    reproject(
        level.values, expected, src_crs=EPSG, dst_crs=epsg, dst_nodata=0, resampling=Resampling.bilinear, **places
    )
    found = load(scene.item, "jp2batch", bands=["B04"], geobox=grid, resampling="bilinear").B04[0].values
    assert (expected > 0).mean() > 0.5
    np.testing.assert_array_equal(found, expected)
    full = load(scene.item, "jp2batch", bands=["B04"], geobox=grid, resampling="bilinear", use_overviews=False)
    theirs = load(scene.item, "rio", bands=["B04"], geobox=grid, resampling="bilinear", use_overviews=False)
    np.testing.assert_array_equal(full.B04.values, theirs.B04.values)


def test_eager_and_lazy_loads_group_and_mosaic_as_those_of_rio(tmp_path):
    items = []
    for number, moved in enumerate([(0, 0), (900, -600)]):
        images = {name: numbers(number + int(name[1:3]), int(3000 / int(name[4:6]))) for name in NAMES.values()}
        product = write_product(tmp_path, images, moved=moved, time=TIME.replace(hour=10 + number))
        items.append(item_of(product, {band: image(product, name) for band, name in NAMES.items()}))
    options = {"crs": 32632, "resolution": 20, "groupby": "solar_day"}
    for chunks in (None, {"x": 70, "y": 90}):  # odc's nearest pixels depend on chunks
        theirs = load(items, "rio", chunks=chunks, **options)
        for driver in ("jp2batch", OdcDriver()):
            found = load(items, driver, chunks=chunks, **options)
            assert dict(found.sizes) == dict(theirs.sizes)
            for band in NAMES:
                np.testing.assert_array_equal(found[band].values, theirs[band].values)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_other_types_have_the_no_data_of_the_load(scene, dtype):
    options = {"dtype": dtype, "nodata": -7, "crs": EPSG, "resolution": 10}
    ours, theirs = (load(scene.item, driver, **options) for driver in ("jp2batch", "rio"))
    np.testing.assert_array_equal(ours.B04.values, theirs.B04.values)


def colours(folder: Path) -> tuple[np.ndarray, Any]:
    """Write an image of three bands, and return it with its item."""
    product = write_product(folder, {"B04_10m": numbers(1, 200)})
    path = image(product, "B04_10m")
    item = item_of(product, {"TCI": path})
    from jp2batch.sample.georeference import gmljp2, tile_corner

    epsg, x, y = tile_corner("T33TWL")
    pixels = np.random.default_rng(0).integers(0, 255, (3, 200, 200)).astype(np.uint8)
    box = gmljp2(200, 200, epsg, (x, y), 10)
    Path(path).write_bytes(encode(pixels, Coding(tile=(128, 128), levels=4, bits=8), boxes=box))
    return pixels, item


@pytest.mark.parametrize("number", [2, 4])
def test_a_band_that_is_missing_is_named(scene, number):
    from odc.loader import RasterLoadParams, RasterSource

    reader = OdcDriver().open(RasterSource(scene.paths["B04"], band=number), {})
    grid = grid_of("native", 1, jp2batch.inspect(scene.paths["B04"]).bounds)
    with pytest.raises(InvalidRequest, match=rf"B04_10m.jp2: it has no band {number} \(it has 1\)"):
        reader.read(RasterLoadParams("uint16"), grid)


def test_bands_are_read_by_number_or_all_at_once(tmp_path):
    from odc.loader import RasterBandMetadata, RasterLoadParams, RasterSource

    pixels, item = colours(tmp_path)
    grid = load(item, "jp2batch", bands=["TCI"], crs=EPSG, resolution=10).odc.geobox
    for number in (1, 3):
        reader = OdcDriver().open(RasterSource(item.assets["TCI"].href, band=number), {})
        np.testing.assert_array_equal(reader.read(RasterLoadParams("uint8"), grid)[1], pixels[number - 1])
    for dims, axes in ((("y", "x", "band"), (1, 2, 0)), (("band", "y", "x"), (0, 1, 2))):
        meta = RasterBandMetadata("uint8", dims=dims)
        reader = OdcDriver().open(RasterSource(item.assets["TCI"].href, band=0, meta=meta), {})
        target = np.zeros(pixels.transpose(axes).shape, np.uint8)
        for dst in (None, target):
            _, found = reader.read(RasterLoadParams.same_as(meta), grid, dst=dst)
            np.testing.assert_array_equal(found, pixels.transpose(axes))
        np.testing.assert_array_equal(target, found)


def test_failures_are_raised_or_left_out(scene, tmp_path, caplog):
    lost = scene.item.clone()
    lost.assets["B04"].href = str(tmp_path / "T33TWL_20230625T100541_B04_10m.jp2")
    options = {"bands": ["B04"], "crs": EPSG, "resolution": 60}
    with pytest.raises(ImageNotFound):
        load(lost, "jp2batch", **options)
    with caplog.at_level(logging.WARNING, "jp2batch"):
        found = load(lost, "jp2batch", fail_on_error=False, **options)
    assert not found.B04.values.any()
    assert "left out: " in caplog.text


def test_an_image_without_place_is_refused(scene, tmp_path):
    path = tmp_path / "bare.jp2"
    path.write_bytes(encode(numbers(1, 64), Coding(tile=(64, 64), levels=2)))
    bare = scene.item.clone()
    bare.assets["B04"].href = str(path)
    with pytest.raises(Jp2BatchError, match=r"bare.jp2: the image has no georeference"):
        load(bare, "jp2batch", bands=["B04"], crs=EPSG, resolution=60)


def test_options_reach_workers_and_are_never_shown():
    driver = OdcDriver({"key": "k", "secret": "hidden"})
    again = pickle.loads(pickle.dumps(driver))
    assert again._options == {"key": "k", "secret": "hidden"}
    reader = again.open(None, {})
    assert "hidden" not in f"{driver!r}{reader!r}{vars(driver)}"


@pytest.mark.parametrize("first", ["import jp2batch, odc.stac", "import odc.stac, jp2batch"])
def test_the_name_is_registered_in_any_order_of_imports(first):
    code = f"{first}; import odc.loader as l; print(type(l.reader_driver('jp2batch')).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "OdcDriver\n"


def test_the_dotted_name_needs_no_other_import():
    code = "import odc.loader as l; print(type(l.reader_driver('jp2batch.plugins.odc.OdcDriver')).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "OdcDriver\n"


def test_importing_jp2batch_imports_neither():
    code = "import sys, jp2batch; print({'odc', 'rasterio', 'jp2batch.plugins'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("tlm", [True, False])
def test_a_window_takes_few_requests(http_server, tmp_path, tlm):
    from jp2batch.sample.product import make_image

    path = make_image(tmp_path / "T33TWL_20230625T100541_B04_10m.jp2", numbers(3, 6144), 10, tile="T33TWL", tlm=tlm)
    http_server.files[path.name] = path.read_bytes()
    remote = item_of(tmp_path, {"B04": str(path)})
    remote.assets["B04"].href = http_server.url(path.name)
    left, _, _, top = jp2batch.inspect(str(path)).bounds
    grid = GeoBox((500, 500), Affine(10, 0, left + 32000, 0, -10, top - 33000), f"EPSG:{EPSG}")
    before = http_server.requests
    found = load(remote, "jp2batch", bands=["B04"], geobox=grid)
    assert http_server.requests - before <= 25
    np.testing.assert_array_equal(found.B04[0].values, numbers(3, 6144)[3300:3800, 3200:3700])
