"""Products of any layout, whole or not, are alike for every function."""

import json
import mmap
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import jp2batch
from jp2batch.cli import main
from jp2batch.core.errors import CubeMismatch, MetadataError
from jp2batch.sample.product import make_product

TILE = "tiles/29/U/NU/2022/10/5/0"
BAND = "B8A"  # its finest image has pixels of 20 m


@pytest.fixture(scope="module")
def safe(tmp_path_factory) -> Path:
    return make_product(tmp_path_factory.mktemp("safe"), size=180, bands=["B04", BAND])


@pytest.fixture(scope="module")
def level_1c(tmp_path_factory) -> Path:
    return make_product(tmp_path_factory.mktemp("l1c"), size=180, bands=["B04", BAND], level="L1C")


def pixels_of(product: Path) -> np.ndarray:
    image = max(product.rglob(f"*_{BAND}*.jp2"), key=lambda path: path.stat().st_size)
    return jp2batch.read(str(image), 0).values


# Layouts: each function copies a product into a folder, and returns its path.


def _folder_without_safe(product: Path, folder: Path) -> str:
    return str(shutil.copytree(product, folder / "unpacked"))


def _without_metadata(product: Path, folder: Path) -> str:
    copy = shutil.copytree(product, folder / product.name)
    next(Path(copy).glob("MTD_*.xml")).unlink()
    return str(copy)


def _cut_metadata(product: Path, folder: Path) -> str:
    copy = shutil.copytree(product, folder / product.name)
    metadata = next(Path(copy).glob("MTD_*.xml"))
    metadata.write_bytes(metadata.read_bytes()[:500])
    return str(copy)


def _empty_metadata(product: Path, folder: Path) -> str:
    copy = shutil.copytree(product, folder / product.name)
    metadata = next(Path(copy).glob("MTD_*.xml"))
    metadata.write_bytes(b"")
    return str(metadata)  # named as the product


def _flat(product: Path, folder: Path) -> str:
    images = folder / "product" / "IMG_DATA"
    images.mkdir(parents=True)
    for image in product.glob("GRANULE/*/IMG_DATA/**/*.jp2"):
        shutil.copy(image, images)
    return str(images.parent)


def _images_alone(product: Path, folder: Path) -> str:
    return f"{_flat(product, folder)}/IMG_DATA/"


def _of_amazon(product: Path, folder: Path, tile: str) -> Path:
    """Copy the images into a tile's folder of Sinergise; the metadata into that of the product."""
    for image in product.glob("GRANULE/*/IMG_DATA/**/*.jp2"):
        _, _, band, *size = image.stem.split("_")
        place = Path(folder, tile, *(f"R{metres}" for metres in size), f"{band}.jp2")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, place)
    (folder / tile / "preview").mkdir()
    shutil.copy(next(product.glob("**/*_B04*.jp2")), folder / tile / "preview/B04.jp2")
    facts = {"path": TILE, "productName": product.stem, "productPath": f"products/2022/10/5/{product.stem}"}
    (folder / tile / "tileInfo.json").write_text(json.dumps(facts))
    return folder / tile


def _bucket_of_amazon(product: Path, folder: Path) -> str:
    tile = _of_amazon(product, folder, TILE)
    told = folder / f"products/2022/10/5/{product.stem}"
    told.mkdir(parents=True)
    shutil.copy(next(product.glob("MTD_*.xml")), told / "metadata.xml")
    return str(tile)


def _copy_of_amazon(product: Path, folder: Path) -> str:
    tile = _of_amazon(product, folder, "copy")
    (tile / "productInfo").mkdir()
    shutil.copy(next(product.glob("MTD_*.xml")), tile / "productInfo/metadata.xml")
    return str(tile)


def _zipped(product: Path, folder: Path, method: int = zipfile.ZIP_STORED) -> str:
    with zipfile.ZipFile(folder / f"{product.name}.zip", "w", method) as archive:
        for path in filter(Path.is_file, product.rglob("*")):
            archive.write(path, path.relative_to(product.parent))
    return str(folder / f"{product.name}.zip")


def _deflated(product: Path, folder: Path) -> str:
    return _zipped(product, folder, zipfile.ZIP_DEFLATED)


def _zipped_without_folder(product: Path, folder: Path) -> str:
    return shutil.make_archive(str(folder / "files"), "zip", product)


def _zipped_without_metadata(product: Path, folder: Path) -> str:
    copy = Path(_without_metadata(product, folder))
    return shutil.make_archive(str(folder / product.stem), "zip", folder, copy.name)


def _tar(product: Path, folder: Path) -> str:
    return shutil.make_archive(str(folder / product.stem), "tar", product.parent, product.name)


LOCAL = [
    _folder_without_safe,
    _without_metadata,
    _cut_metadata,
    _empty_metadata,
    _flat,
    _images_alone,
    _bucket_of_amazon,
    _copy_of_amazon,
    _zipped,
    _deflated,
    _zipped_without_folder,
    _zipped_without_metadata,
    _tar,
]

# Functions: each returns the pixels of the band.


def _by_open_product(product: str, options: dict[str, object]) -> np.ndarray:
    tree = jp2batch.open_product(product, BAND, storage_options=options)
    return tree["R20m"].ds[BAND].values


def _by_open_cube(product: str, options: dict[str, object]) -> np.ndarray:
    return jp2batch.open_cube(product, bands=BAND, storage_options=options).values[0, 0]


def _by_list_requests(product: str, options: dict[str, object]) -> np.ndarray:
    (request,) = jp2batch.list_requests(product, BAND, rlevel=0, storage_options=options)
    return jp2batch.read(request.path, 0, storage_options=options).values


def _by_the_command(product: str, options: dict[str, object]) -> np.ndarray:
    flags = ["--storage-options", json.dumps(options)] if options else []
    done = CliRunner().invoke(main, ["manifest", product, "--bands", BAND, *flags], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (row,) = map(json.loads, done.stdout.splitlines())
    assert row["band"] == BAND
    return jp2batch.read(row["Path"], 0, storage_options=options).values


FUNCTIONS = [_by_open_product, _by_open_cube, _by_list_requests, _by_the_command]

Layout = Callable[[Path, Path], str]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("layout", LOCAL)
@pytest.mark.parametrize("level", ["safe", "level_1c"])
def test_every_function_opens_every_layout(level, layout: Layout, function, request, tmp_path):
    product: Path = request.getfixturevalue(level)
    np.testing.assert_array_equal(function(layout(product, tmp_path), {}), pixels_of(product))


@pytest.mark.parametrize(
    ("layout", "problem"),
    [
        (_without_metadata, "MTD_MSIL2A.xml: cannot be read: there is no such file"),
        (_cut_metadata, "MTD_MSIL2A.xml: its metadata are damaged"),
        (_empty_metadata, "MTD_MSIL2A.xml: its metadata are damaged"),
    ],
)
def test_without_metadata_reflectance_alone_is_refused(safe, tmp_path, layout: Layout, problem):
    product = layout(safe, tmp_path)
    with pytest.raises(MetadataError, match=problem):
        jp2batch.open_cube(product, bands=BAND, scaled=True)
    with pytest.raises(MetadataError, match=problem):
        jp2batch.open_product(product, BAND, scaled=True)
    assert jp2batch.open_product(product, "SCL", scaled=True)["R20m"].ds.SCL.dtype == np.uint8


def test_images_of_several_times_are_no_product(safe, tmp_path):
    folder = Path(_flat(safe, tmp_path))
    image = next(folder.rglob("*_B04_10m.jp2"))
    shutil.copy(image, image.with_name(image.name.replace("20221005", "20221006")))
    with pytest.raises(MetadataError, match="has images of several times"):
        jp2batch.open_product(folder)


@pytest.mark.parametrize("layout", [_bucket_of_amazon, _copy_of_amazon])
@pytest.mark.parametrize("level", ["safe", "level_1c"])
def test_folders_of_amazon_tell_time_tile_and_scaling(level, layout: Layout, request, tmp_path):
    product: Path = request.getfixturevalue(level)
    (listed,) = jp2batch.list_requests(layout(product, tmp_path), BAND)
    assert dict(listed.columns) == {
        "time": "2022-10-05T11:54:11Z",
        "band": BAND,
        "tile": "T29UNU",
        "item": product.name,
        "platform": "S2A",
        "processing_baseline": "04.00",
        "datastrip": "2022-10-05T11:54:07Z",
        "processing_time": "2022-10-05T16:44:54Z",
    }
    cube = jp2batch.open_cube(
        Path(listed.path).parent if level == "level_1c" else Path(listed.path).parents[1], bands=BAND
    )
    assert cube.quantification_value.values == 10000


def test_a_tile_without_metadata_of_its_product_is_read(safe, tmp_path):
    tile = _of_amazon(safe, tmp_path, "copy")
    assert jp2batch.open_product(tile, BAND).attrs["product"] == safe.stem
    with pytest.raises(MetadataError, match=r"productInfo/metadata.xml: cannot be read"):
        jp2batch.open_product(tile, BAND, scaled=True)
    (tile / "tileInfo.json").write_text("{")
    with pytest.raises(MetadataError, match=r"tileInfo.json: has no path of its product"):
        jp2batch.open_product(tile, BAND, scaled=True)
    with pytest.raises(CubeMismatch, match="its files do not tell the time"):
        jp2batch.open_cube(tile, bands=BAND)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    "layout", [_folder_without_safe, _without_metadata, _flat, _bucket_of_amazon, _zipped, _deflated, _tar]
)
def test_every_function_opens_products_in_a_store(layout: Layout, function, level_1c, s3_server, tmp_path):
    """Google's bucket has ESA's folders below those of tiles, and empty objects for the folders."""
    product = Path(layout(level_1c, tmp_path))
    root = f"{layout.__name__}/tiles/33/U/UP"
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        s3_server.put(f"{root}/{path.relative_to(tmp_path).as_posix()}", path.read_bytes())
    url = s3_server.put(f"{root}/{product.relative_to(tmp_path).as_posix()}_$folder$", b"").removesuffix("_$folder$")
    np.testing.assert_array_equal(function(url, s3_server.options), pixels_of(level_1c))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("layout", [_zipped, _deflated, _zipped_without_metadata, _tar])
def test_every_function_opens_archives_by_signed_links(layout: Layout, function, safe, http_server, tmp_path):
    archive = Path(layout(safe, tmp_path))
    http_server.files[archive.name] = archive.read_bytes()
    http_server.signature = "X-Amz-Signature=0123456789abcdef"
    url = f"{http_server.url(archive.name)}?{http_server.signature}"
    np.testing.assert_array_equal(function(url, {}), pixels_of(safe))


def test_an_overview_of_a_large_zip_takes_little_of_it(safe, http_server, tmp_path):
    place = tmp_path / "large.zip"
    with place.open("wb") as file:
        file.truncate(700_000_000)
    with zipfile.ZipFile(place, "a") as archive:  # behind 700 MB of other bytes
        for path in filter(Path.is_file, safe.rglob("*")):
            archive.write(path, path.relative_to(safe.parent))
    with place.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        http_server.files["large.zip"] = data
        tree = jp2batch.open_product(http_server.url("large.zip"), BAND, -1)
        tree["R20m"].ds[BAND].load()
        assert http_server.bytes_sent <= 3_000_000
        assert http_server.requests <= 9
        del http_server.files["large.zip"]


def test_an_archive_of_several_products_names_them(safe, level_1c, tmp_path):
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as archive:
        for product in (safe, level_1c):
            archive.write(next(product.glob("MTD*.xml")), f"{product.name}/{next(product.glob('MTD*.xml')).name}")
    with pytest.raises(MetadataError, match=r"has 2 products \(give one, as zip://S2A_MSIL1C.*SAFE::.*both.zip\)"):
        jp2batch.open_product(tmp_path / "both.zip")
