"""Products of any layout, whole or not, are alike for every function."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import jp2batch
from jp2batch.cli import main
from jp2batch.core.errors import MetadataError
from jp2batch.sample.product import make_product

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


LOCAL = [_folder_without_safe, _without_metadata, _cut_metadata, _empty_metadata, _flat, _images_alone]

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
