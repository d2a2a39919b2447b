"""Whole products as one lazy tree."""

import re
import shutil
import zipfile
from pathlib import Path

import pytest
import shapely
import xarray as xr

import jp2batch
from jp2batch.core.errors import ImageNotFound, InvalidRequest, MetadataError, OutsideImage
from jp2batch.image.missions import is_product
from jp2batch.image.products import product_images
from jp2batch.sample.product import make_product
from support.images import SHARED

FACTS = ["source", "radiometric_offset", "quantification_value"]
"""Coordinates that differ between an image and the dataset of its product."""


def image(product: Path, name: str) -> str:
    """Return the path of an image of a product."""
    return str(next(product.glob(f"GRANULE/*/IMG_DATA/**/*_{name}.jp2")))


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    return make_product(tmp_path_factory.mktemp("small"), size=180, bands=["B04", "B8A"])


def test_a_product_is_a_tree_of_its_sizes_of_pixels(small):
    tree = jp2batch.open_product(small)
    assert {name: set(node.data_vars) for name, node in tree.children.items()} == {
        "R10m": {"B04", "TCI", "AOT"},
        "R20m": {"B04", "B8A", "TCI", "AOT", "SCL"},
        "R60m": {"B04", "B8A", "TCI", "AOT", "SCL"},
    }
    assert tree.attrs == {
        "product": small.name,
        "platform": "S2A",
        "level": "L2A",
        "processing_baseline": "04.00",
        "relative_orbit": 23,
        "tile": "T29UNU",
        "time": "2022-10-05T11:54:11+00:00",
    }
    for node in tree.children.values():
        for name, array in node.data_vars.items():
            assert array.chunks is not None
            read = jp2batch.read(image(small, f"{name}_{node.name[1:]}"), 0)
            xr.testing.assert_identical(array.compute().drop_vars(FACTS), read.drop_vars(FACTS, errors="ignore"))
            assert array.source == str(small)


def test_level_1c_has_no_folders_but_sizes_all_the_same(tmp_path):
    product = make_product(tmp_path, size=180, level="L1C", bands=["B01", "B04"])
    tree = jp2batch.open_product(f"{product}/MTD_MSIL1C.xml", rlevel=-1, chunks=None)
    assert {name: list(node.data_vars) for name, node in tree.children.items()} == {
        "R10m": ["B04", "TCI"],
        "R60m": ["B01"],
    }
    assert tree["R10m"].ds.B04.shape == (12, 12)  # the lowest of its levels


def test_bands_may_be_chosen_and_scaled(small):
    tree = jp2batch.open_product(small, ["B04", "SCL"], scaled=True)
    assert [list(node.data_vars) for node in tree.children.values()] == [["B04"], ["B04", "SCL"], ["B04", "SCL"]]
    fine = tree["R20m"].ds
    xr.testing.assert_identical(
        fine.B04.compute().drop_vars("source"),
        jp2batch.read(image(small, "B04_20m"), 0, scaled=True).drop_vars("source"),
    )
    assert str(fine.SCL.dtype) == "uint8"
    with pytest.raises(InvalidRequest, match=r"does not list B99 \(it has at 10 m B04 TCI AOT; at 20 m"):
        jp2batch.open_product(small, ["B04", "B99"])


def test_the_finest_image_of_a_band_can_be_had(small):
    _, images = product_images(str(small), ["B8A", "B04"], finest=True)
    assert [(image.name.band, image.metres) for image in images] == [("B04", 10), ("B8A", 20)]
    _, images = product_images(str(small), "B04", metres=60)
    assert [Path(image.path).name for image in images] == ["T29UNU_20221005T115411_B04_60m.jp2"]


def test_a_product_may_lie_anywhere(small, http_server, tmp_path):
    archive = tmp_path / "product.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in filter(Path.is_file, small.rglob("*")):
            file.write(path, path.relative_to(small.parent))
            http_server.files[path.relative_to(small.parent).as_posix()] = path.read_bytes()
    here = jp2batch.open_product(small, ["B8A"])
    for place in (http_server.url(small.name), f"zip://{small.name}::{archive}"):
        there = jp2batch.open_product(place, ["B8A"])
        for node in ("R20m", "R60m"):
            xr.testing.assert_equal(
                there[node].ds.compute().drop_vars("source"), here[node].ds.compute().drop_vars("source")
            )
        assert there["R20m"].ds.B8A.quantification_value == 10000


@pytest.mark.parametrize("folder", ["", "data", "Größe 1/a", "a.b/GRANULES"])
@pytest.mark.parametrize("suffix", [".SAFE", ""])
def test_a_product_may_lie_deep_in_an_archive(small, tmp_path, folder, suffix):
    archive = tmp_path / "product.zip"
    name = f"{small.stem}{suffix}"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("__MACOSX/._x", b"")
        for path in filter(Path.is_file, small.rglob("*")):
            file.write(path, Path(folder, name, path.relative_to(small)).as_posix())
    expected = jp2batch.read(image(small, "B8A_60m"), 0)
    for place in (archive, f"zip://::{archive}"):
        tree = jp2batch.open_product(place, ["B8A"])
        assert (tree["R60m"].ds.B8A.values == expected.values).all()


def test_images_that_are_not_there_are_named(small, tmp_path):
    product = Path(shutil.copytree(small, tmp_path / small.name))
    (gone,) = product.glob("**/*_B8A_20m.jp2")
    gone.unlink()
    tree = jp2batch.open_product(product)
    assert tree.attrs["missing"] == [gone.name]
    assert "B8A" not in tree["R20m"].ds
    assert list(jp2batch.open_product(product, ["B8A"]).children) == ["R60m"]
    next(product.glob("**/*_B8A_60m.jp2")).unlink()
    with pytest.raises(ImageNotFound, match="B8A is listed in the product, but missing"):
        jp2batch.open_product(product, ["B8A"])


def test_several_tiles_have_a_node_each(small, tmp_path):
    product = Path(shutil.copytree(small, tmp_path / small.name))
    other = make_product(tmp_path / "other", size=180, bands=["B04", "B8A"], tile="T29UNV")
    shutil.copytree(next(other.glob("GRANULE/*")), product / "GRANULE" / next(other.glob("GRANULE/*")).name)
    metadata = product / "MTD_MSIL2A.xml"
    files = re.findall("<IMAGE_FILE>.*?</IMAGE_FILE>", (other / "MTD_MSIL2A.xml").read_text())
    metadata.write_text(metadata.read_text().replace("</Granule>", f"{''.join(files)}</Granule>"))
    tree = jp2batch.open_product(product, ["B8A"])
    assert sorted(node.path for node in tree.leaves) == [
        f"/{tile}/R{metres}m" for tile in ("T29UNU", "T29UNV") for metres in (20, 60)
    ]
    here = jp2batch.open_product(product, ["B8A"], bbox=TRIANGLE.bounds, crs=32629)
    assert sorted(node.path for node in here.leaves) == ["/T29UNU/R20m", "/T29UNU/R60m"]


def test_what_is_no_product_says_so(tmp_path, small):
    with pytest.raises(MetadataError, match="this is not a product of Sentinel-2"):
        jp2batch.open_product(tmp_path / "nowhere")
    listing = tmp_path / "MTD_MSIL2A.xml"
    listing.write_text((small / listing.name).read_text().replace("<IMAGE_FILE>GRANULE", "<IMAGE_FILE>../../GRANULE"))
    with pytest.raises(InvalidRequest, match="leads out of"):
        jp2batch.open_product(tmp_path)


@pytest.mark.parametrize("inside", ["GRANULE", "GRANULE/*/IMG_DATA/R10m/*_B04_10m.jp2"])
def test_what_is_inside_of_a_product_names_it(small, inside):
    with pytest.raises(MetadataError, match=rf"\(its product is {small}\)"):
        jp2batch.open_product(next(small.glob(inside)))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"bands": ["B04", "B04"]}, "band B04 is given twice"),
        ({"rlevel": "1"}, "rlevel of type str is not a resolution level"),
        ({"chunks": {"z": 3}}, r"chunks name a dimension that the array does not have \(it has y, x\)"),
        ({"storage_options": "anon"}, "storage_options are of type str"),
        ({"path": None}, "a path must be text, not NoneType"),
    ],
)
def test_slips_are_told_in_a_line(small, arguments, problem):
    with pytest.raises(InvalidRequest, match=problem) as caught:
        jp2batch.open_product(**({"path": small} | arguments))
    assert "\n" not in str(caught.value)


def test_products_around_are_named(small):
    with pytest.raises(MetadataError, match=r"give the products in it: .*/\*\.SAFE"):
        jp2batch.open_product(small.parent)
    assert list(jp2batch.open_product(small, "b8a").children) == ["R20m", "R60m"]


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("s3://b/X.SAFE", True),
        ("X.SAFE/", True),
        ("zip://X.SAFE::x.zip", True),
        ("a/MTD_MSIL2A.xml", True),
        ("X.SAFE/GRANULE/a.jp2", False),
        ("a.jp2", False),
    ],
)
def test_products_are_told_from_images_by_their_names(path, answer):
    assert is_product(path) is answer


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real product")
def test_the_real_product_opens_with_what_is_there_of_it():
    (folder,) = SHARED.glob("*.SAFE")
    tree = jp2batch.open_product(folder)
    assert set(tree["R60m"].ds.data_vars) == {"B02", "B03", "B04", "B8A", "TCI", "AOT", "SCL"}
    assert len(tree.attrs["missing"]) == 26
    assert tree["R60m"].ds.B04.radiometric_offset == -1000


TRIANGLE = shapely.Polygon([(500355, 5900005), (500905, 5899755), (500655, 5899105)])
"""Part of the small product, in its reference system."""


@pytest.mark.parametrize("scaled", [False, True], ids=["raw", "scaled"])
@pytest.mark.parametrize(
    "area",
    [
        {"bbox": (500355, 5899105, 500905, 5900005)},
        {"geometry": TRIANGLE, "resolution": 20},
        {"geometry": TRIANGLE, "rlevel": 1, "mask": False},
    ],
    ids=["bbox", "geometry", "unmasked"],
)
def test_all_images_of_a_product_are_cut_to_the_same_ground(small, area, scaled):
    tree = jp2batch.open_product(small, crs=32629, scaled=scaled, **area)
    x0, y0, x1, y1 = TRIANGLE.bounds
    for node in tree.children.values():
        for name, array in node.data_vars.items():
            area = area if "resolution" in area else {"rlevel": 0} | area
            read = jp2batch.read(image(small, f"{name}_{node.name[1:]}"), crs=32629, scaled=scaled, **area)
            xr.testing.assert_identical(
                array.compute().drop_vars(FACTS, errors="ignore"), read.drop_vars(FACTS, errors="ignore")
            )
            half = float(array.x[1] - array.x[0]) / 2
            assert array.x[0] - half <= x0 < array.x[1] - half
            assert array.x[-2] + half < x1 <= array.x[-1] + half
            assert array.y[0] + half >= y1 > array.y[1] + half
            assert array.y[-2] - half > y0 >= array.y[-1] - half


def test_an_area_outside_a_product_is_refused(small):
    with pytest.raises(OutsideImage, match=r"_B04_10m\.jp2: the area does not meet the image"):
        jp2batch.open_product(small, "B04", bbox=(10, 50, 11, 51))
    with pytest.raises(InvalidRequest, match="rlevel= and resolution= exclude each other"):
        jp2batch.open_product(small, rlevel=1, resolution=20)
